"""What the quality page shows of a laboratory, from the days that are counted already: never from an image's rows."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from diagnosis import quality_charts, selectors, wording
from diagnosis.models import ModelVersion, QualityPeriod, QualityReference, User
from diagnosis.quality_charts import Chart, Point, Row, Series
from diagnosis.services import quality_drift, registry
from diagnosis.services.quality_drift import Moved
from diagnosis.services.quality_tallies import STRETCHES, TOO_FEW, Histogram, Share, merged

MOST_REASONS = 8


@dataclass(frozen=True)
class Period:
    """`days` up to today, in stretches of `step` days for charts."""

    key: str
    words: str
    days: int

    @property
    def step(self) -> int:
        return STRETCHES[self.days]


PERIODS: dict[str, Period] = {
    period.key: period
    for period in (
        Period("30", "30 days", 30),
        Period("90", "90 days", 90),
        Period("365", "A year", 364),
    )
}
DEFAULT_PERIOD = PERIODS["90"]


@dataclass
class BlindRow:
    """Of one reader, or of all: right before and after she saw the model's class, and how long each took."""

    name: str
    before: Share
    after: Share
    before_other: Share
    after_other: Share
    before_seconds: Histogram
    after_seconds: Histogram

    @property
    def cells(self) -> list[str]:
        shares = (self.before, self.after, self.before_other, self.after_other)
        return [
            *(quality_charts.share_point(share).words for share in shares),
            *(_median_time(times) for times in (self.before_seconds, self.after_seconds)),
        ]


@dataclass
class Quality:
    """All of the page. Lists are empty, and charts left out, where there is nothing to show."""

    period: Period
    since: datetime.date
    until: datetime.date
    counted_at: datetime.datetime | None
    images: int = 0
    readings: int = 0
    active: ModelVersion | None = None
    queue: dict[str, int] = field(default_factory=dict)
    agreement: Share = field(default_factory=Share)
    agreement_chart: Chart | None = None
    by_class: list[Row] = field(default_factory=list)
    by_reader: list[Row] = field(default_factory=list)
    by_version: list[Row] = field(default_factory=list)
    said: list[tuple[str, list[int]]] = field(default_factory=list)
    said_columns: list[str] = field(default_factory=list)
    unsure: int = 0
    of_indeterminate: int = 0
    open_seconds: str = ""
    blind_readings: int = 0
    blind_moved: dict[str, int] = field(default_factory=dict)
    blind: list[BlindRow] = field(default_factory=list)
    drift: list[tuple[str, Moved, str, str]] = field(default_factory=list)
    drift_charts: list[Chart] = field(default_factory=list)
    indeterminate: Share = field(default_factory=Share)
    outside: Share = field(default_factory=Share)
    abstention_chart: Chart | None = None
    reasons: list[tuple[str, int]] = field(default_factory=list)
    failed: int = 0
    late: Share = field(default_factory=Share)
    turnaround: list[str] = field(default_factory=list)
    turnaround_chart: Chart | None = None
    queue_chart: Chart | None = None
    waited: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.images or self.readings or self.blind_readings or self.turnaround or self.failed)

    @property
    def alarms(self) -> list[str]:
        return [moved.sentence for _, moved, _, _ in self.drift if moved.is_alarm]


def quality_of(*, user: User, period: Period) -> Quality:
    """The quality of the user's laboratory over a period, as it was counted last. A constant number of queries."""
    row = QualityPeriod.objects.filter(laboratory_id=user.laboratory_id, days=period.days).first()
    until = row.until if row is not None else timezone.localdate()
    kept = row.stretches if row is not None else [{} for _ in range(period.days // period.step)]
    stretches = [_Stretch(until, period, place, figures) for place, figures in enumerate(kept)]
    counted_at = row.computed_at if row is not None else None
    total = row.total if row is not None else {}
    found = Quality(period, stretches[0].start, until, counted_at)
    found.queue = selectors.queue_counts(user=user)
    found.active = registry.active_version(laboratory=user.laboratory_id)
    parts = _Parts(user, stretches, total, found.active)
    parts.agreement(found)
    parts.blind(found)
    parts.drift(found)
    parts.abstention(found)
    parts.times(found, user.laboratory.turnaround_hours)
    return found


class _Stretch:
    """Some days in a row, summed up."""

    def __init__(self, until: datetime.date, period: Period, place: int, figures: dict[str, Any]) -> None:
        behind = period.days - 1 - place * period.step
        self.start = until - datetime.timedelta(days=behind)
        self.figures = figures


class _Parts:
    """The parts of the page from the sums; names are asked for once."""

    def __init__(
        self, user: User, stretches: list[_Stretch], total: dict[str, Any], active: ModelVersion | None
    ) -> None:
        self._stretches, self._total, self._active = stretches, total, active
        self._starts = tuple(stretch.start for stretch in stretches)
        self._readers = {
            str(reader.pk): reader.display_name
            for reader in User.objects.filter(laboratory_id=user.laboratory_id)
        }
        wanted = {*_at(total, "images"), *_at(total, "readings", "agree", "version")} | (
            {str(active.pk)} if active else set()
        )
        self._versions = {
            str(pk): name for pk, name in ModelVersion.objects.filter(pk__in=wanted).values_list("pk", "name")
        }
        kept = QualityReference.objects.filter(version=active).values_list("figures", flat=True).first()
        self._reference: dict[str, Any] = kept or {}

    def agreement(self, found: Quality) -> None:
        readings = _at(self._total, "readings")
        agree = _at(readings, "agree")
        found.agreement = _share(agree, "all")
        found.readings = found.agreement.n + readings.get("unsure", 0) + readings.get("of_indeterminate", 0)
        found.unsure, found.of_indeterminate = (
            readings.get("unsure", 0),
            readings.get("of_indeterminate", 0),
        )
        found.by_class = _rows(agree.get("class", {}), wording.class_word, order=list(wording.REVIEW_WORDS))
        found.by_reader = _rows(agree.get("reader", {}), self._reader)
        found.by_version = _rows(agree.get("version", {}), lambda key: self._versions.get(key, "removed"))
        said = _at(readings, "said")
        columns = _ordered({read for by_read in said.values() for read in by_read})
        found.said_columns = [wording.class_word(label) for label in columns]
        found.said = [
            (wording.class_word(label), [said[label].get(read, 0) for read in columns])
            for label in _ordered(said)
        ]
        found.open_seconds = _median_time(_histogram(self._total, "seconds", "open", "all"))
        series = [self._shares("with the model's class in view", "readings", "agree", "all")]
        before = self._shares("before the model's class was shown", "blind", "agree", "all")
        if any(point.n for point in before.points):
            series.append(before)
        found.agreement_chart = self._chart(
            "agreement", "Readers give the model's class", "%", tuple(series), at_most=100.0
        )

    def blind(self, found: Quality) -> None:
        blind = _at(self._total, "blind")
        times = _at(self._total, "seconds")
        found.blind_readings = _share(blind, "agree", "all").n + blind.get("no_class", 0)
        found.blind_moved = {key: blind.get(key, 0) for key in ("to_model", "elsewhere")}
        readers = sorted(
            {*_at(blind, "before", "reader"), *_at(times, "blind", "reader")},
            key=lambda key: self._reader(key),
        )
        groups: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [("All readers", ("all",), ("other",))]
        groups += [(self._reader(key), ("reader", key), ("reader_other", key)) for key in readers]
        if not readers:
            return
        found.blind = [
            BlindRow(
                name,
                _share(blind, "before", *own),
                _share(blind, "after", *own),
                _share(blind, "before", *other),
                _share(blind, "after", *other),
                _histogram(times, "blind", *own),
                _histogram(times, "after", *own),
            )
            for name, own, other in groups
        ]

    def drift(self, found: Quality) -> None:
        if self._active is None:
            return
        key = str(self._active.pk)
        figures = _at(self._total, "images", key)
        if not figures:
            return
        for moved in quality_drift.moved(figures, self._reference):
            words = _measure_words(moved.measure)
            found.drift.append(
                (
                    _DRIFT_NAMES[moved.measure],
                    moved,
                    "–" if moved.middle is None else words(moved.middle),
                    "–" if moved.expected is None else words(moved.expected),
                )
            )
            found.drift_charts.append(self._drift_chart(moved, key))

    def _drift_chart(self, moved: Moved, key: str) -> Chart:
        name, words = moved.measure, _measure_words(moved.measure)
        scale = 100.0 if name in _IN_PERCENT else 1.0
        points = []
        for stretch in self._stretches:
            histogram = _histogram(stretch.figures, "images", key, "measures", name)
            point = quality_charts.median_point(histogram, name, words)
            if point.value is not None and point.low is not None and point.high is not None:
                point = Point(
                    point.n, scale * point.value, scale * point.low, scale * point.high, point.words
                )
            points.append(point)
        expected = quality_drift.expected_of(name, self._reference)
        band = None
        if expected is not None:
            low, high = (expected[0].quantile(share, name) or 0.0 for share in (0.25, 0.75))
            band = (scale * low, scale * high)
        return self._chart(
            f"drift-{name}", _DRIFT_NAMES[name], "%" if name in _IN_PERCENT else "", (Series("median", tuple(points)),),
            what="quartiles", expected=band, from_zero=False,
            expected_words=f"middle half of the {expected[2]}" if expected else "",
        )  # fmt: skip

    def abstention(self, found: Quality) -> None:
        by_version = _at(self._total, "images")
        reasons: dict[str, int] = {}
        for figures in by_version.values():
            found.indeterminate.add(_share(figures, "indeterminate"))
            found.outside.add(_share(figures, "outside"))
            merged(reasons, figures.get("reasons", {}))
        found.images = found.indeterminate.n
        found.failed = self._total.get("failed", 0)
        found.reasons = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:MOST_REASONS]
        if found.images:
            points = []
            for stretch in self._stretches:
                share = Share()
                for figures in _at(stretch.figures, "images").values():
                    share.add(_share(figures, "indeterminate"))
                points.append(quality_charts.share_point(share))
            found.abstention_chart = self._chart(
                "abstention", "Images without a class", "%", (Series("indeterminate", tuple(points)),),
            )  # fmt: skip

    def times(self, found: Quality, hours: int) -> None:
        whole = _histogram(self._total, "turnaround", "time")
        if whole.n:
            found.late = _share(self._total, "turnaround", "late")
            found.turnaround = _two_times(whole)
            found.turnaround_chart = self._chart(
                "turnaround", "From receipt to signature", "h",
                quality_charts.time_points(self._histograms("turnaround", "time"), per_unit=3600.0, least=5),
                what="", limit=float(hours), limit_words=f"promised: {hours} h",
            )  # fmt: skip
        if _histogram(self._total, "took").n:
            found.waited = [
                *_two_times(_histogram(self._total, "waited")),
                *_two_times(_histogram(self._total, "took")),
            ]
            waited, took = (
                quality_charts.time_points(self._histograms(kind), per_unit=1.0)[1]
                for kind in ("waited", "took")
            )
            found.queue_chart = self._chart(
                "queue", "Analyses: 90th percentile", "s",
                (Series("waited in the queue", waited.points), Series("took", took.points)), what="",
            )  # fmt: skip

    def _reader(self, key: str) -> str:
        return self._readers.get(key, "of another laboratory by now")

    def _shares(self, name: str, *path: str) -> Series:
        return Series(
            name,
            tuple(quality_charts.share_point(_share(stretch.figures, *path)) for stretch in self._stretches),
        )

    def _histograms(self, *path: str) -> list[Histogram]:
        return [_histogram(stretch.figures, *path) for stretch in self._stretches]

    def _chart(self, key: str, title: str, unit: str, series: tuple[Series, ...], **more: Any) -> Chart:
        return Chart(key, title, unit, self._starts, series, **more)


_DRIFT_NAMES = {
    "focus": "Focus (sharpness)",
    "brightness": "Background brightness (0 to 255)",
    "stain": "Stained nuclei (share of the image)",
    "confidence": "Confidence",
    "domain": "Percentile in the model's domain",
}
_IN_PERCENT = ("stain", "confidence")


def _measure_words(measure: str) -> Any:
    if measure in _IN_PERCENT:
        return wording.percent
    return (lambda value: f"{value:.2f}") if measure == "focus" else (lambda value: f"{value:.0f}")


def _at(figures: Mapping[str, Any], *path: str) -> dict[str, Any]:
    found: Any = figures
    for key in path:
        found = found.get(key, {})
    return dict(found)


def _share(figures: Mapping[str, Any], *path: str) -> Share:
    *way, last = path
    return Share.read(_at(figures, *way).get(last, [0] * 6))


def _histogram(figures: Mapping[str, Any], *path: str) -> Histogram:
    return Histogram.read(_at(figures, *path))


def _ordered(labels: Iterable[str]) -> list[str]:
    known = list(wording.REVIEW_WORDS)
    return sorted(labels, key=lambda label: (known.index(label) if label in known else len(known), label))


def _rows(shares: Mapping[str, Any], name: Any, order: list[str] | None = None) -> list[Row]:
    keys = _ordered(shares) if order is not None else sorted(shares, key=lambda key: str(name(key)).lower())
    return [Row(name(key), Share.read(shares[key])) for key in keys]


def _two_times(times: Histogram) -> list[str]:
    """Median and 90th percentile in words."""
    return [quality_charts.time_words(times.seconds(share) or 0.0) for share in (0.5, 0.9)]


def _median_time(times: Histogram) -> str:
    if times.n < TOO_FEW:
        return f"too few ({times.n})" if times.n else "–"
    return quality_charts.time_words(times.seconds(0.5) or 0.0)
