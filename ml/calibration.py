"""Calibration: what a probability of ours is worth.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"), the expected calibration
error with equal-mass bins (Nguyen and O'Connor 2015), Wilson's score interval (1927), and re-weighting of
probabilities to another prevalence (Saerens et al. 2002, equation 2.4). NumPy alone: the serving process
imports this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

# Temperatures outside these bounds say that the validation set is too easy or too broken to fit one: with
# every validation image right, the likelihood has no maximum and would make the model ever surer of itself.
TEMPERATURE_BOUNDS = (0.1, 20.0)
ECE_BINS = 15
MINIMUM_BIN_SIZE = 50
# The two-sided 95 % quantile of the standard normal distribution.
Z_95 = 1.959963984540054


class CalibrationError(ValueError):
    """The numbers given cannot be calibrated; the message says why."""


def softmax(logits: ArrayLike) -> FloatArray:
    """Return the softmax over the last axis as float64, safe against overflow; the shape stays."""
    values = np.asarray(logits, dtype=np.float64)
    shifted = values - values.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    result: FloatArray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def apply_temperature(logits: ArrayLike, temperature: float) -> FloatArray:
    """Return calibrated probabilities `softmax(logits / temperature)`.

    `logits` is (..., k) of any float type, `temperature` is positive; the result is (..., k) float64 in
    0..1, each row summing to 1. The order of the classes in a row never changes.
    """
    if not np.isfinite(temperature) or temperature <= 0:
        raise CalibrationError(f"A temperature must be a positive number, not {temperature}.")
    return softmax(np.asarray(logits, dtype=np.float64) / temperature)


def remove_temperature(probabilities: ArrayLike, temperature: float) -> FloatArray:
    """Return the probabilities as they were before `apply_temperature`, from the calibrated ones (..., k).

    Logits are known from probabilities up to a constant a row, which the softmax drops.
    """
    tiny = np.finfo(np.float64).tiny
    logarithms = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), tiny))
    return softmax(logarithms * temperature)


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> float:
    """Return the mean negative log likelihood (nats) of `labels` (n,) given `logits` (n, k)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    rows = np.arange(len(scaled))
    log_sums = np.log(np.exp(scaled).sum(axis=1))
    return float(np.mean(log_sums - scaled[rows, np.asarray(labels, dtype=np.intp)]))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature that minimises the negative log likelihood of held-out `labels`.

    `logits` is (n, k) with k >= 2, `labels` (n,) integers in 0..k-1. In the inverse temperature the
    likelihood is convex, so its derivative (the mean of expected logit less the true class's logit) has one
    zero at most: it is found by bisection inside `TEMPERATURE_BOUNDS`, and the nearer bound is returned
    where it lies outside.
    """
    scores, truth = _checked(logits, labels)
    rows = np.arange(len(scores))
    true_scores = scores[rows, truth]

    def slope(inverse: float) -> float:
        probabilities = softmax(scores * inverse)
        return float(np.mean((probabilities * scores).sum(axis=1) - true_scores))

    low, high = 1.0 / TEMPERATURE_BOUNDS[1], 1.0 / TEMPERATURE_BOUNDS[0]
    if slope(low) >= 0:
        return TEMPERATURE_BOUNDS[1]
    if slope(high) <= 0:
        return TEMPERATURE_BOUNDS[0]
    for _ in range(100):
        middle = float(np.sqrt(low * high))
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
        if high / low < 1 + 1e-12:
            break
    return float(1.0 / np.sqrt(low * high))


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = ECE_BINS) -> float:
    """Return the top-label expected calibration error over `bins` equal-mass bins, in 0..1.

    `probabilities` is (n, k), `labels` (n,) integers. Images are sorted by their largest probability and
    cut into bins of n / `bins` images each; an image on a cut counts in both bins by its share, and images
    of one confidence are shared alike, so the order of the images never matters. Returns nan for no images.
    """
    chances, truth = _checked(probabilities, labels, allow_empty=True)
    if len(chances) == 0:
        return float("nan")
    top = chances.argmax(axis=1)
    confidence = chances[np.arange(len(chances)), top]
    correct = (top == truth).astype(np.float64)
    return float(binned_calibration_gap(confidence, correct, np.ones((1, len(chances))), bins)[0])


def binned_calibration_gap(
    confidence: FloatArray, correct: FloatArray, weights: FloatArray, bins: int = ECE_BINS
) -> FloatArray:
    """Return the equal-mass calibration error of b weightings of the same n images, (b,).

    `confidence` and `correct` are (n,), `weights` (b, n) non-negative (how often each image is in a
    resample). Sums of confidence and of hits are piecewise linear in the mass passed, so bins are read off
    at the cuts by interpolation. A row without any mass gives nan.
    """
    distinct, place = np.unique(confidence, return_inverse=True)
    gaps = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights):
        total = weight.sum()
        if total <= 0:
            continue
        mass = np.bincount(place, weight, minlength=len(distinct))
        hits = np.bincount(place, weight * correct, minlength=len(distinct))
        used = mass > 0
        passed = np.concatenate(([0.0], np.cumsum(mass[used])))
        difference = np.concatenate(([0.0], np.cumsum((mass * distinct - hits)[used])))
        cuts = np.linspace(0.0, passed[-1], bins + 1)
        gaps[row] = np.abs(np.diff(np.interp(cuts, passed, difference))).sum() / passed[-1]
    return gaps


def wilson_interval(successes: float, n: float, z: float = Z_95) -> tuple[float, float]:
    """Return Wilson's score interval (low, high) in 0..1 for `successes` out of `n`; (0, 1) where n is 0.

    Neither need be whole: where images agree in groups, `n` may be how many independent ones they are worth.
    """
    if n < 0 or not 0 <= successes <= max(n, 0):
        raise CalibrationError(f"{successes} of {n} is not a share.")
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    denominator = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / denominator
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / denominator
    low = 0.0 if successes == 0 else max(0.0, float(centre - half))
    high = 1.0 if successes == n else min(1.0, float(centre + half))
    return low, high


def reweight(probabilities: ArrayLike, from_prevalence: ArrayLike, to_prevalence: ArrayLike) -> FloatArray:
    """Return `probabilities` (..., k) calibrated at one prevalence as they stand at another.

    Both prevalences are (k,), non-negative, and are normalised here; `from_prevalence` must be positive for
    every class, because a class never seen has no probability to re-weight.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    source = np.asarray(from_prevalence, dtype=np.float64)
    target = np.asarray(to_prevalence, dtype=np.float64)
    if source.shape != target.shape or source.shape != values.shape[-1:]:
        raise CalibrationError("A prevalence needs one number for each class.")
    if (source <= 0).any() or (target < 0).any() or target.sum() <= 0:
        raise CalibrationError("A prevalence must be positive for each class it was calibrated at.")
    weighted = values * (target / target.sum()) / (source / source.sum())
    total = weighted.sum(axis=-1, keepdims=True)
    # All the probability may sit on classes the new prevalence rules out; the new prevalence is then all
    # that is known.
    fallback = np.broadcast_to(target / target.sum(), values.shape)
    result: FloatArray = np.where(total > 0, weighted / np.where(total > 0, total, 1.0), fallback)
    return result


@dataclass(frozen=True)
class ConfidenceBin:
    """Held-out images of top probability `lower` or more: how many, and how many were right."""

    lower: float
    n: int
    correct: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share that was right."""
        return wilson_interval(self.correct, self.n)


@dataclass(frozen=True)
class ConfidenceBins:
    """Equal-mass bins of held-out top probabilities: the interval beside every confidence that is shown."""

    bins: tuple[ConfidenceBin, ...]

    @classmethod
    def fit(
        cls,
        confidence: ArrayLike,
        correct: ArrayLike,
        *,
        bins: int = ECE_BINS,
        minimum: int = MINIMUM_BIN_SIZE,
    ) -> ConfidenceBins:
        """Make bins from held-out images: `confidence` (n,) in 0..1, `correct` (n,) booleans, n >= `minimum`.

        There are at most `bins` bins of at least `minimum` images each, as equal in size as whole images
        allow. Images of one confidence stay in one bin, so that a confidence belongs to one bin alone.
        """
        values = np.asarray(confidence, dtype=np.float64)
        hits = np.asarray(correct, dtype=bool)
        if values.ndim != 1 or values.shape != hits.shape:
            raise CalibrationError("Each held-out image needs one confidence and one outcome.")
        if len(values) < minimum:
            raise CalibrationError(
                f"{len(values)} held-out images are too few for an interval; {minimum} are needed."
            )
        if not np.isfinite(values).all():
            raise CalibrationError("A held-out confidence is not a number.")
        distinct, place = np.unique(values, return_inverse=True)
        counts = np.bincount(place)
        right = np.bincount(place, hits)
        size = max(minimum, len(values) / bins)
        found: list[ConfidenceBin] = []
        lower, n, good = float(distinct[0]), 0, 0
        for index in range(len(distinct)):
            if 0 < n < minimum and found and counts[index] >= size:
                # What comes is a bin of its own already; the few images below it join the bin before.
                found[-1] = ConfidenceBin(found[-1].lower, found[-1].n + n, found[-1].correct + good)
                n, good = 0, 0
            if n == 0:
                lower = float(distinct[index])
            n += int(counts[index])
            good += int(right[index])
            if n >= size:
                found.append(ConfidenceBin(lower, n, good))
                n, good = 0, 0
        if n and found and n < minimum:
            last = found.pop()
            lower, n, good = last.lower, last.n + n, last.correct + good
        if n:
            found.append(ConfidenceBin(lower, n, good))
        return cls(tuple(found))

    def interval(self, confidence: float) -> tuple[float, float, int]:
        """Return (low, high, n) of the bin of `confidence`; below all bins, the lowest bin's."""
        lowers = [one.lower for one in self.bins]
        index = max(0, int(np.searchsorted(lowers, confidence, side="right")) - 1)
        chosen = self.bins[index]
        low, high = chosen.interval
        return low, high, chosen.n

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads, ready for JSON."""
        return {"bins": [{"lower": one.lower, "n": one.n, "correct": one.correct} for one in self.bins]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConfidenceBins:
        """Read what `to_dict` wrote; raises `CalibrationError` for anything else."""
        try:
            rows: Sequence[Mapping[str, Any]] = data["bins"]
            bins = tuple(
                ConfidenceBin(float(row["lower"]), int(row["n"]), int(row["correct"])) for row in rows
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError("The confidence bins of the bundle cannot be read.") from error
        ordered = all(left.lower < right.lower for left, right in pairwise(bins))
        if not bins or not ordered or any(not 0 <= one.correct <= one.n for one in bins):
            raise CalibrationError("The confidence bins of the bundle contradict themselves.")
        return cls(bins)


def _checked(
    scores: ArrayLike, labels: ArrayLike, *, allow_empty: bool = False
) -> tuple[FloatArray, NDArray[np.intp]]:
    """Return (n, k) float64 scores and (n,) integer labels, or raise `CalibrationError` in words."""
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(labels)
    if values.ndim != 2 or values.shape[1] < 2 or truth.shape != (len(values),):
        raise CalibrationError(
            "Calibration needs scores of at least two classes and one label for each image."
        )
    if len(values) == 0 and not allow_empty:
        raise CalibrationError("Calibration needs at least one image.")
    if not np.isfinite(values).all():
        raise CalibrationError("A score is not a number.")
    if len(truth) and not (
        np.equal(np.mod(truth, 1), 0).all() and truth.min() >= 0 and truth.max() < values.shape[1]
    ):
        raise CalibrationError("A label is not the index of a class.")
    return values, truth.astype(np.intp)
