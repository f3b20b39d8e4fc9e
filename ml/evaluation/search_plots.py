"""Plots of a search: how the trials' settings and results hang together, and which setting mattered.

A trial is a mapping as JSON holds it: `number`, `state` (complete, pruned, ...), `value` (the validation log loss,
lower is better, or null) and `setting`, a mapping from name to value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray

from ml.evaluation.intervals import LEVEL
from ml.evaluation.plots import COLOURS, INK, LINE, QUIET, in_house_style

Trial = Mapping[str, Any]
FloatArray = NDArray[np.float64]

RAMP = LinearSegmentedColormap.from_list("loss", [COLOURS[0], "#9aa3ad", COLOURS[1]])
"""From a low loss to a high one; both ends read on white and on a dark page."""

COMPLETE = "complete"
LEAST_TRIALS = 8
"""Complete trials below which nothing is said of importance: a forest on fewer is guesswork."""

IMPORTANCE_RESAMPLES = 40
_TREES = 32


def parallel_coordinates_plot(trials: Sequence[Trial]) -> Plot | None:
    """One line a trial through the values of its setting, blue for a low loss; None where no trial has a value.

    Pruned trials are drawn thin and grey: their values come from fewer epochs and are no match for the others.
    """
    return _parallel(trials) if _with_value(trials) else None


@in_house_style
def _parallel(trials: Sequence[Trial]) -> Plot:
    shown = _with_value(trials)
    names = _varied(shown)
    plot = Plot(figsize=(max(7.4, 1.15 * (len(names) + 1)), 3.9), layout="constrained")
    axes = plot.add_subplot()
    complete = [trial for trial in shown if _is_complete(trial)]
    losses = np.asarray([float(trial["value"]) for trial in complete or shown])
    scale = Normalize(float(losses.min()), float(losses.max()) or 1.0)
    columns = [_column([trial["setting"].get(name) for trial in shown]) for name in names]
    heights = [np.asarray(places) for places, _ in columns]
    for row, trial in enumerate(shown):
        line = [float(places[row]) for places in heights]
        if not _is_complete(trial):
            axes.plot(range(len(names)), line, color=LINE, linewidth=0.9, zorder=1)
            continue
        best = float(trial["value"]) == losses.min()
        axes.plot(
            range(len(names)),
            line,
            color=RAMP(scale(float(trial["value"]))),
            linewidth=3.0 if best else 1.4,
            zorder=3 if best else 2,
        )
    for place, (_, ticks) in enumerate(columns):
        _axis(axes, place, ticks)
    axes.set_xlim(-0.3, len(names) - 0.3)
    axes.set_ylim(-0.07, 1.07)
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    pruned = len(shown) - len(complete)
    said = [f"{len(complete)} complete trials", *([f"{pruned} pruned (grey)"] if pruned else [])]
    if complete:
        winner = min(complete, key=lambda trial: float(trial["value"]))
        said.append(f"best: trial {winner['number']}, loss {float(winner['value']):.4f}")
    axes.set_title("Search: " + ", ".join(said), pad=12)
    if complete and len(complete) > 1:
        colours = ScalarMappable(Normalize(scale.vmin, scale.vmax), RAMP)
        bar = plot.colorbar(colours, ax=axes, pad=0.01, fraction=0.03)
        bar.set_label("validation log loss")
        bar.outline.set_visible(False)
    return plot


def importances(trials: Sequence[Trial], *, seed: int) -> dict[str, tuple[float, float, float]]:
    """Return setting -> (share of the loss's variance it explains, and its 95 % interval), the largest first.

    Functional ANOVA on a random forest (Hutter et al. 2014), as Optuna has it, over the complete trials; intervals
    are from `IMPORTANCE_RESAMPLES` bootstrap resamples of the trials. Empty below `LEAST_TRIALS` complete trials or
    where nothing was varied.
    """
    complete = [trial for trial in _with_value(trials) if _is_complete(trial)]
    names = _varied(complete)
    values = {float(trial["value"]) for trial in complete}
    if len(complete) < LEAST_TRIALS or not names or len(values) < 2:
        return {}
    rng = np.random.default_rng(seed)
    found = _fanova(complete, names, seed)
    draws = []
    for number in range(IMPORTANCE_RESAMPLES):
        chosen = [complete[int(i)] for i in rng.integers(len(complete), size=len(complete))]
        if len({float(trial["value"]) for trial in chosen}) > 1:
            draws.append(_fanova(chosen, names, seed + number))
    tail = (1 - LEVEL) / 2
    ranges = {name: np.quantile([draw[name] for draw in draws], [tail, 1 - tail]) for name in names}
    return {
        name: (share, min(share, float(ranges[name][0])), max(share, float(ranges[name][1])))
        for name, share in sorted(found.items(), key=lambda one: -one[1])
    }


@in_house_style
def importance_plot(found: Mapping[str, tuple[float, float, float]], trials: int) -> Plot:
    """Bars of `importances` with their intervals; `trials` is how many complete trials they rest on."""
    plot = Plot(figsize=(7.4, 1.2 + 0.34 * len(found)), layout="constrained")
    axes = plot.add_subplot()
    for row, (share, low, high) in enumerate(found.values()):
        axes.barh(row, share, height=0.55, color=COLOURS[4], zorder=2)
        axes.plot([low, high], [row, row], color=INK, linewidth=1.2, zorder=3)
        axes.annotate(
            f"{share:.2f}", (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5
        )
    axes.set_yticks(range(len(found)), [name.replace("_", " ") for name in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of the validation loss's variance; lines are 95 % intervals")
    axes.set_title(f"What mattered in the search ({trials} complete trials, functional ANOVA)")
    return plot


def search_plots(trials: Sequence[Trial], *, seed: int) -> dict[str, Plot]:
    """Draw a search: "search" and, where there are trials enough, "importance"."""
    drawn = {}
    parallel = parallel_coordinates_plot(trials)
    if parallel is not None:
        drawn["search"] = parallel
    found = importances(trials, seed=seed)
    if found:
        complete = sum(_is_complete(trial) for trial in _with_value(trials))
        drawn["importance"] = importance_plot(found, complete)
    return drawn


def _with_value(trials: Sequence[Trial]) -> list[Trial]:
    """Trials that reached a finite value and tell their setting."""
    return [
        trial
        for trial in trials
        if trial.get("value") is not None and math.isfinite(float(trial["value"])) and trial.get("setting")
    ]


def _is_complete(trial: Trial) -> bool:
    return str(trial.get("state", COMPLETE)).lower() == COMPLETE


def _varied(trials: Sequence[Trial]) -> list[str]:
    """Names of the settings that differ between trials, in the order of the first."""
    names = list(dict.fromkeys(name for trial in trials for name in trial["setting"]))
    varied = [name for name in names if len({str(trial["setting"].get(name)) for trial in trials}) > 1]
    return varied if len(trials) > 1 else names


def _column(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return each value's height 0..1 on its axis, and the axis' ticks as (height, words)."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    distinct = sorted(set(numbers))
    if len(numbers) < len(values) or len(distinct) <= 4:
        words = sorted({_words(value) for value in values}, key=_as_number)
        step = {word: index / max(1, len(words) - 1) for index, word in enumerate(words)}
        return [step[_words(value)] for value in values], [(height, word) for word, height in step.items()]
    low, high = distinct[0], distinct[-1]
    # Rates and decays span decades; so does anything positive whose largest is 20 times its smallest.
    logarithmic = low > 0 and high / low >= 20
    measure = math.log10 if logarithmic else float
    bottom, top = measure(low), measure(high)
    heights = [(measure(value) - bottom) / (top - bottom) for value in values]
    return heights, [(0.0, _words(low)), (1.0, _words(high))]


def _words(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _as_number(word: str) -> tuple[int, float, str]:
    try:
        return (0, float(word), word)
    except ValueError:
        return (1, 0.0, word)


def _axis(axes: Axes, place: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.plot([place, place], [0, 1], color=QUIET, linewidth=0.8, zorder=0)
    for height, words in ticks:
        axes.annotate(
            words, (place, height), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}, zorder=4,
        )  # fmt: skip


def _fanova(trials: Sequence[Trial], names: Sequence[str], seed: int) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    distributions = {name: _distribution([trial["setting"].get(name) for trial in trials]) for name in names}
    fixed = [name for name, law in distributions.items() if law is None]
    laws = {name: law for name, law in distributions.items() if law is not None}
    if not laws:
        return dict.fromkeys(names, 0.0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(
                params={name: _parameter(trial["setting"].get(name), law) for name, law in laws.items()},
                distributions=laws,
                value=float(trial["value"]),
            )
        )
    found = FanovaImportanceEvaluator(n_trees=_TREES, seed=seed).evaluate(study)
    return {**{name: float(found.get(name, 0.0)) for name in names}, **dict.fromkeys(fixed, 0.0)}


def _distribution(values: Sequence[Any]) -> Any:
    """The range a setting was seen in, as Optuna names it; None where it was one value alone."""
    import optuna

    if len({str(value) for value in values}) < 2:
        return None
    if all(isinstance(value, float) for value in values):
        low, high = min(values), max(values)
        return optuna.distributions.FloatDistribution(low, high, log=low > 0 and high / low >= 20)
    return optuna.distributions.CategoricalDistribution(sorted({str(value) for value in values}))


def _parameter(value: Any, law: Any) -> Any:
    return value if type(law).__name__ == "FloatDistribution" else str(value)
