"""Recording a reading of an image, and trying an analysis again."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.views.decorators.http import require_POST

from diagnosis import permissions, wording
from diagnosis.models import Analysis, SmearImage
from diagnosis.services import analyze
from diagnosis.services.analyze import RetryRefused
from diagnosis.services.review import ReviewRefused, record_review
from diagnosis.views.access import from_script, signed_in
from diagnosis.views.case import case_url, render_case, render_panel
from diagnosis.views.reading import Draft


@require_POST
@signed_in
def review(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Record a review. A refused one comes back with its sentence, and with what was typed."""
    image = permissions.get_image_for(request.user, pk, permissions.REVIEW)
    comment, label = request.POST.get("comment", ""), request.POST.get("label", "")
    try:
        recorded = record_review(
            user=request.user,
            image=image,
            analysis=_analysis(image, request.POST.get("analysis", "")),
            verdict=request.POST.get("verdict", ""),
            label=label or None,
            comment=comment,
        )
    except ReviewRefused as refusal:
        draft = Draft(error=str(refusal), comment=comment, label=label)
        if from_script(request):
            return render_panel(request, image, draft=draft, status=422)
        return render_case(request, image.case_id, image=image.pk, draft=draft, status=422)
    return _answer(request, image, f"Recorded, {wording.review_sentence(recorded)}.")


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


def _answer(request: HttpRequest, image: SmearImage, sentence: str) -> HttpResponse:
    """The panel as it is now for our script, a redirect to the image with the sentence for a plain form."""
    if from_script(request):
        return render_panel(request, permissions.get_image_for(request.user, image.pk), said=sentence)
    messages.info(request, sentence)
    return HttpResponseRedirect(case_url(image.case, image))
