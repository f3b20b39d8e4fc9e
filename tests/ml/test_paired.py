"""Paired differences: what must hold whatever the two models say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evaluation.metrics import Judged
from ml.evaluation.paired import expanded_tail, paired_differences, spread_groups

CLASSES = ("benign", "early", "pro")
MALIGNANT = ("early", "pro")
NAMES = ("balanced_accuracy", "sensitivity_malignant", "accuracy")


def judged(labels, said, groups) -> Judged:
    chances = np.full((len(labels), len(CLASSES)), 0.05)
    chances[np.arange(len(labels)), said] = 0.9
    return Judged.of(
        [CLASSES[label] for label in labels],
        chances,
        classes=CLASSES,
        malignant=MALIGNANT,
        groups=[str(group) for group in groups],
    )


@st.composite
def pairs(draw):
    n = draw(st.integers(4, 60))
    each = st.lists(st.integers(0, 2), min_size=n, max_size=n)
    labels, first, second = draw(each), draw(each), draw(each)
    groups = draw(st.lists(st.integers(0, draw(st.integers(0, 8))), min_size=n, max_size=n))
    return labels, first, second, groups


def differences(one, other, seed=1, resamples=60):
    found = paired_differences(one, other, NAMES, rng=np.random.default_rng(seed), resamples=resamples)
    return {difference.name: difference for difference in found}


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_swapping_the_two_turns_the_interval_round(pair):
    labels, first, second, groups = pair
    one, other = judged(labels, first, groups), judged(labels, second, groups)
    there, back = differences(one, other), differences(other, one)
    for name in NAMES:
        if there[name].value is None:
            assert back[name].value is None
            continue
        assert there[name].value == pytest.approx(-back[name].value)
        if there[name].low is None:
            assert back[name].low is None
            continue
        assert there[name].low == pytest.approx(-back[name].high)
        assert there[name].low <= there[name].value <= there[name].high


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_a_model_against_itself_differs_by_exactly_nothing(pair):
    labels, first, _, groups = pair
    one = judged(labels, first, groups)
    for difference in differences(one, one).values():
        assert difference.value in (None, 0.0)
        assert difference.low in (None, 0.0)
        assert difference.high in (None, 0.0)


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_one_that_is_right_wherever_the_other_is_never_loses(pair):
    labels, first, second, groups = pair
    better = [
        label if label == other else one for label, one, other in zip(labels, first, second, strict=True)
    ]
    found = differences(judged(labels, better, groups), judged(labels, second, groups))
    assert found["balanced_accuracy"].value >= 0
    assert found["balanced_accuracy"].low is None or found["balanced_accuracy"].low >= 0


def test_the_tails_are_narrower_the_fewer_the_groups_and_the_textbook_s_for_many():
    tails = [expanded_tail(groups) for groups in (2, 4, 8, 16, 50, 2000)]
    assert tails == sorted(tails)
    assert tails[1] < 1 / 2000  # four groups: the lowest of all resamples
    assert tails[3] == pytest.approx(0.0139, abs=2e-4)
    assert tails[-1] == pytest.approx(0.025, abs=2e-4)


def test_no_interval_where_no_spread_between_groups_can_be_seen():
    one = judged([0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 2])
    assert spread_groups("balanced_accuracy", one) == 0
    assert spread_groups("sensitivity_malignant", one) == 2
    alone = judged([0, 1, 2], [0, 1, 2], [0, 0, 0])
    assert all(found.low is None for found in differences(alone, alone).values())


def test_the_lower_bound_of_an_inferior_model_rarely_passes():
    """Five groups a class, errors 3 points more frequent: a bound that passed often would prove nothing."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2], 100)
    groups = np.arange(300) // 20
    passed = 0
    for trial in range(40):
        said = [np.where(rng.random(300) < rate, (labels + 1) % 3, labels) for rate in (0.05, 0.02)]
        worse, better = (judged(labels, one, groups) for one in said)
        found = differences(worse, better, seed=trial, resamples=200)["balanced_accuracy"]
        passed += found.low > -0.01
    assert passed <= 2
