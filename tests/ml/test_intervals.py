"""The group bootstrap: against a plain loop, against theory, and where it has nothing to say."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ml.calibration import wilson_interval
from ml.evaluation.intervals import Figure, all_figures, figures, group_weights, share_figure
from ml.evaluation.metrics import Judged, class_metrics

CLASSES = ("benign", "early", "pre")
MALIGNANT = ("early", "pre")
PLAIN_SHARES = ("accuracy", "recall/", "precision/", "specificity/", "sensitivity", "coverage", "risk")


def judged_in_groups(groups: int, size: int, seed: int = 0, wrong: float = 0.2) -> Judged:
    rng = np.random.default_rng(seed)
    n = groups * size
    labels = rng.integers(0, 3, n)
    given = np.where(rng.random(n) < wrong, rng.integers(0, 3, n), labels)
    chances = np.full((n, 3), 0.1)
    chances[np.arange(n), given] = 0.8
    chances = rng.dirichlet(np.ones(3), size=n) * 0.1 + chances * 0.9
    return Judged.of(
        [CLASSES[index] for index in labels],
        chances,
        classes=CLASSES,
        malignant=MALIGNANT,
        groups=[f"g{index // size}" for index in range(n)],
        kept=rng.random(n) < 0.9,
    )


def named(found: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in found}


def test_whole_groups_are_drawn():
    weights = group_weights(np.asarray([0, 0, 1, 2, 2, 2]), np.random.default_rng(0), 50)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3:] == weights[:, 3:4]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_it_is_the_plain_loops_percentile_interval():
    judged = judged_in_groups(12, 8)
    found = named(figures(judged, split="block", rng=np.random.default_rng(7), resamples=400))
    weights = group_weights(judged.groups, np.random.default_rng(7), 400)
    values = []
    for row in weights:
        copies = np.repeat(np.arange(len(judged)), row.astype(int))
        values.append((judged.predicted[copies] == judged.labels[copies]).mean())
    low, high = np.percentile(values, [2.5, 97.5])
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((low, high))


def test_images_of_their_own_give_the_binomials_width():
    judged = judged_in_groups(1500, 1, seed=2)
    accuracy = named(figures(judged, split="x", rng=np.random.default_rng(0)))["accuracy"]
    low, high = wilson_interval(round(accuracy.value * 1500), 1500)
    assert (accuracy.low, accuracy.high) == pytest.approx((low, high), abs=0.004)


def test_images_that_agree_within_groups_widen_the_interval():
    right = np.repeat(np.random.default_rng(0).random(20) < 0.7, 30)
    chances = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
    options = {"classes": ("a", "b")}
    apart = Judged.of(["a"] * 600, chances, **options)
    grouped = Judged.of(["a"] * 600, chances, groups=[str(index // 30) for index in range(600)], **options)
    narrow = named(figures(apart, split="x", rng=np.random.default_rng(0)))["accuracy"]
    wide = named(figures(grouped, split="x", rng=np.random.default_rng(0)))["accuracy"]
    assert (wide.high - wide.low) > 3 * (narrow.high - narrow.low)


def test_the_same_seed_gives_the_same_figures():
    judged = judged_in_groups(9, 5)
    first = all_figures(judged, split="x", rng=np.random.default_rng(3), resamples=100)
    assert first == all_figures(judged, split="x", rng=np.random.default_rng(3), resamples=100)


def test_blocks_of_resamples_do_not_change_the_figures(monkeypatch):
    judged = judged_in_groups(9, 5)
    whole = figures(judged, split="x", rng=np.random.default_rng(3), resamples=100)
    monkeypatch.setattr("ml.evaluation.intervals.BLOCK", 45 * 7)
    again = figures(judged, split="x", rng=np.random.default_rng(3), resamples=100)
    assert [one.low for one in again] == pytest.approx([one.low for one in whole])
    assert [one.high for one in again] == pytest.approx([one.high for one in whole])


def test_a_figure_says_what_it_was_measured_on():
    accuracy = named(figures(judged_in_groups(9, 5), split="block", rng=np.random.default_rng(0)))["accuracy"]
    assert (accuracy.n, accuracy.groups, accuracy.split, accuracy.method) == (45, 9, "block", "bootstrap")


def test_no_error_at_all_is_not_certainty():
    judged = judged_in_groups(10, 6, wrong=0)
    found = named(figures(judged, split="x", rng=np.random.default_rng(0)))
    assert found["accuracy"].value == 1
    assert (found["accuracy"].low, found["accuracy"].high) == wilson_interval(60, 60)
    assert found["accuracy"].method == "wilson"


def test_a_perfect_area_or_mean_rests_on_the_rarest_class():
    labels = ["benign"] * 12 + ["early"] * 40 + ["pre"] * 40
    chances = np.full((92, 3), 0.05)
    chances[np.arange(92), [CLASSES.index(label) for label in labels]] = 0.9
    groups = [f"g{index // 4}" for index in range(92)]
    judged = Judged.of(labels, chances, classes=CLASSES, malignant=MALIGNANT, groups=groups)
    found = named(figures(judged, split="test", rng=np.random.default_rng(0)))
    for name in ("auroc_malignant", "auroc_macro", "balanced_accuracy", "f1_macro"):
        figure = found[name]
        assert (figure.value, figure.method) == (1.0, "wilson"), name
        assert (figure.low, figure.high) == wilson_interval(12, 12), name


def test_one_group_alone_has_no_interval():
    for figure in all_figures(judged_in_groups(1, 30), split="x", rng=np.random.default_rng(0)):
        assert math.isnan(figure.low)
        assert figure.method == "none"
        assert figure.defined


def test_what_is_not_defined_has_no_interval_either():
    judged = Judged.of(["benign"] * 4, np.eye(3)[[0, 0, 0, 1]], classes=CLASSES, malignant=MALIGNANT)
    area = named(figures(judged, split="x", rng=np.random.default_rng(0)))["auroc_malignant"]
    assert not area.defined
    assert math.isnan(area.low)
    assert area.to_dict()["value"] is None


def test_a_class_most_resamples_lack_has_no_interval():
    labels = ["benign"] * 40 + ["early"]
    chances = np.eye(3)[[0] * 40 + [1]] * 0.9 + 0.1 / 3
    groups = ["a", "b", "c"] * 13 + ["a", "rare"]
    judged = Judged.of(labels, chances, classes=CLASSES, malignant=MALIGNANT, groups=groups)
    found = named(figures(judged, split="x", rng=np.random.default_rng(0), resamples=500))
    # The rare group is in 1 - (3/4)^4 = 68 % of the resamples, and every one of those agrees.
    assert found["recall/early"].method == "wilson"
    assert (found["recall/early"].low, found["recall/early"].high) == wilson_interval(1, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 8), st.integers(1, 6), st.integers(0, 10_000))
@example(4, 3, 315)  # one resample in a hundred differs, and both percentiles are 1
def test_an_interval_holds_its_estimate(groups, size, seed):
    judged = judged_in_groups(groups, size, seed=seed)
    for figure in all_figures(judged, split="x", rng=np.random.default_rng(seed), resamples=200):
        if math.isfinite(figure.low):
            assert figure.low <= figure.value <= figure.high, figure
            assert figure.high > figure.low or not figure.name.startswith(PLAIN_SHARES)


def test_the_estimate_is_the_metric_itself():
    judged = judged_in_groups(9, 5)
    found = named(figures(judged, split="x", rng=np.random.default_rng(0), resamples=50))
    assert {name: figure.value for name, figure in found.items()} == {
        name: float(one.values[0]) for name, one in class_metrics(judged).items()
    }


def test_figures_survive_json():
    for figure in all_figures(judged_in_groups(5, 4), split="x", rng=np.random.default_rng(0), resamples=50):
        back = Figure.from_dict(json.loads(json.dumps(figure.to_dict(), allow_nan=False)))
        assert back == figure or not figure.defined


def test_a_share_has_wilsons_interval():
    figure = share_figure("kept", 95, 100, split="held-out fields")
    assert (figure.low, figure.high) == wilson_interval(95, 100)
    assert not share_figure("kept", 0, 0, split="nothing").defined
