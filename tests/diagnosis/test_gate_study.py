"""Trained models on real smears before the gate: what is refused, why, and what forcing one of them leaves behind.

The bundles are those of `ml.evaluation.gate_study`, of fewer images; nothing of what they say is told.
"""

from __future__ import annotations

import csv
import io

import pytest

from diagnosis.models import AuditEvent, ModelVersion, Promotion
from diagnosis.services import analyze, intake, promotion, registry
from diagnosis.services.predictors import PredictorCache
from diagnosis.services.promotion import PromotionRefused
from ml.bundle import SHIPPED, read_bundle
from ml.data.manifest import load_manifest
from ml.evaluation.gate_study import study
from ml.evaluation.predictions import read_predictions_csv
from ml.promotion_evidence import evidence_gaps
from tests import told

pytestmark = [pytest.mark.data, pytest.mark.slow]

IMAGES = 120
FIELD = SHIPPED / "field-1"


@pytest.fixture(scope="module")
def studied(tmp_path_factory, data_dir):
    """The folder of the models, and what the gate said of each by name."""
    folder = tmp_path_factory.mktemp("gate") / "models"
    found = study(
        read_bundle(FIELD),
        load_manifest(data_dir / "taleqani-all"),
        folder,
        most=IMAGES,
        map_images=8,
        networks=4,
        resamples=400,
    )
    return folder, {case["name"]: case for case in found["cases"]}


def checks(case) -> dict:
    return {check["name"]: check for check in case["verdict"]["checks"]}


def test_shuffled_labels_are_refused_for_what_they_get_wrong(studied):
    case = studied[1]["shuffled labels"]
    assert "balanced_accuracy" in case["refused_by"]
    found = checks(case)["balanced_accuracy"]
    assert found["high"] < -0.3
    assert found["words"] in case["reasons"]
    assert case["verdict"]["n"] == IMAGES


def test_a_tenth_of_flipped_labels_is_refused_for_a_doubt_that_the_images_do_not_bear_out(studied):
    case = studied[1]["flipped labels"]
    assert "ece" in case["refused_by"]
    assert checks(case)["ece"]["low"] > 0.03


def test_more_accurate_and_less_sensitive_is_refused_for_its_sensitivity(studied):
    case = studied[1]["more accurate, less sensitive"]
    found = checks(case)
    assert found["balanced_accuracy"]["passed"]
    assert found["balanced_accuracy"]["value"] > 0
    assert "sensitivity_malignant" in case["refused_by"]
    assert found["sensitivity_malignant"]["value"] < -0.01


def test_none_of_them_is_refused_for_papers_that_are_missing(studied):
    """Only then do the figures decide."""
    folder, cases = studied
    for case in cases.values():
        for name in ("input_contract", "locked_images", "evidence"):
            assert checks(case)[name]["passed"], case["reasons"]
        assert checks(case)["saliency"]["value"] is not None
    for place in folder.iterdir():
        bundle = read_bundle(place)  # every file as it was sealed
        rows, _ = read_predictions_csv(place / "evidence" / "predictions.csv")
        assert evidence_gaps(bundle, rows) == []


@pytest.fixture
def installation(studied, db, settings, tmp_path, monkeypatch, data_dir):
    """The shipped bundle active, the one of shuffled labels a candidate, and the locked images they were judged on."""
    folder, _ = studied
    settings.LEUKOSCOPE_BUNDLES = SHIPPED
    settings.LEUKOSCOPE_OWN_BUNDLES = folder
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    registry.register_shipped_bundles()
    bundle = read_bundle(folder / "study-shuffled-labels")
    rows, _ = read_predictions_csv(bundle.path / "evidence" / "predictions.csv")
    data = {item.sha256: item for item in load_manifest(data_dir / "taleqani-all")}
    index = tmp_path / "locked" / "index.csv"
    index.parent.mkdir()
    with index.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "block"])
        table.writerows([data[row.sha256].path, row.label, row.group] for row in rows)
    # What both say of these images is known, and judging them again would take a minute.
    for known in (read_bundle(FIELD), bundle):
        said, _ = read_predictions_csv(known.path / "evidence" / "predictions.csv")
        told.tell(known, said, tmp_path / "cache" / "predictions", runtime="openvino")
    return registry.register_bundle(bundle.path), index, [data[row.sha256] for row in rows]


def test_forcing_it_and_rolling_back_are_on_record_and_each_analysis_bears_its_version(
    installation, cast, case
):
    version, data, items = installation
    predictors = PredictorCache()
    benign = [item for item in items if item.label == "benign"]

    def analysed(item):
        image = intake.add_image(
            user=cast.technician, case=case, name=item.path.name, stream=io.BytesIO(item.path.read_bytes())
        )
        assert analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors) == analyze.DONE
        image.newest_analysis.refresh_from_db()
        return image.newest_analysis

    before = analysed(benign[0])
    with pytest.raises(PromotionRefused, match="The balanced accuracy differs by -"):
        promotion.promote(version=version, actor=None, data=[data])
    assert registry.active_version().name == "field-1"
    why = "the scanner was changed, and the committee decided so"
    promotion.promote(version=version, actor=None, data=[data], force=True, why=why)
    between = analysed(benign[1])
    promotion.rollback(task="field", laboratory=None, actor=None, why="it calls everything malignant")
    after = analysed(benign[2])

    assert [one.model_version.name for one in (before, between, after)] == [
        "field-1",
        version.name,
        "field-1",
    ]
    assert before.probabilities != between.probabilities
    before.refresh_from_db()
    assert before.model_version.name == "field-1"
    for one in (before, between, after):
        event = AuditEvent.objects.get(action="analysis_done", object_id=str(one.pk))
        assert event.detail["model_version"] == one.model_version.name

    events = AuditEvent.objects.filter(object_type="modelversion").order_by("pk")
    deeds = events.exclude(action__in=["register_model", "activate_model"])
    assert [event.action for event in deeds] == [
        "judge_model", "judge_model", "force_promote_model", "rollback_model",
    ]  # fmt: skip
    forced = deeds.get(action="force_promote_model").detail
    assert (forced["bundle_sha256"], forced["why"]) == (version.bundle_sha256, why)
    assert any("balanced accuracy" in reason for reason in forced["reasons"])
    assert deeds.get(action="rollback_model").detail["instead_of"] == version.name
    assert [(one.kind, one.forced) for one in Promotion.objects.exclude(kind="first").order_by("pk")] == [
        ("promote", True), ("rollback", False),
    ]  # fmt: skip
    assert ModelVersion.objects.get(pk=version.pk).status == "retired"
