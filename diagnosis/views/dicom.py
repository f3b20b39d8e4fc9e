"""Reports and overlays to download for an archive, as DICOM."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.views.decorators.http import require_safe

from diagnosis import permissions
from diagnosis.services import dicom_export
from diagnosis.services.dicom_export import NoSuchOverlay
from diagnosis.services.reporting import Report
from diagnosis.views.access import signed_in
from diagnosis.views.images import analysis_of
from diagnosis.views.reports import answer


@require_safe
@signed_in
def report_dicom(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The report that stands as DICOM Encapsulated PDF: signed, or preliminary where nobody has signed."""
    case = permissions.get_case_for(request.user, pk)
    return answer(request, lambda: dicom_export.download_report(user=request.user, case=case))


@require_safe
@signed_in
def overlay_dicom(request: HttpRequest, pk: UUID, method: str) -> HttpResponseBase:
    """An image under one method's overlay as DICOM Secondary Capture; of the newest analysis, or `?analysis=`."""
    image = permissions.get_image_for(request.user, pk)
    analysis = analysis_of(request, image)

    def made() -> Report:
        try:
            return dicom_export.download_overlay(
                user=request.user, image=image, analysis=analysis, method=method
            )
        except NoSuchOverlay as error:
            raise Http404(str(error)) from error

    return answer(request, made)
