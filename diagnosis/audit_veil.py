"""The audit and reading blind: what events tell of images that who reads the audit has yet to class herself.

A laboratory's head reads the audit, and may read images too. That somebody read an image, and when, is hers to know;
what was found is kept back as on every other page (`diagnosis.veil`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from diagnosis import veil
from diagnosis.models import AuditEvent, SmearImage, User

KEPT_BACK: Final = "kept back until you have classed the image yourself"

_OF_IMAGES: Final = frozenset({"smearimage", "analysis"})
_BEFORE_ANYTHING: Final = frozenset({"upload_image"})
"""Actions on an image that tell of the file alone."""
_OF_CASES: Final = frozenset({"read_cells", "undo_cell_readings"})
"""Actions on a case that tell of its images."""
_HARMLESS: Final = frozenset(
    (
        "image", "analysis", "reading", "review", "dispute", "opinion", "batch", "undoes", "cells", "model_version",
        "name",
    )
)  # fmt: skip
"""What the detail of an event may say of a veiled image: which one, and by what. Anything else is kept back."""


def veiled_events(*, user: User, events: Iterable[AuditEvent]) -> frozenset[int]:
    """Keys of the events whose detail is kept from this person: none, or two queries, however many events."""
    if not veil.reads_blind(user):
        return frozenset()
    images: dict[int, UUID] = {}
    cases: dict[int, int] = {}
    for event in events:
        key = _image_of(event)
        if key is not None:
            images[event.pk] = key
        elif event.action in _OF_CASES and event.object_id.isdecimal():
            cases[event.pk] = int(event.object_id)
    hidden = SmearImage.objects.filter(case__laboratory_id=user.laboratory_id).exclude(veil.shown_to(user))
    of_images = (
        set(hidden.filter(pk__in=set(images.values())).values_list("pk", flat=True)) if images else set()
    )
    of_cases = (
        set(hidden.filter(case__in=set(cases.values())).values_list("case", flat=True)) if cases else set()
    )
    return frozenset(
        [event for event, key in images.items() if key in of_images]
        + [event for event, key in cases.items() if key in of_cases]
    )


def detail_of(event: AuditEvent, veiled: frozenset[int]) -> dict[str, Any]:
    """The detail of an event as it may be shown."""
    detail = dict(event.detail)
    if event.pk not in veiled:
        return detail
    told = {name: value for name, value in detail.items() if name in _HARMLESS}
    return told if len(told) == len(detail) else {**told, "result": KEPT_BACK}


def _image_of(event: AuditEvent) -> UUID | None:
    if event.object_type not in _OF_IMAGES or event.action in _BEFORE_ANYTHING:
        return None
    key = event.object_id if event.object_type == "smearimage" else event.detail.get("image", "")
    try:
        return UUID(str(key))
    except ValueError:
        return None
