"""Means over images as figures, with intervals over whole groups, and over networks where several were asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.calibration import wilson_interval
from ml.evaluation.intervals import LEVEL, Figure, group_weights

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Means:
    """Means over images as figures; `groups` (n,) are the images' group numbers. All share one bootstrap's draws."""

    groups: NDArray[np.intp]
    split: str
    seed: int
    resamples: int

    def of(self, name: str, values: FloatArray) -> Figure:
        """Mean of (n,) values, nan ones left out, with an interval over whole groups."""
        return self.of_networks(name, values[:, None])

    def of_networks(self, name: str, values: FloatArray) -> Figure:
        """Mean of (n, d) values of n images under d networks, with an interval over groups and networks."""
        known = np.isfinite(values).all(axis=1)
        values, groups = values[known], np.unique(self.groups[known], return_inverse=True)[1]
        n, draws = values.shape
        count = int(groups.max()) + 1 if n else 0
        value, low, high, method = float("nan"), float("nan"), float("nan"), "none"
        if n:
            value = float(values.mean())
        if count > 1:
            rng = np.random.default_rng(self.seed)
            images = group_weights(groups.astype(np.intp), rng, self.resamples)
            networks = rng.multinomial(draws, np.full(draws, 1 / draws), size=self.resamples)
            means = ((images @ values) * networks).sum(axis=1) / (images.sum(axis=1) * draws)
            tail = (1 - LEVEL) / 2
            low, high = (float(bound) for bound in np.quantile(means, [tail, 1 - tail]))
            low, high, method = min(low, value), max(high, value), "bootstrap"
            if low == high and np.isin(values, (0.0, 1.0)).all():
                # A share that every image agrees on: as elsewhere in the evidence, Wilson's interval over images.
                low, high = wilson_interval(round(value * n), n)
                method = "wilson"
        return Figure(name, value, low, high, n, count, self.split, method)
