"""Plots of the evidence: functions from arrays to a matplotlib Figure, and one that writes a Figure as SVG.

Colours are Okabe and Ito's (2008), told apart by people of any colour vision, and lines differ in dashes as
well. Red is left out: it stands for suspected leukemia alone. The panel is opaque white, so that a plot
reads on a light page and on a dark one. Figures are made without pyplot, which would keep them alive, and
their SVG is the same byte for byte.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ml.calibration import ConfidenceBins, expected_calibration_error
from ml.evaluation.intervals import Figure
from ml.evaluation.metrics import Judged, malignant_score, weighted_auroc

FloatArray = NDArray[np.float64]

COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C6D1F")
DASHES: Final = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1)))
INK: Final = "#16191d"
QUIET: Final = "#6b7480"
LINE: Final = "#d9dde2"
# Curves of at least this area hug a corner of the square and are drawn there a second time, magnified.
MAGNIFY_ABOVE: Final = 0.95
STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "leukoscope",
    "svg.fonttype": "path",
}


def in_house_style(function: Callable[..., Plot]) -> Callable[..., Plot]:
    """Draw under `STYLE`, whatever the process' own matplotlib settings are."""

    @wraps(function)
    def styled(*args: Any, **kwargs: Any) -> Plot:
        with mpl.rc_context(STYLE):
            return function(*args, **kwargs)

    return styled


def to_svg(plot: Plot, title: str) -> bytes:
    """Return the plot as SVG, the same bytes for the same plot: no date, no random names."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        plot.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "Leukoscope", "Title": title})
    return buffer.getvalue()


def write_svg(plot: Plot, path: Path, title: str) -> None:
    """Write the plot as SVG; a reader never sees half a file."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(to_svg(plot, title))
    os.replace(part, path)


@in_house_style
def roc_plot(judged: Judged) -> Plot:
    """ROC curves: each class against the rest, and the malignant classes together against the others."""
    plot, axes = _panel("ROC", "1 - specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    curves = []
    for name, positive, scores, style in _contests(judged):
        area = weighted_auroc(positive, scores, np.ones((1, len(scores))))[0]
        curves.append((*_roc(positive, scores), area, {"label": f"{name}  {area:.4f}", **style}))
    _draw(axes, curves, corner=0.0)
    axes.legend(loc="lower right", title="against the rest, area", alignment="left")
    return plot


@in_house_style
def precision_recall_plot(judged: Judged) -> Plot:
    """Precision over recall: each class against the rest, and the malignant classes together."""
    plot, axes = _panel("Precision and recall", "recall (sensitivity)", "precision")
    curves = []
    for name, positive, scores, style in _contests(judged):
        recall, precision = _precision_recall(positive, scores)
        average = float(np.sum(np.diff(recall, prepend=0.0) * precision))
        look = {"label": f"{name}  {average:.4f}", "drawstyle": "steps-pre", **style}
        curves.append((recall, precision, average, look))
    _draw(axes, curves, corner=1.0)
    axes.legend(loc="lower left", title="against the rest, average precision", alignment="left")
    return plot


@in_house_style
def confusion_plot(matrix: NDArray[np.int64], classes: Sequence[str]) -> Plot:
    """Confusion matrix (k, k) with counts; shades are shares of each label's images."""
    k = len(classes)
    plot, axes = _panel("Confusion matrix", "class given", "label", size=(1.6 + 0.95 * k, 1.5 + 0.72 * k))
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
    for row in range(k):
        for column in range(k):
            share = shares[row, column]
            axes.text(
                column,
                row,
                f"{matrix[row, column]}\n{share:.1%}" if matrix[row, column] else "0",
                ha="center",
                va="center",
                color="white" if share > 0.6 else INK,
                fontweight="bold" if row == column else "normal",
            )
    axes.set_xticks(range(k), classes)
    axes.set_yticks(range(k), classes)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return plot


@in_house_style
def reliability_plot(judged: Judged, uncalibrated: FloatArray | None = None) -> Plot:
    """Share right over confidence in bins of at least 50 images, with Wilson's intervals.

    `uncalibrated` (n, k) are the probabilities before temperature scaling, drawn beside the calibrated ones.
    """
    plot, axes = _panel("Reliability", "confidence (top probability)", "share of images right")
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, label="perfect")
    shown = [("calibrated", judged.probabilities, 0, "o")]
    if uncalibrated is not None:
        shown.append(("before scaling", uncalibrated, 1, "s"))
    lowest = 1.0
    for name, chances, index, marker in shown:
        error = expected_calibration_error(chances, judged.labels)
        confidence, correct = chances.max(axis=1), chances.argmax(axis=1) == judged.labels
        minimum = min(50, len(confidence))
        bins = ConfidenceBins.fit(confidence, correct, minimum=minimum).bins
        edges = [one.lower for one in bins[1:]]
        place = np.searchsorted(edges, confidence, side="right")
        x = np.asarray([confidence[place == row].mean() for row in range(len(bins))])
        y = np.asarray([one.correct / one.n for one in bins])
        low, high = np.asarray([one.interval for one in bins]).T
        lowest = min(lowest, float(x.min()), float(low.min()))
        axes.errorbar(
            x,
            y,
            yerr=[np.maximum(y - low, 0), np.maximum(high - y, 0)],
            color=COLOURS[index],
            marker=marker,
            markersize=5,
            linewidth=0,
            elinewidth=1.1,
            capsize=2.5,
            markerfacecolor=COLOURS[index] if index == 0 else "white",
            label=f"{name}, ECE {error:.3f}",
        )
    floor = max(0.0, np.floor((lowest - 0.02) * 10) / 10)
    axes.set_xlim(floor, 1.01)
    axes.set_ylim(floor, 1.01)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.legend(loc="lower right")
    return plot


@in_house_style
def history_plot(history: Mapping[str, Sequence[float]]) -> Plot:
    """Training history: loss and accuracy over epochs, as Keras names them (val_ for validation)."""
    plot = Plot(figsize=(7.4, 3.2), layout="constrained")
    for column, (key, words) in enumerate((("loss", "loss (nats)"), ("accuracy", "accuracy"))):
        axes = plot.add_subplot(1, 2, column + 1)
        for index, (prefix, name) in enumerate((("", "training"), ("val_", "validation"))):
            values = history.get(prefix + key)
            if values:
                epochs = np.arange(1, len(values) + 1)
                axes.plot(epochs, values, color=COLOURS[index], linestyle=DASHES[index], label=name)
                best = int(np.argmin(values) if key == "loss" else np.argmax(values))
                if prefix:
                    axes.plot(epochs[best], values[best], "o", color=COLOURS[index], markersize=5)
        axes.set_title(words)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper right" if key == "loss" else "lower right")
    return plot


@in_house_style
def risk_coverage_plot(
    correct: ArrayLike, orders: Mapping[str, ArrayLike], gate: tuple[float, float] | None = None
) -> Plot:
    """Risk over coverage: the error among the images kept, when the least certain go first.

    `correct` (n,) booleans; `orders` names (n,) certainties, larger is surer; `gate` (coverage, risk) marks
    the model's own gate.
    """
    plot, axes = _panel(
        "Risk and coverage", "coverage (share of images given a class)", "risk (error among those)"
    )
    wrong = 1.0 - np.asarray(correct, dtype=np.float64)
    top = float(wrong.mean())
    for index, (name, certainty) in enumerate(orders.items()):
        order = np.argsort(-np.asarray(certainty, dtype=np.float64), kind="stable")
        kept = np.arange(1, len(order) + 1)
        risk = np.cumsum(wrong[order]) / kept
        start = min(len(order) - 1, max(0, len(order) // 20 - 1))
        top = max(top, float(risk[start:].max()))
        axes.plot(
            kept[start:] / len(order), risk[start:], color=COLOURS[index], linestyle=DASHES[index], label=name
        )
    if gate is not None:
        axes.plot(*gate, marker="D", color=INK, linestyle="none", markersize=6, label="the model's gate")
        top = max(top, gate[1])
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, max(0.01, 1.15 * top))
    axes.legend(loc="upper left")
    return plot


@in_house_style
def domain_plot(scores: Mapping[str, ArrayLike], threshold: float) -> Plot:
    """Domain scores by data set as quantile bars (5, 25, 50, 75, 95 %), with the share outside.

    `scores` names (n,) positive domain scores; above `threshold` an image is outside the domain.
    """
    plot = Plot(figsize=(7.4, 1.3 + 0.42 * len(scores)), layout="constrained")
    axes = plot.add_subplot()
    axes.axvspan(threshold, 1e9, color="#f0f2f4", zorder=0)
    axes.axvline(threshold, color=INK, linewidth=1.2)
    every = np.concatenate([np.asarray(values, dtype=np.float64) for values in scores.values()])
    for row, values in enumerate(scores.values()):
        numbers = np.asarray(values, dtype=np.float64)
        outer_low, low, middle, high, outer_high = np.quantile(numbers, [0.05, 0.25, 0.5, 0.75, 0.95])
        colour = COLOURS[0] if middle <= threshold else COLOURS[1]
        axes.plot([outer_low, outer_high], [row, row], color=colour, linewidth=1.4, solid_capstyle="butt")
        axes.plot([low, high], [row, row], color=colour, linewidth=7, solid_capstyle="butt")
        axes.plot(middle, row, "|", color=INK, markersize=12, markeredgewidth=1.8)
        share = (numbers > threshold).mean()
        axes.annotate(
            f"{share:.1%} of {len(numbers)} outside",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8.5,
        )
    axes.set_xscale("log")
    axes.set_xlim(max(1e-6, every.min() * 0.8), every.max() * 1.25)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.set_ylim(len(scores) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("domain score: median, quartiles, 5 to 95 %; grey is outside the domain")
    axes.set_title("Domain scores")
    return plot


@in_house_style
def comparison_plot(figures: Mapping[str, Figure], title: str) -> Plot:
    """One metric of several models or splits, each as its value with the interval, its n and its groups."""
    plot = Plot(figsize=(7.4, 1.2 + 0.4 * len(figures)), layout="constrained")
    axes = plot.add_subplot()
    for row, figure in enumerate(figures.values()):
        if not figure.defined:
            continue
        if np.isfinite(figure.low):
            axes.plot([figure.low, figure.high], [row, row], color=COLOURS[0], linewidth=2.2)
        axes.plot(figure.value, row, "o", color=COLOURS[0], markersize=6)
        axes.annotate(
            f"{figure.value:.3f}  (n {figure.n}, {figure.groups} groups)",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8.5,
        )
    axes.set_yticks(range(len(figures)), list(figures))
    axes.set_ylim(len(figures) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_title(title)
    return plot


def _panel(title: str, x: str, y: str, size: tuple[float, float] = (5.0, 4.4)) -> tuple[Plot, Axes]:
    plot = Plot(figsize=size, layout="constrained")
    axes = plot.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return plot, axes


def _draw(
    axes: Axes, curves: Sequence[tuple[FloatArray, FloatArray, float, dict[str, Any]]], corner: float
) -> None:
    """Draw curves (x, y, area, look); where all hug the upper corner at x = `corner`, magnify it."""
    for x, y, _, look in curves:
        axes.plot(x, y, **look)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    if not curves or min(area for _, _, area, _ in curves) < MAGNIFY_ABOVE:
        return
    close = axes.inset_axes((0.34, 0.5, 0.4, 0.4))
    for x, y, _, look in curves:
        close.plot(x, y, **look)
    edge = -0.003 if corner == 0.0 else 0.9
    close.set_xlim(edge, edge + 0.103)
    close.set_ylim(0.9, 1.003)
    close.spines[:].set_visible(True)
    close.tick_params(labelsize=7.5)


def _contests(judged: Judged) -> list[tuple[str, NDArray[np.bool_], FloatArray, dict[str, Any]]]:
    """Each class against the rest, and the malignant ones together, where there are images on both sides."""
    found: list[tuple[str, NDArray[np.bool_], FloatArray, dict[str, Any]]] = []
    for index, name in enumerate(judged.classes):
        style = {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}
        found.append((name, judged.labels == index, judged.probabilities[:, index], style))
    if 1 < len(judged.malignant) < len(judged.classes):
        together = judged.is_malignant[judged.labels]
        found.append(("malignant", together, malignant_score(judged), {"color": INK, "linewidth": 1.2}))
    return [one for one in found if one[1].any() and not one[1].all()]


def _roc(positive: NDArray[np.bool_], scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return false and true positive rates, from (0, 0) to (1, 1), images of one score together."""
    true, false = _passed(positive, scores)
    return np.r_[0.0, false / false[-1]], np.r_[0.0, true / true[-1]]


def _precision_recall(positive: NDArray[np.bool_], scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return recall and precision at each threshold, from the highest score down."""
    true, false = _passed(positive, scores)
    return true / true[-1], true / (true + false)


def _passed(positive: NDArray[np.bool_], scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return how many positive and negative images score at least each distinct score, highest first."""
    order = np.argsort(-scores, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(scores[order])), len(order) - 1]
    true = np.cumsum(positive[order])[last].astype(np.float64)
    return true, (last + 1.0) - true
