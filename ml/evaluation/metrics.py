"""Metrics of a classifier, computed for many weightings of the same images at once.

Every metric is written for a matrix of weights (b, n): how often each of n images counts in each of b
resamples. One row of ones gives the estimate itself, the rows of a bootstrap give its interval, and both
come from the same code. Definitions follow scikit-learn's, with two stated differences: averages over
classes run over the classes that have images (a class without images has no recall to average), and what
has no value is nan, never 0.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml.calibration import ECE_BINS, binned_calibration_gap

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Row sums of probabilities read back from a CSV of nine digits may be off by this much.
ROW_SUM_TOLERANCE = 1e-4
# scikit-learn clips probabilities at the machine epsilon of their type before the logarithm; so do we.
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)


class MetricsError(ValueError):
    """The labels or probabilities given cannot be judged; the message says why."""


@dataclass(frozen=True)
class Judged:
    """What a model said about n labelled images.

    `labels` (n,) are indices into `classes` (k), `probabilities` (n, k) sum to 1 a row, `groups` (n,) tells
    which images belong together (patient, block, ...), `kept` (n,) which ones the abstaining model gives a
    class. `malignant` names the classes that stand for leukemia.
    """

    classes: tuple[str, ...]
    malignant: frozenset[str]
    labels: IntArray
    probabilities: FloatArray
    groups: IntArray
    kept: NDArray[np.bool_]
    predicted: IntArray = field(init=False)

    def __post_init__(self) -> None:
        """Work out the class given to each image: the most probable one, the first among equals."""
        object.__setattr__(self, "predicted", self.probabilities.argmax(axis=1).astype(np.intp))

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        probabilities: ArrayLike,
        *,
        classes: Sequence[str],
        malignant: Collection[str] = (),
        groups: Sequence[str] | None = None,
        kept: ArrayLike | None = None,
    ) -> Judged:
        """Check and gather; without `groups` each image is its own, without `kept` all images are kept."""
        names = tuple(classes)
        if len(names) < 2 or len(set(names)) != len(names):
            raise MetricsError("A classifier needs at least two classes of different names.")
        if not labels:
            raise MetricsError("There are no images to judge.")
        chances = np.asarray(probabilities, dtype=np.float64).reshape(len(labels), -1)
        if chances.shape[1] != len(names):
            raise MetricsError(
                f"{len(names)} classes need {len(names)} probabilities an image, not {chances.shape[1]}."
            )
        if not np.isfinite(chances).all() or (chances < 0).any():
            raise MetricsError("A probability is negative or not a number.")
        if np.abs(chances.sum(axis=1) - 1).max() > ROW_SUM_TOLERANCE:
            raise MetricsError("The probabilities of an image do not add up to 1.")
        unknown = sorted(set(labels) - set(names)) + sorted(set(malignant) - set(names))
        if unknown:
            raise MetricsError(f"The model has no class called {', '.join(unknown)}.")
        place = {name: index for index, name in enumerate(names)}
        group_names = list(groups) if groups is not None else [str(index) for index in range(len(labels))]
        keep = np.ones(len(labels), dtype=bool) if kept is None else np.asarray(kept, dtype=bool)
        if len(group_names) != len(labels) or keep.shape != (len(labels),):
            raise MetricsError("Each image needs one group and one answer of the gate.")
        codes = np.unique(np.asarray(group_names, dtype=str), return_inverse=True)[1]
        return cls(
            classes=names,
            malignant=frozenset(malignant),
            labels=np.asarray([place[label] for label in labels], dtype=np.intp),
            probabilities=chances,
            groups=codes.astype(np.intp),
            kept=keep,
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def group_count(self) -> int:
        """How many groups the images come from."""
        return int(self.groups.max()) + 1

    @property
    def is_malignant(self) -> NDArray[np.bool_]:
        """(k,) whether each class stands for leukemia."""
        return np.asarray([name in self.malignant for name in self.classes])

    @property
    def missing_classes(self) -> tuple[str, ...]:
        """Classes of the model that no image has as its label."""
        present = set(self.labels.tolist())
        return tuple(name for index, name in enumerate(self.classes) if index not in present)

    def subset(self, mask: NDArray[np.bool_]) -> Judged:
        """Return the images where `mask` (n,) is true."""
        return Judged(
            classes=self.classes,
            malignant=self.malignant,
            labels=self.labels[mask],
            probabilities=self.probabilities[mask],
            groups=np.unique(self.groups[mask], return_inverse=True)[1].astype(np.intp),
            kept=self.kept[mask],
        )


@dataclass(frozen=True)
class Values:
    """One metric under b weightings: `values` (b,), and for a plain share its denominator `out_of` (b,)."""

    values: FloatArray
    out_of: FloatArray | None = None


def confusion_matrix(judged: Judged) -> NDArray[np.int64]:
    """Return (k, k) counts of images: rows are labels, columns the classes given."""
    k = len(judged.classes)
    cells = np.bincount(judged.labels * k + judged.predicted, minlength=k * k)
    return cells.reshape(k, k).astype(np.int64)


def class_metrics(judged: Judged, weights: FloatArray | None = None) -> dict[str, Values]:
    """Return the metrics of the classes, the gate ignored, for each row of `weights` (b, n).

    Names: accuracy, balanced_accuracy, {precision,recall,specificity,f1}_{weighted,macro}, auroc_macro,
    auroc_malignant, sensitivity_malignant, specificity_malignant, log_loss, ece, brier, and
    {precision,recall,specificity,f1,auroc}/CLASS for each class.
    """
    weights = _weights(judged, weights)
    found = _confusion_metrics(_confusions(judged, weights), judged.classes)
    found.update(_auroc_metrics(judged, weights))
    found.update(_malignant_metrics(judged, weights))
    found.update(_probability_metrics(judged, weights))
    return found


def abstaining_metrics(judged: Judged, weights: FloatArray | None = None) -> dict[str, Values]:
    """Return what the model with its gate does, for each row of `weights` (b, n).

    coverage: share of images given a class; risk: share of wrong ones among those; balanced_accuracy_kept,
    sensitivity_malignant_kept: as for all images, among those given a class; malignant_not_called: share of
    all malignant images that were given a benign class (an indeterminate one is not a miss, a reader looks
    at it).
    """
    weights = _weights(judged, weights)
    kept = weights * judged.kept
    wrong = (judged.predicted != judged.labels).astype(np.float64)
    among_kept = _confusion_metrics(_confusions(judged, kept), judged.classes)
    found = {
        "coverage": _share(kept.sum(axis=1), weights.sum(axis=1)),
        "risk": _share(kept @ wrong, kept.sum(axis=1)),
        "balanced_accuracy_kept": among_kept["balanced_accuracy"],
    }
    if judged.malignant:
        malignant = judged.is_malignant[judged.labels].astype(np.float64)
        called = judged.is_malignant[judged.predicted].astype(np.float64)
        found["sensitivity_malignant_kept"] = _share(kept @ (malignant * called), kept @ malignant)
        found["malignant_not_called"] = _share(kept @ (malignant * (1 - called)), weights @ malignant)
    return found


def weighted_auroc(positive: NDArray[np.bool_], scores: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the area under the ROC curve for each row of `weights` (b, n), (b,), ties counting one half.

    nan where a row holds no positive or no negative image.
    """
    distinct, place = np.unique(scores, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(distinct)))
    plus = np.add.reduceat((weights * positive)[:, order], starts, axis=1)
    minus = np.add.reduceat((weights * ~positive)[:, order], starts, axis=1)
    below = np.cumsum(minus, axis=1) - minus
    won = (plus * (below + minus / 2)).sum(axis=1)
    pairs = plus.sum(axis=1) * minus.sum(axis=1)
    return _ratio(won, pairs)


def malignant_score(judged: Judged) -> FloatArray:
    """Return (n,) log odds of the malignant classes: they rank where probabilities round to 1."""
    mask = judged.is_malignant
    tiny = np.finfo(np.float64).tiny
    plus = np.maximum(judged.probabilities[:, mask].sum(axis=1), tiny)
    minus = np.maximum(judged.probabilities[:, ~mask].sum(axis=1), tiny)
    result: FloatArray = np.log(plus) - np.log(minus)
    return result


def _weights(judged: Judged, weights: FloatArray | None) -> FloatArray:
    if weights is None:
        return np.ones((1, len(judged)))
    if weights.ndim != 2 or weights.shape[1] != len(judged):
        raise MetricsError("Each row of weights needs one weight for each image.")
    return weights


def _ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    """Return top / bottom, nan where bottom is 0."""
    undefined: FloatArray = np.full(np.broadcast(top, bottom).shape, np.nan)
    return np.divide(top, bottom, out=undefined, where=bottom > 0)


def _share(top: FloatArray, bottom: FloatArray) -> Values:
    return Values(_ratio(top, bottom), bottom)


def _confusions(judged: Judged, weights: FloatArray) -> FloatArray:
    """Return (b, k, k) weighted confusion matrices."""
    k = len(judged.classes)
    cells = np.zeros((len(judged), k * k))
    cells[np.arange(len(judged)), judged.labels * k + judged.predicted] = 1.0
    return (weights @ cells).reshape(len(weights), k, k)


def _confusion_metrics(confusions: FloatArray, classes: tuple[str, ...]) -> dict[str, Values]:
    """Return what follows from (b, k, k) confusion matrices alone."""
    total = confusions.sum(axis=(1, 2))
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    support = confusions.sum(axis=2)
    given = confusions.sum(axis=1)
    negatives = total[:, None] - support
    present = support > 0
    recall = _ratio(hits, support)
    # A class that has images and is never given has precision 0 here, as with scikit-learn's zero_division=0.
    precision = np.where(given > 0, _ratio(hits, given), np.where(present, 0.0, np.nan))
    specificity = _ratio(negatives - (given - hits), negatives)
    f1 = np.where(present, _ratio(2 * hits, support + given), np.nan)
    found = {
        "accuracy": _share(hits.sum(axis=1), total),
        "balanced_accuracy": Values(_mean(recall, present)),
    }
    per_class = {
        "precision": (precision, given),
        "recall": (recall, support),
        "specificity": (specificity, negatives),
        "f1": (f1, None),
    }
    for name, (values, _) in per_class.items():
        found[f"{name}_weighted"] = Values(_mean(values, support))
        found[f"{name}_macro"] = Values(_mean(values, present))
    for name, (values, out_of) in per_class.items():
        for index, label in enumerate(classes):
            found[f"{name}/{label}"] = Values(values[:, index], None if out_of is None else out_of[:, index])
    return found


def _mean(values: FloatArray, weights: NDArray[np.float64] | NDArray[np.bool_]) -> FloatArray:
    """Return the weighted mean over the last axis of the finite values, nan where there are none."""
    usable = np.where(np.isfinite(values), weights, 0).astype(np.float64)
    return _ratio((np.nan_to_num(values) * usable).sum(axis=-1), usable.sum(axis=-1))


def _auroc_metrics(judged: Judged, weights: FloatArray) -> dict[str, Values]:
    """One-vs-rest areas: each class against all others, and their mean over the classes that have one."""
    areas = np.stack(
        [
            weighted_auroc(judged.labels == index, judged.probabilities[:, index], weights)
            for index in range(len(judged.classes))
        ],
        axis=1,
    )
    found = {"auroc_macro": Values(_mean(areas, np.isfinite(areas)))}
    found.update({f"auroc/{name}": Values(areas[:, index]) for index, name in enumerate(judged.classes)})
    return found


def _malignant_metrics(judged: Judged, weights: FloatArray) -> dict[str, Values]:
    """Leukemia against the rest: by the area over the summed probability, and by the class given."""
    if not judged.malignant or len(judged.malignant) == len(judged.classes):
        return {}
    malignant = judged.is_malignant[judged.labels]
    called = judged.is_malignant[judged.predicted]
    plus, minus = weights @ malignant.astype(np.float64), weights @ (~malignant).astype(np.float64)
    return {
        "auroc_malignant": Values(weighted_auroc(malignant, malignant_score(judged), weights)),
        "sensitivity_malignant": _share(weights @ (malignant & called).astype(np.float64), plus),
        "specificity_malignant": _share(weights @ (~malignant & ~called).astype(np.float64), minus),
    }


def _probability_metrics(judged: Judged, weights: FloatArray) -> dict[str, Values]:
    """Log loss (nats), Brier score (summed over classes, 0..2) and top-label calibration error."""
    rows = np.arange(len(judged))
    chances = judged.probabilities / judged.probabilities.sum(axis=1, keepdims=True)
    losses = -np.log(np.clip(chances[rows, judged.labels], SMALLEST_PROBABILITY, 1.0))
    truth = np.zeros_like(chances)
    truth[rows, judged.labels] = 1.0
    squares = ((chances - truth) ** 2).sum(axis=1)
    confidence = chances[rows, judged.predicted]
    correct = (judged.predicted == judged.labels).astype(np.float64)
    total = weights.sum(axis=1)
    return {
        "log_loss": Values(_ratio(weights @ losses, total)),
        "ece": Values(binned_calibration_gap(confidence, correct, weights, ECE_BINS)),
        "brier": Values(_ratio(weights @ squares, total)),
    }
