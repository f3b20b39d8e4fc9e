"""Reports: where the report of a case stands, its signatures, and its files, the same that the pages give out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import content_disposition_header
from ninja import Query, Router
from pydantic import BaseModel, Field

from diagnosis import permissions
from diagnosis.api import told
from diagnosis.api.auth import scope
from diagnosis.api.cases import acting
from diagnosis.api.noting import note_reading
from diagnosis.api.problems import ApiProblem
from diagnosis.api.schemas import ReportOut
from diagnosis.services import reporting
from diagnosis.services.report_pdf import ReportNotMade
from diagnosis.services.report_text import FontsMissing
from diagnosis.services.reporting import NoSuchReport, Report

logger = logging.getLogger(__name__)

router = Router()

NOT_MADE = "The report could not be made; ask again, and tell an administrator if it happens again."


class Which(BaseModel):
    """Which report."""

    number: int | None = Field(
        None, ge=1, le=32767, description="Of a signature; the report that stands without."
    )


class WhichFhir(Which):
    pdf: bool = Field(False, description="Put the printed report inside.")


def _gives(media_type: str) -> dict[str, Any]:
    """Arguments of an operation whose answer is a file."""
    asked = scope("reports:read")
    file = {"schema": {"type": "string", "format": "binary"}}
    if media_type.endswith("json"):
        file = {"schema": {"type": "object"}}
    asked["openapi_extra"]["responses"] = {
        200: {"content": {media_type: file}},
        503: {"description": NOT_MADE},
    }
    return asked


@router.get(
    "cases/{int:case_id}/report",
    response=ReportOut,
    url_name="report",
    operation_id="readReport",
    **scope("reports:read"),
)
def read_report(request: HttpRequest, case_id: int) -> ReportOut:
    """Whether a case is signed out, by whom and when, with every amendment."""
    case = permissions.get_case_for(acting(request), case_id)
    note_reading(request, case, what="report")
    return ReportOut(
        case=case.pk,
        accession_number=case.accession_number,
        status=case.status,  # type: ignore[arg-type]
        amending=case.amending_since is not None,
        signatures=[told.signature_out(one) for one in case.sign_outs.order_by("number")],
        links={
            "pdf": told.url("report-pdf", case.pk),
            "fhir": told.url("report-fhir", case.pk),
            "page": reverse("diagnosis:case", args=[case.pk]),
        },
    )


@router.get(
    "cases/{int:case_id}/report.pdf",
    url_name="report-pdf",
    operation_id="downloadReport",
    **_gives("application/pdf"),
)
def report_pdf(request: HttpRequest, case_id: int, which: Query[Which]) -> HttpResponse:
    """The report as PDF/A: the one that stands, preliminary where nobody has signed, or that of a signature."""
    user = acting(request)
    case = permissions.get_case_for(user, case_id)
    return _file(lambda: reporting.download_pdf(user=user, case=case, number=which.number))


@router.get(
    "cases/{int:case_id}/report.json",
    url_name="report-fhir",
    operation_id="downloadFhir",
    **_gives("application/fhir+json"),
)
def report_fhir(request: HttpRequest, case_id: int, which: Query[WhichFhir]) -> HttpResponse:
    """The same as a FHIR R4 document."""
    user = acting(request)
    case = permissions.get_case_for(user, case_id)
    base = request.build_absolute_uri("/").rstrip("/")
    return _file(
        lambda: reporting.download_fhir(
            user=user, case=case, base_url=base, number=which.number, with_pdf=which.pdf
        )
    )


def _file(make: Callable[[], Report]) -> HttpResponse:
    try:
        made = make()
    except NoSuchReport as error:
        raise Http404(str(error)) from error
    except (ReportNotMade, FontsMissing) as error:
        logger.exception("A report was not made")
        raise ApiProblem(503, NOT_MADE) from error
    response = HttpResponse(made.content, content_type=made.media_type)
    response["Content-Disposition"] = content_disposition_header(True, made.name) or "attachment"
    return response
