"""Plots of whether the saliency is true: the cascade of randomisation, and deletion and insertion curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray

from ml.evaluation.intervals import Figure
from ml.evaluation.plots import COLOURS, DASHES, INK, QUIET, in_house_style, to_svg
from ml.evaluation.words import METHOD_BESIDE, SALIENCY_LIMIT, of_method, plain_method
from ml.saliency import DEFAULT_METHOD, METHOD_WORDS

CASCADE = {
    "saliency_cascade/head": ("head", "head"),
    "saliency_cascade/block5": ("block5", "last block"),
    "saliency_cascade/block4": ("block4", "last 2 blocks"),
    "saliency_cascade/block3": ("block3", "last 3 blocks"),
    "saliency_randomised_correlation": ("whole", "all weights"),
}


def saliency_plots(
    figures: Sequence[Figure],
    by_network: Mapping[str, NDArray[np.float64]],
    curves: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> dict[str, bytes]:
    """Draw what `ml.evaluation.faithfulness` measured: file name without suffix -> SVG."""
    known = {figure.name: figure for figure in figures}
    return {
        "saliency-randomised": to_svg(cascade_plot(known, by_network), "Maps of a network drawn anew"),
        "saliency-curves": to_svg(curves_plot(curves, orders(known)), "Deletion and insertion"),
    }


def orders(names: Iterable[str]) -> dict[str, str]:
    """What orders the curves may follow, and their words."""
    return {
        "map": f"{METHOD_WORDS[plain_method(names)]} map's order",
        of_method("map", METHOD_BESIDE): f"{METHOD_WORDS[METHOD_BESIDE]} map's order",
        "shuffled": f"{METHOD_WORDS[plain_method(names)]} cells shuffled",
        "centre": "from the middle out",
    }


@in_house_style
def cascade_plot(figures: Mapping[str, Figure], by_network: Mapping[str, NDArray[np.float64]]) -> Plot:
    """Correlation with the own maps as more of the weights are drawn anew; small dots are single networks."""
    plot = Plot(figsize=(7.4, 3.4), layout="constrained")
    axes = plot.add_subplot()
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.axhline(SALIENCY_LIMIT, color=INK, linewidth=1, linestyle=DASHES[1])
    axes.annotate(
        f"limit {SALIENCY_LIMIT}",
        (-0.45, SALIENCY_LIMIT),
        va="bottom",
        fontsize=8.5,
    )
    shown = [name for name in CASCADE if name in figures]
    names = [*shown, *(name for name in ["saliency_other_image"] if name in figures)]
    for index, method in enumerate((DEFAULT_METHOD, METHOD_BESIDE)):
        aside = 0.2 * index - 0.1 * (of_method(names[0], METHOD_BESIDE) in figures)
        label = METHOD_WORDS[plain_method(figures) if not index else method]
        for place, name in enumerate(names):
            if (figure := figures.get(of_method(name, method))) is None:
                continue
            stage = CASCADE[name][0] if name in CASCADE else ""
            single = by_network.get(of_method(stage, method), np.empty(0))
            beside = place + aside + np.linspace(0.05, 0.14, len(single))
            axes.plot(beside, single, ".", color=COLOURS[index], alpha=0.5, markersize=3.5)
            _interval(axes, place + aside, figure, COLOURS[index], "" if place else label)
    axes.legend(loc="upper right")
    labels = [CASCADE[name][1] for name in shown] + ["other image,\nown weights"] * (len(names) - len(shown))
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(min(-0.25, *(float(v.min()) for v in by_network.values() if len(v))) - 0.05, 1.05)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("rank correlation with the own map")
    axes.set_title("Maps after weights are drawn anew, from the top down")
    return plot


@in_house_style
def curves_plot(curves: Mapping[str, Mapping[str, NDArray[np.float64]]], words: Mapping[str, str]) -> Plot:
    """Mean probability of the class given, as the picture is deleted and inserted in several orders (`orders`)."""
    plot = Plot(figsize=(7.4, 3.3), layout="constrained")
    titles = {
        "deletion": ("Deletion: earlier fall is better", "share of the picture deleted"),
        "insertion": ("Insertion: earlier rise is better", "share of the picture inserted"),
    }
    for column, (what, (title, x)) in enumerate(titles.items()):
        axes = plot.add_subplot(1, 2, column + 1)
        for index, (order, label) in enumerate(words.items()):
            if (values := curves[what].get(order)) is None:
                continue
            share = np.linspace(0, 1, len(values))
            axes.plot(share, values, color=COLOURS[index], linestyle=DASHES[index], label=label)
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(0, 1.02)
        axes.set_title(title)
        axes.set_xlabel(x)
        if not column:
            axes.set_ylabel("probability of the class given")
        axes.legend(loc="lower left" if what == "deletion" else "lower right")
    return plot


def _interval(axes: Axes, place: float, figure: Figure, colour: str, label: str) -> None:
    if np.isfinite(figure.low):
        axes.plot([place, place], [figure.low, figure.high], color=colour, linewidth=2.2)
    if figure.defined:
        axes.plot(place, figure.value, "o", color=colour, markersize=6, label=label or None)
