"""An analysis ends exactly once, whatever arrives twice or dies on the way."""

from __future__ import annotations

import io
import shutil
import threading
import time
from datetime import timedelta

import numpy as np
import pytest
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, connection
from django.http import Http404
from django.utils import timezone
from PIL import Image

from diagnosis.models import Analysis, AuditEvent, SmearImage
from diagnosis.services import analysis_values, analyze, queue, registry
from diagnosis.services.analyze import DONE, FAILED, LOST, NOT_CLAIMED, WAITING
from diagnosis.services.predictors import ModelUnavailable, PredictorCache
from diagnosis.storage import smear_storage

pytestmark = pytest.mark.django_db


class Failing:
    """Predictors that raise: on being asked for one, or when it predicts."""

    def __init__(self, on_get: Exception | None = None, on_predict: Exception | None = None) -> None:
        self.on_get, self.on_predict = on_get, on_predict

    def get(self, version):
        if self.on_get:
            raise self.on_get
        return self

    def predict(self, pixels):
        raise self.on_predict


def newest(image) -> Analysis:
    return SmearImage.objects.get(pk=image.pk).newest_analysis


def test_a_result_is_stored_with_all_that_it_rests_on(image, version, predictors):
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors) == DONE
    analysis = newest(image)
    assert (analysis.state, analysis.outcome, analysis.label, analysis.top_label) == (
        "done", "class", "early", "early",
    )  # fmt: skip
    assert analysis.suspected
    assert analysis.model_version == version
    assert sum(analysis.probabilities.values()) == pytest.approx(1)
    assert analysis.confidence == pytest.approx(max(analysis.probabilities.values()))
    assert 0 <= analysis.confidence_low < analysis.confidence_high <= 1
    assert analysis.inside_domain
    assert analysis.domain_score <= analysis.domain_threshold
    assert set(analysis.maps) == {"gradcam", "gradcam++", "layercam"}
    assert np.asarray(analysis.maps["gradcam++"]).shape == (7, 7)
    assert analysis.quality["acceptable"] is True
    assert {"read", "predict", "previews", "total"} <= set(analysis.timings_ms)
    assert analysis.timings_ms["total"] >= analysis.timings_ms["read"]
    assert (analysis.runtime, analysis.device) == ("stand-in", "none")
    assert analysis.input_sha256 == image.stored_sha256
    assert analysis.preprocessing_version >= 1
    assert analysis.started_at <= analysis.finished_at
    assert (analysis.attempts, analysis.lease_expires_at, analysis.failure) == (1, None, "")


def test_an_image_the_model_may_not_judge_is_indeterminate_and_never_suspected(
    cast, case, version, predictors
):
    from diagnosis.services import intake

    from .conftest import encoded

    photo = np.random.default_rng(3).integers(0, 256, (300, 400, 3), np.uint8)
    image = intake.add_image(user=cast.technician, case=case, name="x", stream=io.BytesIO(encoded(photo)))
    analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors)
    analysis = newest(image)
    assert (analysis.outcome, analysis.label, analysis.confidence) == ("indeterminate", "", None)
    assert analysis.reasons
    assert not analysis.suspected


@pytest.mark.parametrize(
    ("logits", "label", "suspected"),
    [((9, 0, 0, 0), "benign", False), ((0, 0, 0, 9), "pro", True), ((2.0, 1.9, 1.9, 1.9), "benign", False)],
)
def test_a_malignant_class_makes_an_image_suspected(image, version, predictors, logits, label, suspected):
    predictors._predictor._runtime.logits = np.array(logits, np.float32)
    analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors)
    analysis = newest(image)
    assert (analysis.label, analysis.suspected) == (label, suspected)


def test_malignant_classes_that_together_reach_the_threshold_make_it_suspected(image, version, predictors):
    version.manifest["thresholds"]["suspected"] = 0.5
    version.save()
    predictors._predictor._runtime.logits = np.array((2.0, 1.9, 1.9, 1.9), np.float32)
    analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors)
    assert newest(image).label == "benign"
    assert newest(image).suspected


def test_previews_are_made_and_shown_by_name(image, version, predictors, media):
    analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors)
    image = SmearImage.objects.get(pk=image.pk)
    with Image.open(media / image.thumbnail.name) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (256, 192))
    with Image.open(media / image.newest_analysis.processed.name) as processed:
        assert (processed.format, processed.size) == ("PNG", (64, 64))


def test_a_task_that_arrives_twice_gives_one_result(image, version, predictors):
    key = image.newest_analysis_id
    assert analyze.run(analysis_id=key, predictors=predictors) == DONE
    first = newest(image)
    assert analyze.run(analysis_id=key, predictors=predictors) == NOT_CLAIMED
    assert newest(image).finished_at == first.finished_at
    assert AuditEvent.objects.filter(action="analysis_done").count() == 1


def test_a_task_that_arrives_while_another_works_is_left_alone(image, version, predictors):
    key = image.newest_analysis_id
    assert analyze._claim(key)
    assert analyze.run(analysis_id=key, predictors=predictors) == NOT_CLAIMED
    assert newest(image).attempts == 1


def test_a_task_of_an_analysis_that_is_gone_is_left_alone(db, predictors):
    assert (
        analyze.run(analysis_id="00000000-0000-0000-0000-000000000000", predictors=predictors) == NOT_CLAIMED
    )


def test_an_expired_lease_can_be_taken_over_and_the_first_worker_stores_nothing(image, version, predictors):
    key = image.newest_analysis_id
    dead = analyze._claim(key)
    Analysis.objects.filter(pk=key).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert analyze.run(analysis_id=key, predictors=predictors) == DONE
    stored = newest(image)
    late = {"model_version": version, "outcome": "class", "label": "benign", "thumbnail": ""}
    assert analyze._store(stored, dead, late) == LOST
    assert analyze.fail(analysis=stored, claim=dead, failure="late") == LOST
    assert newest(image).label == "early"
    assert newest(image).attempts == 2


def test_an_analysis_is_claimed_three_times_at_most(image):
    key = image.newest_analysis_id
    for _ in range(analyze.MAX_ATTEMPTS):
        assert analyze._claim(key)
        Analysis.objects.filter(pk=key).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert analyze._claim(key) is None


def test_an_unforeseen_error_is_told_in_words_and_logged_in_full(image, version, caplog):
    broken = Failing(on_predict=ZeroDivisionError("secret detail"))
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=broken) == FAILED
    analysis = newest(image)
    assert (analysis.state, analysis.failure) == ("failed", analyze.UNEXPECTED)
    assert "secret detail" not in analysis.failure
    assert "ZeroDivisionError" in caplog.text
    assert AuditEvent.objects.filter(action="analysis_failed", object_id=str(analysis.pk)).exists()


def test_a_database_that_fails_leaves_the_analysis_to_the_sweep(image, version):
    away = Failing(on_predict=OperationalError("away"))
    with pytest.raises(OperationalError):
        analyze.run(analysis_id=image.newest_analysis_id, predictors=away)
    assert newest(image).state == "running"


def test_a_lost_file_fails_with_what_to_do(image, version, predictors, media):
    (media / image.file.name).unlink()
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors) == FAILED
    assert newest(image).failure == analysis_values.FILE_GONE


def test_a_changed_file_is_not_judged(image, version, predictors, media):
    with (media / image.file.name).open("ab") as file:
        file.write(b"x")
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors) == FAILED
    assert newest(image).failure == analysis_values.FILE_CHANGED


# --- the model is away


def test_without_a_model_an_analysis_waits_and_loses_no_attempt(image, settings, tmp_path, predictors):
    settings.LEUKOSCOPE_BUNDLES = tmp_path / "nothing"
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors) == WAITING
    analysis = newest(image)
    assert (analysis.state, analysis.attempts, analysis.sent_at) == ("queued", 0, None)


def test_a_worker_registers_the_first_bundle_by_itself(image, bundles, predictors):
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors) == DONE
    assert newest(image).model_version.status == "active"


def test_a_missing_bundle_waits_and_runs_when_it_is_back(image, version, bundles):
    cache = PredictorCache()
    shutil.move(bundles / "field-test", bundles.parent / "away")
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=cache) == WAITING
    shutil.move(bundles.parent / "away", bundles / "field-test")
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=cache) == DONE


def test_a_bundle_that_goes_while_it_is_loaded_serves_no_more(image, add_image, version, bundles):
    cache = PredictorCache()
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=cache) == DONE
    (bundles / "field-test" / "model.onnx").write_bytes(b"damaged")
    assert analyze.run(analysis_id=add_image().newest_analysis_id, predictors=cache) == WAITING


def test_a_graph_that_can_not_be_loaded_is_told_to_administrators(image, version, predictors):
    reason = "The runtime openvino is not installed."
    away = Failing(on_get=ModelUnavailable(reason))
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=away) == WAITING
    assert registry.bundle_problem() == reason
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors) == DONE
    assert registry.bundle_problem() is None


def test_another_active_version_is_taken_up_without_a_restart(image, add_image, version, bundles):
    from tests import stand_in

    cache = PredictorCache()
    analyze.run(analysis_id=image.newest_analysis_id, predictors=cache)
    stand_in.copy_bundle(bundles / "field-test", bundles, name="field-test-2")
    registry.register_shipped_bundles()
    version.status = "retired"
    version.save()
    other = type(version).objects.get(name="field-test-2")
    other.status = "active"
    other.save()
    second = add_image()
    analyze.run(analysis_id=second.newest_analysis_id, predictors=cache)
    assert newest(second).model_version == other


# --- trying again


def test_trying_again_is_a_new_analysis(cast, image, version, predictors):
    analyze.run(analysis_id=image.newest_analysis_id, predictors=Failing(on_predict=ValueError()))
    failed = newest(image)
    made = analyze.retry(user=cast.technician, image=image)
    assert (made.state, made.created_by) == ("queued", cast.technician)
    assert newest(image) == made
    failed.refresh_from_db()
    assert failed.state == "failed"
    assert AuditEvent.objects.filter(action="retry", actor=cast.technician).count() == 1


def test_two_clicks_give_one_analysis(cast, image, judge):
    judge(image)
    analyze.retry(user=cast.technician, image=image)
    with pytest.raises(analyze.RetryRefused, match="already"):
        analyze.retry(user=cast.technician, image=image)
    assert image.analyses.count() == 2
    assert AuditEvent.objects.filter(action="retry").count() == 1


def test_who_may_not_try_again(cast, image, judge):
    judge(image)
    with pytest.raises(Http404):
        analyze.retry(user=cast.outsider, image=image)
    cast.technician.role = "visitor"
    with pytest.raises(PermissionDenied):
        analyze.retry(user=cast.technician, image=image)


# --- the broker is away


def test_a_broker_that_is_away_does_not_fail_an_upload(
    add_image, settings, django_capture_on_commit_callbacks, monkeypatch, caplog
):
    from kombu.exceptions import OperationalError as BrokerAway

    def away(*_: object, **__: object) -> None:
        raise BrokerAway("Connection refused")

    monkeypatch.setattr("diagnosis.tasks.analyze_image.apply_async", away)
    with django_capture_on_commit_callbacks(execute=True):
        image = add_image()
    assert newest(image).state == "queued"
    assert newest(image).sent_at is None
    assert "the sweep sends it again" in caplog.text


def test_what_was_sent_is_known(image, monkeypatch):
    sent = []
    monkeypatch.setattr("diagnosis.tasks.analyze_image.apply_async", lambda **kw: sent.append(kw))
    assert queue.send_analysis(image.newest_analysis_id)
    assert sent == [{"args": [str(image.newest_analysis_id)], "queue": "analysis"}]
    assert newest(image).sent_at is not None


# --- leases, with threads and connections of their own


@pytest.mark.django_db(transaction=True)
def test_a_lease_is_renewed_while_the_work_lasts(image, settings):
    settings.LEUKOSCOPE_LEASE_SECONDS = 0.3
    key = image.newest_analysis_id
    claim = analyze._claim(key)
    first = Analysis.objects.get(pk=key).lease_expires_at
    with analyze._lease_kept(key, claim):
        deadline = time.monotonic() + 10
        while Analysis.objects.get(pk=key).lease_expires_at == first:
            assert time.monotonic() < deadline, "the lease was never renewed"
            time.sleep(0.02)
    assert not [t for t in threading.enumerate() if t.name.startswith("lease")]


@pytest.mark.django_db(transaction=True)
def test_a_lease_is_renewed_over_a_new_connection_when_one_was_dropped(image, settings, monkeypatch):
    settings.LEUKOSCOPE_LEASE_SECONDS = 0.3
    key = image.newest_analysis_id
    claim = analyze._claim(key)
    first = Analysis.objects.get(pk=key).lease_expires_at
    lease, dropped = analyze.lease, threading.Event()

    def drop_once():
        if threading.current_thread().name.startswith("lease") and not dropped.is_set():
            connection.ensure_connection()
            connection.connection.close()
            dropped.set()
        return lease()

    monkeypatch.setattr(analyze, "lease", drop_once)
    with analyze._lease_kept(key, claim):
        deadline = time.monotonic() + 10
        while Analysis.objects.get(pk=key).lease_expires_at == first:
            assert time.monotonic() < deadline, "the lease was not renewed after the connection was dropped"
            time.sleep(0.02)
    assert dropped.is_set()


@pytest.mark.django_db(transaction=True)
def test_the_lease_of_work_that_hangs_is_renewed_no_more(image, settings, monkeypatch):
    settings.LEUKOSCOPE_LEASE_SECONDS = 0.3
    monkeypatch.setattr(analyze, "LONGEST_SECONDS", 0.0)
    key = image.newest_analysis_id
    claim = analyze._claim(key)
    before = Analysis.objects.get(pk=key).lease_expires_at
    with analyze._lease_kept(key, claim):
        time.sleep(0.4)
    assert Analysis.objects.get(pk=key).lease_expires_at == before


@pytest.mark.django_db(transaction=True)
def test_a_lost_lease_is_not_renewed(image, settings):
    settings.LEUKOSCOPE_LEASE_SECONDS = 0.3
    key = image.newest_analysis_id
    claim = analyze._claim(key)
    Analysis.objects.filter(pk=key).update(claimed_by="another")
    before = Analysis.objects.get(pk=key).lease_expires_at
    with analyze._lease_kept(key, claim):
        time.sleep(0.4)
    assert Analysis.objects.get(pk=key).lease_expires_at == before


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_that_claim_at_once_one_wins(image):
    key, claims, start = image.newest_analysis_id, [], threading.Barrier(5)

    def claim() -> None:
        start.wait()
        try:
            claims.append(analyze._claim(key))
        finally:
            connection.close()

    threads = [threading.Thread(target=claim) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claims) == 5
    assert sum(claimed is not None for claimed in claims) == 1


def test_stored_previews_are_named_by_content(image, version, predictors):
    analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors)
    first = sorted(smear_storage().listdir("thumbnails")[0])
    analyze.enqueue(image=image)
    analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors)
    assert sorted(smear_storage().listdir("thumbnails")[0]) == first
