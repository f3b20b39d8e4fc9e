"""The parts of the quality page, made of sums that were read: shares, tables and charts, and no query."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from diagnosis import quality_charts, wording
from diagnosis.models import ModelVersion
from diagnosis.quality_charts import Chart, Point, Row, Series
from diagnosis.quality_page import BlindRow, Period, Quality
from diagnosis.services import quality_drift
from diagnosis.services.quality_drift import Moved
from diagnosis.services.quality_tallies import Histogram, Share, merged

MOST_REASONS = 8
_DRIFT_NAMES = {
    "focus": "Focus (sharpness)",
    "brightness": "Background brightness (0 to 255)",
    "stain": "Stained nuclei (share of the image)",
    "confidence": "Confidence",
    "domain": "Percentile in the model's domain",
}
_IN_PERCENT = ("stain", "confidence")


class Stretch:
    """Some days in a row, summed up."""

    def __init__(self, until: datetime.date, period: Period, place: int, figures: dict[str, Any]) -> None:
        behind = period.days - 1 - place * period.step
        self.start = until - datetime.timedelta(days=behind)
        self.figures = figures


class Parts:
    """Fills in the page, part by part; `readers` and `versions` are names by key, `reference` the figures that the
    active version's drift is held against.
    """

    def __init__(
        self,
        *,
        stretches: list[Stretch],
        total: dict[str, Any],
        active: ModelVersion | None,
        readers: Mapping[str, str],
        versions: Mapping[str, str],
        reference: Mapping[str, Any],
    ) -> None:
        self._stretches, self._total, self._active = stretches, total, active
        self._starts = tuple(stretch.start for stretch in stretches)
        self._readers, self._versions, self._reference = readers, versions, reference

    def agreement(self, found: Quality) -> None:
        readings = figures_at(self._total, "readings")
        agree = figures_at(readings, "agree")
        found.agreement = _share(agree, "all")
        found.readings = found.agreement.n + readings.get("unsure", 0) + readings.get("of_indeterminate", 0)
        found.unsure, found.of_indeterminate = (
            readings.get("unsure", 0),
            readings.get("of_indeterminate", 0),
        )
        found.by_class = _rows(agree.get("class", {}), wording.class_word, order=list(wording.REVIEW_WORDS))
        found.by_reader = _rows(agree.get("reader", {}), self._reader)
        found.by_version = _rows(agree.get("version", {}), lambda key: self._versions.get(key, "removed"))
        said = figures_at(readings, "said")
        columns = _ordered({read for by_read in said.values() for read in by_read})
        found.said_columns = [wording.class_word(label) for label in columns]
        found.said = [
            (wording.class_word(label), [said[label].get(read, 0) for read in columns])
            for label in _ordered(said)
        ]
        found.open_seconds = quality_charts.median_time_words(
            _histogram(self._total, "seconds", "open", "all")
        )
        series = [self._shares("with the model's class in view", "readings", "agree", "all")]
        before = self._shares("before the model's class was shown", "blind", "agree", "all")
        if any(point.n for point in before.points):
            series.append(before)
        found.agreement_chart = self._chart(
            "agreement", "Readers give the model's class", "%", tuple(series), at_most=100.0
        )

    def blind(self, found: Quality) -> None:
        blind = figures_at(self._total, "blind")
        times = figures_at(self._total, "seconds")
        found.blind_readings = _share(blind, "agree", "all").n + blind.get("no_class", 0)
        found.blind_moved = {key: blind.get(key, 0) for key in ("to_model", "elsewhere")}
        readers = sorted(
            {*figures_at(blind, "before", "reader"), *figures_at(times, "blind", "reader")},
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
        figures = figures_at(self._total, "images", key)
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
        by_version = figures_at(self._total, "images")
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
                for figures in figures_at(stretch.figures, "images").values():
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


def _measure_words(measure: str) -> Any:
    if measure in _IN_PERCENT:
        return wording.percent
    return (lambda value: f"{value:.2f}") if measure == "focus" else (lambda value: f"{value:.0f}")


def figures_at(figures: Mapping[str, Any], *path: str) -> dict[str, Any]:
    found: Any = figures
    for key in path:
        found = found.get(key, {})
    return dict(found)


def _share(figures: Mapping[str, Any], *path: str) -> Share:
    *way, last = path
    return Share.read(figures_at(figures, *way).get(last, [0] * 6))


def _histogram(figures: Mapping[str, Any], *path: str) -> Histogram:
    return Histogram.read(figures_at(figures, *path))


def _ordered(labels: Iterable[str]) -> list[str]:
    known = list(wording.REVIEW_WORDS)
    return sorted(labels, key=lambda label: (known.index(label) if label in known else len(known), label))


def _rows(shares: Mapping[str, Any], name: Any, order: list[str] | None = None) -> list[Row]:
    keys = _ordered(shares) if order is not None else sorted(shares, key=lambda key: str(name(key)).lower())
    return [Row(name(key), Share.read(shares[key])) for key in keys]


def _two_times(times: Histogram) -> list[str]:
    """Median and 90th percentile in words."""
    return [quality_charts.time_words(times.seconds(share) or 0.0) for share in (0.5, 0.9)]
