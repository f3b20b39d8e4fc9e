"""Reports of a case to download: PDF/A and FHIR, the one that stands and earlier versions."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from diagnosis import permissions
from diagnosis.services import reporting
from diagnosis.services.report_pdf import ReportNotMade
from diagnosis.services.report_text import FontsMissing
from diagnosis.services.reporting import NoSuchReport, Report
from diagnosis.views.access import from_script, refused, signed_in

logger = logging.getLogger(__name__)

NOT_MADE = (
    "The PDF could not be made. Nothing is lost: try again, and tell your administrator if it happens again."
)


@require_safe
@signed_in
def report_pdf(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The report that stands as PDF: signed, or preliminary where nobody has signed."""
    case = permissions.get_case_for(request.user, pk)
    return answer(request, lambda: reporting.download_pdf(user=request.user, case=case))


@require_safe
@signed_in
def report_version(request: HttpRequest, pk: int, number: int) -> HttpResponseBase:
    """A signed version of the report as PDF, as it was signed; an earlier one says what has taken its place."""
    case = permissions.get_case_for(request.user, pk)
    return answer(request, lambda: reporting.download_pdf(user=request.user, case=case, number=number))


@require_safe
@signed_in
def report_json(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The report that stands as a FHIR document; `?pdf=1` puts the printed report inside."""
    case = permissions.get_case_for(request.user, pk)
    return answer(
        request,
        lambda: reporting.download_fhir(
            user=request.user,
            case=case,
            base_url=request.build_absolute_uri("/").rstrip("/"),
            with_pdf=request.GET.get("pdf") == "1",
        ),
    )


def answer(request: HttpRequest, make: Callable[[], Report]) -> HttpResponseBase:
    """The report that `make` gives as a file to download, or the page that says why there is none."""
    try:
        made = make()
    except NoSuchReport as error:
        raise Http404(str(error)) from error
    except (ReportNotMade, FontsMissing):
        logger.exception("A report was not made")
        if from_script(request):
            return refused(NOT_MADE, status=503)
        return render(request, "diagnosis/report_not_made.html", {"sentence": NOT_MADE}, status=503)
    response = HttpResponse(made.content, content_type=made.media_type)
    response["Content-Disposition"] = content_disposition_header(True, made.name) or "attachment"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    return response
