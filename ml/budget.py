"""A training that ends when its seconds are up, and a learning rate that ends with it. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from ml.clocks import Clock, wall_clock

WARM_UP = 0.1
"""Share of the budget in which the learning rate rises to its peak; then it falls as a cosine to a hundredth."""

Report = Callable[[float, str], None]
"""Told the share of the budget that is spent, 0..1, and how the training stands in words."""


class Budget(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a training when its seconds are up, its learning rate fitted to them by the clock.

    Before every step the rate is set for the share of the seconds that is spent, so the cosine ends with the
    budget whatever the machine's speed; the measured time of a step tells whether another one still fits. Where
    no second is left there is one step, at the last rate.
    """

    def __init__(
        self,
        seconds: float,
        peak: float,
        *,
        batch_size: int,
        clock: Clock = wall_clock,
        report: Report = lambda share, words: None,
    ) -> None:
        super().__init__()
        self.seconds, self.peak, self.batch_size = seconds, peak, batch_size
        self.clock, self.report = clock, report
        self.steps, self.spent = 0, 0.0
        self._recent: list[float] = []

    @property
    def share(self) -> float:
        """Of the budget that is spent, 0..1."""
        return min(1.0, (self.clock() - self._began) / self.seconds) if self.seconds > 0 else 1.0

    def on_train_begin(self, logs: Any = None) -> None:
        """Start the clock."""
        self._began = self._last = self.clock()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate for where the clock stands."""
        self.model.optimizer.learning_rate = learning_rate_at(self.share, self.peak)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the step, and stop where a further one would not fit."""
        now = self.clock()
        self.steps += 1
        self.spent = now - self._began
        self._recent = [*self._recent[-19:], now - self._last]
        self._last = now
        a_step = max(1e-6, float(np.median(self._recent)))
        loss = float((logs or {}).get("loss", float("nan")))
        self.report(self.share, f"loss {loss:.3f}, {self.batch_size / a_step:.0f} images/s")
        if self.spent + a_step > self.seconds:
            self.model.stop_training = True


def learning_rate_at(share: float, peak: float) -> float:
    """The rate when `share` (0..1) of the budget is spent: up in the first tenth, then a cosine down to a hundredth."""
    share = min(max(share, 0.0), 1.0)
    if share < WARM_UP:
        return peak * (0.05 + 0.95 * share / WARM_UP)
    fallen = (share - WARM_UP) / (1 - WARM_UP)
    return float(peak * (0.01 + 0.99 * (1 + np.cos(np.pi * fallen)) / 2))
