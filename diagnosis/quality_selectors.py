"""What the quality page shows of a laboratory, from the days that are counted already: never from an image's rows."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from diagnosis import queue_selectors
from diagnosis.models import ModelVersion, QualityPeriod, QualityReference, User
from diagnosis.quality_page import Period, Quality
from diagnosis.quality_parts import Parts, Stretch, figures_at
from diagnosis.services import registry


def quality_of(*, user: User, period: Period) -> Quality:
    """The quality of the user's laboratory over a period, as it was counted last. A constant number of queries."""
    row = QualityPeriod.objects.filter(laboratory_id=user.laboratory_id, days=period.days).first()
    until = row.until if row is not None else timezone.localdate()
    kept = row.stretches if row is not None else [{} for _ in range(period.days // period.step)]
    stretches = [Stretch(until, period, place, figures) for place, figures in enumerate(kept)]
    counted_at = row.computed_at if row is not None else None
    total = row.total if row is not None else {}
    found = Quality(period, stretches[0].start, until, counted_at)
    found.queue = queue_selectors.queue_counts(user=user)
    found.active = registry.active_version(laboratory=user.laboratory_id)
    parts = Parts(
        stretches=stretches,
        total=total,
        active=found.active,
        readers=_reader_names(user),
        versions=_version_names(total, found.active),
        reference=_reference(found.active),
    )
    parts.agreement(found)
    parts.blind(found)
    parts.drift(found)
    parts.abstention(found)
    parts.times(found, user.laboratory.turnaround_hours)
    return found


def _reader_names(user: User) -> dict[str, str]:
    return {
        str(reader.pk): reader.display_name
        for reader in User.objects.filter(laboratory_id=user.laboratory_id)
    }


def _version_names(total: dict[str, Any], active: ModelVersion | None) -> dict[str, str]:
    """Of the versions that the figures tell of, and the active one."""
    wanted = {*figures_at(total, "images"), *figures_at(total, "readings", "agree", "version")} | (
        {str(active.pk)} if active else set()
    )
    return {
        str(pk): name for pk, name in ModelVersion.objects.filter(pk__in=wanted).values_list("pk", "name")
    }


def _reference(active: ModelVersion | None) -> dict[str, Any]:
    kept = QualityReference.objects.filter(version=active).values_list("figures", flat=True).first()
    return kept or {}
