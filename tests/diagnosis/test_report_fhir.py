"""The report as a FHIR document: valid, whole, coded where a code says exactly what was counted."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from diagnosis.services import report_fhir, report_fhir_codes
from diagnosis.services.report_schema import Document
from ml.cells.counting import NOT_LEUKOCYTES
from ml.tasks import CELL
from tests.diagnosis.told_report import document

BASE = "https://lab.example"


def told(of: Document | None = None, **more: Any) -> dict[str, Any]:
    """The bundle, found valid: R4B of `fhir.resources` is what it has for R4."""
    made = report_fhir.bundle(document=of or document(), base_url=BASE, **more)
    Bundle.model_validate(made)
    return made


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


def the(bundle: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = resources(bundle, kind)
    return found


def loinc_of(resource: dict[str, Any]) -> list[str]:
    return [one["code"] for one in resource["code"].get("coding", []) if one["system"] == "http://loinc.org"]


def by_code(bundle: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [
        one
        for one in resources(bundle, "Observation")
        if code in [coding["code"] for coding in one["code"].get("coding", [])]
    ]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key == "reference":
                yield one
            else:
                yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


@pytest.mark.parametrize("status", ["preliminary", "final", "amended"])
def test_the_status_follows_the_signature(status: str) -> None:
    bundle = told(document(status=status))
    report = the(bundle, "DiagnosticReport")
    composition = the(bundle, "Composition")
    assert report["status"] == composition["status"] == status
    assert {one["status"] for one in resources(bundle, "Observation")} == {status}
    assert ("attester" in composition) == (status != "preliminary")
    assert ("relatesTo" in composition) == (status == "amended")


def test_it_is_a_document_as_the_european_laboratory_report() -> None:
    """bdl-9 to bdl-11 of FHIR, and one-comp, one-dr, dr-comp-* of HL7 Europe's profile."""
    bundle = told()
    assert bundle["type"] == "document"
    assert bundle["identifier"]["system"]
    assert bundle["identifier"]["value"] == "7/1"
    assert bundle["timestamp"]
    assert bundle["entry"][0]["resource"]["resourceType"] == "Composition"
    report, composition = the(bundle, "DiagnosticReport"), the(bundle, "Composition")
    assert report["identifier"] == [composition["identifier"]]
    assert report["category"] == composition["category"]
    assert report["subject"] == composition["subject"]
    assert loinc_of(report) == ["11502-2"]
    assert report["code"] == composition["type"]
    assert report["extension"][0]["valueReference"]["reference"] == bundle["entry"][0]["fullUrl"]


def test_every_reference_leads_to_one_resource_and_every_resource_is_referred_to() -> None:
    bundle = told(document(status="amended"))
    urls = [one["fullUrl"] for one in bundle["entry"]]
    assert len(urls) == len(set(urls))
    led = set(references(bundle))
    assert led <= set(urls)
    assert set(urls) - led == {the_url(bundle, "Composition")} - led
    for one in bundle["entry"]:
        assert one["fullUrl"] == f"urn:uuid:{one['resource']['id']}"


def the_url(bundle: dict[str, Any], kind: str) -> str:
    return next(one["fullUrl"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind)


def test_an_amendment_names_the_document_it_replaces() -> None:
    first, second = told(document()), told(document(status="amended"))
    assert the(second, "Composition")["relatesTo"] == [
        {"code": "replaces", "targetIdentifier": first["identifier"]}
    ]
    assert first["identifier"] != second["identifier"]
    assert the(first, "Composition")["identifier"] == the(second, "Composition")["identifier"]


def test_the_patient_is_a_pseudonym_and_nothing_else() -> None:
    patient = the(told(), "Patient")
    assert patient.keys() == {"resourceType", "id", "identifier"}
    assert patient["identifier"] == [{"system": f"{BASE}/patients", "value": "P-17"}]


def test_counts_bear_loinc_and_the_value_of_the_reader() -> None:
    bundle = told()
    (blast,) = by_code(bundle, "26446-5")
    assert blast["valueQuantity"] == {
        "value": 28.33, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"
    }  # fmt: skip
    assert "34 of 120 leukocytes; 95 % interval 1.5 to 55" in blast["note"][0]["text"]
    (white,) = by_code(bundle, "26464-8")
    assert white["valueQuantity"]["value"] == 12.3
    assert white["valueQuantity"]["code"] == "10*9/L"
    (nucleated,) = by_code(bundle, "19048-8")
    assert nucleated["valueQuantity"]["code"] == "/100{WBCs}"
    (panel,) = by_code(bundle, "69738-3")
    assert len(panel["hasMember"]) == 5 + 4


def test_no_loinc_term_is_said_twice() -> None:
    """A system that charts by LOINC finds each class once: the model's own count bears our codes alone."""
    every = [code for one in resources(told(), "Observation") for code in loinc_of(one)]
    assert len(every) == len(set(every))
    (model,) = by_code(told(), "model_differential")
    assert loinc_of(model) == []
    assert {code["system"] for part in model["component"] for code in part["code"]["coding"]} == {
        "urn:leukoscope:codes"
    }
    assert model["device"]


def test_blasts_and_promonocytes_together_bear_no_term_of_one_class() -> None:
    (together,) = by_code(told(), "blasts_per_100")
    assert loinc_of(together) == []
    assert together["valueQuantity"]["code"] == "/100{WBCs}"


def test_a_marrow_is_counted_per_leukocyte_and_bears_no_term_of_blood() -> None:
    of = document()
    of["content"]["case"] |= {"specimen": "marrow", "specimen_word": "bone marrow"}
    bundle = told(of)
    known = {code for one in resources(bundle, "Observation") for code in loinc_of(one)}
    assert known == {"30525-0", "26464-8", "47286-0"}
    (white,) = by_code(bundle, "26464-8")
    assert "specimen" not in white  # it was not counted on the marrow
    assert the(bundle, "Specimen")["type"]["coding"][0]["code"] == "MAR"


def test_every_class_of_leukocytes_has_a_term_of_blood() -> None:
    assert set(report_fhir_codes.OF_BLOOD) == set(CELL.classes) - NOT_LEUKOCYTES
    assert len({code for code, _ in report_fhir_codes.OF_BLOOD.values()}) == len(report_fhir_codes.OF_BLOOD)


@pytest.mark.parametrize(
    "code",
    [
        *(term[0] for term in report_fhir_codes.OF_BLOOD.values()),
        *(term[0] for term in report_fhir_codes.DIFFERENTIAL.values()),
        report_fhir_codes.AGE[0], report_fhir_codes.ERYTHROBLASTS[0], report_fhir_codes.WHITE_CELL_COUNT[0],
        report_fhir_codes.LABORATORY_REPORT[0], report_fhir_codes.HEMATOLOGY_STUDIES[0],
    ],
)  # fmt: skip
def test_the_check_digit_of_a_term_is_right(code: str) -> None:
    """LOINC's is Luhn's (modulus 10)."""
    digits, check = code.split("-")
    doubled = [int(one) * (2 if place % 2 == 0 else 1) for place, one in enumerate(reversed(digits))]
    assert -sum(one - 9 if one > 9 else one for one in doubled) % 10 == int(check)


def test_the_model_is_a_device_with_its_evidence() -> None:
    field, cell = resources(told(), "Device")
    assert field["identifier"] == [{"system": "urn:leukoscope:bundle-sha256", "value": "ef" * 32}]
    assert field["deviceName"] == [{"name": "field-1", "type": "model-name"}]
    notes = " ".join(one["text"] for one in field["note"])
    assert "Research use only" in notes
    assert "balanced accuracy 0.95 (95 % interval 0.9 to 0.97), n = 532, taleqani-all" in notes
    assert "can't be read any more" in " ".join(one["text"] for one in cell["note"])


def test_outcomes_come_from_their_image_by_their_model() -> None:
    bundle = told()
    first, _, third, _ = by_code(bundle, "image_outcome")
    media = {one["fullUrl"]: one["resource"] for one in bundle["entry"]}
    (source,) = first["derivedFrom"]
    assert media[source["reference"]]["content"] == {
        "title": "field 1.jpg", "url": f"{BASE}/images/00000001-0000-4000-8000-000000000000/file"
    }  # fmt: skip
    assert media[first["device"]["reference"]]["deviceName"][0]["name"] == "field-1"
    assert first["valueCodeableConcept"]["text"] == "pro-B, 98.2 %"
    values = {part["code"]["text"]: part for part in first["component"]}
    assert values["Leukemia suspected"]["valueBoolean"] is False
    assert values["Probability of pro-B, as calibrated"]["valueQuantity"]["value"] == 0.982
    assert values["Probability of pro-B, at the laboratory's prevalence"]["valueQuantity"]["value"] == 0.11
    assert third["valueCodeableConcept"]["coding"][0]["code"] == "indeterminate"
    assert len(third["component"]) == 1  # of an image outside the domain no probability is given


def test_an_analysis_that_failed_has_no_value_and_says_why() -> None:
    of = document(status="preliminary", images=2)
    of["content"]["images"][0]["outcome"] |= {
        "state": "failed",
        "kind": "",
        "sentence": "analysis failed: gone",
    }
    of["content"]["images"][1]["outcome"] |= {"state": "running", "kind": "", "sentence": "being analysed"}
    failed, running = by_code(told(of), "image_outcome")
    assert failed["dataAbsentReason"]["coding"][0]["code"] == "error"
    assert failed["dataAbsentReason"]["text"] == "analysis failed: gone"
    assert running["dataAbsentReason"]["coding"][0]["code"] == "temp-unknown"
    assert "valueCodeableConcept" not in failed


def test_readings_name_their_reader() -> None:
    bundle = told()
    people = {one["fullUrl"]: one["resource"] for one in bundle["entry"]}
    readings = by_code(bundle, "image_reading")
    assert len(readings) == 3  # one image was not read
    (by,) = readings[0]["performer"]
    assert people[by["reference"]]["name"][0]["text"] == "Dr. med. Hedy Hematologist"
    assert readings[0]["valueCodeableConcept"]["text"] == "agrees: pro-B"


def test_the_alert_and_the_conclusion_are_told() -> None:
    bundle = told()
    (alert,) = by_code(bundle, "alert")
    assert alert["valueString"] == "9 promyelocytes of 120 leukocytes. Look for Auer rods."
    assert the(bundle, "DiagnosticReport")["conclusion"] == "Blasts with fine chromatin.\nALL is suspected."
    assert "conclusion" not in the(told(document(status="preliminary")), "DiagnosticReport")


def test_what_people_type_is_no_markup() -> None:
    of = document(conclusion="<script>alert(1)</script> & <b>")
    sections = json.dumps(the(told(of), "Composition")["section"])
    assert "<script>" not in sections
    assert "&lt;script&gt;" in sections


def test_the_printed_report_lies_inside_when_asked_for() -> None:
    assert "presentedForm" not in the(told(), "DiagnosticReport")
    (form,) = the(told(pdf=b"%PDF-1.7"), "DiagnosticReport")["presentedForm"]
    assert base64.b64decode(form["data"]) == b"%PDF-1.7"
    assert form["contentType"] == "application/pdf"


def test_a_case_with_nothing_in_it_is_told() -> None:
    of = document(status="preliminary", images=0, models=[], readers=[], alerts=[])
    of["content"]["leukocytes"]["found"] = False
    of["content"]["case"] |= {"age_years": None, "white_cell_count": None, "note": ""}
    of["content"]["laboratory"]["address"] = ""
    bundle = told(of)
    assert resources(bundle, "Observation") == []
    assert "result" not in the(bundle, "DiagnosticReport")


def test_the_same_report_is_told_the_same_way() -> None:
    assert told() == told()
    assert {one["fullUrl"] for one in told()["entry"]}.isdisjoint(
        one["fullUrl"] for one in told(document(status="amended"))["entry"]
    )
