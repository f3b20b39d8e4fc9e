"""Counts that stop: of a million rows a page needs to know that there are many, not how many."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import IntegerField, QuerySet, Subquery

MOST: Final = 1000
"""Counted exactly up to here."""


class BoundedCount(Subquery):
    """How many rows a queryset has, which may name the outer row by OuterRef; `MOST` + 1 where there are more."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"
    output_field = IntegerField()

    def __init__(self, rows: QuerySet[Any]) -> None:
        super().__init__(rows.order_by().values("pk")[: MOST + 1])


def counted(number: int) -> str:
    """The number as a page says it: `1,000`, or `more than 1,000`."""
    return f"more than {MOST:,}" if number > MOST else f"{number:,}"
