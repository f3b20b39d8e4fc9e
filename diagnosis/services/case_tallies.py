"""Keeps the tallies of open cases (`CaseTally`): the worklist asks them, and counts alone what changed since.

The upkeep's clock calls `refresh`. Where it does not run for a while the worklist is as right, and slower.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction

from diagnosis import selectors
from diagnosis.models import Case, CaseTally, StaleTally

A_BATCH: Final = 2000
_LOCK: Final = 0x7A11E5
"""Of PostgreSQL's advisory locks. Two counting at once could keep the older count last."""
KEPT: Final = tuple(name for name in selectors.COUNTED if name != "veiled_count")


def refresh() -> int:
    """Count the open cases anew whose tally is stale or missing; returns how many were counted."""
    counted = 0
    while True:
        stale = dict(StaleTally.objects.order_by("pk").values_list("pk", "case_key")[:A_BATCH])
        missing = set(
            Case.objects.filter(selectors.NOT_SIGNED, tally__isnull=True)
            .order_by()
            .values_list("pk", flat=True)[:A_BATCH]
        )
        if not stale and not missing:  # a transaction of nothing would still take SQLite's one write lock
            return counted
        with transaction.atomic():
            if not _is_ours():
                return counted
            counted += _count(stale, missing)


def _is_ours() -> bool:
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])


def _count(stale: dict[int, int], missing: set[int]) -> int:
    # What made a row stale was committed with the row: who counts after reading it counts it in.
    wanted = missing | set(stale.values())
    cases = Case.objects.filter(selectors.NOT_SIGNED, pk__in=wanted).order_by()
    tallies = [
        CaseTally(case_id=row.pop("pk"), **row)
        for row in selectors.with_counts(cases, None).values("pk", *KEPT)
    ]
    CaseTally.objects.bulk_create(
        tallies, batch_size=500, update_conflicts=True, unique_fields=["case"], update_fields=list(KEPT)
    )
    CaseTally.objects.filter(case__in=wanted - {tally.case_id for tally in tallies}).delete()
    StaleTally.objects.filter(pk__in=stale).delete()
    return len(tallies)
