"""Reports to take away: the PDF and the FHIR bundle of a case, made on request, kept, and written into the audit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from django.core.files.base import ContentFile
from django.db import transaction

from diagnosis import permissions, veil
from diagnosis.models import Case, SignOut, User
from diagnosis.services import audit, report_content, report_fhir, report_pdf, report_pictures
from diagnosis.services.report_fhir_codes import NOWHERE
from diagnosis.services.report_schema import Document
from diagnosis.storage import content_name, smear_storage

FOLDER = "reports"
"""Of the storage; what lies there can be made again, and the clean-up removes it after a day."""


class NoSuchReport(LookupError):
    """The case has no signed report of that number."""


@dataclass(frozen=True)
class Report:
    """One report as a file. `number` is 0 for a preliminary one, `sha256` of these bytes."""

    content: bytes
    name: str
    media_type: str
    status: str
    number: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def pdf(*, case: Case, number: int | None = None) -> Report:
    """The PDF/A of the report that stands, or of sign-out `number`; from the store where it was made before.

    Asks nobody's leave and leaves no trace: `download_pdf` does both. Raises NoSuchReport, and what `report_pdf.render`
    raises.
    """
    document, content = printed(case=case, number=number)
    return _report(document, content, "pdf", "application/pdf")


def printed(*, case: Case, number: int | None = None) -> tuple[Document, bytes]:
    """The same with what it says, for whoever puts it into a wrapping of its own. As `pdf`."""
    document = _document(case, number)
    return document, _kept_pdf(document)


def fhir(*, case: Case, base_url: str = NOWHERE, number: int | None = None, with_pdf: bool = False) -> Report:
    """The FHIR document of the same, as JSON; with the PDF inside if asked for. As `pdf`."""
    document = _document(case, number)
    inside = _kept_pdf(document) if with_pdf else None
    told = report_fhir.bundle(document=document, base_url=base_url, pdf=inside)
    content = json.dumps(told, ensure_ascii=False, allow_nan=False).encode()
    return _report(document, content, "json", "application/fhir+json")


def download_pdf(*, user: User, case: Case, number: int | None = None) -> Report:
    """`pdf` for a person, in the audit. Raises what `permissions.require` and `veil.require_case` raise, too."""
    _require(user, case)
    made = pdf(case=case, number=number)
    _record(user, case, made, "pdf")
    return made


def download_fhir(
    *,
    user: User,
    case: Case,
    base_url: str = NOWHERE,
    number: int | None = None,
    with_pdf: bool = False,
) -> Report:
    """`fhir` for a person, in the audit; as `download_pdf`."""
    _require(user, case)
    made = fhir(case=case, base_url=base_url, number=number, with_pdf=with_pdf)
    _record(user, case, made, "fhir")
    return made


def _require(user: User, case: Case) -> None:
    permissions.require(user, permissions.VIEW, case)
    veil.require_case(user, case)


def _record(user: User, case: Case, made: Report, kind: str) -> None:
    with transaction.atomic():
        audit.record(
            action="report",
            actor=user,
            laboratory=case.laboratory,
            obj=case,
            detail={"format": kind, "status": made.status, "number": made.number, "sha256": made.sha256},
        )


def _document(case: Case, number: int | None) -> Document:
    try:
        return report_content.document(case=case, number=number)
    except SignOut.DoesNotExist as error:
        raise NoSuchReport("There is no signed report of that number.") from error


def _report(document: Document, content: bytes, suffix: str, media_type: str) -> Report:
    told = document["content"]
    which = f"-version-{told['number']}" if told["number"] else f"-{told['status']}"
    return Report(
        content=content,
        name=f"report-{told['case']['accession_number']}{which}.{suffix}",
        media_type=media_type,
        status=told["status"],
        number=told["number"],
    )


def _kept_pdf(document: Document) -> bytes:
    """The PDF, from the store or made now and stored there."""
    storage = smear_storage()
    name = content_name(FOLDER, _fingerprint(document), ".pdf")
    try:
        with storage.open(name, "rb") as file:
            kept: bytes = file.read()
            return kept
    except FileNotFoundError:
        pass
    told = document["content"]
    pictures = report_pictures.pictures_of(case_id=told["case"]["id"], images=told["images"])
    made = report_pdf.render(document=document, pictures=pictures)
    storage.save(name, ContentFile(made))
    return made


def _fingerprint(document: Document) -> str:
    """Of all that the PDF shows. When a preliminary report was made is left out: as long as nothing else has changed,
    the one made before says all there is to say."""
    content: dict[str, Any] = {**document["content"]}
    if document["seal"] is None:
        content.pop("made_at")
    shown = {**document, "content": content, "layout": report_pdf.LAYOUT, "typst": version("typst")}
    return hashlib.sha256(report_content.canonical(shown)).hexdigest()
