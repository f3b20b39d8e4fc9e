"""The settings of a laboratory, which its heads change."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from django.core.exceptions import ValidationError
from django.db import transaction

from diagnosis.models import Laboratory, User
from diagnosis.services import audit


class LaboratoryRefused(Exception):
    """Settings that may not be, in a sentence."""


@dataclass(frozen=True)
class LaboratorySettings:
    """All that a head may change; the names are those of the columns. None is *not set*."""

    name: str
    address: str
    is_blind: bool
    malignant_share: float | None
    turnaround_hours: int
    accepted_sensitivity: float | None
    accepted_specificity: float | None
    idle_minutes: int
    needs_second_factor: bool


def settings_of(laboratory: Laboratory) -> LaboratorySettings:
    """What is set now."""
    return LaboratorySettings(
        **{name: getattr(laboratory, name) for name in LaboratorySettings.__dataclass_fields__}
    )


@transaction.atomic
def change_settings(*, laboratory: Laboratory, settings: LaboratorySettings, actor: User) -> list[str]:
    """Change a laboratory's settings; returns the names of those that are others now.

    Raises:
        LaboratoryRefused: a value may not be.
    """
    held = Laboratory.objects.select_for_update().get(pk=laboratory.pk)
    old, new = asdict(settings_of(held)), asdict(settings)
    changed = [name for name in new if old[name] != new[name]]
    if not changed:
        return []
    for name in changed:
        setattr(held, name, new[name])
    try:
        held.full_clean(exclude=[field.name for field in held._meta.fields if field.name not in changed])
    except ValidationError as error:
        raise LaboratoryRefused(" ".join(error.messages)) from error
    held.save(update_fields=changed)
    audit.record(action="change_laboratory", actor=actor, laboratory=held, obj=held, old=old, new=new)
    return changed
