"""Baselines to stand beside every network: classifiers on measurements that a few lines of code can make.

A baseline is a measurement of an image (pixels to a vector) and a classifier of vectors. Another
measurement (texture, shape) or classifier joins by being one more `Baseline`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ml.evaluation.repaint import six_colour_numbers

Pixels = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

NEIGHBOURS = 5


class Classifier(Protocol):
    """What a baseline needs of a classifier: scikit-learn's have it."""

    classes_: NDArray[Any]

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
        found = self.classifier.predict_proba(self.vectors(images))
        chances = np.zeros((len(found), len(self.classes)))
        for column, label in enumerate(self.classifier.classes_):
            chances[:, self.classes.index(str(label))] = found[:, column]
        return chances

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


def six_colour_baseline() -> Baseline:
    """Return the baseline that looks at no cell: nearest neighbours of the six colour numbers."""
    return Baseline("six colour numbers, k-NN", six_colour_numbers, Neighbours())
