"""Reading several images of a case at once, from the film strip, and taking that back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.views.decorators.http import require_POST

from diagnosis import permissions
from diagnosis.models import Case
from diagnosis.services.review import ReviewRefused
from diagnosis.services.review_several import Several, review_several, withdraw_batch
from diagnosis.views.access import from_script, refused, signed_in
from diagnosis.views.case import case_url

UNREADABLE = "This request could not be understood: reload the page."


@require_POST
@signed_in
def reviews(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Review images of a case alike: each `image` is its key and, behind a colon, that of the analysis shown."""
    case = permissions.get_case_for(request.user, pk, permissions.REVIEW)
    try:
        chosen = dict(_pair(value) for value in request.POST.getlist("image"))
    except ValueError:
        return refused(UNREADABLE, status=400)
    try:
        done = review_several(
            user=request.user,
            case=case,
            analyses=chosen,
            verdict=request.POST.get("verdict", ""),
            label=request.POST.get("label") or None,
            comment=request.POST.get("comment", ""),
        )
    except ReviewRefused as refusal:
        return refused(str(refusal))
    return _answer(request, case, done, f"{_images(len(done.done))} read.", may_undo=True)


@require_POST
@signed_in
def reviews_undo(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Take back the reviews of one action (`batch`)."""
    case = permissions.get_case_for(request.user, pk, permissions.REVIEW)
    try:
        batch = UUID(request.POST.get("batch", ""))
    except ValueError:
        return refused(UNREADABLE, status=400)
    try:
        done = withdraw_batch(user=request.user, case=case, batch=batch)
    except ReviewRefused as refusal:
        return refused(str(refusal))
    return _answer(request, case, done, f"{_images(len(done.done))} taken back.", may_undo=False)


def _pair(value: str) -> tuple[UUID, UUID | None]:
    image, _, analysis = value.partition(":")
    return UUID(image), UUID(analysis) if analysis and analysis != "none" else None


def _images(number: int) -> str:
    if not number:
        return "No image"
    return "1 image" if number == 1 else f"{number} images"


def _answer(
    request: HttpRequest, case: Case, done: Several, sentence: str, *, may_undo: bool
) -> HttpResponseBase:
    """How it ended, image by image, as JSON for the script; a redirect for anybody else."""
    if not from_script(request):
        messages.info(request, sentence)
        for image, why in done.refused:
            messages.warning(request, f"Image {image.position}: {why}")
        return HttpResponseRedirect(case_url(case))
    answer: dict[str, Any] = {
        "message": sentence,
        "done": [str(review.image_id) for review in done.done],
        "refused": [
            {"image": str(image.pk), "number": image.position, "message": why} for image, why in done.refused
        ],
        "batch": str(done.batch) if may_undo and done.done else "",
    }
    return JsonResponse(answer, status=200 if done.done or not done.refused else 422)
