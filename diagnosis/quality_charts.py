"""Charts of the quality page, and the table beside each: both from the same points."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from diagnosis import turnaround, wording
from diagnosis.services.quality_tallies import TOO_FEW, Histogram, Share


@dataclass(frozen=True)
class Point:
    """One value of a series. Without `value` there were too few, or none; `n` says how many.

    `low` and `high` are its interval, or the quartiles around a median; `words` is all of it for the table.
    """

    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    words: str = "–"


@dataclass(frozen=True)
class Series:
    name: str
    points: tuple[Point, ...]

    @property
    def is_empty(self) -> bool:
        return all(point.value is None for point in self.points)


@dataclass(frozen=True)
class Chart:
    """Series over the same stretches of time, whose first days are `starts`.

    `expected` is the range (low, high) of held-out images and `limit` a line that should not be passed, each with its
    words; `at_most` bounds the axis, and None leaves it to the values.
    """

    key: str
    title: str
    unit: str
    starts: tuple[datetime.date, ...]
    series: tuple[Series, ...]
    what: str = "95 % interval"
    expected: tuple[float, float] | None = None
    expected_words: str = ""
    limit: float | None = None
    limit_words: str = ""
    at_most: float | None = None
    note: str = ""
    from_zero: bool = True

    @property
    def is_empty(self) -> bool:
        return all(one.is_empty for one in self.series)

    @property
    def data(self) -> dict[str, Any]:
        """What the browser draws."""
        return {
            "days": [start.isoformat() for start in self.starts],
            "unit": self.unit,
            "series": [
                {
                    "name": one.name,
                    "values": [point.value for point in one.points],
                    "low": [point.low for point in one.points],
                    "high": [point.high for point in one.points],
                }
                for one in self.series
            ],
            "expected": self.expected,
            "limit": self.limit,
            "top": self.at_most,
            "fromZero": self.from_zero,
        }

    @property
    def rows(self) -> list[tuple[datetime.date, list[Point]]]:
        """The table: each stretch with a point of every series."""
        return [
            (start, [one.points[place] for one in self.series]) for place, start in enumerate(self.starts)
        ]


@dataclass
class Row:
    """One line of a table of shares."""

    name: str
    share: Share
    more: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        return share_point(self.share).words


def share_point(share: Share) -> Point:
    """A share in percent with its interval; its words say where there are too few."""
    if not share.n:
        return Point(0)
    if not share.is_enough or share.value is None:
        return Point(share.n, words=f"too few ({share.n})")
    low, high = share.interval
    return Point(
        share.n,
        100 * share.value,
        100 * low,
        100 * high,
        f"{wording.percent(share.value)} ({_bare(low)} to {_bare(high)})",
    )


def _bare(share: float) -> str:
    return f"{100 * share:.1f}"


def median_point(histogram: Histogram, measure: str, words: Callable[[float], str]) -> Point:
    """The median of a measure between its quartiles."""
    n = histogram.n
    if n < TOO_FEW:
        return Point(n, words=f"too few ({n})" if n else "–")
    low, middle, high = (histogram.quantile(share, measure) or 0.0 for share in (0.25, 0.5, 0.75))
    return Point(n, middle, low, high, f"{words(middle)} ({words(low)} to {words(high)})")


def time_points(
    histograms: Sequence[Histogram], *, per_unit: float, least: int = TOO_FEW
) -> tuple[Series, ...]:
    """Median and 90th percentile of durations, in units of so many seconds."""
    found = []
    for name, share in (("median", 0.5), ("90th percentile", 0.9)):
        points = []
        for histogram in histograms:
            seconds = histogram.seconds(share) if histogram.n >= least else None
            if seconds is None:
                points.append(Point(histogram.n, words=f"too few ({histogram.n})" if histogram.n else "–"))
            else:
                points.append(Point(histogram.n, seconds / per_unit, words=time_words(seconds)))
        found.append(Series(name, tuple(points)))
    return tuple(found)


def time_words(seconds: float) -> str:
    """2.4 s, 40 s, 12 min, 5 h, 3 days."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return (
        wording.duration(seconds) if seconds < 3600 else turnaround.span(datetime.timedelta(seconds=seconds))
    )


def median_time_words(times: Histogram) -> str:
    """The median of durations, where there are enough of them."""
    if times.n < TOO_FEW:
        return f"too few ({times.n})" if times.n else "–"
    return time_words(times.seconds(0.5) or 0.0)
