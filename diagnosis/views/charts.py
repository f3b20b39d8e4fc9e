"""Small line charts of a training, drawn on the server as SVG so that pages need no script and no inline style."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnosis.views.evidence import metric_word

WIDTH, HEIGHT, MARGIN = 240.0, 56.0, 4.0
"""Of a chart in its own units; the page stretches it, and strokes keep their width."""
_VALIDATION = ("val_", "validation_")
_NOT_DRAWN = ("learning_rate", "lr", "seconds", "epoch", "size")
_SHORT = {"loss": "loss", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Line:
    """One series. `points` are those of an SVG polyline; `last` is its newest value, `at` where that lies."""

    kind: str
    points: str
    last: float
    at: tuple[str, str]


@dataclass(frozen=True)
class Chart:
    """One quantity over the epochs, its training and validation lines on one scale from `low` to `high`."""

    word: str
    lines: tuple[Line, ...]
    low: float
    high: float
    epochs: int

    @property
    def sentence(self) -> str:
        """What the chart shows, for those who don't see it."""
        parts = [f"{line.kind} {line.last:.3f}" for line in self.lines]
        return f"{self.word} after {self.epochs} epoch{'' if self.epochs == 1 else 's'}: {', '.join(parts)}"


@dataclass(frozen=True)
class Dot:
    """One trial of a search: where its circle lies, and whether it is the best."""

    x: str
    y: str
    is_best: bool


@dataclass(frozen=True)
class TrialChart:
    """Values of a search's trials in their order, with the best so far as a step line."""

    dots: tuple[Dot, ...]
    best: str
    low: float
    high: float


def history_charts(history: Mapping[str, Any]) -> list[Chart]:
    """Charts of a training's history `{name: [value an epoch]}`: losses first, the others in their order.

    `val_loss` is drawn with `loss`. What isn't a list of finite numbers is left out: a page must not break over
    a training that diverged.
    """
    groups: dict[str, list[tuple[str, list[float]]]] = {}
    for name, values in history.items():
        series = _finite(values)
        base = _base(name)
        if series and base not in _NOT_DRAWN:
            groups.setdefault(base, []).append(("validation" if base != name else "training", series))
    order = sorted(groups, key=lambda base: "loss" not in base)
    return [_chart(base, groups[base]) for base in order]


def trial_chart(values: Sequence[tuple[int, float]]) -> TrialChart | None:
    """The chart of finished trials, `(number, value)` with lower values better; None for fewer than two."""
    kept = sorted((number, value) for number, value in values if math.isfinite(value))
    if len(kept) < 2:
        return None
    low, high = min(v for _, v in kept), max(v for _, v in kept)
    first, last = kept[0][0], kept[-1][0]
    best_number = min(kept, key=lambda pair: pair[1])[0]

    def x(number: int) -> float:
        return _between(number, first, last, MARGIN, WIDTH - MARGIN)

    dots, steps, best = [], [], math.inf
    for number, value in kept:
        dots.append(Dot(_short(x(number)), _short(_height(value, low, high)), number == best_number))
        if best < math.inf:
            steps.append((x(number), _height(best, low, high)))
        best = min(best, value)
        steps.append((x(number), _height(best, low, high)))
    return TrialChart(tuple(dots), _points(steps), low, high)


def _base(name: str) -> str:
    for prefix in _VALIDATION:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _finite(values: Any) -> list[float]:
    if not isinstance(values, list):
        return []
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return [float(v) for v in numbers if math.isfinite(v)]


def _chart(base: str, series: list[tuple[str, list[float]]]) -> Chart:
    everything = [value for _, values in series for value in values]
    low, high = min(everything), max(everything)
    epochs = max(len(values) for _, values in series)
    lines = []
    for kind, values in series:
        places = [
            (_between(i, 0, max(epochs - 1, 1), MARGIN, WIDTH - MARGIN), _height(value, low, high))
            for i, value in enumerate(values)
        ]
        lines.append(Line(kind, _points(places), values[-1], (_short(places[-1][0]), _short(places[-1][1]))))
    return Chart(_SHORT.get(base, metric_word(base)), tuple(lines), low, high, epochs)


def _height(value: float, low: float, high: float) -> float:
    """Where a value lies, large ones up; the middle where all are equal."""
    return HEIGHT / 2 if high <= low else _between(value, high, low, MARGIN, HEIGHT - MARGIN)


def _between(value: float, from_low: float, from_high: float, low: float, high: float) -> float:
    return low + (value - from_low) / (from_high - from_low) * (high - low) if from_high != from_low else low


def _points(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_short(x)},{_short(y)}" for x, y in places)


def _short(value: float) -> str:
    return f"{value:.1f}"
