"""What pages of many cases need of an analysis's leukocytes, kept with it: how many, how many blasts and promyelocytes.

They are those of `ml.cells.counting.differential` with the readers' corrections applied, so they follow every reading,
in its transaction. A case has thousands of cells: its worklist row and the trend of a patient add up a few numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, NullIf

from diagnosis.models import Cell, CellAnalysis
from ml.cells.apl import PROMYELOCYTE
from ml.cells.counting import BLASTS, NOT_LEUKOCYTES, Counted, differential

_LABEL: Final = Coalesce(NullIf("newest_reading__label", Value("")), "label")


def tallied(cells: Iterable[Counted]) -> dict[str, int]:
    """The values to store with cells that nobody has read yet."""
    found = differential(cells)
    return {"leukocytes": found.total, "blasts": found.blasts, "promyelocytes": found.promyelocytes}


def retally(*, found: QuerySet[CellAnalysis]) -> None:
    """Bring the counts of these analyses up to their cells and readings; one query, in the caller's transaction."""
    counted = (
        Cell.objects.filter(cell_analysis=OuterRef("pk"), touches_border=False)
        .alias(given=_LABEL)
        .exclude(given__in=["", *NOT_LEUKOCYTES])
        .order_by()
        .values("cell_analysis")
    )

    def number(only: Q) -> Coalesce:
        return Coalesce(Subquery(counted.annotate(n=Count("pk", filter=only)).values("n")), Value(0))

    found.update(
        leukocytes=number(Q(pk__isnull=False)),
        blasts=number(Q(given__in=sorted(BLASTS))),
        promyelocytes=number(Q(given=PROMYELOCYTE)),
    )
