"""Reading blind: the reader's own class, given before she has seen the model's (`diagnosis.veil`)."""

from __future__ import annotations

from django.db import transaction

from diagnosis import permissions, veil, wording
from diagnosis.models import BlindReading, SmearImage, User
from diagnosis.services import audit
from diagnosis.services.review import ReviewRefused, checked_seconds, known_labels, lock

CHOOSE = "Choose the class that you read; the model's is shown after it."
NOT_BLIND = "The outcome of this image is shown to you already: agree with it, or overrule it."


@transaction.atomic
def record_blind_reading(
    *, user: User, image: SmearImage, label: str, seconds: float | None = None
) -> BlindReading:
    """Keep the class a reader gives an image before the model's is shown to her, and lift the veil.

    Her first one counts, and none is ever edited. `label` is a class, or what `wording.BLIND_WORDS` has besides;
    `seconds` the browser's time from the image's showing. Raises ReviewRefused with a sentence for her, and what
    `permissions.require` raises.
    """
    permissions.require(user, permissions.REVIEW, image)
    locked = lock(image)
    analysis = locked.newest_analysis
    if label not in known_labels(analysis) | set(wording.BLIND_WORDS):
        raise ReviewRefused(CHOOSE)
    if not veil.is_veiled(user=user, image=locked):
        raise ReviewRefused(NOT_BLIND)
    reading = BlindReading.objects.create(
        image=locked, analysis=analysis, reader=user, label=label, seconds=checked_seconds(seconds)
    )
    audit.record(
        action="read_blind",
        actor=user,
        laboratory=image.case.laboratory,
        obj=image,
        detail={"label": label, "reading": reading.pk, "analysis": str(analysis.pk) if analysis else ""},
    )
    return reading
