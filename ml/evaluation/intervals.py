"""Intervals by group bootstrap: whole groups are drawn anew, because images of one patient agree.

Percentile method (Efron and Tibshirani 1993, chapter 13) over whole groups drawn with replacement (Davison
and Hinkley 1997, section 3.8). Three cases the textbook leaves open are settled here and named in each
figure's `method`: where all resamples agree (no error at all was seen) the interval is Wilson's, over the
images of a share, and over those of the rarest class for a mean over classes or an area; where there are
fewer than two groups there is none; and an interval is always widened to hold its estimate, which matters
for the calibration error alone, whose resamples lie above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.calibration import wilson_interval
from ml.evaluation.metrics import Judged, Values, abstaining_metrics, class_metrics

FloatArray = NDArray[np.float64]
Metric = Callable[[Judged, FloatArray | None], dict[str, Values]]

RESAMPLES = 2000
LEVEL = 0.95
# A resample can lack a class and leave a metric undefined; an interval needs most resamples to have a value.
LEAST_DEFINED = 0.5
# Weights are made in blocks of about this many numbers (32 MB), so that memory does not grow with the images.
BLOCK = 4_000_000


@dataclass(frozen=True)
class Figure:
    """One number a page may show: never without its split, n and interval.

    `value`, `low` and `high` are nan where the metric is not defined; `n` images in `groups` groups were
    judged; `split` says which images they were; `method` how the interval was made: bootstrap, wilson or
    none.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    groups: int
    split: str
    method: str = "bootstrap"

    @property
    def defined(self) -> bool:
        """Whether there is a value at all."""
        return math.isfinite(self.value)

    def to_dict(self) -> dict[str, Any]:
        """Return the figure for JSON; what is not defined becomes null."""
        row = asdict(self)
        for key in ("value", "low", "high"):
            row[key] = row[key] if math.isfinite(row[key]) else None
        return row

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Figure:
        """Read what `to_dict` wrote."""
        numbers = {key: math.nan if row[key] is None else float(row[key]) for key in ("value", "low", "high")}
        return cls(
            name=row["name"],
            n=int(row["n"]),
            groups=int(row["groups"]),
            split=row["split"],
            method=row.get("method", "bootstrap"),
            **numbers,
        )


def group_weights(groups: NDArray[np.intp], rng: np.random.Generator, resamples: int) -> FloatArray:
    """Return (resamples, n): how often each image is in each draw of whole groups, with replacement."""
    count = int(groups.max()) + 1
    draws = rng.multinomial(count, np.full(count, 1.0 / count), size=resamples)
    return draws[:, groups].astype(np.float64)


def figures(
    judged: Judged,
    *,
    split: str,
    rng: np.random.Generator,
    metric: Metric = class_metrics,
    resamples: int = RESAMPLES,
) -> list[Figure]:
    """Return every metric of `metric` as a figure with its 95 % interval, in the order of `metric`."""
    estimates = metric(judged, None)
    draws = _resampled(judged, metric, rng, resamples) if judged.group_count > 1 else {}
    return [_figure(name, estimate, draws.get(name), judged, split) for name, estimate in estimates.items()]


def all_figures(
    judged: Judged, *, split: str, rng: np.random.Generator, resamples: int = RESAMPLES
) -> list[Figure]:
    """Return the class metrics and, beside them, those of the abstaining model."""
    return [
        *figures(judged, split=split, rng=rng, metric=class_metrics, resamples=resamples),
        *figures(judged, split=split, rng=rng, metric=abstaining_metrics, resamples=resamples),
    ]


def share_figure(name: str, successes: int, n: int, *, split: str) -> Figure:
    """Return a plain share of independent images as a figure with Wilson's interval; nan where n is 0."""
    low, high = wilson_interval(successes, n) if n else (math.nan, math.nan)
    return Figure(name, successes / n if n else math.nan, low, high, n, n, split, "wilson")


def _resampled(
    judged: Judged, metric: Metric, rng: np.random.Generator, resamples: int
) -> dict[str, FloatArray]:
    """Return metric name -> (resamples,) values, worked out in blocks."""
    size = max(1, min(resamples, BLOCK // len(judged)))
    parts: dict[str, list[FloatArray]] = {}
    for start in range(0, resamples, size):
        weights = group_weights(judged.groups, rng, min(size, resamples - start))
        for name, found in metric(judged, weights).items():
            parts.setdefault(name, []).append(found.values)
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}


def _smallest_class(judged: Judged) -> int:
    """Images of the rarest class there is: what a mean over classes, an area or an F1 without any error rests on."""
    counts = np.bincount(judged.labels)
    return int(counts[counts > 0].min())


def _figure(name: str, estimate: Values, draws: FloatArray | None, judged: Judged, split: str) -> Figure:
    value = float(estimate.values[0])
    low, high, method = math.nan, math.nan, "none"
    if math.isfinite(value) and draws is not None:
        known = draws[np.isfinite(draws)]
        if len(known) >= LEAST_DEFINED * len(draws):
            tail = (1 - LEVEL) / 2
            low, high = (float(bound) for bound in np.quantile(known, [tail, 1 - tail]))
            low, high, method = min(low, value), max(high, value), "bootstrap"
            if low == high and (estimate.out_of is not None or value in (0.0, 1.0)):
                n = _smallest_class(judged) if estimate.out_of is None else round(float(estimate.out_of[0]))
                low, high = wilson_interval(round(value * n), n)
                method = "wilson"
    return Figure(name, value, low, high, len(judged), judged.group_count, split, method)
