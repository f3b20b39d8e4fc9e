"""The turnaround clock of a case: from receipt to its first signature, against what the laboratory promises."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from django.db.models import F, Q
from django.utils import timezone

from diagnosis.models import Case

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Clock:
    """Where a case stands: `word` is short enough for a row, `title` says the moment it is due."""

    word: str
    is_late: bool
    title: str


def received_at(case: Case) -> datetime.datetime:
    """When the clock began: as the case was opened, or with the day of receipt where that was an earlier one.

    The hour of an earlier day is not known; taking its beginning calls no late case punctual.
    """
    if case.received_on >= timezone.localdate(case.created_at):
        return case.created_at
    return timezone.make_aware(datetime.datetime.combine(case.received_on, datetime.time.min))


def is_late(*, hours: int, now: datetime.datetime | None = None) -> Q:
    """Cases received more than `hours` ago, as a condition: what `clock_of` calls late while nobody has signed."""
    cutoff = (now or timezone.now()) - datetime.timedelta(hours=hours)
    earlier = Q(created_at__date__gt=F("received_on"), received_on__lte=timezone.localdate(cutoff))
    return Q(created_at__lt=cutoff) | earlier


def clock_of(
    *, case: Case, hours: int, signed_at: datetime.datetime | None, now: datetime.datetime | None = None
) -> Clock:
    """The clock of a case in a laboratory that promises a report within `hours`.

    `signed_at` is the moment of its first signature, which stops the clock; None while there is none.
    """
    begin = received_at(case)
    due = begin + datetime.timedelta(hours=hours)
    title = f"due {timezone.localtime(due):%d %b %Y, %H:%M}, {hours} h after receipt"
    if signed_at is not None:
        late = signed_at > due
        return Clock(f"signed after {span(signed_at - begin)}{', late' if late else ''}", late, title)
    left = due - (now or timezone.now())
    if left < datetime.timedelta(0):
        return Clock(f"late by {span(-left)}", True, title)
    return Clock(f"due in {span(left)}", False, title)


def span(time: datetime.timedelta) -> str:
    """A length of time as a worklist says it: 40 min, 5 h, 3 days."""
    minutes = max(1, round(time / datetime.timedelta(minutes=1)))
    if minutes < 60:
        return f"{minutes} min"
    if time < 2 * _DAY:
        return f"{round(minutes / 60)} h"
    return f"{round(time / _DAY)} days"
