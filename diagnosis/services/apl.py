"""The alert *possible APL*: whether a case raises it, on what it rests, what to do, and what it cannot say.

The counts it rests on are kept with every analysis of cells (`services.tallies`), so a page of cases asks nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db.models import F, FloatField, Q, Sum, Value
from django.db.models.expressions import Expression
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import GreaterThan

from diagnosis.models import Case, CellAnalysis
from ml.cells import apl

WORD: Final = "Possible APL"
ADVICE: Final = (
    "Acute promyelocytic leukemia is an emergency: look at these cells yourself now, tell the treating physician the "
    "same hour, check coagulation, and confirm by PML::RARA."
)
LIMITS: Final = (
    "The alert rests on the number of promyelocytes alone and is not validated at this site. Most patients with APL "
    "that it was tried on did not raise it: that there is no alert excludes nothing."
)

_CELLS: Final = "images__newest_analysis__cell_analysis__"


@dataclass(frozen=True)
class Alert:
    """A raised alert.

    Attributes:
        promyelocytes, leukocytes: as counted, a reader's corrections applied. low, high: 95 % interval of the
            promyelocytes per 100 leukocytes.
    """

    promyelocytes: int
    leukocytes: int
    low: float
    high: float
    word: str = WORD
    advice: str = ADVICE
    limits: str = LIMITS

    @property
    def per_100(self) -> float:
        return 100 * self.promyelocytes / self.leukocytes

    @property
    def sentence(self) -> str:
        """On what it rests."""
        return (
            f"{self.promyelocytes} promyelocytes among {self.leukocytes} leukocytes: {self.per_100:.1f} per 100 "
            f"(95 % interval {self.low:.1f} to {self.high:.1f})."
        )


def alert(
    *, promyelocytes: int | None, leukocytes: int | None, specimen: str = Case.Specimen.BLOOD
) -> Alert | None:
    """The alert that these counts raise in such a specimen; None where they raise none, or nothing was counted."""
    some, of = promyelocytes or 0, leukocytes or 0
    interval = apl.promyelocyte_interval(some, of)
    if interval is None or not apl.is_possible_apl(some, of, is_marrow=specimen == Case.Specimen.MARROW):
        return None
    return Alert(some, of, low=100 * interval[0], high=100 * interval[1])


def alert_of(case: Case) -> Alert | None:
    """The alert of a case, by the newest analyses of its images; one query."""
    found = CellAnalysis.objects.filter(
        analysis__image__case=case, analysis=F("analysis__image__newest_analysis")
    ).aggregate(promyelocytes=Sum("promyelocytes"), leukocytes=Sum("leukocytes"))
    return alert(specimen=case.specimen, **found)


def sums(*, shown: Q | None = None) -> dict[str, Expression]:
    """What a queryset of cases is annotated with for `condition` and, a row, for `alert_of_row`: `promyelocyte_count`
    and `leukocyte_count`, over the newest analyses of the images, in the one join that other counts of images take too.

    `shown` narrows the images to those of which a person may be told.
    """
    return {
        f"{name}_count": Coalesce(Sum(f"{_CELLS}{name}s", filter=shown or None), Value(0))
        for name in ("promyelocyte", "leukocyte")
    }


def alert_of_row(case: Case) -> Alert | None:
    """The alert of a case that came with `sums`."""
    counts = case.__dict__
    return alert(
        promyelocytes=counts["promyelocyte_count"],
        leukocytes=counts["leukocyte_count"],
        specimen=case.specimen,
    )


def condition() -> Q:
    """Cases whose counts, as `sums` annotates them, raise the alert: `ml.cells.apl.is_possible_apl` in the database."""
    enough = Q(promyelocyte_count__gte=apl.LEAST_PROMYELOCYTES, leukocyte_count__gte=apl.LEAST_LEUKOCYTES)
    blood = Q(specimen=Case.Specimen.BLOOD) & _exceeds(apl.LEAST_SHARE_OF_BLOOD)
    return enough & (blood | (Q(specimen=Case.Specimen.MARROW) & _exceeds(apl.LEAST_SHARE_OF_MARROW)))


def _exceeds(least: float) -> Q:
    promyelocytes, leukocytes = (
        Cast(F(name), FloatField()) for name in ("promyelocyte_count", "leukocyte_count")
    )
    excess = promyelocytes - Value(least) * leukocytes
    squared = excess * excess - Value(apl.squared_spread(least)) * leukocytes
    return Q(GreaterThan(excess, 0.0)) & Q(GreaterThan(squared, 0.0))
