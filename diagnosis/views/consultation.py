"""Asking a colleague for a second opinion, and withdrawing the question."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_POST

from diagnosis import permissions, worklist_selectors
from diagnosis.models import Case, SecondOpinion, SmearImage
from diagnosis.services import consultation
from diagnosis.services.consultation import ConsultationRefused
from diagnosis.views.access import from_script, refused, signed_in
from diagnosis.views.case import case_url, render_panel

WHOLE_CASE = "case"


@require_POST
@signed_in
def opinion_ask(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Ask a colleague (`of`) about the case or one image (`about`). What is refused keeps what was typed."""
    case = permissions.get_case_for(request.user, pk, permissions.REVIEW)
    about, question = request.POST.get("about", ""), request.POST.get("question", "")
    shown = _image(case, request.POST.get("image", ""))
    of = request.POST.get("of", "")
    colleagues = worklist_selectors.colleagues(user=request.user)
    try:
        opinion = consultation.ask(
            user=request.user,
            case=case,
            of=colleagues.filter(pk=int(of)).first() if of.isdecimal() and len(of) < 19 else None,
            image=None if about == WHOLE_CASE else shown,
            question=question,
        )
    except ConsultationRefused as refusal:
        if from_script(request):
            return refused(str(refusal), status=409)
        context = {
            "section": "worklist",
            "case": case,
            "image": shown,
            "about": about,
            "of": of,
            "question": question,
            "colleagues": [one for one in colleagues if one.pk != request.user.pk],
            "error": str(refusal),
        }
        return render(request, "diagnosis/opinion.html", context, status=422)
    return _answer(request, case, shown, f"{opinion.asked_of.display_name} is asked for a second opinion.")


@require_POST
@signed_in
def opinion_withdraw(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Withdraw a question of one's own."""
    opinion = (
        SecondOpinion.objects.select_related("case__laboratory", "image", "asked_by", "asked_of")
        .filter(pk=pk, case__laboratory_id=request.user.laboratory_id)
        .first()
    )
    if opinion is None:
        raise Http404("There is no such question.")
    permissions.require(request.user, permissions.REVIEW, opinion.case)
    shown = _image(opinion.case, request.POST.get("image", "")) or opinion.image
    try:
        consultation.withdraw(user=request.user, opinion=opinion)
    except ConsultationRefused as refusal:
        if from_script(request):
            return refused(str(refusal), status=409)
        messages.warning(request, str(refusal))
        return HttpResponseRedirect(case_url(opinion.case, shown))
    return _answer(request, opinion.case, shown, "The question is withdrawn.")


def _image(case: Case, key: str) -> SmearImage | None:
    """The image of the case that the page showed; None for none."""
    if not key:
        return None
    try:
        return case.images.filter(pk=UUID(key)).first()
    except ValueError:
        return None


def _answer(request: HttpRequest, case: Case, image: SmearImage | None, sentence: str) -> HttpResponseBase:
    """The panel as it is now for our script, a redirect to the image with the sentence for a plain form."""
    if from_script(request) and image is not None:
        return render_panel(request, permissions.get_image_for(request.user, image.pk), said=sentence)
    messages.info(request, sentence)
    return HttpResponseRedirect(case_url(case, image))
