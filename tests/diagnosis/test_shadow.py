"""Shadow versions judge beside the active one and change no case."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.core.exceptions import PermissionDenied

from diagnosis import model_selectors, tasks
from diagnosis.models import Analysis, AuditEvent, ModelVersion, ShadowAnalysis
from diagnosis.services import predictors, registry, shadow
from diagnosis.services.version_change import PromotionImpossible
from tests import stand_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def candidate(version, bundles, sealed_bundle):
    """A second version beside the active one."""
    stand_in.copy_bundle(sealed_bundle, bundles, name="field-shadow")
    registry.register_shipped_bundles()
    return ModelVersion.objects.get(name="field-shadow")


@pytest.fixture
def sent(monkeypatch):
    keys = []
    monkeypatch.setattr("diagnosis.services.queue.send_shadows", lambda key: keys.append(key) or True)
    return keys


def test_a_shadow_judges_after_the_active_version_and_changes_nothing_of_it(
    candidate, judge, image, predictors
):
    shadow.set_shadow(version=candidate, actor=None)
    analysis = judge(image, "early")
    before = Analysis.objects.filter(pk=analysis.pk).values().get()
    predictors.tell("benign")
    assert shadow.run_shadows(analysis_id=analysis.pk, predictors=predictors) == 1
    row = ShadowAnalysis.objects.get()
    assert (row.model_version, row.label, row.suspected) == (candidate, "benign", False)
    assert (row.failure, row.inside_domain) == ("", True)
    assert Analysis.objects.filter(pk=analysis.pk).values().get() == before
    image.refresh_from_db()
    assert image.newest_analysis_id == analysis.pk
    assert analysis.model_version.name == "field-test"


def test_its_task_goes_out_once_the_analysis_is_stored_and_only_where_there_is_a_shadow(
    candidate, judge, add_image, sent, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        judge(add_image())
    assert sent == []
    shadow.set_shadow(version=candidate, actor=None)
    with django_capture_on_commit_callbacks(execute=True):
        analysis = judge(add_image())
    assert sent == [analysis.pk]


def test_a_task_that_arrives_twice_judges_once(candidate, judge, image):
    shadow.set_shadow(version=candidate, actor=None)
    analysis = judge(image)
    for _ in range(2):
        tasks.run_shadows(str(analysis.pk))
    assert ShadowAnalysis.objects.count() == 1


def test_what_a_shadow_cannot_do_is_kept_in_words(candidate, judge, image, bundles, predictors):
    shadow.set_shadow(version=candidate, actor=None)
    analysis = judge(image)
    (bundles / "field-shadow" / "model.onnx").write_bytes(b"damage")
    tasks.run_shadows(str(analysis.pk))
    row = ShadowAnalysis.objects.get()
    assert "model.onnx has changed" in row.failure
    assert (row.outcome, row.label) == ("", "")


def test_an_error_in_a_shadow_stays_in_the_shadow(candidate, judge, image, monkeypatch):
    shadow.set_shadow(version=candidate, actor=None)
    analysis = judge(image)
    monkeypatch.setattr("diagnosis.services.pipeline.judge", lambda **options: 1 / 0)
    assert shadow.run_shadows(analysis_id=analysis.pk) == 1
    assert ShadowAnalysis.objects.get().failure == shadow.UNEXPECTED


def test_a_broken_broker_costs_the_shadow_alone(
    candidate, judge, image, monkeypatch, django_capture_on_commit_callbacks
):
    asked = []

    def refuse(**options):
        asked.append(options)
        raise ConnectionError

    shadow.set_shadow(version=candidate, actor=None)
    monkeypatch.setattr(tasks.run_shadows, "apply_async", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        assert judge(image).state == "done"
    assert len(asked) == 1


def test_another_laboratory_s_shadow_sees_nothing(candidate, judge, image, cast):
    ModelVersion.objects.filter(pk=candidate.pk).update(laboratory=cast.outsider.laboratory, status="shadow")
    assert shadow.run_shadows(analysis_id=judge(image).pk) == 0


def test_an_unfinished_analysis_has_no_shadow(candidate, image):
    shadow.set_shadow(version=candidate, actor=None)
    assert shadow.run_shadows(analysis_id=image.newest_analysis_id) == 0


def test_making_and_ending_a_shadow_is_kept_and_repeating_it_is_not(candidate, cast):
    cast.administrator.is_superuser = True
    for _ in range(2):
        shadow.set_shadow(version=candidate, actor=cast.administrator)
    assert candidate.status == "shadow"
    shadow.retire(version=candidate, actor=cast.administrator)
    assert candidate.status == "retired"
    events = AuditEvent.objects.filter(action__in=["shadow_model", "retire_model"]).order_by("pk")
    assert [
        (event.action, event.detail["old"]["status"], event.detail["new"]["status"]) for event in events
    ] == [
        ("shadow_model", "candidate", "shadow"),
        ("retire_model", "shadow", "retired"),
    ]


@pytest.mark.parametrize("change", [shadow.set_shadow, shadow.retire])
def test_the_active_version_is_left_alone(version, change):
    with pytest.raises(PromotionImpossible, match="field-test is active"):
        change(version=version, actor=None)
    version.refresh_from_db()
    assert version.status == "active"


@pytest.mark.parametrize("change", [shadow.set_shadow, shadow.retire])
@pytest.mark.parametrize("who", ["technician", "hematologist", "outsider", "administrator"])
def test_who_may_not_manage_shared_versions_changes_no_shadow(candidate, cast, change, who):
    """The administrator is of one laboratory of two: shared versions are not hers to change."""
    with pytest.raises(PermissionDenied):
        change(version=candidate, actor=cast[who])
    candidate.refresh_from_db()
    assert candidate.status == "candidate"


@pytest.fixture
def cell_candidate(cell_version, bundles):
    """A second version of cells beside the active one."""
    stand_in.copy_bundle(bundles / cell_version.name, bundles, name="cell-shadow")
    registry.register_shipped_bundles()
    return ModelVersion.objects.get(name="cell-shadow")


def test_a_shadow_of_cells_is_compared_cell_by_cell(cell_candidate, judge, image, predictors, cast):
    shadow.set_shadow(version=cell_candidate, actor=None)
    analysis = judge(image)
    before = list(analysis.cell_analysis.cells.order_by("number").values())
    one, other, *rest = predictors.cells.cells
    predictors.cells.cells = [replace(one, label="monocyte", blast=0.1), replace(other, inside=False), *rest]
    assert shadow.run_shadows(analysis_id=analysis.pk, predictors=predictors) == 1
    row = ShadowAnalysis.objects.get()
    assert (row.model_version, row.failure, row.outcome) == (cell_candidate, "", "")
    assert (row.cells, row.cells_same) == (6, 4), "the platelet is no cell that either judged"
    assert (row.active_suspected, row.suspected) == (False, False)
    assert row.suspicion < analysis.cell_analysis.suspicion
    assert list(analysis.cell_analysis.cells.order_by("number").values()) == before
    found = model_selectors.agreements(user=cast.administrator)[cell_candidate.pk]
    assert (found.n, found.same, found.images, found.of_cells) == (6, 4, 1, True)


def test_where_no_leukocytes_were_looked_for_a_shadow_of_cells_has_nothing_to_compare(
    cell_candidate, judge, image, predictors
):
    predictors.cells.error = ValueError("broken")
    analysis = judge(image)
    shadow.set_shadow(version=cell_candidate, actor=None)
    predictors.cells.error = None
    shadow.run_shadows(analysis_id=analysis.pk, predictors=predictors)
    assert ShadowAnalysis.objects.get().failure == shadow.NO_CELLS


def test_a_worker_keeps_active_and_shadow_apart(candidate, judge, image):
    """Each by its own hash, so that neither ever answers for the other."""
    cache = predictors.PredictorCache()
    active = registry.active_version()
    assert cache.get(active).bundle.name == "field-test"
    assert cache.get(candidate).bundle.name == "field-shadow"
    assert cache.get(active).bundle.sha256 == active.bundle_sha256
    assert len(cache._loaded) == 2  # both stay loaded
