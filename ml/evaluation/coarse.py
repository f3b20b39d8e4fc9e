"""Coarse labels: images known to be leukemia, but not of which subtype, judged on the summed probabilities.

Where any label is `malignant`, all images are judged between the benign classes and one class `malignant`, whose
probability is the sum of the malignant ones and which is given where that sum is largest. (So a field with benign
0.4, early 0.3 and pre 0.3 is called malignant here, though no subtype has more than benign.)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml.data.labels import MALIGNANT

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Grouping:
    """Which classes a set of images is judged between.

    Attributes:
        classes: to judge between (m). malignant: those of them that stand for leukemia.
        members: (k, m) 1 where one of the bundle's k classes belongs to one of the m.
    """

    classes: tuple[str, ...]
    malignant: frozenset[str]
    members: FloatArray
    _name: dict[str, str]

    @classmethod
    def of(cls, labels: Collection[str], classes: Sequence[str], malignant: Collection[str]) -> Grouping:
        """Group the bundle's classes as far as the labels ask for it: not at all where none is coarse."""
        names = tuple(classes)
        if MALIGNANT not in labels or MALIGNANT in names or not malignant:
            return cls(names, frozenset(malignant), np.eye(len(names)), {})
        groups = (*(name for name in names if name not in malignant), MALIGNANT)
        target = {name: MALIGNANT if name in malignant else name for name in names}
        members = np.asarray([[float(target[name] == group) for group in groups] for name in names])
        return cls(groups, frozenset({MALIGNANT}), members, target)

    @property
    def is_coarse(self) -> bool:
        """Whether classes were put together."""
        return bool(self._name)

    def label(self, label: str) -> str:
        """The class to judge between that a label belongs to."""
        return self._name.get(label, label)

    def fold(self, probabilities: ArrayLike) -> FloatArray:
        """Sum (n, k) probabilities of the bundle's classes to (n, m)."""
        chances = np.asarray(probabilities, dtype=np.float64)
        return chances @ self.members if self.is_coarse else chances

    @property
    def note(self) -> str:
        """In a sentence without its full stop, for a section's notes; empty where no label is coarse."""
        if not self.is_coarse:
            return ""
        together = ", ".join(name for name, group in self._name.items() if group == MALIGNANT)
        return f"Some labels say malignant alone: the probabilities of {together} are summed"
