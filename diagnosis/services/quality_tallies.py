"""Numbers of a day that add up over days: shares that know their cases, histograms, and durations.

Images of one case agree with one another, so a share keeps, beside its count, the sums that tell how far its cases
differ. Its interval is Wilson's for as many images as those cases are worth, not for as many as there are.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml.calibration import wilson_interval

TOO_FEW = 20
"""Under so many, no figure is shown: its interval would span most of what is possible."""

STRETCHES: dict[int, int] = {30: 3, 90: 9, 364: 28}
"""Days of each period that the page shows, and of the stretches it is summed up in."""

WIDTHS: dict[str, float] = {
    "focus": 0.02,
    "brightness": 2.0,
    "stain": 0.01,
    "confidence": 0.02,
    "domain": 2.0,
}
"""Width of a bin, in the unit of each measure; all begin at 0. Narrower than any shift that is worth a look."""

STEP = math.log(1.05)
"""Durations lie in bins that are 5 % wide: a quantile read off them is within 2.5 %."""
SHORTEST = 0.01
"""Seconds. What took less lies in the first bin."""


@dataclass
class Share:
    """k of n images in `cases` cases, with the sums of squares and products over cases.

    A case that comes on two days counts twice among `cases`, which widens no interval by much.
    """

    cases: int = 0
    n: int = 0
    k: int = 0
    nn: int = 0
    kk: int = 0
    nk: int = 0

    @classmethod
    def of(cls, by_case: Mapping[Hashable, list[int]]) -> Share:
        """From [n, k] of each case."""
        share = cls()
        for n, k in by_case.values():
            share.add(cls(1, n, k, n * n, k * k, n * k))
        return share

    @classmethod
    def read(cls, kept: Iterable[int]) -> Share:
        return cls(*kept)

    def kept(self) -> list[int]:
        """For JSON; `read` reads it back."""
        return [self.cases, self.n, self.k, self.nn, self.kk, self.nk]

    def add(self, other: Share) -> None:
        self.cases += other.cases
        self.n += other.n
        self.k += other.k
        self.nn += other.nn
        self.kk += other.kk
        self.nk += other.nk

    @property
    def is_enough(self) -> bool:
        return self.n >= TOO_FEW

    @property
    def value(self) -> float | None:
        return self.k / self.n if self.n else None

    @property
    def independent(self) -> float:
        """How many independent images these are worth: never more than there are, never fewer than one.

        From the variance between cases (Rao and Scott 1992, *Biometrics* 48, 577), as shadows are compared. Where all
        images agree their cases do not differ, and it is the number of cases.
        """
        if not self.n:
            return 0.0
        p = self.k / self.n
        if self.cases < 2 or p in (0.0, 1.0):
            return float(self.cases)
        squares = self.kk - 2 * p * self.nk + p * p * self.nn
        variance = squares / self.n**2 * self.cases / (self.cases - 1)
        if variance <= 0:  # every case has the same share
            return float(self.n)
        return min(float(self.n), max(1.0, p * (1 - p) / variance))

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, 0 to 1."""
        n = self.independent
        return wilson_interval((self.value or 0.0) * n, n)


@dataclass
class Histogram:
    """Counts by bin."""

    counts: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, kept: Mapping[str, int]) -> Histogram:
        return cls({int(bin_): count for bin_, count in kept.items()})

    def kept(self) -> dict[str, int]:
        return {str(bin_): count for bin_, count in sorted(self.counts.items())}

    def put(self, bin_: int, count: int = 1) -> None:
        self.counts[bin_] = self.counts.get(bin_, 0) + count

    def add(self, other: Histogram) -> None:
        for bin_, count in other.counts.items():
            self.put(bin_, count)

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    def _place(self, share: float) -> float | None:
        """Where, in bins, this share of the values lies below; None without any."""
        wanted = share * self.n
        below = 0
        for bin_, count in sorted(self.counts.items()):
            if below + count >= wanted:
                return bin_ + (wanted - below) / count
            below += count
        return None

    def quantile(self, share: float, measure: str) -> float | None:
        """Of a measure in `WIDTHS`, in its unit."""
        place = self._place(share)
        return None if place is None else place * WIDTHS[measure]

    def seconds(self, share: float) -> float | None:
        """The quantile of durations, in seconds."""
        place = self._place(share)
        return None if place is None else SHORTEST * math.exp(place * STEP)


def bin_of(value: float, measure: str) -> int:
    """The bin a value of a measure falls into."""
    return max(0, math.floor(value / WIDTHS[measure]))


def duration_bin(seconds: float) -> int:
    """The bin a duration falls into."""
    return max(0, math.floor(math.log(max(seconds, SHORTEST) / SHORTEST) / STEP))


@dataclass
class Counting:
    """A share being counted, case by case."""

    by_case: dict[Hashable, list[int]] = field(default_factory=dict)

    def put(self, case: Hashable, hit: bool) -> None:
        counted = self.by_case.setdefault(case, [0, 0])
        counted[0] += 1
        counted[1] += hit

    def kept(self) -> list[int]:
        return Share.of(self.by_case).kept()


def merged(into: dict[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Add a day's figures to a sum of days: lists element by element, numbers as they are, the rest by its keys."""
    for key, value in figures.items():
        if isinstance(value, dict):
            merged(into.setdefault(key, {}), value)
        elif isinstance(value, list):
            old = into.get(key)
            into[key] = list(value) if old is None else [a + b for a, b in zip(old, value, strict=True)]
        else:
            into[key] = into.get(key, 0) + value
    return into
