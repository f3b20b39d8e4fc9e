"""Results and reports by the API: in the words of `manage.py analyze --json`, with the notices that belong to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from diagnosis import wording
from diagnosis.api.schemas import ResultOut
from diagnosis.models import Analysis, Case, CellAnalysis, SignOut, SmearImage
from diagnosis.services import analyze, cell_readings, pipeline, reporting, review
from tests.diagnosis.told_api import System, said
from tests.diagnosis.told_cells import add_cells, beside, cell, without_class

pytestmark = pytest.mark.django_db


@pytest.fixture
def lis(cast: Any) -> System:
    return System(cast.technician)


def test_a_result_has_every_key_of_the_command(sealed_bundle: Any, predictors: Any, field_png: bytes) -> None:
    record = pipeline.unreadable_record(path="x.png", reason="r", model_version="v")

    assert set(record) - {"path"} <= set(ResultOut.model_fields)


def test_a_result_says_what_was_stored(
    lis: System, image: SmearImage, judge: Callable[..., Analysis]
) -> None:
    analysis = judge(image, "early")
    told = lis.get(f"images/{image.pk}/result").json()

    assert (told["state"], told["outcome"], told["label"]) == ("done", "class", "early")
    assert told["probabilities"] == pytest.approx(analysis.probabilities)
    assert list(told["probabilities"]) == analysis.model_version.classes
    assert told["confidence"] == pytest.approx(analysis.confidence)
    low_high = [analysis.confidence_low, analysis.confidence_high]
    assert told["confidence_interval"] == (None if None in low_high else pytest.approx(low_high))
    assert told["domain_score"] == pytest.approx(analysis.domain_score)
    assert told["suspected"] is True
    assert told["analysis"] == str(analysis.pk)
    assert f"{wording.SCOPE_NOTICE}." in told["notices"]
    assert any("immunophenotyping" in notice for notice in told["notices"])
    assert told["review"] is None


def test_an_indeterminate_outcome_gives_no_class_and_no_confidence(
    lis: System, image: SmearImage, judge: Callable[..., Analysis]
) -> None:
    judge(image)
    Analysis.objects.update(outcome="indeterminate", label="", confidence=None, reasons=["out of focus"])
    told = lis.get(f"images/{image.pk}/result").json()

    assert (told["outcome"], told["label"], told["confidence"]) == ("indeterminate", None, None)
    assert told["reasons"] == ["out of focus"]


def test_what_waits_or_failed_has_no_outcome(lis: System, image: SmearImage) -> None:
    told = lis.get(f"images/{image.pk}/result").json()
    assert (told["state"], told["outcome"], told["probabilities"], told["suspected"]) == (
        "queued",
        None,
        {},
        False,
    )

    Analysis.objects.update(state="running", claimed_by="w")
    analyze.fail(analysis=Analysis.objects.get(), claim="w", failure="The disk is full.")
    told = lis.get(f"images/{image.pk}/result").json()
    assert (told["state"], told["failure"], told["outcome"]) == ("failed", "The disk is full.", None)
    assert lis.get(f"cases/{image.case_id}/results").json()["finished"] is True


def test_a_reading_that_overrules_decides_who_is_suspected(
    lis: System, cast: Any, image: SmearImage, judge: Callable[..., Analysis]
) -> None:
    analysis = judge(image, "early")
    review.record_review(
        user=cast.hematologist,
        image=image,
        analysis=analysis,
        verdict="overrule",
        label="benign",
        comment="seen",
    )
    told = lis.get(f"images/{image.pk}/result").json()

    assert told["label"] == "early"
    assert told["suspected"] is False
    assert told["review"]["label"] == "benign"
    assert told["review"]["comment"] == "seen"
    assert told["review"]["stands"] is True


def test_the_laboratorys_own_share_re_weights_the_probabilities(
    lis: System, image: SmearImage, judge: Callable[..., Analysis]
) -> None:
    analysis = judge(image, "early")
    manifest = {
        **analysis.model_version.manifest,
        "prevalence": {"benign": 0.16, "early": 0.28, "pre": 0.28, "pro": 0.28},
    }
    type(analysis.model_version).objects.update(manifest=manifest)
    laboratory = image.case.laboratory
    laboratory.malignant_share = 0.02
    laboratory.save()
    told = lis.get(f"images/{image.pk}/result").json()

    assert told["malignant_share_calibrated"] == pytest.approx(0.84)
    assert told["malignant_share_here"] == 0.02
    assert told["reweighted"]["early"] < told["probabilities"]["early"]
    assert sum(told["reweighted"].values()) == pytest.approx(1)


def test_cells_are_told_in_the_commands_words(
    lis: System, cast: Any, image: SmearImage, judge: Callable[..., Analysis]
) -> None:
    judge(image)
    found = add_cells(image, ["blast", without_class(1), beside("platelet", 2)])
    cell_readings.re_class(user=cast.hematologist, cells=[found[0].pk], label="lymphocyte")
    told = lis.get(f"images/{image.pk}/result").json()["cells"]

    assert [one["kind"] for one in told] == ["leukocyte", "leukocyte", "platelet"]
    assert (told[0]["label"], told[0]["reader_label"]) == ("blast", "lymphocyte")
    assert told[1]["label"] is None
    assert told[2]["probabilities"] == {}
    assert told[0]["box"] == [found[0].x, found[0].y, found[0].width, found[0].height]
    whole = lis.get(f"cases/{image.case_id}/results").json()["results"][0]
    assert whole["cells"] is None
    assert whole["suspicion"] == pytest.approx(CellAnalysis.objects.get().suspicion)
    with_cells = lis.get(f"cases/{image.case_id}/results", cells="true").json()["results"][0]
    assert with_cells["cells"] == told


def test_the_differential_is_the_models_and_the_readers(
    lis: System, cast: Any, image: SmearImage, judge: Callable[..., Analysis]
) -> None:
    judge(image)
    found = add_cells(image, ["blast"] * 3 + ["lymphocyte"] * 5 + [cell("erythroblast", 8)])
    cell_readings.re_class(user=cast.hematologist, cells=[found[0].pk], label="lymphocyte")
    told = lis.get(f"cases/{image.case_id}/differential").json()

    assert {one["label"]: one["count"] for one in told["model"]["classes"]} == {"blast": 3, "lymphocyte": 5}
    assert {one["label"]: one["count"] for one in told["reader"]["classes"]} == {"blast": 2, "lymphocyte": 6}
    assert (told["model"]["counted"], told["model"]["erythroblasts"]) == (8, 1)
    assert told["model"]["blasts_per_100"] == pytest.approx(37.5)
    low, high = told["model"]["blasts_interval"]
    assert low < 37.5 < high
    assert (told["model"]["sufficient"], told["cells_read"]) == (False, 1)
    assert told["alerts"] == []


def test_a_possible_apl_is_told_with_what_to_do(
    lis: System, image: SmearImage, judge: Callable[..., Analysis]
) -> None:
    judge(image)
    add_cells(
        image,
        ["promyelocyte"] * 120 + ["lymphocyte"] * 30,
        with_sprite=False,
        leukocytes=150,
        promyelocytes=120,
    )
    (alert,) = lis.get(f"cases/{image.case_id}/differential").json()["alerts"]

    assert alert["word"] == "Possible APL"
    assert "PML::RARA" in alert["advice"]


def test_a_case_without_images_has_empty_results(lis: System, case: Case) -> None:
    told = lis.get(f"cases/{case.pk}/results").json()

    assert (told["results"], told["suspected"], told["finished"]) == ([], False, True)
    assert lis.get(f"cases/{case.pk}/differential").json()["model"]["blasts_per_100"] is None


def test_results_ask_the_same_queries_however_many_images_there_are(
    lis: System, case: Case, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert lis.get(f"cases/{case.pk}/results", cells="true").status_code == 200
        return len(asked)

    def one() -> None:
        image = add_image()
        judge(image)
        add_cells(image, ["blast"], with_sprite=False)

    one()
    queries()
    before = queries()
    for _ in range(3):
        one()
    assert queries() == before


def test_a_report_says_where_it_stands(lis: System, cast: Any, case: Case) -> None:
    assert lis.get(f"cases/{case.pk}/report").json()["signatures"] == []

    for number, reason in ((1, ""), (2, "A cell was misread.")):
        SignOut.objects.create(
            case=case, number=number, signer=cast.hematologist, signer_name="Hedy", signer_role="hematologist",
            meaning="I have examined.", conclusion="No blasts.", reason=reason, content={},
            content_sha256=f"{number}" * 64,
        )  # fmt: skip
    Case.objects.filter(pk=case.pk).update(status="amended")
    told = lis.get(f"cases/{case.pk}/report").json()

    assert told["status"] == "amended"
    assert [(one["number"], one["reason"]) for one in told["signatures"]] == [
        (1, ""),
        (2, "A cell was misread."),
    ]
    assert told["signatures"][0]["content_sha256"] == "1" * 64
    assert told["signatures"][1]["links"]["pdf"] == f"/api/v1/cases/{case.pk}/report.pdf?number=2"


def test_files_of_a_report_are_those_of_the_page(
    lis: System, image: SmearImage, judge: Callable[..., Analysis]
) -> None:
    judge(image)
    case = image.case
    pdf = lis.get(f"cases/{case.pk}/report.pdf")
    fhir = lis.get(f"cases/{case.pk}/report.json")

    assert pdf["Content-Type"] == "application/pdf"
    assert pdf.content == reporting.pdf(case=case).content
    assert fhir["Content-Type"] == "application/fhir+json"
    assert json.loads(fhir.content)["resourceType"] == "Bundle"
    assert "attachment" in pdf["Content-Disposition"]


@pytest.mark.parametrize("query", [{"number": 1}, {"number": 32767}])
def test_a_signature_that_there_is_not_has_no_file(lis: System, case: Case, query: dict[str, Any]) -> None:
    response = lis.get(f"cases/{case.pk}/report.pdf", **query)

    assert response.status_code == 404
    assert "no signed report" in said(response)
    assert lis.get(f"cases/{case.pk}/report.pdf", number=0).status_code == 422


def test_reports_fail_in_a_sentence(lis: System, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from diagnosis.services.report_pdf import ReportNotMade

    def broken(**_: Any) -> None:
        raise ReportNotMade("typst")

    monkeypatch.setattr(reporting, "download_pdf", broken)
    response = lis.get(f"cases/{case.pk}/report.pdf")

    assert response.status_code == 503
    assert "could not be made" in said(response)
