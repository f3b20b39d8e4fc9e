"""Uploads: files into a case, one a request from our script, or many from a plain form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import (
    FileUploadHandler,
    MemoryFileUploadHandler,
    SkipFile,
    TemporaryFileUploadHandler,
)
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.utils.text import get_text_list
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from diagnosis import permissions
from diagnosis.models import Case, SmearImage, User
from diagnosis.services import intake
from diagnosis.services.intake import IntakeRefused
from diagnosis.views.access import from_script, refused, signed_in
from ml.imaging.reading import MAX_BYTES

AROUND_A_FILE = 64 * 1024
"""Bytes of a request around the one file it carries: field names, boundaries, the token."""
LARGEST_FORM = 2 * 2**30
"""Bytes of a plain form with many files."""


class LimitedFiles(FileUploadHandler):
    """Stops keeping a file once it is larger than an image may be; the others of its form go on."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self.too_large: list[str] = []

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        if start + len(raw_data) > MAX_BYTES:
            self.too_large.append(self.file_name or "unnamed")
            raise SkipFile
        return raw_data

    def file_complete(self, file_size: int) -> UploadedFile | None:
        return None


def limit_files(request: HttpRequest) -> LimitedFiles:
    """Bound every file of the request's body; to be called before anything reads that."""
    limited = LimitedFiles(request)
    request.upload_handlers = [limited, MemoryFileUploadHandler(request), TemporaryFileUploadHandler(request)]
    return limited


def content_length(request: HttpRequest) -> int:
    """Length of the body as announced; 0 when it is not."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def too_large(request: HttpRequest) -> HttpResponseBase | None:
    """413 for a body that is not worth reading; None for one that is."""
    script = from_script(request)
    if content_length(request) <= (MAX_BYTES + AROUND_A_FILE if script else LARGEST_FORM):
        return None
    if script:
        return refused(intake.too_large(), status=413)
    return render(request, "413.html", status=413)


@dataclass(frozen=True)
class Outcome:
    """What became of one file: the image, or the sentence that says why there is none."""

    name: str
    image: SmearImage | None
    message: str


def take_files(*, user: User, case: Case, files: Iterable[UploadedFile]) -> list[Outcome]:
    """Hand each file to intake; a refused one keeps none of the others back."""
    outcomes = []
    for file in files:
        name = intake.clean_name(file.name or "unnamed")
        try:
            image = intake.add_image(user=user, case=case, name=name, stream=file)
        except IntakeRefused as refusal:
            outcomes.append(Outcome(name, None, str(refusal)))
        else:
            outcomes.append(Outcome(name, image, taken_sentence(image)))
    return outcomes


def taken_sentence(image: SmearImage) -> str:
    """One line for a file that was taken, with what was converted on reading it."""
    facts = [f"image {image.position}", f"{image.width} × {image.height}", image.format, *image.notes]
    return ", ".join(facts)


def report(request: HttpRequest, outcomes: list[Outcome], oversized: list[str]) -> None:
    """Leave one message for each file of a plain form that was refused, and one for all that were taken."""
    taken = [outcome for outcome in outcomes if outcome.image is not None]
    if taken:
        names = [outcome.name for outcome in taken]
        what = get_text_list(names, "and") if len(names) < 4 else f"{len(names)} files"
        messages.success(request, f"Taken in: {what}.")
    for outcome in outcomes:
        if outcome.image is None:
            messages.warning(request, f"{outcome.name}: {outcome.message}")
    for name in oversized:
        messages.warning(request, f"{intake.clean_name(name)}: {intake.too_large()}")


# The size of the body is judged before the check of its token, which reads all of it.
@csrf_exempt
@require_POST
@signed_in
def upload(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Take files into a case: one with JSON for a script, any number with messages for a plain form."""
    permissions.get_case_for(request.user, pk, permissions.UPLOAD)
    refusal = too_large(request)
    if refusal is not None:
        return refusal
    limited = limit_files(request)
    return _take(request, pk, limited)


@csrf_protect
def _take(request: HttpRequest, pk: int, limited: LimitedFiles) -> HttpResponse:
    case = permissions.get_case_for(request.user, pk, permissions.UPLOAD)
    outcomes = take_files(user=request.user, case=case, files=request.FILES.getlist("files"))
    if not from_script(request):
        report(request, outcomes, limited.too_large)
        if not outcomes and not limited.too_large:
            messages.warning(request, "Choose at least one image file.")
        return redirect("diagnosis:case", pk=case.pk)
    if limited.too_large:
        return refused(intake.too_large(), status=413)
    if len(outcomes) != 1:
        return refused("Send one file at a time.", status=400)
    outcome = outcomes[0]
    if outcome.image is None:
        return refused(outcome.message)
    return JsonResponse(
        {"outcome": "ok", "message": outcome.message, "image": str(outcome.image.pk)}, status=201
    )
