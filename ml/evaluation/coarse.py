"""Coarse labels: images known to be one of several classes, but not which, judged on the summed probabilities.

Where any label is `malignant`, all images are judged between the benign classes and one class `malignant`, whose
probability is the sum of the malignant ones and which is given where that sum is largest. (So a field with benign
0.4, early 0.3 and pre 0.3 is called malignant here, though no subtype has more than benign.) A label such as
`lymphocyte or variant_lymphocyte` puts these classes together in the same way, and leaves the others as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml.data.labels import MALIGNANT, OR, label_of, named_classes, says_malignant

FloatArray = NDArray[np.float64]

FEW: Final = 0.05
"""Share of the images up to which labels such as `a or b` put no classes together, where others tell them apart: the
few images that bear them are left out instead."""


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
        together = _together(labels, names, malignant)
        target = {name: label_of(one, malignant) for one in together for name in one}
        groups = tuple(dict.fromkeys(target[name] for name in names))
        if groups == names:
            return cls(names, frozenset(malignant), np.eye(len(names)), {})
        if MALIGNANT in groups:  # where it has always stood: behind all that are not
            groups = (*(group for group in groups if group != MALIGNANT), MALIGNANT)
        members = np.asarray([[float(target[name] == group) for group in groups] for name in names])
        bad = frozenset(group for group in groups if says_malignant(group, malignant))
        coarse = {
            label: target[named_classes(label, names)[0]] for label in labels if _is_several(label, names)
        }
        return cls(groups, bad, members, {**target, **coarse})

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
        summed: dict[str, list[str]] = {}
        for name, group in self._name.items():
            if name != group and OR not in name:
                summed.setdefault(group, []).append(name)
        together = "; ".join(", ".join(names) for names in summed.values())
        if not together:
            return ""
        said = "malignant alone" if set(summed) == {MALIGNANT} else "no more than one of several classes"
        return f"Some labels say {said}: the probabilities of {together} are summed"


def too_coarse(labels: Iterable[str], classes: Sequence[str]) -> frozenset[str]:
    """Labels of several classes that are not worth putting classes together for: few images bear them, and other
    images show each of their classes."""
    counts = Counter(labels)
    several = {label for label in counts if _is_several(label, classes)}
    few = sum(counts[label] for label in several) <= FEW * counts.total()
    shown = all(name in counts for label in several for name in named_classes(label, classes))
    return frozenset(several) if few and shown else frozenset()


def _is_several(label: str, classes: Sequence[str]) -> bool:
    return label not in classes and len(named_classes(label, classes)) > 1


def _together(
    labels: Collection[str], classes: tuple[str, ...], malignant: Collection[str]
) -> list[tuple[str, ...]]:
    """The classes in groups, those in one that a label names together."""
    group_of = {name: {name} for name in classes}
    joins = [named_classes(label, classes) for label in labels]
    if MALIGNANT in labels and MALIGNANT not in classes:
        joins.append(tuple(name for name in classes if name in malignant))
    for names in joins:
        if len(names) > 1:
            joined = set().union(*(group_of[name] for name in names))
            for name in joined:
                group_of[name] = joined
    found = {frozenset(group) for group in group_of.values()}
    return [tuple(name for name in classes if name in one) for one in found]
