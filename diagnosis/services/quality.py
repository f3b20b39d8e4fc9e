"""Counting what the quality page shows: day by day and laboratory by laboratory, from what is stored.

A day can be counted as often as one likes, with the same result: its row is written anew. What belongs to a day may
change later (a reading is taken back, a report is signed and says which blind reading was right), so the clock counts
the last weeks again once a day, and the last two days every hour.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Min
from django.utils import timezone

from diagnosis import quality_rows
from diagnosis.models import (
    Analysis,
    Case,
    Laboratory,
    QualityDay,
    QualityPeriod,
)
from diagnosis.services import quality_reference
from diagnosis.services.quality_tallies import STRETCHES, Counting, Histogram, bin_of, duration_bin, merged
from ml import input_reference

RECENT_DAYS = 35
"""How far back a day may change: longer than a case stays open."""
FIRST_DAYS = 366
"""What the first count of an installation goes back to; `manage.py quality --since` goes further."""
AT_ONCE = 31
"""Days counted in one pass, which bounds the memory it takes."""
STALE_AFTER = datetime.timedelta(hours=23)


@dataclass
class Day:
    """What is being counted of one day of one laboratory."""

    shares: dict[tuple[str, ...], Counting] = field(default_factory=lambda: defaultdict(Counting))
    histograms: dict[tuple[str, ...], Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    numbers: dict[tuple[str, ...], int] = field(default_factory=lambda: defaultdict(int))

    def figures(self) -> dict[str, Any]:
        """Nested as the page reads it: the path of each figure is its keys."""
        found: dict[str, Any] = {}
        kept: list[tuple[tuple[str, ...], Any]] = [
            *((path, share.kept()) for path, share in self.shares.items()),
            *((path, histogram.kept()) for path, histogram in self.histograms.items()),
            *self.numbers.items(),
        ]
        for path, value in kept:
            place = found
            for key in path[:-1]:
                place = place.setdefault(key, {})
            place[path[-1]] = value
        return found


Days = dict[tuple[int, datetime.date], Day]


def run() -> int:
    """What the clock does every hour; returns how many days were written."""
    today = timezone.localdate()
    recent = today - datetime.timedelta(days=RECENT_DAYS - 1)
    rows = QualityDay.objects.filter(day__gte=recent)
    if not QualityDay.objects.exists():
        since = today - datetime.timedelta(days=FIRST_DAYS - 1)
    elif rows.filter(computed_at__lt=timezone.now() - STALE_AFTER).exists():
        since = recent
    else:
        since = today - datetime.timedelta(days=1)
    return compute(since=since, until=today)


def compute(
    *, since: datetime.date | None = None, until: datetime.date, laboratory: Laboratory | None = None
) -> int:
    """Count the days from `since` (None: the first there is) to `until`, both included, for one laboratory or all.

    Returns how many days were written; a day on which nothing happened has no row.
    """
    begin = max(since or datetime.date.min, _first_day(until))
    written = 0
    quality_reference.keep_references()
    while begin <= until:
        end = min(until, begin + datetime.timedelta(days=AT_ONCE - 1))
        written += _compute(begin, end, laboratory)
        begin = end + datetime.timedelta(days=1)
    sum_up(laboratory=laboratory)
    return written


def sum_up(*, laboratory: Laboratory | None = None) -> None:
    """Sum up the counted days of each period up to today, for one laboratory or all that have any."""
    now, today = timezone.now(), timezone.localdate()
    owners = [laboratory.pk] if laboratory is not None else _owners()
    rows = [row for owner in owners for row in _periods(owner, today, now)]
    QualityPeriod.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["laboratory", "days"],
        update_fields=["until", "total", "stretches", "computed_at"],
    )


def _owners() -> list[int]:
    counted = QualityDay.objects.order_by().values_list("laboratory", flat=True).distinct()
    # Those whose days are all gone by now must not go on showing them.
    return list(counted.union(QualityPeriod.objects.order_by().values_list("laboratory", flat=True)))


def _periods(owner: int, today: datetime.date, now: datetime.datetime) -> list[QualityPeriod]:
    longest = max(STRETCHES)
    sums: dict[int, list[dict[str, Any]]] = {
        days: [{} for _ in range(days // step)] for days, step in STRETCHES.items()
    }
    counted = QualityDay.objects.filter(
        laboratory=owner, day__gt=today - datetime.timedelta(days=longest), day__lte=today
    ).order_by("day")
    for day, figures in counted.values_list("day", "figures").iterator(chunk_size=100):
        back = (today - day).days
        for days, step in STRETCHES.items():
            if back < days:
                merged(sums[days][-1 - back // step], figures)
    rows = []
    for days, stretches in sums.items():
        total: dict[str, Any] = {}
        for figures in stretches:
            merged(total, figures)
        charted = [_charted(figures) for figures in stretches]
        rows.append(
            QualityPeriod(
                laboratory_id=owner, days=days, until=today, total=total, stretches=charted, computed_at=now
            )
        )
    return rows


def _charted(figures: dict[str, Any]) -> dict[str, Any]:
    """Of a stretch of days, what charts show."""
    found: dict[str, Any] = {key: figures[key] for key in ("turnaround", "waited", "took") if key in figures}
    for kind in ("readings", "blind"):
        if "agree" in figures.get(kind, {}):
            found[kind] = {"agree": {"all": figures[kind]["agree"]["all"]}}
    found["images"] = {
        version: {key: images[key] for key in ("indeterminate", "measures") if key in images}
        for version, images in figures.get("images", {}).items()
    }
    return found


def _first_day(otherwise: datetime.date) -> datetime.date:
    moments = (
        Case.objects.aggregate(first=Min("created_at"))["first"],
        Analysis.objects.aggregate(first=Min("finished_at"))["first"],
    )
    return min((timezone.localdate(moment) for moment in moments if moment is not None), default=otherwise)


def _compute(since: datetime.date, until: datetime.date, laboratory: Laboratory | None) -> int:
    now = timezone.now()
    days: Days = defaultdict(Day)
    window = quality_rows.Window(since, until, laboratory)
    _count_analyses(days, window)
    _count_reviews(days, window)
    _count_blind(days, window)
    _count_signed(days, window)
    rows = [
        QualityDay(laboratory_id=owner, day=day, figures=counted.figures(), computed_at=now)
        for (owner, day), counted in days.items()
    ]
    with transaction.atomic():
        kept = QualityDay.objects.filter(day__range=(since, until))
        if laboratory is not None:
            kept = kept.filter(laboratory=laboratory)
        gone = [pk for pk, *key in kept.values_list("pk", "laboratory", "day") if tuple(key) not in days]
        QualityDay.objects.filter(pk__in=gone).delete()
        QualityDay.objects.bulk_create(
            rows,
            batch_size=200,
            update_conflicts=True,
            unique_fields=["laboratory", "day"],
            update_fields=["figures", "computed_at"],
        )
    return len(rows)


def _count_analyses(days: Days, window: quality_rows.Window) -> None:
    for row in quality_rows.analyses(window):
        day = days[row.laboratory, timezone.localdate(row.finished_at)]
        if row.state == Analysis.State.FAILED:
            day.numbers["failed",] += 1
            continue
        if row.started_at is not None:
            waited, took = row.started_at - row.queued_at, row.finished_at - row.started_at
            day.histograms["waited",].put(duration_bin(waited.total_seconds()))
            day.histograms["took",].put(duration_bin(took.total_seconds()))
        here = ("images", str(row.version))
        is_indeterminate = row.outcome == Analysis.Outcome.INDETERMINATE
        day.shares[(*here, "indeterminate")].put(row.case, is_indeterminate)
        if row.inside_domain is not None:
            day.shares[(*here, "outside")].put(row.case, not row.inside_domain)
        for reason in row.reasons:
            day.numbers[(*here, "reasons", reason)] += 1
        if row.label:
            day.numbers[(*here, "classes", row.label)] += 1
        measures = input_reference.comparable(row.quality.get("checks", []))
        if row.confidence is not None:
            measures["confidence"] = row.confidence
        if row.domain_percentile is not None:
            measures["domain"] = row.domain_percentile
        for name, value in measures.items():
            day.histograms[(*here, "measures", name)].put(bin_of(value, name))


def _count_reviews(days: Days, window: quality_rows.Window) -> None:
    for row in quality_rows.reviews(window):
        day = days[row.laboratory, timezone.localdate(row.created_at)]
        kind = "after" if row.was_blind else "open"
        if row.seconds is not None:
            for group in _reader_groups(row.reader):
                day.histograms[("seconds", kind, *group)].put(duration_bin(row.seconds))
        if row.outcome == Analysis.Outcome.INDETERMINATE:
            day.numbers["readings", "of_indeterminate"] += 1
        elif not row.label:
            day.numbers["readings", "unsure"] += 1
        elif row.outcome == Analysis.Outcome.CLASS:
            agrees = row.label == row.model_label
            for group in _groups(row.reader, row.version, row.model_label):
                day.shares[("readings", "agree", *group)].put(row.case, agrees)
            day.numbers["readings", "said", row.model_label, row.label] += 1


def _count_blind(days: Days, window: quality_rows.Window) -> None:
    for row in quality_rows.blind_readings(window):
        day = days[row.laboratory, timezone.localdate(row.created_at)]
        if row.seconds is not None:
            for group in _reader_groups(row.reader):
                day.histograms[("seconds", "blind", *group)].put(duration_bin(row.seconds))
        if not row.is_class:
            day.numbers["blind", "no_class"] += 1
            continue
        if row.model_label:
            for group in _groups(row.reader, row.version, row.model_label):
                day.shares[("blind", "agree", *group)].put(row.case, row.label == row.model_label)
            if row.after and row.after != row.label:
                towards = "to_model" if row.after == row.model_label else "elsewhere"
                day.numbers["blind", towards] += 1
        if not row.settled or not row.after:
            continue
        for when, label in (("before", row.label), ("after", row.after)):
            hit = label == row.settled
            groups = _reader_groups(row.reader)
            if row.settled_by != row.reader:
                groups += (("other",), ("reader_other", str(row.reader)))
            for path in groups:
                day.shares[("blind", when, *path)].put(row.case, hit)


def _reader_groups(reader: int) -> tuple[tuple[str, ...], ...]:
    return (("all",), ("reader", str(reader)))


def _groups(reader: int, version: int, label: str) -> tuple[tuple[str, ...], ...]:
    return (*_reader_groups(reader), ("version", str(version)), ("class", label))


def _count_signed(days: Days, window: quality_rows.Window) -> None:
    for row in quality_rows.signed(window):
        day = days[row.laboratory, timezone.localdate(row.signed_at)]
        seconds = (row.signed_at - row.received_at).total_seconds()
        day.histograms["turnaround", "time"].put(duration_bin(seconds))
        day.shares["turnaround", "late"].put(row.case, seconds > 3600 * row.hours)
