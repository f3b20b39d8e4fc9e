"""The trend of blasts over the cases of a patient, as numbers for an SVG: time to the right, blasts per 100 upwards."""

from __future__ import annotations

from dataclasses import dataclass

from diagnosis.case_selectors import PatientCase, PatientCases
from diagnosis.models import Case

WIDTH, HEIGHT = 640.0, 132.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 14.0, 10.0, 8.0
"""Of the chart and its margins, in its own units; the left margin holds the numbers of the scale."""
SCALES = (5, 10, 20, 50, 100)
"""Ends of the scale: the first that holds every interval, so that the few blasts of a remission can be told apart."""
ACUTE = 20.0
"""Blasts per 100 from which on a leukemia is acute (WHO): the line that is drawn."""


@dataclass(frozen=True)
class Point:
    """One case in the chart: its place, and the ends of its interval's bar."""

    case: PatientCase
    x: str
    y: str
    low: str
    high: str

    @property
    def is_few(self) -> bool:
        return self.case.is_few

    @property
    def is_marrow(self) -> bool:
        return self.case.specimen == Case.Specimen.MARROW


@dataclass(frozen=True)
class Trend:
    """The chart. `lines` join cases of one specimen alone: blood and marrow do not continue each other."""

    points: tuple[Point, ...]
    lines: tuple[str, ...]
    top: int
    acute: str
    has_marrow: bool

    @property
    def middle(self) -> float:
        return self.top / 2

    @property
    def sentence(self) -> str:
        """What the chart shows, for those who do not see it; the table beside it has every number."""
        told = [f"{point.case.accession_number} {point.case.blasts_per_100:.1f}" for point in self.points]
        return f"Blasts per 100 leukocytes, by the day the specimen was received: {', '.join(told)}"


def trend_of(cases: PatientCases) -> Trend | None:
    """The chart of a patient's cases; None where fewer than two of them have counted leukocytes."""
    counted = [(one, one.interval) for one in cases.cases]
    known = [(one, interval) for one, interval in counted if interval is not None]
    if len(known) < 2:
        return None
    top = next(scale for scale in SCALES if scale >= min(100.0, max(high for _, (_, high) in known)))
    days = [one.received_on.toordinal() for one, _ in known]
    points = tuple(
        Point(
            case=one,
            x=_short(_across(day, days, place)),
            y=_short(_height(one.blasts_per_100 or 0.0, top)),
            low=_short(_height(interval[0], top)),
            high=_short(_height(interval[1], top)),
        )
        for place, ((one, interval), day) in enumerate(zip(known, days, strict=True))
    )
    return Trend(
        points=points,
        lines=tuple(_line(points, specimen) for specimen in Case.Specimen.values if _line(points, specimen)),
        top=top,
        acute=_short(_height(ACUTE, top)) if top > ACUTE else "",
        has_marrow=len({one.specimen for one, _ in known}) > 1,
    )


def _across(day: int, days: list[int], place: int) -> float:
    """Where a day lies; cases that all came on one day lie side by side."""
    first, last = min(days), max(days)
    share = (day - first) / (last - first) if last > first else place / (len(days) - 1)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _height(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - min(value, top) / top * (HEIGHT - TOP - BOTTOM)


def _line(points: tuple[Point, ...], specimen: str) -> str:
    """The points of a polyline, or nothing for fewer than two."""
    of_it = [point for point in points if point.case.specimen == specimen]
    return " ".join(f"{point.x},{point.y}" for point in of_it) if len(of_it) > 1 else ""


def _short(value: float) -> str:
    return f"{value:.1f}"
