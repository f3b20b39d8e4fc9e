"""Reads of what is still running: how much, and what waits for longer than its turn. Nothing here writes."""

from __future__ import annotations

import datetime

from django.db.models import Count, Exists, Q
from django.utils import timezone

from diagnosis.models import Analysis, User

MOST_UNFINISHED = 100_000
"""Beyond this many, the counts of queued and running analyses are no longer exact."""

LONG_WAIT = datetime.timedelta(minutes=2)
"""An image that waits for longer waits for something other than its turn: a model, a worker, the broker."""


def queue_counts(*, user: User) -> dict[str, int]:
    """How many analyses of the user's laboratory are `queued` and `running`, in one query."""
    # The slice keeps SQLite from merging the two, which would make it begin with every case there is.
    unfinished = (
        Analysis.objects.filter(state__in=Analysis.UNFINISHED).order_by().values("pk")[:MOST_UNFINISHED]
    )
    return Analysis.objects.filter(
        pk__in=unfinished, image__case__laboratory_id=user.laboratory_id
    ).aggregate(
        queued=Count("pk", filter=Q(state=Analysis.State.QUEUED)),
        running=Count("pk", filter=Q(state=Analysis.State.RUNNING)),
    )


def stuck_count(*, user: User) -> int:
    """How many images of the user's laboratory have waited for more than `LONG_WAIT` while no worker, of
    whichever laboratory, renews a lease; 0 as long as one does. One query.
    """
    now = timezone.now()
    # The slice is there for the reason it is in `queue_counts`.
    waiting = (
        Analysis.objects.filter(state__in=Analysis.UNFINISHED, queued_at__lt=now - LONG_WAIT)
        .order_by()
        .values("pk")[:MOST_UNFINISHED]
    )
    alive = Analysis.objects.filter(state=Analysis.State.RUNNING, lease_expires_at__gte=now)
    return Analysis.objects.filter(
        ~Exists(alive), pk__in=waiting, image__case__laboratory_id=user.laboratory_id
    ).count()
