"""The content of a report: what it holds, that it is plain JSON of rounded numbers, and that equals hash equal."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import pytest
from django.utils import timezone

from diagnosis.models import CellReading
from diagnosis.services import cell_readings, report_content, report_outcomes
from diagnosis.services.review import record_review
from tests.diagnosis.told_cells import add_cells

pytestmark = pytest.mark.django_db
NOW = datetime.datetime(2026, 11, 26, 9, 30, tzinfo=datetime.UTC)


def build(case, **more):
    return report_content.build(case=case, made_at=NOW, **more)


def test_a_preliminary_report_holds_the_case_the_letterhead_and_the_images(cast, case, image, judge):
    case.laboratory.address = "1 Smear Street\nTown"
    case.laboratory.save()
    case.age_years, case.white_cell_count = 61, Decimal("12.50")
    case.save()
    judge(image, "early")
    record_review(
        user=cast.hematologist,
        image=image,
        analysis=image.newest_analysis,
        verdict="agree",
        comment="typical",
    )
    content = build(case)
    assert (content["version"], content["status"], content["number"]) == (1, "preliminary", 0)
    assert content["laboratory"]["address"] == "1 Smear Street\nTown"
    assert content["case"] | {"id": 0, "received_on": ""} == {
        "id": 0,
        "accession_number": "H-1001",
        "patient_code": "P-17",
        "specimen": "blood",
        "specimen_word": "peripheral blood",
        "age_years": 61,
        "white_cell_count": "12.5",
        "received_on": "",
        "note": "",
    }
    (one,) = content["images"]
    assert (one["sha256"], one["position"], one["bytes"]) == (image.sha256, 1, image.byte_size)
    assert one["outcome"]["kind"] == "class"
    assert one["outcome"]["word"] == "early pre-B"
    assert [row["label"] for row in one["outcome"]["probabilities"]] == list(
        image.newest_analysis.model_version.classes
    )
    assert one["review"]["sentence"] == "agrees: early pre-B"
    assert (one["review"]["comment"], one["review"]["stands"]) == ("typical", True)
    assert content["readers"] == [
        {
            "id": cast.hematologist.pk,
            "name": "Hedy Hematologist",
            "role": "hematologist",
            "images": 1,
            "cells": 0,
        }
    ]
    (model,) = content["models"]
    assert model["bundle_sha256"] == image.newest_analysis.model_version.bundle_sha256
    assert content["signature"] is None
    assert content["limits"][0].startswith("Research use only")


def test_it_is_plain_json_that_comes_back_from_the_database_with_the_same_hash(case, image, judge):
    judge(image, "pre")
    content = build(case)
    stored = json.loads(json.dumps(content))
    assert stored == content
    assert report_content.sha256_of(stored) == report_content.sha256_of(content)
    shuffled = dict(reversed(list(content.items())))
    assert report_content.sha256_of(shuffled) == report_content.sha256_of(content)
    assert report_content.sha256_of(content | {"conclusion": "x"}) != report_content.sha256_of(content)


def test_no_number_has_more_digits_than_are_told(case, image, judge):
    judge(image, "pre")
    add_cells(image, ["blast"] * 3 + ["lymphocyte"] * 4)

    def numbers(node):
        if isinstance(node, dict):
            for child in node.values():
                yield from numbers(child)
        elif isinstance(node, list):
            for child in node:
                yield from numbers(child)
        elif isinstance(node, float):
            yield node

    found = list(numbers(build(case)))
    assert len(found) > 10
    assert all(round(value, 4) == value for value in found)


def test_a_share_is_rounded_once(case, image, judge):
    """3 of 17 are 17.647 per 100: 17.6, as the case's page says, and not 17.7 by way of 17.65."""
    judge(image)
    add_cells(image, ["blast"] * 3 + ["lymphocyte"] * 14)
    count = report_content.build(case=case)["leukocytes"]["reader"]
    shown = [
        count["blasts_per_100"],
        *(row["percent"] for row in count["classes"] if row["label"] == "blast"),
    ]
    assert [f"{value:.1f}" for value in shown] == ["17.6", "17.6"]


def test_what_is_no_number_is_refused_not_hashed():
    with pytest.raises(ValueError, match="JSON"):
        report_content.canonical({"value": float("nan")})


def test_a_failed_analysis_says_why_and_has_no_class(case, image, version):
    analysis = image.newest_analysis
    analysis.state, analysis.failure, analysis.finished_at = "failed", "The file is gone.", timezone.now()
    analysis.save()
    outcome = build(case)["images"][0]["outcome"]
    assert (outcome["state"], outcome["kind"], outcome["failure"]) == ("failed", "", "The file is gone.")
    assert outcome["probabilities"] == []
    assert outcome["confidence"] is None


def test_both_differentials_with_their_intervals(cast, case, image, judge):
    judge(image, "early")
    found = add_cells(image, ["blast"] * 10 + ["lymphocyte"] * 30)
    lymphocytes = [cell.pk for cell in found if cell.label == "lymphocyte"]
    cell_readings.re_class(user=cast.hematologist, cells=lymphocytes[:5], label="monocyte")
    leukocytes = build(case)["leukocytes"]
    assert (leukocytes["found"], leukocytes["read"]) == (True, 5)
    assert (leukocytes["model"]["counted"], leukocytes["model"]["blasts_per_100"]) == (40, 25.0)
    assert 0 < leukocytes["model"]["blasts_low"] < 25 < leukocytes["model"]["blasts_high"] < 100
    rows = {row["label"]: row["count"] for row in leukocytes["reader"]["classes"]}
    assert rows == {"lymphocyte": 25, "monocyte": 5, "blast": 10}
    assert leukocytes["sufficiency"] == "insufficient"
    assert CellReading.objects.count() == 5
    assert build(case)["readers"][0]["cells"] == 5


def test_many_promyelocytes_raise_the_alert(case, image, judge):
    judge(image, "early")
    assert build(case)["alerts"] == []
    add_cells(image, ["promyelocyte"] * 40 + ["lymphocyte"] * 20)
    (alert,) = build(case)["alerts"]
    assert alert["word"] == "Possible APL"
    assert "40 promyelocytes among 60" in alert["sentence"]
    assert "PML::RARA" in alert["advice"]


def test_the_laboratorys_own_prevalence_reweights_the_probabilities(case, image, judge, version):
    judge(image, "early")
    version.manifest["prevalence"] = {"benign": 0.25, "early": 0.25, "pre": 0.25, "pro": 0.25}
    version.manifest["malignant"] = ["early", "pre", "pro"]
    version.save()
    rows = build(case)["images"][0]["outcome"]
    assert {row["reweighted"] for row in rows["probabilities"]} == {None}
    assert rows["malignant_share_here"] is None
    case.laboratory.malignant_share = 0.02
    case.laboratory.save()
    told = build(case)["images"][0]["outcome"]
    assert (told["malignant_share_calibrated"], told["malignant_share_here"]) == (0.75, 0.02)
    values = {row["label"]: row for row in told["probabilities"]}
    assert sum(row["reweighted"] for row in values.values()) == pytest.approx(1, abs=1e-3)
    # Bayes by hand: odds of benign against early move by (0.98 / 0.02) / (0.25 / 0.75).
    before = values["benign"]["probability"] / values["early"]["probability"]
    after = values["benign"]["reweighted"] / values["early"]["reweighted"]
    assert after / before == pytest.approx((0.98 / 0.02) / (0.25 / 0.75), rel=0.02)
    assert told["confidence_reweighted"] == values["early"]["reweighted"] < told["confidence"]


def test_a_bundle_that_states_no_prevalence_reweights_nothing(case, image, judge, version):
    judge(image, "early")
    version.manifest.pop("prevalence", None)
    version.save()
    case.laboratory.malignant_share = 0.02
    case.laboratory.save()
    assert build(case)["images"][0]["outcome"]["confidence_reweighted"] is None


def test_a_time_is_told_in_utc_whatever_its_zone():
    east = datetime.timezone(datetime.timedelta(hours=2))
    assert (
        report_outcomes.utc(datetime.datetime(2026, 7, 1, 1, 5, 7, 999, tzinfo=east))
        == "2026-06-30T23:05:07Z"
    )


def test_a_document_of_a_case_that_nobody_signed_is_preliminary(case, image):
    told = report_content.document(case=case)
    assert (told["content"]["status"], told["seal"], told["versions"]) == ("preliminary", None, [])


@pytest.mark.parametrize("images", [1, 4])
def test_the_number_of_queries_does_not_depend_on_the_images(
    case, add_image, judge, django_assert_max_num_queries, images, laboratory
):
    for _ in range(images):
        one = add_image()
        judge(one, "early")
        add_cells(one, ["blast", "lymphocyte"])
    case.refresh_from_db()
    case.laboratory  # noqa: B018 - not what is counted
    with django_assert_max_num_queries(7) as asked:
        build(case)
    assert len(asked) >= 5
