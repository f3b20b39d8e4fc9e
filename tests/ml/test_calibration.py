"""Temperature, calibration error, Wilson's interval, confidence bins and re-weighting against references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from ml.calibration import (
    TEMPERATURE_BOUNDS,
    CalibrationError,
    ConfidenceBins,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    remove_temperature,
    reweight,
    softmax,
    wilson_interval,
)

logit_tables = arrays(
    np.float64,
    st.tuples(st.integers(1, 40), st.integers(2, 5)),
    elements=st.floats(-30, 30, allow_nan=False, width=32),
)


def noisy_logits(n: int, k: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose right temperature is `scale`: labels are drawn from softmax(logits / scale)."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(scale=2.0, size=(n, k))
    labels = np.asarray([rng.choice(k, p=row) for row in softmax(honest)])
    return honest * scale, labels


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_it_finds_the_temperature_the_labels_were_drawn_at(scale):
    logits, labels = noisy_logits(20_000, 4, scale)
    assert fit_temperature(logits, labels) == pytest.approx(scale, rel=0.05)


def test_its_temperature_is_the_one_a_general_minimiser_finds():
    logits, labels = noisy_logits(300, 4, 2.5, seed=3)
    best = minimize_scalar(
        lambda t: negative_log_likelihood(logits, labels, float(np.exp(t))), bounds=(-2, 2), method="bounded"
    )
    assert np.log(fit_temperature(logits, labels)) == pytest.approx(best.x, abs=1e-4)


def test_a_faultless_validation_set_stops_at_the_lower_bound():
    logits = np.eye(4)[np.arange(40) % 4] * 5
    assert fit_temperature(logits, np.arange(40) % 4) == TEMPERATURE_BOUNDS[0]


def test_a_model_that_is_always_wrong_stops_at_the_upper_bound():
    logits = np.eye(4)[np.arange(40) % 4] * 5
    assert fit_temperature(logits, (np.arange(40) + 1) % 4) == TEMPERATURE_BOUNDS[1]


@settings(deadline=None)
@given(logit_tables, st.floats(0.1, 20))
def test_temperature_keeps_the_order_of_the_classes(logits, temperature):
    probabilities = apply_temperature(logits, temperature)
    assert np.allclose(probabilities.sum(axis=1), 1)
    chosen = logits.argmax(axis=1)
    rows = np.arange(len(logits))
    assert (probabilities[rows, chosen] >= probabilities.max(axis=1) - 1e-15).all()


@settings(deadline=None)
@given(logit_tables)
def test_the_fitted_temperature_never_makes_the_likelihood_worse_than_none(logits):
    labels = np.arange(len(logits)) % logits.shape[1]
    fitted = negative_log_likelihood(logits, labels, fit_temperature(logits, labels))
    assert fitted <= negative_log_likelihood(logits, labels) + 1e-9


def test_taking_the_temperature_away_gives_the_plain_softmax_back():
    logits, _ = noisy_logits(50, 4, 1.0)
    assert np.allclose(remove_temperature(apply_temperature(logits, 2.2), 2.2), softmax(logits))


def test_softmax_survives_huge_logits():
    assert np.allclose(softmax([[1e4, 0.0], [-1e4, -1e4]]), [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((0, 3)), []),
        (np.zeros((2, 3)), [0]),
        (np.zeros((1, 3)), [3]),
        (np.zeros((1, 3)), [0.5]),
        (np.full((1, 3), np.nan), [0]),
        (np.zeros((2, 1)), [0, 0]),
    ],
)
def test_it_refuses_what_cannot_be_calibrated(logits, labels):
    with pytest.raises(CalibrationError):
        fit_temperature(logits, labels)


def plain_ece(probabilities, labels, bins):
    """The textbook's way, for images that fill equal bins exactly and have distinct confidences."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence)
    parts = np.array_split(order, bins)
    return sum(len(p) / len(order) * abs(correct[p].mean() - confidence[p].mean()) for p in parts)


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_error_is_the_textbooks(bins):
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(4), size=300)
    labels = rng.integers(0, 4, 300)
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(
        plain_ece(probabilities, labels, bins)
    )


def test_calibration_error_of_closed_cases():
    sure = np.tile([1.0, 0.0], (10, 1))
    assert expected_calibration_error(sure, np.zeros(10, int)) == 0
    assert expected_calibration_error(sure, np.ones(10, int)) == 1
    assert expected_calibration_error(np.tile([0.8, 0.2], (10, 1)), [0] * 8 + [1] * 2) == pytest.approx(0)
    assert np.isnan(expected_calibration_error(np.zeros((0, 3)), []))


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(2, 5), st.integers(1, 20), st.integers(0, 10_000))
def test_calibration_error_is_a_share_and_ignores_the_order_of_images(n, k, bins, seed):
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.dirichlet(np.ones(k), size=n), 1) + 0.05
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = rng.integers(0, k, n)
    error = expected_calibration_error(probabilities, labels, bins)
    assert 0 <= error <= 1
    shuffled = rng.permutation(n)
    assert expected_calibration_error(probabilities[shuffled], labels[shuffled], bins) == pytest.approx(error)


@settings(deadline=None)
@given(st.integers(1, 400), st.data())
def test_wilson_is_scipys_and_holds_the_share(n, data):
    successes = data.draw(st.integers(0, n))
    low, high = wilson_interval(successes, n)
    reference = binomtest(successes, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=1e-9)
    assert 0 <= low <= successes / n <= high <= 1


def test_wilson_of_nothing_is_everything():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(CalibrationError):
        wilson_interval(3, 2)


def test_bins_hold_at_least_fifty_images_and_all_of_them():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.25, 1, 617)
    bins = ConfidenceBins.fit(confidence, rng.random(617) < confidence)
    assert sum(one.n for one in bins.bins) == 617
    assert min(one.n for one in bins.bins) >= 50
    assert len(bins.bins) == 12


def test_a_bins_interval_is_wilsons_over_its_images():
    confidence = np.repeat([0.6, 0.9], 100)
    correct = np.concatenate([np.arange(100) < 60, np.arange(100) < 95])
    bins = ConfidenceBins.fit(confidence, correct)
    assert bins.interval(0.6) == (*wilson_interval(60, 100), 100)
    assert bins.interval(0.97) == (*wilson_interval(95, 100), 100)
    assert bins.interval(0.3) == bins.interval(0.6)


def test_images_of_one_confidence_stay_in_one_bin():
    bins = ConfidenceBins.fit(np.concatenate([np.linspace(0.3, 0.9, 60), np.ones(540)]), np.ones(600, bool))
    assert [one.n for one in bins.bins] == [60, 540]


def test_a_small_rest_joins_the_bin_below_it():
    bins = ConfidenceBins.fit(np.concatenate([np.full(90, 0.5), np.full(20, 0.9)]), np.ones(110, bool))
    assert [one.n for one in bins.bins] == [110]


def test_too_few_images_get_no_bins():
    with pytest.raises(CalibrationError, match="49"):
        ConfidenceBins.fit(np.linspace(0.5, 1, 49), np.ones(49, bool))


def test_bins_survive_the_bundles_json():
    rng = np.random.default_rng(0)
    bins = ConfidenceBins.fit(rng.random(200), rng.random(200) < 0.5)
    assert ConfidenceBins.from_dict(bins.to_dict()) == bins


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"bins": []},
        {"bins": [{"lower": 0.5}]},
        {"bins": [{"lower": 0.5, "n": 50, "correct": 51}]},
        {"bins": [{"lower": 0.5, "n": 50, "correct": 50}, {"lower": 0.4, "n": 50, "correct": 50}]},
    ],
)
def test_broken_bins_are_refused(broken):
    with pytest.raises(CalibrationError):
        ConfidenceBins.from_dict(broken)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_reweighting_there_and_back_changes_nothing(k, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(k), size=10)
    first, second = rng.dirichlet(np.ones(k) * 5) + 0.01, rng.dirichlet(np.ones(k) * 5) + 0.01
    there = reweight(probabilities, first, second)
    assert np.allclose(there.sum(axis=1), 1)
    assert np.allclose(reweight(there, second, first), probabilities)


def test_a_high_probability_shrinks_where_the_disease_is_rare():
    # 0.97 at a prevalence of 84 % has odds of 32 : 1, likelihood ratio 6.16; at 2 % that leaves 11 %.
    assert reweight([0.03, 0.97], [0.16, 0.84], [0.98, 0.02])[1] == pytest.approx(0.1117, abs=1e-3)


def test_a_ruled_out_class_leaves_the_new_prevalence():
    assert np.allclose(reweight([1.0, 0.0, 0.0], [1, 1, 1], [0, 1, 3]), [0, 0.25, 0.75])


@pytest.mark.parametrize(("source", "target"), [([1, 0], [1, 1]), ([1, 1], [0, 0]), ([1, 1, 1], [1, 1])])
def test_an_impossible_prevalence_is_refused(source, target):
    with pytest.raises(CalibrationError):
        reweight([0.5, 0.5], source, target)
