"""Reports to download: of a real case, kept, in the audit, and refused where they must be."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from fhir.resources.R4B.bundle import Bundle
from PIL import Image

from diagnosis.models import Analysis, AuditEvent, Case, Laboratory, SmearImage
from diagnosis.services import report_content, report_pdf, report_pictures, reporting, sign_out, upkeep
from diagnosis.services.report_pdf import ReportNotMade
from tests.diagnosis.pdf_reading import pdfa_problems, words_of
from tests.diagnosis.told_cells import add_cells
from tests.diagnosis.told_sign_out import read, sign

AddImage = Callable[..., SmearImage]
Judge = Callable[..., Analysis]


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


@pytest.fixture
def analysed(case: Case, add_image: AddImage, judge: Judge) -> Case:
    """A case of two images, one suspected with cells."""
    first, second = add_image(), add_image()
    judge(first, "pro")
    judge(second, "benign")
    add_cells(first, ["blast", "blast", "lymphocyte", "promonocyte", "erythroblast"])
    return case


@pytest.fixture
def signed(analysed: Case, cast: Any) -> Case:
    for image in analysed.images.all():
        read(cast.hematologist, image)
    sign(cast.hematologist, analysed, "ALL is suspected.\nImmunophenotyping advised.")
    return Case.objects.get(pk=analysed.pk)


def amend(case: Case, user: Any) -> None:
    case.refresh_from_db()
    sign_out.open_amendment(user=user, case=case, reason="Typing error.")
    sign(user, case, "AML is suspected.")


def get(client: Client, name: str, *arguments: Any, status: int = 200, **query: Any) -> Any:
    response = client.get(reverse(f"diagnosis:{name}", args=arguments), query)
    assert response.status_code == status
    return response


def test_a_preliminary_report_of_a_real_case(reader: Client, analysed: Case) -> None:
    response = get(reader, "report-pdf", analysed.pk)

    assert response["Content-Type"] == "application/pdf"
    assert response["Content-Disposition"] == 'attachment; filename="report-H-1001-preliminary.pdf"'
    assert response["Cache-Control"] == "private, no-store"
    assert pdfa_problems(response.content) == []
    words = words_of(response.content)
    for said in (
        "Central Laboratory",
        "Preliminary report",
        "pro-B",
        "Leukemia suspected",
        "blast 2",
        "field-test",
    ):
        assert said in words, said
    assert "The picture can't be read any more." not in words


def test_a_signed_report_prints_its_signature_and_seals(reader: Client, signed: Case) -> None:
    words = words_of(get(reader, "report-pdf", signed.pk).content)
    made = signed.newest_sign_out

    for said in ("Final report", "ALL is suspected. Immunophenotyping advised.", "Hedy Hematologist",
                 made.meaning, made.content_sha256, made.audit_head):  # fmt: skip
        assert said in words, said


def test_an_amended_report_and_the_version_before(reader: Client, cast: Any, signed: Case) -> None:
    amend(signed, cast.hematologist)

    newest = words_of(get(reader, "report-pdf", signed.pk).content)
    first = words_of(get(reader, "report-version", signed.pk, 1).content)

    assert "Amended report, version 2" in newest
    assert "Typing error." in newest
    assert "ALL is suspected." in newest  # as the old one
    assert "AML is suspected." in newest
    assert "No longer valid: version 2 has taken its place." in first
    assert "AML is suspected." not in first
    get(reader, "report-version", signed.pk, 2)
    get(reader, "report-version", signed.pk, 3, status=404)


def test_the_fhir_document_of_a_real_case_is_valid(reader: Client, cast: Any, signed: Case) -> None:
    amend(signed, cast.hematologist)
    response = get(reader, "report-json", signed.pk, pdf=1)

    assert response["Content-Type"] == "application/fhir+json"
    told = response.json()
    Bundle.model_validate(told)
    report = told["entry"][1]["resource"]
    assert report["status"] == "amended"
    assert report["conclusion"] == "AML is suspected."
    assert report["presentedForm"][0]["contentType"] == "application/pdf"
    assert told["identifier"]["system"] == "http://testserver/reports/versions"
    codes = {
        one["code"]: entry["resource"]["valueQuantity"]["value"]
        for entry in told["entry"]
        if "valueQuantity" in entry["resource"]
        for one in entry["resource"]["code"]["coding"]
    }
    assert codes["26446-5"] == 50.0  # two blasts of four leukocytes
    assert codes["blasts_per_100"] == 75.0


@pytest.mark.parametrize(("name", "kind"), [("report-pdf", "pdf"), ("report-json", "fhir")])
def test_every_download_is_in_the_audit(
    reader: Client, cast: Any, signed: Case, name: str, kind: str
) -> None:
    contents = [get(reader, name, signed.pk).content for _ in range(2)]

    events = AuditEvent.objects.filter(action="report")
    assert len(events) == 2
    assert {(one.actor, one.object_type, one.object_id) for one in events} == {
        (cast.hematologist, "case", str(signed.pk))
    }
    detail = events[0].detail
    assert (detail["format"], detail["status"], detail["number"]) == (kind, "final", 1)
    assert contents[0] == contents[1]


def test_it_is_made_once_and_kept(
    reader: Client, signed: Case, monkeypatch: pytest.MonkeyPatch, media: Path
) -> None:
    first = get(reader, "report-pdf", signed.pk).content
    monkeypatch.setattr(report_pdf, "render", lambda **_: pytest.fail("made again"))

    assert get(reader, "report-pdf", signed.pk).content == first
    assert len(list((media / "reports").rglob("*.pdf"))) == 1


def test_a_preliminary_report_is_made_anew_when_anything_has_changed(
    reader: Client, cast: Any, analysed: Case, media: Path
) -> None:
    get(reader, "report-pdf", analysed.pk)
    get(reader, "report-pdf", analysed.pk)
    assert len(list((media / "reports").rglob("*.pdf"))) == 1
    read(cast.hematologist, analysed.images.first(), comment="Auer rods.")

    assert "Auer rods." in words_of(get(reader, "report-pdf", analysed.pk).content)
    assert len(list((media / "reports").rglob("*.pdf"))) == 2


def test_what_is_kept_goes_after_a_day_and_is_made_again(reader: Client, signed: Case, media: Path) -> None:
    first = get(reader, "report-pdf", signed.pk).content
    assert upkeep.remove_orphans() == 0
    (kept,) = (media / "reports").rglob("*.pdf")
    shutil.os.utime(kept, (0, 0))

    assert upkeep.remove_orphans() == 1
    assert get(reader, "report-pdf", signed.pk).content == first


def test_a_report_that_can_not_be_made_says_so(
    reader: Client, analysed: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> bytes:
        raise ReportNotMade("unknown variable")

    monkeypatch.setattr(report_pdf, "render", refuse)

    assert "Nothing is lost: try again" in get(reader, "report-pdf", analysed.pk, status=503).text
    script = reader.get(
        reverse("diagnosis:report-pdf", args=[analysed.pk]), headers={"X-Requested-With": "leukoscope"}
    )
    assert script.status_code == 503
    assert "try again" in script.json()["message"]
    assert not AuditEvent.objects.filter(action="report").exists()


def test_other_laboratories_learn_nothing(client: Client, cast: Any, signed: Case) -> None:
    client.force_login(cast.outsider)

    for name, more in (("report-pdf", []), ("report-json", []), ("report-version", [1])):
        get(client, name, signed.pk, *more, status=404)
    assert not AuditEvent.objects.filter(action="report").exists()


@pytest.mark.parametrize("name", ["report-pdf", "report-json"])
def test_a_reader_in_blind_mode_gets_none_before_her_own_class(
    client: Client, reader: Client, cast: Any, analysed: Case, name: str
) -> None:
    Laboratory.objects.filter(pk=analysed.laboratory_id).update(is_blind=True)
    assert "Give your own class" in get(reader, name, analysed.pk, status=403).text

    client.force_login(cast.technician)
    get(client, name, analysed.pk)


def test_the_file_name_of_an_odd_accession_number_is_harmless(reader: Client, signed: Case) -> None:
    Case.objects.filter(pk=signed.pk).update(
        accession_number='H"1\\2/ä', status="preliminary", newest_sign_out=None
    )
    told = report_content.build(case=Case.objects.get(pk=signed.pk))
    made = reporting._report(
        {"content": told, "seal": None, "versions": [], "superseded_by": None, "amending": False},
        b"",
        "pdf",
        "x",
    )
    from django.utils.http import content_disposition_header

    header = content_disposition_header(True, made.name)
    assert header is not None
    assert "\n" not in header
    assert header.startswith("attachment; filename*=utf-8''report-H%221%5C2")


def test_it_takes_as_many_queries_for_ten_images_as_for_two(
    reader: Client, case: Case, add_image: AddImage, judge: Judge
) -> None:
    def queries(name: str) -> int:
        with CaptureQueriesContext(connection) as context:
            get(reader, name, case.pk)
        return len(context)

    judge(add_image())
    get(reader, "report-pdf", case.pk)  # what the first request alone asks
    judge(add_image())
    of_one = [queries(name) for name in ("report-pdf", "report-json")]
    for _ in range(9):
        judge(add_image())

    assert [queries(name) for name in ("report-pdf", "report-json")] == of_one


def test_the_case_page_and_the_history_lead_to_them(reader: Client, signed: Case) -> None:
    page = reader.get(reverse("diagnosis:case", args=[signed.pk])).text
    assert reverse("diagnosis:report-pdf", args=[signed.pk]) in page
    assert reverse("diagnosis:report-json", args=[signed.pk]) in page
    page = reader.get(reverse("diagnosis:history"), {"q": "H-1001", "sort": "accession"}).text
    assert f"{reverse('diagnosis:history-csv')}?q=H-1001&amp;sort=accession" in page


# --- pictures -----------------------------------------------------------------------------------------------


def pictures(case: Case) -> dict[str, report_pictures.Pictures]:
    images = report_content.build(case=case)["images"]
    return report_pictures.pictures_of(case_id=case.pk, images=images)


def test_every_image_has_a_small_picture_and_its_overlay(analysed: Case) -> None:
    found = pictures(analysed)
    assert list(found) == [str(image.pk) for image in analysed.images.all()]
    for one in found.values():
        assert one.overlay is not None
        with Image.open(io.BytesIO(one.plain)) as plain, Image.open(io.BytesIO(one.overlay)) as overlay:
            assert plain.size == overlay.size == (400, 300)
            assert plain.tobytes() != overlay.tobytes()


def test_a_file_that_is_gone_or_broken_has_none(analysed: Case, media: Path) -> None:
    first, second = analysed.images.all()
    (media / first.file.name).unlink()
    (media / second.file.name).write_bytes(b"no picture")
    assert pictures(analysed) == {}


def test_pictures_of_another_case_are_never_taken(analysed: Case, cast: Any) -> None:
    images = report_content.build(case=analysed)["images"]
    assert report_pictures.pictures_of(case_id=analysed.pk + 1, images=images) == {}


def test_a_case_with_too_many_slow_files_shows_thumbnails(
    analysed: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_pictures, "MOST_SLOW_PIXELS", 100_000)
    for one in pictures(analysed).values():
        with Image.open(io.BytesIO(one.plain)) as plain:
            assert plain.size == (256, 192)
