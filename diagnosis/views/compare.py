"""One image beside reviewed ones: references of each class, and those most like it."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from diagnosis import permissions, reading_selectors, veil, wording
from diagnosis.models import SmearImage
from diagnosis.reading_selectors import Compared
from diagnosis.views.access import signed_in

EACH = 4
SIMILAR = 8


@require_safe
@signed_in
def compare(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The image, and beside it the one named by `?with=`, or the first reference there is."""
    image = permissions.get_image_for(request.user, pk)
    version = image.newest_analysis.model_version if image.newest_analysis else None
    classes = list(version.classes) if version else list(wording.CLASS_WORDS)
    veiled = veil.is_veiled(user=request.user, image=image)
    references = reading_selectors.reference_images(
        user=request.user, image=image, classes=classes, each=EACH
    )
    similar = (
        [] if veiled else reading_selectors.similar_images(user=request.user, image=image, limit=SIMILAR)
    )
    shown = [one for group in references.values() for one in group]
    beside = _named(request, image) or next(iter([*similar, *shown]), None)
    context = {
        "section": "worklist",
        "image": image,
        "veiled": veiled,
        "references": [(label, group) for label, group in references.items()],
        "similar": similar,
        "can_be_compared": reading_selectors.can_be_compared(image),
        "beside": beside,
    }
    return render(request, "diagnosis/compare.html", context)


def _named(request: HttpRequest, image: SmearImage) -> Compared | None:
    """The reviewed image that the address names; another laboratory's is not there."""
    try:
        wanted = UUID(request.GET.get("with", ""))
    except ValueError:
        return None
    other = permissions.get_image_for(request.user, wanted)
    veil.require_image(request.user, other)
    return reading_selectors.standing_review(user=request.user, image=other)
