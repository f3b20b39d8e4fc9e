"""Keeps the tallies of cases (`CaseTally`): lists ask them, and count alone what changed since.

The upkeep's clock calls `refresh`. Where it does not run for a while the lists are as right, and slower.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from diagnosis import selectors
from diagnosis.models import BlindReading, Case, CaseTally, Review, SmearImage, StaleTally
from diagnosis.services.findings import TOLD

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
    cases = set(stale.values())
    counted = selectors.with_counts(Case.objects.filter(pk__in=cases).order_by(), None).values("pk", *KEPT)
    traits = _traits(cases)
    tallies = [CaseTally(case_id=row["pk"], traits=traits.get(row.pop("pk"), ""), **row) for row in counted]
    CaseTally.objects.bulk_create(
        tallies,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["case"],
        update_fields=[*KEPT, "traits"],
    )
    StaleTally.objects.filter(pk__in=stale).delete()
    return len(tallies)


def _traits(cases: set[int]) -> dict[int, str]:
    """Of each of these cases, what at least one of its images has: see `CaseTally.traits`."""
    columns = ("told_label", "told_reviewer_key", "told_version_key", "told_differs")
    images = SmearImage.objects.filter(case__in=cases).order_by().annotate(**TOLD)
    found: dict[int, set[str]] = {}
    for case, label, reader, version, differs in images.values_list("case_id", *columns).distinct():
        has = found.setdefault(case, set())
        has |= {trait("label", label), trait("reader", reader), trait("version", version)}
        has |= {DIFFERS} if differs else set()
    of_cases = {"image__case__in": cases}
    for seen in (
        BlindReading.objects.filter(**of_cases).order_by().values_list("image__case", "reader"),
        Review.objects.filter(**of_cases).order_by().values_list("image__case", "reviewer"),
    ):
        for case, person in seen.distinct():
            found.setdefault(case, set()).add(trait(SEEN_BY, person))
    return {case: f" {' '.join(sorted(has))} " for case, has in found.items()}


DIFFERS: Final = "differs"
SEEN_BY: Final = "seen"
"""Somebody who has classed an image blind or reviewed it: `veil.shown_to`."""


def trait(name: str, value: object) -> str:
    """How a trait is written: as one word, also of a class whose name has several."""
    return f"{name}={quote(str(value))}"
