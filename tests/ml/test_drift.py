"""Our own arithmetic of drift against SciPy's exact distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ml.drift import at_least_p_value, distance_from_uniform, distance_p_value


def test_the_distance_is_that_of_the_textbook():
    rng = np.random.default_rng(2)
    for shares in (rng.random(200), rng.random(51) ** 2, np.full(7, 0.99), np.array([0.0, 1.0])):
        expected = stats.kstest(shares, "uniform").statistic
        assert distance_from_uniform(list(shares)) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="No values"):
        distance_from_uniform([])


@pytest.mark.parametrize("n", [20, 50, 200])
def test_its_significance_is_near_the_exact_one(n):
    for p_value in (0.5, 0.1, 0.05, 0.01, 0.001):
        distance = float(stats.kstwo.isf(p_value, n))
        assert distance_p_value(distance, n) == pytest.approx(p_value, rel=0.06)
    assert distance_p_value(0.0, n) == 1.0
    assert distance_p_value(1.0, n) < 1e-12


@pytest.mark.parametrize(
    ("count", "n", "share"), [(0, 20, 0.03), (3, 50, 0.03), (60, 200, 0.03), (1, 20, 0.0)]
)
def test_a_count_is_as_rare_as_the_binomial_says(count, n, share):
    expected = stats.binom.sf(count - 1, n, share)
    assert at_least_p_value(count, n, share) == pytest.approx(expected, rel=1e-9, abs=1e-300)
