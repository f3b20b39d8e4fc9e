"""Cases and images by the API: opened, found, uploaded, followed; and every refusal with its sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from diagnosis.models import Analysis, AuditEvent, Case, Site, SmearImage
from diagnosis.services import intake
from tests.diagnosis.told_api import System, said

pytestmark = pytest.mark.django_db

FACTS = {"accession_number": "S-1", "patient_code": "P-9"}


@pytest.fixture
def scanner(cast: Any) -> System:
    return System(cast.technician)


def test_a_case_is_opened_in_the_name_of_the_tokens_user(scanner: System, cast: Any) -> None:
    response = scanner.post(
        "cases", {**FACTS, "specimen": "marrow", "received_on": "2026-01-02", "note": "pale"}
    )

    assert response.status_code == 201
    told = response.json()
    case = Case.objects.get(pk=told["id"])
    assert (case.laboratory, case.created_by) == (cast.technician.laboratory, cast.technician)
    assert (case.specimen, case.note, str(case.received_on)) == ("marrow", "pale", "2026-01-02")
    assert told["accession_number"] == "S-1"
    assert told["status"] == "preliminary"
    assert told["images"]["total"] == 0
    assert told["links"]["self"] == f"/api/v1/cases/{case.pk}"
    assert AuditEvent.objects.filter(
        action="create_case", actor=cast.technician, object_id=str(case.pk)
    ).exists()


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({"patient_code": "P"}, 422, "accession_number: Field required."),
        ({"accession_number": " ", "patient_code": "P"}, 422, "Enter the accession number."),
        ({"accession_number": "x" * 65, "patient_code": "P"}, 422, "under 65 characters"),
        ({"accession_number": "a\x00b", "patient_code": "P"}, 422, "can't be shown"),
        ({**FACTS, "received_on": "2999-01-01"}, 422, "received_on: Choose a year"),
        ({**FACTS, "received_on": "2199-01-01"}, 422, "can't lie in the future"),
        ({**FACTS, "specimen": "urine"}, 422, "specimen: Input should be 'blood' or 'marrow'."),
        ({**FACTS, "age_years": 131}, 422, "age_years"),
        ({**FACTS, "white_cell_count": "NaN"}, 422, "white_cell_count"),
        ({**FACTS, "acession": "S"}, 422, "acession: Extra inputs are not permitted."),
        ([1], 422, "facts"),
        ("{", 400, "no JSON"),
        ('{"accession_number": "\\ud800", "patient_code": "P"}', 422, "half a character"),
        ('{"accession_number": "S", "patient_code": "P", "note": "\\udfff"}', 422, "note: A text"),
        ("[" * 100_000, 400, "no JSON"),
        ('"' + "x" * 1_100_000 + '"', 413, "more than can be sent"),
    ],
)  # fmt: skip
def test_what_is_not_taken_is_told_in_a_sentence(
    scanner: System, facts: Any, status: int, words: str
) -> None:
    response = scanner.post("cases", facts)

    assert response.status_code == status
    assert words in said(response)
    assert not Case.objects.exists()


def test_an_accession_number_that_is_in_use_names_its_case(scanner: System, case: Case) -> None:
    response = scanner.post("cases", {"accession_number": " H-1001 ", "patient_code": "P"})

    assert response.status_code == 409
    assert "There is a case H-1001 already" in said(response)
    assert response.json()["case"] == case.pk


def test_age_and_white_cells_are_kept(scanner: System) -> None:
    told = scanner.post("cases", {**FACTS, "age_years": 61, "white_cell_count": 12.34}).json()

    assert (told["age_years"], told["white_cell_count"]) == (61, 12.34)
    assert str(Case.objects.get().white_cell_count) == "12.34"


def test_an_image_is_taken_in_analysed_and_followed(
    scanner: System, case: Case, field_png: bytes, judge: Callable[..., Analysis]
) -> None:
    response = scanner.upload(case.pk, field_png, "../../field 1.png")
    assert response.status_code == 201
    told = response.json()
    assert (told["name"], told["analysis"]["state"], told["position"]) == ("field 1.png", "queued", 1)

    before = scanner.get(f"cases/{case.pk}").json()["images"]
    judge(SmearImage.objects.get())
    after = scanner.get(f"cases/{case.pk}").json()["images"]
    image = scanner.get(f"images/{told['id']}").json()

    assert (before["unfinished"], after["unfinished"], after["suspected"]) == (1, 0, 1)
    assert image["analysis"]["state"] == "done"
    assert image["analysis"]["model_version"] == "field-test"
    assert scanner.get(f"cases/{case.pk}/images").json()["images"] == [image]


def test_an_image_may_name_the_site_that_made_it(
    scanner: System, case: Case, cast: Any, field_png: bytes
) -> None:
    site = Site.objects.create(laboratory=case.laboratory, name="Scanner, ground floor")
    Site.objects.create(laboratory=cast.outsider.laboratory, name="Theirs")

    for name in ("Theirs", "Nobody's"):
        refused = scanner.upload(case.pk, field_png, site=name)
        assert refused.status_code == 422
        assert "Your laboratory has no site called" in said(refused)
    assert scanner.upload(case.pk, field_png, site="x" * 201).status_code == 422
    assert not SmearImage.objects.exists()

    told = scanner.upload(case.pk, field_png, site=" Scanner, ground floor ").json()
    assert told["site"] == "Scanner, ground floor"
    assert SmearImage.objects.get().site == site
    assert scanner.get(f"images/{told['id']}").json()["site"] == "Scanner, ground floor"
    assert scanner.get(f"cases/{case.pk}/images").json()["images"][0]["site"] == "Scanner, ground floor"


def test_the_very_file_again_names_its_image(scanner: System, case: Case, field_png: bytes) -> None:
    first = scanner.upload(case.pk, field_png).json()
    again = scanner.upload(case.pk, field_png, "other name.png")

    assert again.status_code == 409
    assert "in the case already" in said(again)
    assert again.json()["image"] == first["id"]


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [(b"not a picture", 422, ""), (b"", 422, ""), (b"x" * 2_000_001, 413, "MB allowed")],
    ids=["renamed", "empty", "too large"],
)
def test_a_bad_file_gets_intakes_own_sentence(
    scanner: System, case: Case, content: bytes, status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_BYTES", 2_000_000)
    response = scanner.upload(case.pk, content)

    assert response.status_code == status
    assert len(said(response)) > 20
    assert words in said(response)
    assert not SmearImage.objects.exists()


def test_a_case_that_is_signed_out_takes_no_image(scanner: System, case: Case, field_png: bytes) -> None:
    Case.objects.filter(pk=case.pk).update(status="final")
    response = scanner.upload(case.pk, field_png)

    assert response.status_code == 409
    assert "open an amendment" in said(response)


def test_an_upload_without_a_file_or_a_form_is_told_so(scanner: System, case: Case) -> None:
    path = f"/api/v1/cases/{case.pk}/images"
    nothing = scanner.client.post(path, {"picture": "x"}, headers=scanner.headers())
    broken = scanner.client.post(path, b"xx", content_type="multipart/form-data", headers=scanner.headers())
    other = scanner.post(f"cases/{case.pk}/images", {"file": "x"})

    assert (nothing.status_code, other.status_code) == (422, 422)
    assert "file: Field required." in said(nothing)
    assert broken.status_code in (400, 422)
    assert said(broken)


def test_cases_are_listed_by_cursor_the_newest_first(scanner: System, cast: Any) -> None:
    for number in range(5):
        intake.create_case(user=cast.technician, accession_number=f"L-{number}", patient_code="P")
    # Two of the same moment are told apart by their number.
    Case.objects.filter(accession_number__in=["L-2", "L-3"]).update(
        created_at=Case.objects.get(accession_number="L-2").created_at
    )
    seen, cursor = [], None
    for _ in range(9):
        page = scanner.get("cases", limit=2, **({"cursor": cursor} if cursor else {})).json()
        seen += [case["accession_number"] for case in page["cases"]]
        if cursor is None:  # one that comes in between shifts nothing
            intake.create_case(user=cast.technician, accession_number="L-late", patient_code="P")
        cursor = page["next"]
        if cursor is None:
            break

    assert seen == ["L-4", "L-3", "L-2", "L-1", "L-0"]


def test_the_list_is_narrowed_by_what_is_asked(scanner: System, cast: Any, case: Case) -> None:
    other = intake.create_case(
        user=cast.technician, accession_number="M-1", patient_code="P-2", specimen="marrow",
    )  # fmt: skip
    Case.objects.filter(pk=other.pk).update(status="final", received_on="2025-06-01")

    def numbers(**query: Any) -> set[str]:
        return {one["accession_number"] for one in scanner.get("cases", **query).json()["cases"]}

    assert numbers() == {"H-1001", "M-1"}
    assert numbers(accession_number="M-1") == numbers(specimen="marrow") == numbers(status="final") == {"M-1"}
    assert numbers(patient_code="P-17") == numbers(received_from="2025-06-02") == {"H-1001"}
    assert numbers(received_until="2025-06-01") == {"M-1"}
    assert numbers(created_after=case.created_at.isoformat()) == {"M-1"}
    assert numbers(patient_code="p") == set()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"cursor": "MjAyNi0wMS0wMXwx"}, "cursor"),  # a time without a zone
        ({"limit": 0}, "limit"),
        ({"limit": 10**30}, "limit"),
        ({"status": "signed"}, "status"),
        ({"patient_code": "\x00"}, "NUL"),
        ({"created_after": "0001-01-01T00:00:00+14:00"}, "year"),
        ({"created_after": "2026-01-01T00:00:00"}, "timezone"),
        ({"received_from": "yesterday"}, "received_from"),
    ],
)  # fmt: skip
def test_a_filter_that_says_nothing_is_refused(scanner: System, query: dict[str, Any], words: str) -> None:
    response = scanner.get("cases", **query)

    assert response.status_code == 422
    assert words in said(response)


def test_lists_ask_the_same_queries_whatever_they_hold(
    scanner: System, cast: Any, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]
) -> None:
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as asked:
            assert scanner.get(path).status_code == 200
        return len(asked)

    case = intake.create_case(user=cast.technician, accession_number="Q-0", patient_code="P")
    judge(add_image(to=case))
    paths = ("cases", f"cases/{case.pk}/images")
    for path in paths:
        queries(path)  # the first one notes that the token is used
    before = [queries(path) for path in paths]
    for number in range(1, 4):
        judge(add_image(to=case))
        other = intake.create_case(user=cast.technician, accession_number=f"Q-{number}", patient_code="P")
        add_image(to=other)

    assert [queries(path) for path in paths] == before


def test_an_address_that_there_is_not_and_a_method_that_it_does_not_take_are_problems(
    scanner: System,
) -> None:
    for path in ("", "nothing", "cases/", "cases/x", "images/1234", f"cases/{10**30}"):
        response = scanner.get(path)
        assert response.status_code == 404, path
        assert said(response)
    response = scanner.client.delete("/api/v1/cases", headers=scanner.headers())
    assert response.status_code == 405
    assert set(response["Allow"].split(", ")) == {"GET", "POST"}
    assert "takes" in said(response)


def test_answers_with_patients_are_kept_nowhere(scanner: System, case: Case) -> None:
    assert scanner.get("cases")["Cache-Control"] == "private, no-store"
    assert scanner.get("cases/999")["Cache-Control"] == "private, no-store"
