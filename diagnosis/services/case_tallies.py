"""Keeps the tallies of cases (`CaseTally`): lists ask them, and count alone what changed since.

The upkeep's clock calls `refresh`. Where it does not run for a while the lists are as right, and slower.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from diagnosis import selectors
from diagnosis.models import Case, CaseTally, StaleTally

A_BATCH: Final = 1000
"""Notes of changes that are worked off in one transaction: a fraction of a second, for SQLite has one that writes."""
MOST_BATCHES: Final = 5
"""Of one round. Where images come faster than that, the next round goes on: others wait for the same worker."""
_LOCK: Final = 0x7A11E5
"""Of PostgreSQL's advisory locks. Two counting at once could keep the older count last."""
KEPT: Final = tuple(name for name in selectors.COUNTED if name != "veiled_count")


def refresh(*, batches: int = MOST_BATCHES) -> int:
    """Count the cases anew whose tallies do not hold; returns how many were counted."""
    counted = 0
    for _ in range(batches):
        stale = dict(StaleTally.objects.order_by("pk").values_list("pk", "case_key")[:A_BATCH])
        if not stale:  # a transaction of nothing would still take SQLite's one write lock
            break
        with transaction.atomic():
            if not _is_ours():
                break
            counted += _count(stale)
        if len(stale) < A_BATCH:
            break
    return counted


def note_all(database: BaseDatabaseWrapper) -> None:
    """Have every case counted anew: nobody knows what changed while the triggers were away."""
    note = f"INSERT INTO {StaleTally._meta.db_table} (case_key) SELECT id FROM {Case._meta.db_table}"
    with database.cursor() as cursor:
        cursor.execute(note)


def _is_ours() -> bool:
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])


def _count(stale: dict[int, int]) -> int:
    # What made a row stale was committed with the row: who counts after reading it counts it in.
    cases = Case.objects.filter(pk__in=set(stale.values())).order_by()
    tallies = [
        CaseTally(case_id=row.pop("pk"), **row)
        for row in selectors.with_counts(cases, None).values("pk", *KEPT)
    ]
    CaseTally.objects.bulk_create(
        tallies, batch_size=500, update_conflicts=True, unique_fields=["case"], update_fields=list(KEPT)
    )
    StaleTally.objects.filter(pk__in=stale).delete()
    return len(tallies)
