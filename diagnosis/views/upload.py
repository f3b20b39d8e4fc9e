"""Uploads: files into a case, one a request from our script, or many from a plain form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.text import get_text_list
from django.views.decorators.http import require_POST

from diagnosis import permissions
from diagnosis.models import Case, SmearImage, User
from diagnosis.services import intake
from diagnosis.services.dicom_intake import checks
from diagnosis.services.intake import IntakeRefused
from diagnosis.views.access import from_script, refused, signed_in


@dataclass(frozen=True)
class Outcome:
    """What became of one file: the image (the first of several), or the sentence that says why there is none.

    `checks` are sentences about what a person should look at.
    """

    name: str
    image: SmearImage | None
    message: str
    checks: tuple[str, ...] = ()


def take_files(*, user: User, case: Case, files: Iterable[UploadedFile]) -> list[Outcome]:
    """Hand each file to intake; a refused one keeps none of the others back."""
    outcomes = []
    for file in files:
        name = intake.clean_name(file.name or "unnamed")
        try:
            images = intake.add_images(user=user, case=case, name=name, stream=file)
        except IntakeRefused as refusal:
            outcomes.append(Outcome(name, None, str(refusal)))
        else:
            found = tuple(dict.fromkeys(one for image in images for one in checks(image.notes)))
            outcomes.append(Outcome(name, images[0], taken_sentence(images), found))
    return outcomes


def taken_sentence(images: Sequence[SmearImage]) -> str:
    """One line for a file that was taken, with what was converted on reading it."""
    image = images[0]
    which = (
        f"image {image.position}"
        if len(images) == 1
        else f"images {image.position} to {images[-1].position}, one a frame"
    )
    return ", ".join([which, f"{image.width} × {image.height}", image.format, *image.notes])


def report(request: HttpRequest, outcomes: list[Outcome]) -> None:
    """Leave one message for each file of a plain form that was refused, and one for all that were taken."""
    names = [outcome.name for outcome in outcomes if outcome.image is not None]
    if names:
        what = get_text_list(names, "and") if len(names) < 4 else f"{len(names)} files"
        messages.success(request, f"Taken in: {what}.")
    for outcome in outcomes:
        if outcome.image is None:
            messages.warning(request, f"{outcome.name}: {outcome.message}")
        for sentence in outcome.checks:
            messages.warning(request, f"{outcome.name}: {sentence}")


@require_POST
@signed_in
def upload(request: HttpRequest, pk: int) -> HttpResponse:
    """Take files into a case: one with JSON for a script, any number with messages for a plain form."""
    case = permissions.get_case_for(request.user, pk, permissions.UPLOAD)
    files = request.FILES.getlist("files")
    if not from_script(request):
        report(request, take_files(user=request.user, case=case, files=files))
        if not files:
            messages.warning(request, "Choose at least one image file.")
        return redirect("diagnosis:case", pk=case.pk)
    if len(files) != 1:
        return refused("Send one file at a time.", status=400)
    (outcome,) = take_files(user=request.user, case=case, files=files)
    if outcome.image is None:
        return refused(outcome.message)
    return JsonResponse(
        {"outcome": "ok", "message": outcome.message, "image": str(outcome.image.pk)}, status=201
    )
