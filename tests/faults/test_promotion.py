"""A running worker takes a promotion, and a rollback, with the next image; a judgement outlives its worker."""

from __future__ import annotations

import time

import pytest

from diagnosis.models import Analysis, AuditEvent, Judgement, ModelVersion, ShadowAnalysis
from diagnosis.services import judging, promotion, queue, registry, shadow, upkeep, version_change
from tests import stand_in

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def candidate(version, bundles, sealed_bundle):
    """A second version beside the active one."""
    stand_in.copy_bundle(sealed_bundle, bundles, name="field-next")
    registry.register_shipped_bundles()
    return ModelVersion.objects.get(name="field-next")


def version_of(analysis: Analysis) -> str:
    return analysis.model_version.name


def test_a_running_worker_takes_the_new_version_and_the_old_one_again(
    workers, becomes, add_image, candidate, monkeypatch, tmp_path
):
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path))
    worker = workers.start()
    before = becomes(add_image().newest_analysis_id, "done")
    promotion.promote(version=candidate, actor=None, data=[], force=True, why="a test")
    after = becomes(add_image().newest_analysis_id, "done")
    promotion.rollback(task="field", laboratory=None, actor=None, why="a test")
    again = becomes(add_image().newest_analysis_id, "done")
    assert [version_of(one) for one in (before, after, again)] == ["field-test", "field-next", "field-test"]
    before.refresh_from_db()
    assert version_of(before) == "field-test"
    assert worker.poll() is None
    assert list(
        AuditEvent.objects.filter(action__contains="_model", object_type="modelversion")
        .exclude(action__in=["register_model", "activate_model"])
        .order_by("pk")
        .values_list("action", flat=True)
    ) == ["judge_model", "force_promote_model", "rollback_model"]


def test_an_analysis_that_a_promotion_overtakes_keeps_the_version_that_judged(
    workers, becomes, add_image, candidate, monkeypatch, tmp_path
):
    """Its audit event and its row name the same version, and so do those of the images after it."""
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path))
    workers.start(seconds=3)
    keys = [add_image().newest_analysis_id for _ in range(2)]
    becomes(keys[0], "running")
    promotion.promote(version=candidate, actor=None, data=[], force=True, why="a test")
    done = [becomes(key, "done") for key in keys]
    assert [version_of(one) for one in done] == ["field-test", "field-next"]
    for one in done:
        event = AuditEvent.objects.get(action="analysis_done", object_id=str(one.pk))
        assert event.detail["model_version"] == version_of(one)


def test_a_worker_judges_for_a_page_and_runs_shadows(workers, becomes, add_image, candidate):
    workers.start("training")
    workers.start()
    judgement = judging.request(version=candidate, actor=None)
    shadow.set_shadow(version=candidate, actor=None)
    analysis = becomes(add_image().newest_analysis_id, "done")
    deadline = time.monotonic() + 60
    while not (ShadowAnalysis.objects.exists() and Judgement.objects.get(pk=judgement.pk).is_finished):
        assert time.monotonic() < deadline, workers.logs()
        time.sleep(0.2)
    row = ShadowAnalysis.objects.get()
    assert (row.analysis_id, row.model_version, row.failure) == (analysis.pk, candidate, "")
    judgement.refresh_from_db()
    assert (judgement.state, judgement.verdict["passed"]) == ("done", False)
    assert "Unproven" in " ".join(version_change.reasons(judgement.verdict))


def test_a_judgement_that_the_broker_lost_is_sent_again(workers, candidate, broker):
    judgement = judging.request(version=candidate, actor=None)
    assert queue.waiting_messages("training") == 1
    broker.kill()
    broker.forget()
    broker.start()
    Judgement.objects.update(sent_at=None)  # five minutes later
    upkeep.sweep()
    workers.start("training")
    deadline = time.monotonic() + 60
    while not Judgement.objects.get(pk=judgement.pk).is_finished:
        assert time.monotonic() < deadline, workers.logs()
        time.sleep(0.2)
