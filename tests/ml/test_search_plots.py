"""Plots of a search: every trial is in them, and the setting that decided is the one named first."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml.evaluation import search_plots as module
from ml.evaluation.plots import to_svg
from ml.evaluation.search_plots import LEAST_TRIALS, importances, parallel_coordinates_plot, search_plots


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forests are slow to grow, and five are enough to see an interval."""
    monkeypatch.setattr(module, "IMPORTANCE_RESAMPLES", 5)


def trials(count: int = 12, *, pruned: int = 0) -> list[dict]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        rate = float(10 ** rng.uniform(-4, -2))
        setting = {
            "learning_rate": rate,
            "optimiser": ["sgd", "adam", "adamw"][number % 3],
            "batch_size": [16, 32][number % 2],
            "focal_gamma": 2.0,
        }
        loss = 0.2 + abs(math.log10(rate) + 3) + 0.001 * float(rng.normal())
        state = "pruned" if number >= count - pruned else "complete"
        found.append({"number": number, "state": state, "value": loss, "setting": setting})
    return found


def test_what_decided_the_loss_comes_first_with_its_interval():
    found = importances(trials(), seed=1)
    name = next(iter(found))
    share, low, high = found[name]
    assert name == "learning_rate"
    assert 0.5 < share <= 1
    assert low <= share <= high
    assert "focal_gamma" not in found


def test_importance_is_not_told_from_too_few_trials():
    assert importances(trials(LEAST_TRIALS - 1), seed=1) == {}
    assert importances(trials(LEAST_TRIALS + 3, pruned=4), seed=1) == {}


def test_nor_where_all_trials_ended_alike():
    same = [{**trial, "value": 0.5} for trial in trials()]
    assert importances(same, seed=1) == {}


def test_every_trial_with_a_value_has_a_line():
    shown = [
        *trials(9, pruned=2),
        {"number": 9, "state": "failed", "value": None, "setting": {"batch_size": 16}},
    ]
    axes = parallel_coordinates_plot(shown).axes[0]
    assert sum(len(line.get_xdata()) == 3 for line in axes.lines) == 9
    assert axes.get_title(loc="left").startswith("Search: 7 complete trials, 2 pruned (grey), best: trial ")


def test_the_best_trial_is_named():
    best = min(trials(6), key=lambda trial: trial["value"])
    title = parallel_coordinates_plot(trials(6)).axes[0].get_title(loc="left")
    assert f"best: trial {best['number']}, loss {best['value']:.4f}" in title


def test_a_search_without_results_has_no_plot():
    assert parallel_coordinates_plot([]) is None
    assert search_plots([{"number": 0, "state": "failed", "value": None, "setting": {}}], seed=1) == {}


def test_one_trial_alone_can_be_drawn():
    assert list(search_plots(trials(1), seed=1)) == ["search"]


def test_the_same_plots_are_the_same_svg():
    first, second = (search_plots(trials(), seed=1) for _ in range(2))
    assert list(first) == ["search", "importance"]
    for name in first:
        assert to_svg(first[name], name) == to_svg(second[name], name)
