"""What a person should check of an image that came as DICOM."""

from __future__ import annotations

from collections.abc import Sequence

from django import template

from diagnosis.services import dicom_intake

register = template.Library()


@register.filter
def to_check(notes: Sequence[str]) -> list[str]:
    """The sentences for those notes of an image that ask a person to look: `{% for one in image.notes|to_check %}`."""
    return dicom_intake.checks(notes)
