"""Recording a reading of an image, taking it back, and trying an analysis again."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.views.decorators.http import require_POST

from diagnosis import permissions, wording
from diagnosis.models import Analysis, SmearImage
from diagnosis.services import analyze
from diagnosis.services.analyze import RetryRefused
from diagnosis.services.blind import record_blind_reading
from diagnosis.services.review import UNCHECKED, ReviewRefused, record_review, withdraw_review
from diagnosis.views.access import from_script, signed_in
from diagnosis.views.case import case_url, render_case, render_panel
from diagnosis.views.reading import NO_DRAFT, Draft


@require_POST
@signed_in
def review(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Record a review. A refused one comes back with its sentence, and with what was typed."""
    image = permissions.get_image_for(request.user, pk, permissions.REVIEW)
    try:
        recorded = record_review(
            user=request.user,
            image=image,
            analysis=_analysis(image, request.POST.get("analysis", "")),
            verdict=request.POST.get("verdict", ""),
            label=request.POST.get("label") or None,
            comment=request.POST.get("comment", ""),
            shown=_shown(request),
            seconds=_seconds(request),
        )
    except ReviewRefused as refusal:
        return _refused(request, image, refusal)
    return _answer(request, image, f"Recorded, {wording.review_sentence(recorded)}.")


@require_POST
@signed_in
def blind(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Take the class that a reader gives before the model's is shown, and show it."""
    image = permissions.get_image_for(request.user, pk, permissions.REVIEW)
    try:
        reading = record_blind_reading(
            user=request.user, image=image, label=request.POST.get("label", ""), seconds=_seconds(request)
        )
    except ReviewRefused as refusal:
        return _refused(request, image, refusal)
    return _answer(
        request,
        image,
        f"Your class is kept: {wording.class_word(reading.label)}. The model's is shown now.",
        draft=Draft(comment=request.POST.get("comment", "")),
    )


@require_POST
@signed_in
def review_undo(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Take back the reader's own newest review (`review`, as the page knows it)."""
    image = permissions.get_image_for(request.user, pk, permissions.REVIEW)
    key = request.POST.get("review", "")
    try:
        withdraw_review(user=request.user, image=image, review=int(key) if key.isdecimal() else None)
    except ReviewRefused as refusal:
        return _refused(request, image, refusal)
    standing = image.newest_review
    now = (
        f"What counts now: {wording.review_sentence(standing)}." if standing else "The image is unread again."
    )
    return _answer(request, image, f"Taken back. {now}")


def _refused(request: HttpRequest, image: SmearImage, refusal: ReviewRefused) -> HttpResponse:
    """The image as it is now, with the sentence and with what was typed."""
    draft = Draft(
        error=str(refusal), comment=request.POST.get("comment", ""), label=request.POST.get("label", "")
    )
    if from_script(request):
        fresh = permissions.get_image_for(request.user, image.pk)
        return render_panel(request, fresh, draft=draft, status=422)
    return render_case(request, image.case_id, image=image.pk, draft=draft, status=422)


def _shown(request: HttpRequest) -> int | None:
    """The review that was the newest when the page was made, None where there was none."""
    shown = request.POST.get("shown", "")
    if shown == "none":
        return None
    return int(shown) if shown.isdecimal() else UNCHECKED


def _seconds(request: HttpRequest) -> float | None:
    """The browser's clock; a reading is never refused for what it says."""
    try:
        return float(request.POST.get("seconds", ""))
    except ValueError:
        return None


def _analysis(image: SmearImage, key: str) -> Analysis | None:
    """The analysis the reviewer saw; None for an image without one."""
    if not key:
        return None
    try:
        found = image.analyses.select_related("model_version").filter(pk=UUID(key)).first()
    except ValueError:
        found = None
    if found is None:
        raise ReviewRefused("The page was out of date; look at the image again.")
    return found


@require_POST
@signed_in
def retry(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Analyse an image anew."""
    image = permissions.get_image_for(request.user, pk, permissions.RETRY)
    try:
        analyze.retry(user=request.user, image=image)
    except RetryRefused as refusal:
        return _answer(request, image, str(refusal))
    return _answer(request, image, "Queued again.")


def _answer(
    request: HttpRequest, image: SmearImage, sentence: str, *, draft: Draft = NO_DRAFT
) -> HttpResponse:
    """The panel as it is now for our script, a redirect to the image with the sentence for a plain form; with a draft,
    which an address cannot carry, the page itself.
    """
    if from_script(request):
        fresh = permissions.get_image_for(request.user, image.pk)
        return render_panel(request, fresh, draft=draft, said=sentence)
    if draft.comment:
        return render_case(request, image.case_id, image=image.pk, draft=draft)
    messages.info(request, sentence)
    return HttpResponseRedirect(case_url(image.case, image))
