"""Paired differences of two models on the same images, with intervals from the same draws of groups for both.

How the bounds stay sound where groups are few and differences rare. A percentile interval of G groups is too narrow
by sqrt((G - 1) / G), and takes the normal's tails where it knows a spread from G groups alone; so the tails are
those of the expanded percentile interval (Hesterberg 2015, *What Teachers Should Know About the Bootstrap*, section
5.3.2): Phi(-sqrt(G / (G - 1)) t(G - 1)), 1.4 % instead of 2.5 % for 16 groups, and the lowest resample of all for 4.
A loss in one group of many is drawn several times over in enough resamples to count. A metric that rests on a class
whose images are of one group has no spread between groups to see, and gets no interval. Where the two models class
every image alike the difference is 0, and so are its bounds; what that many images cannot show is for the words.

These bounds are on the generous side where errors gather in groups and a class has few of them. Normal and t intervals
from the spread between groups would be stricter, but refuse an equal model for a single error more among the benign
images of two groups, and so nearly everything. Two groups of a class cannot give both; more test groups can.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from ml.evaluation.intervals import BLOCK, LEAST_DEFINED, LEVEL, RESAMPLES, group_weights
from ml.evaluation.metrics import FloatArray, Judged, class_metrics

LEAST_GROUPS = 2


@dataclass(frozen=True)
class Difference:
    """A metric of the first model less that of the second; `low` and `high` are None where no interval is known,
    `value` is None where the metric is not defined for both.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None


def paired_differences(
    first: Judged,
    second: Judged,
    names: Sequence[str],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> list[Difference]:
    """Return first - second for each metric of `class_metrics` named, with its 95 % interval.

    Both must be of the same images in the same order, with the same groups.
    """
    estimates = _differences(first, second, None, names)
    draws: dict[str, list[FloatArray]] = {name: [] for name in names}
    if first.group_count >= LEAST_GROUPS:
        size = max(1, min(resamples, BLOCK // len(first)))
        for start in range(0, resamples, size):
            weights = group_weights(first.groups, rng, min(size, resamples - start))
            for name, drawn in _differences(first, second, weights, names).items():
                draws[name].append(drawn)
    return [
        _difference(name, float(estimates[name][0]), draws[name], spread_groups(name, first))
        for name in names
    ]


def expanded_tail(groups: int, level: float = LEVEL) -> float:
    """Share of resamples beyond each end of an interval of `level`, for at least two groups; see the module."""
    spread = math.sqrt(groups / (groups - 1)) * float(t.ppf((1 + level) / 2, groups - 1))
    return float(norm.cdf(-spread))


def spread_groups(name: str, judged: Judged) -> int:
    """Return how many groups the spread of a metric is seen between; 0 where that is too few to see any.

    Sensitivity for malignant rests on the malignant images together, every other metric on each class.
    """
    if name == "sensitivity_malignant":
        malignant = judged.is_malignant[judged.labels]
        count = len(np.unique(judged.groups[malignant]))
        return count if count >= LEAST_GROUPS else 0
    each = [len(np.unique(judged.groups[judged.labels == label])) for label in np.unique(judged.labels)]
    return judged.group_count if min(each) >= LEAST_GROUPS else 0


def _differences(
    first: Judged, second: Judged, weights: FloatArray | None, names: Sequence[str]
) -> dict[str, FloatArray]:
    """(b,) differences of each metric; nan where one is not defined."""
    one, other = class_metrics(first, weights), class_metrics(second, weights)
    undefined = np.full(1 if weights is None else len(weights), math.nan)
    return {
        name: one[name].values - other[name].values if name in one and name in other else undefined
        for name in names
    }


def _difference(name: str, value: float, draws: Sequence[FloatArray], groups: int) -> Difference:
    if not math.isfinite(value):
        return Difference(name, None, None, None)
    drawn = np.concatenate(draws) if draws else np.empty(0)
    known = drawn[np.isfinite(drawn)]
    if groups < LEAST_GROUPS or len(known) < max(1.0, LEAST_DEFINED * len(drawn)):
        return Difference(name, value, None, None)
    tail = expanded_tail(groups)
    low, high = (float(bound) for bound in np.quantile(known, [tail, 1 - tail]))
    return Difference(name, value, min(low, value), max(high, value))
