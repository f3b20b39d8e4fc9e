"""Reports: where the report of a case stands, and its signatures."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import reverse
from ninja import Router

from diagnosis import permissions
from diagnosis.api import told
from diagnosis.api.auth import scope
from diagnosis.api.cases import acting
from diagnosis.api.noting import note_reading
from diagnosis.api.schemas import ReportOut

router = Router()


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
        links={"page": reverse("diagnosis:case", args=[case.pk])},
    )
