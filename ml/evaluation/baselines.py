"""Baselines to stand beside every network: classifiers on measurements that a few lines of code can make.

A baseline is a measurement of an image (pixels to a vector) and a classifier of vectors. Another
measurement (texture, shape) or classifier joins by being one more `Baseline`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ml.evaluation.metrics import Judged, class_metrics
from ml.evaluation.repaint import six_colour_numbers

Pixels = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

NEIGHBOURS = 5


class Classifier(Protocol):
    """What a baseline needs of a classifier: scikit-learn's have it."""

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels in the order of the probabilities."""

    def fit(self, vectors: FloatArray, labels: Sequence[str]) -> Any:
        """Learn from (n, d) vectors and their labels."""

    def predict_proba(self, vectors: FloatArray) -> FloatArray:
        """Return (n, k) probabilities in the order of `classes_`."""


@dataclass
class Baseline:
    """A named pair of a measurement, (H, W, 3) uint8 RGB to (d,), and a classifier of such vectors."""

    name: str
    measure: Callable[[Pixels], FloatArray]
    classifier: Classifier
    classes: tuple[str, ...] = field(default=(), init=False)

    def fit(self, images: Iterable[Pixels], labels: Sequence[str], *, classes: Sequence[str]) -> Baseline:
        """Learn from labelled images; `classes` fixes the order of the probabilities. Returns itself."""
        unknown = set(labels) - set(classes)
        if unknown:
            raise ValueError(f"These labels are not among the classes: {', '.join(sorted(unknown))}.")
        self.classifier.fit(self.vectors(images), list(labels))
        self.classes = tuple(classes)
        return self

    def predict_proba(self, images: Iterable[Pixels]) -> FloatArray:
        """Return (n, k) probabilities in the order of `classes`; 0 for a class it never saw."""
        if not self.classes:
            raise ValueError(f"The baseline {self.name} has not learnt yet.")
        return chances_of(self.classifier, self.vectors(images), self.classes)

    def vectors(self, images: Iterable[Pixels]) -> FloatArray:
        """Return (n, d) measurements of the images."""
        return np.stack([self.measure(pixels) for pixels in images])


class Neighbours:
    """k nearest neighbours by Euclidean distance, with one vote added to each class (Laplace's rule).

    The added votes change no order; without them one wrong image would make the log loss infinite.
    """

    def __init__(self, k: int = NEIGHBOURS) -> None:
        self.k = k
        self.classes_: NDArray[Any] = np.asarray([])

    def fit(self, vectors: FloatArray, labels: Sequence[str]) -> Neighbours:
        """Keep the (n, d) vectors and their labels."""
        if not len(vectors):
            raise ValueError("Neighbours need at least one labelled image.")
        self.classes_, self._codes = np.unique(np.asarray(labels), return_inverse=True)
        self._vectors = np.asarray(vectors, dtype=np.float64)
        return self

    def predict_proba(self, vectors: FloatArray) -> FloatArray:
        """Return (n, k) shares of votes, in the order of `classes_`."""
        k = min(self.k, len(self._vectors))
        votes = np.ones((len(vectors), len(self.classes_)))
        for row, vector in enumerate(np.asarray(vectors, dtype=np.float64)):
            distances = ((self._vectors - vector) ** 2).sum(axis=1)
            # A stable sort: of images equally far away, the first learnt comes first, on every machine.
            nearest = np.argsort(distances, kind="stable")[:k]
            votes[row] += np.bincount(self._codes[nearest], minlength=len(self.classes_))
        shares: FloatArray = votes / votes.sum(axis=1, keepdims=True)
        return shares


def chances_of(classifier: Classifier, vectors: FloatArray, classes: Sequence[str]) -> FloatArray:
    """Return a learnt classifier's (n, k) probabilities in the order of `classes`; 0 for a class it never saw."""
    found = classifier.predict_proba(vectors)
    chances = np.zeros((len(found), len(classes)))
    for column, label in enumerate(classifier.classes_):
        chances[:, list(classes).index(str(label))] = found[:, column]
    return chances


def six_colour_baseline() -> Baseline:
    """Return the baseline that looks at no cell: nearest neighbours of the six colour numbers."""
    return Baseline("six colour numbers, k-NN", six_colour_numbers, Neighbours())


@dataclass(frozen=True)
class Setting:
    """One way to set a classifier up: in words for a table, and how to make it."""

    words: str
    make: Callable[[], Classifier]


@dataclass(frozen=True)
class Choice:
    """The setting that did best on the validation part, how well, and how many were tried."""

    setting: Setting
    balanced_accuracy: float
    tried: int


def choose_setting(
    settings: Sequence[Setting],
    training: tuple[FloatArray, Sequence[str]],
    validation: tuple[FloatArray, Sequence[str]],
    *,
    classes: Sequence[str],
    enough: Callable[[], bool] = lambda: False,
) -> Choice:
    """Try settings on a validation part: best balanced accuracy, the lower log loss among equals, then the first.

    Args:
        training, validation: (n, d) vectors and their labels; no test image is among them.
        enough: asked before every setting but the first; true ends the search with what was tried.
    """
    best: tuple[float, float] | None = None
    chosen, tried = settings[0], 0
    for setting in settings:
        if tried and enough():
            break
        classifier = setting.make()
        classifier.fit(training[0], list(training[1]))
        judged = Judged.of(
            list(validation[1]), chances_of(classifier, validation[0], classes), classes=classes
        )
        found = class_metrics(judged)
        merit = (float(found["balanced_accuracy"].values[0]), -float(found["log_loss"].values[0]))
        tried += 1
        if best is None or merit > best:
            best, chosen = merit, setting
    if best is None:
        raise ValueError("There is no setting to choose from.")
    return Choice(chosen, best[0], tried)


def plain_neighbours() -> list[Setting]:
    """The one setting of the six-colour baseline: five neighbours, distances in grey levels."""
    return [Setting(f"k = {NEIGHBOURS}", Neighbours)]


def neighbour_settings() -> list[Setting]:
    """Nearest neighbours of scaled vectors, k = 1, 3, 5, 9, 15."""

    def make(k: int) -> Classifier:
        return ScaledClassifier(Neighbours(k))

    return [Setting(f"k = {k}", partial(make, k)) for k in (1, 3, 5, 9, 15)]


def vector_machine_settings() -> list[Setting]:
    """Support vector machines with a radial kernel on scaled vectors, C = 1, 10, 100.

    Probabilities are Platt's (1999), from three-fold decisions on the training images alone.
    """

    def make(c: float) -> Classifier:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.svm import SVC

        machine = SVC(C=c, class_weight="balanced")
        return ScaledClassifier(CalibratedClassifierCV(machine, cv=3, ensemble=False))

    return [Setting(f"C = {c:g}", partial(make, c)) for c in (1.0, 10.0, 100.0)]


def forest_settings(seed: int) -> list[Setting]:
    """Random forests of 400 trees, with leaves of at least 1, 3 or 8 images."""

    def make(leaf: int) -> Classifier:
        from sklearn.ensemble import RandomForestClassifier

        found: Classifier = RandomForestClassifier(
            400, min_samples_leaf=leaf, class_weight="balanced", random_state=seed, n_jobs=2
        )
        return found

    return [Setting(f"leaves of {leaf}", partial(make, leaf)) for leaf in (1, 3, 8)]


class ScaledClassifier:
    """A classifier of measurements brought to mean 0 and deviation 1 over the images it learns from."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels in the order of the probabilities."""
        return self.classifier.classes_

    def fit(self, vectors: FloatArray, labels: Sequence[str]) -> ScaledClassifier:
        """Learn the scale and the classes from (n, d) vectors; a measurement that never varies becomes 0."""
        self._mean = vectors.mean(axis=0)
        deviation = vectors.std(axis=0)
        self._deviation = np.where(deviation > 1e-9, deviation, np.inf)
        self.classifier.fit(self._scale(vectors), labels)
        return self

    def predict_proba(self, vectors: FloatArray) -> FloatArray:
        """Return (n, k) probabilities of (n, d) vectors, in the order of `classes_`."""
        return self.classifier.predict_proba(self._scale(vectors))

    def _scale(self, vectors: FloatArray) -> FloatArray:
        scaled: FloatArray = (np.asarray(vectors, dtype=np.float64) - self._mean) / self._deviation
        return scaled
