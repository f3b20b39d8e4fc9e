"""Fitting a bundle's head anew on few images of a site, and choosing how far to go by cross-validation.

Three ways, the simplest first: `keep` changes nothing, `recalibrate` fits a temperature and a bias for each class
(bias-corrected temperature scaling, Alexandari et al. 2020), `refit_head` adds a change of the dense weights that
a ridge pulls back to the old ones. A label may stand for several classes (membership); its likelihood is then the
sum of theirs. Folds hold whole groups, and of all ways within one standard error of the best the simplest is taken
(Breiman et al. 1984, section 3.4.3; the standard error here is that of the paired difference, over groups).
NumPy and SciPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
Method = Literal["keep", "recalibrate", "refit_head", "fine_tune"]

FOLDS = 5
REPEATS = 3
"""Groups are dealt to the folds anew so many times, and losses averaged: with 20 images one dealing is a lottery."""

SCALE_SIGMA = 0.3
BIAS_SIGMA = 1.0
"""Standard deviations of a normal prior about no change: of the log of the factor on the logits, and of each class's
bias. Few images that are all right would make a fit ever surer of itself, and rule out a class they do not show. Set
on validation fields at simulated sites, half of the groups to fit on and half to judge on: with a fixed ridge instead,
20 fields made the log loss worse than before."""


@dataclass(frozen=True)
class Head:
    """The dense layer and the temperature: probabilities are softmax((pooled @ kernel + bias) / temperature).

    Attributes:
        kernel: (c, k). bias: (k,). temperature: positive.
    """

    kernel: FloatArray
    bias: FloatArray
    temperature: float

    def logits(self, pooled: NDArray[np.floating]) -> FloatArray:
        """(n, c) pooled features -> (n, k) calibrated logits, the temperature applied."""
        found: FloatArray = (pooled.astype(np.float64) @ self.kernel + self.bias) / self.temperature
        return found


@dataclass(frozen=True)
class Way:
    """One way to adapt. `strength` is the ridge on the change of the weights; 0 where there is none."""

    method: Method
    strength: float = 0.0

    @property
    def words(self) -> str:
        """For pages and reports."""
        return {
            "keep": "head kept",
            "recalibrate": "temperature and class biases refitted",
            "refit_head": f"head refitted (ridge {self.strength:g} towards the old one)",
            "fine_tune": "last block fine-tuned",
        }[self.method]


WAYS = (
    Way("keep"),
    Way("recalibrate"),
    *(Way("refit_head", strength) for strength in (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)),
)
"""The simplest first: a stronger ridge leaves less freedom."""


@dataclass(frozen=True)
class Tried:
    """What cross-validation said of one way: mean log loss (nats) of images left out, and how much it lies above the
    best one's with the standard error of that difference."""

    way: Way
    loss: float
    excess: float
    excess_error: float


@dataclass(frozen=True)
class Choice:
    """The way taken, what was tried, and what it says of each image when its group was left out.

    Attributes:
        logits: (repeats, n, k) calibrated, each image's from a fit without its group.
        folds: (repeats, n) fold numbers.
    """

    way: Way
    tried: tuple[Tried, ...]
    logits: FloatArray
    folds: IntArray


def losses(logits: FloatArray, membership: NDArray[np.floating]) -> FloatArray:
    """(n,) negative log likelihoods (nats) of labels (n, k), of which one or more entries a row are 1."""
    return _log_sum(logits, np.ones_like(logits)) - _log_sum(logits, membership)


@dataclass(frozen=True)
class Span:
    """Where a change of the head can lie: n images about their mean, in units of their root mean square length.

    Attributes:
        mean: (c,). points: (n, m) coordinates of the images. back: (c, m) from coordinates to features.
    """

    mean: FloatArray
    points: FloatArray
    back: FloatArray

    @classmethod
    def of(cls, pooled: NDArray[np.floating]) -> Span:
        """The span of (n, c) pooled features, without directions in which they do not differ."""
        features = pooled.astype(np.float64)
        mean = features.mean(axis=0)
        left, singular, axes = np.linalg.svd(features - mean, full_matrices=False)
        kept = singular > max(singular[0], 1e-12) * 1e-6
        length = max(float(np.sqrt((singular**2).sum() / len(features))), 1e-12)
        return cls(mean, left[:, kept] * singular[kept] / length, axes[kept].T / length)


def fit_way(
    way: Way,
    head: Head,
    pooled: NDArray[np.floating],
    membership: NDArray[np.floating],
    *,
    span: Span | None = None,
) -> Head:
    """Adapt a head to (n, c) pooled features with labels (n, k).

    Minimises mean log loss + (log(scale) / SCALE_SIGMA)^2 / 2n + |bias / BIAS_SIGMA|^2 / 2n + strength/2 |change|^2
    of `scale * old logits + bias + z @ change`, where z are the features about their mean in units of their own
    root mean square length. The change lies in the span of the n images (representer theorem), so it is found there.
    `span` is `Span.of(pooled)`, where it is known already.
    """
    if way.method == "keep":
        return head
    if way.method == "fine_tune":
        raise ValueError("Fine-tuning is a training; it is not fitted on pooled features.")
    old = head.logits(pooled)
    n, k = old.shape
    where = span or Span.of(pooled)
    points = where.points if way.method == "refit_head" else where.points[:, :0]
    width = points.shape[1]

    of_scale, of_bias = 1 / (n * SCALE_SIGMA**2), 1 / (n * BIAS_SIGMA**2)

    def cost(values: FloatArray) -> tuple[float, FloatArray]:
        scale, bias, change = np.exp(values[0]), values[1 : k + 1], values[k + 1 :].reshape(width, k)
        logits = scale * old + bias + points @ change
        slope = (_softmax(logits, np.ones_like(logits)) - _softmax(logits, membership)) / n
        gradient = np.concatenate(
            [
                [scale * float((slope * old).sum()) + of_scale * values[0]],
                slope.sum(axis=0) + of_bias * bias,
                (points.T @ slope + way.strength * change).ravel(),
            ]
        )
        ridge = of_scale * values[0] ** 2 + of_bias * bias @ bias + way.strength * (change**2).sum()
        return float(losses(logits, membership).mean() + ridge / 2), gradient

    found = minimize(cost, np.zeros(1 + k + width * k), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    scale, bias = np.exp(found.x[0]), found.x[1 : k + 1]
    change = where.back[:, :width] @ found.x[k + 1 :].reshape(width, k)
    # Kept in the old head's units, so that saliency maps, which are linear in the kernel, keep theirs.
    temperature = head.temperature / scale
    return Head(
        head.kernel + change * temperature,
        head.bias + (bias - where.mean @ change) * temperature,
        float(temperature),
    )


def fit_scale(logits: FloatArray, membership: NDArray[np.floating]) -> float:
    """The factor, at most 1, on calibrated logits (r, n, k) of r dealings that suits labels (n, k) best.

    With the prior of SCALE_SIGMA. It never makes a fit surer: that the images left out were all right is no news of
    those to come.
    """
    ridge = 1 / (len(membership) * SCALE_SIGMA**2)

    def cost(values: FloatArray) -> float:
        scaled = np.exp(values[0]) * logits
        mean = np.mean([losses(one, membership).mean() for one in scaled])
        return float(mean + ridge / 2 * values[0] ** 2)

    return float(np.exp(minimize(cost, np.zeros(1), method="L-BFGS-B", bounds=[(-3.0, 0.0)]).x[0]))


def deal_folds(
    groups: Sequence[str], membership: NDArray[np.floating], rng: np.random.Generator, folds: int = FOLDS
) -> IntArray:
    """(n,) fold numbers; a group lies in one fold alone, and each label spreads over the folds as evenly as may be.

    Raises ValueError for fewer than two groups.
    """
    names, code = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise ValueError("Cross-validation needs at least two groups.")
    count = min(folds, len(names))
    # A coarse label is a kind of its own.
    _, kind = np.unique(membership, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    held = np.zeros((len(names), kind.max() + 1))
    np.add.at(held, (code, kind), 1.0)
    share = held / held.sum(axis=0)
    load = np.zeros((count, held.shape[1]))
    fold_of = np.empty(len(names), dtype=np.intp)
    order = rng.permutation(len(names))
    for group in order[np.argsort(-share[order].max(axis=1), kind="stable")]:
        # The fold that has least of what this group bears; among equals the smallest.
        best = min(range(count), key=lambda f: (float(load[f] @ share[group]), float(load[f].sum())))
        fold_of[group] = best
        load[best] += share[group]
    return fold_of[code]


def cross_validate(
    ways: Sequence[Way],
    head: Head,
    pooled: NDArray[np.floating],
    membership: NDArray[np.floating],
    folds: IntArray,
) -> dict[Way, FloatArray]:
    """(n, k) calibrated logits by way, each image's from a fit on the other folds."""
    said: dict[Way, FloatArray] = {way: np.empty(membership.shape, dtype=np.float64) for way in ways}
    for fold in np.unique(folds):
        out = folds == fold
        span = Span.of(pooled[~out])
        for way in ways:
            fitted = fit_way(way, head, pooled[~out], membership[~out], span=span)
            said[way][out] = fitted.logits(pooled[out])
    return said


def choose(
    head: Head,
    pooled: NDArray[np.floating],
    membership: NDArray[np.floating],
    groups: Sequence[str],
    *,
    rng: np.random.Generator,
    ways: Sequence[Way] = WAYS,
    others: dict[Way, FloatArray] | None = None,
    folds: IntArray | None = None,
) -> Choice:
    """Try every way by group cross-validation and take the simplest within one standard error of the best.

    Args:
        ways: the simplest first.
        others: further ways, less simple than all `ways`, with the logits (repeats, n, k) that they gave each image
            when its fold was left out.
        folds: (repeats, n) fold numbers; dealt here unless given.
    """
    if folds is None:
        folds = np.stack([deal_folds(groups, membership, rng) for _ in range(REPEATS)])
    dealings = [cross_validate(ways, head, pooled, membership, dealt) for dealt in folds]
    said = {way: np.stack([dealing[way] for dealing in dealings]) for way in ways}
    said.update(others or {})
    by_image = {
        way: np.stack([losses(one, membership) for one in logits]).mean(axis=0)
        for way, logits in said.items()
    }
    best = min(by_image.values(), key=lambda loss: float(loss.mean()))
    tried = tuple(
        Tried(way, float(loss.mean()), float((loss - best).mean()), _clustered_error(loss - best, groups))
        for way, loss in by_image.items()
    )
    taken = next(one.way for one in tried if one.excess <= one.excess_error)
    return Choice(taken, tried, said[taken], folds)


def _clustered_error(differences: FloatArray, groups: Sequence[str]) -> float:
    """Standard error of the mean of (n,) differences whose groups are independent and their images are not."""
    code = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    count = int(code.max()) + 1
    sums = np.bincount(code, differences - differences.mean(), minlength=count)
    return float(np.sqrt((sums**2).sum() * count / max(1, count - 1)) / len(differences))


def _log_sum(logits: FloatArray, membership: NDArray[np.floating]) -> FloatArray:
    """(n,) log of the sum of exp(logits) over a row's members."""
    inside = np.where(membership > 0, logits, -np.inf)
    top = inside.max(axis=1)
    found: FloatArray = top + np.log(np.exp(inside - top[:, None]).sum(axis=1))
    return found


def _softmax(logits: FloatArray, membership: NDArray[np.floating]) -> FloatArray:
    """(n, k) softmax over a row's members, 0 elsewhere."""
    return np.exp(np.where(membership > 0, logits, -np.inf) - _log_sum(logits, membership)[:, None])
