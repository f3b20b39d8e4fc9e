"""New case: its fields and its files in one form."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from diagnosis import permissions
from diagnosis.forms import CaseForm
from diagnosis.models import Case
from diagnosis.services import intake
from diagnosis.services.intake import IntakeRefused
from diagnosis.views.access import from_script, signed_in
from diagnosis.views.case import case_url
from diagnosis.views.upload import report, take_files
from ml.imaging.reading import MAX_BYTES


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new_case(request: HttpRequest) -> HttpResponseBase:
    """Show the form, or open the case and take its files.

    Our script sends the fields alone, gets the addresses of the new case as JSON, and then sends the files to
    it one by one; a plain form sends everything at once.
    """
    permissions.require(request.user, permissions.UPLOAD)
    if request.method != "POST":
        return _page(request, CaseForm(initial={"received_on": timezone.localdate()}))
    return _open(request)


def _open(request: HttpRequest) -> HttpResponse:
    form = CaseForm(request.POST)
    case = _create(request, form)
    if case is None:
        form.mark_errors()
        if from_script(request):
            return render(request, "diagnosis/_case_fields.html", {"form": form}, status=422)
        return _page(request, form, status=422)
    if from_script(request):
        made = {
            "case_url": case_url(case),
            "upload_url": reverse("diagnosis:upload", args=[case.pk]),
            "accession_number": case.accession_number,
        }
        return JsonResponse(made, status=201)
    outcomes = take_files(user=request.user, case=case, files=request.FILES.getlist("files"))
    report(request, outcomes)
    return HttpResponseRedirect(case_url(case))


def _create(request: HttpRequest, form: CaseForm) -> Case | None:
    """The new case; None with the reason in the form when it was refused."""
    if not form.is_valid():
        return None
    try:
        return intake.create_case(user=request.user, **form.cleaned_data)
    except IntakeRefused as refusal:
        form.add_error(_field_named_in(str(refusal)), str(refusal))
        return None


def _field_named_in(sentence: str) -> str | None:
    """The field a refusal is about, so that it stands beside it."""
    words = {
        "accession number": "accession_number",
        "patient code": "patient_code",
        "specimen was received": "received_on",
        "white cell count": "white_cell_count",
        "age in whole years": "age_years",
    }
    return next((field for word, field in words.items() if word in sentence), None)


def _page(request: HttpRequest, form: CaseForm, status: int = 200) -> HttpResponse:
    context: dict[str, Any] = {
        "section": "worklist",
        "form": form,
        "max_bytes": MAX_BYTES,
        "megabytes": MAX_BYTES // 2**20,
        "too_large": intake.too_large(),
    }
    return render(request, "diagnosis/new_case.html", context, status=status)
