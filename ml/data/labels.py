"""What the labels of a data set mean to a task: a class, several classes at once, or nothing.

Other people's labels are often coarser than ours ("all" and "hem"). A coarse label stands for every class it may be:
loss and metrics then sum the probabilities of those classes. It is written `malignant`, or with its classes:
`lymphocyte or variant_lymphocyte`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.data.manifest import DataProblem

MALIGNANT = "malignant"
"""The coarse label: all malignant classes of the task."""

DROP = "drop"
"""The target of labels whose images are left out."""

OR = " or "
"""Between the classes of a coarse label."""


def named_classes(label: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes that a label names, in their order, whatever the case of its letters; empty unless all are known."""
    parts = {part.strip() for part in label.casefold().split(OR)}
    found = tuple(name for name in classes if name.casefold() in parts)
    return found if len(found) == len(parts) else ()


def label_of(names: Sequence[str], malignant: Collection[str]) -> str:
    """The one way to write a label that stands for these classes."""
    if len(names) > 1 and set(names) == set(malignant):
        return MALIGNANT
    return OR.join(names)


def says_malignant(label: str, malignant: Collection[str]) -> bool:
    """Whether a class or a coarse label stands for malignant classes alone."""
    return label == MALIGNANT or all(part in malignant for part in label.split(OR))


@dataclass(frozen=True)
class LabelMap:
    """From a data set's labels to classes; upper and lower case do not matter.

    A label that the map does not name means itself: a class of the task, several (`a or b`), or `malignant`.

    Attributes:
        classes: of the task, in the order of the network's outputs. malignant: those of them that mean leukemia.
        targets: label in lower case -> class, classes with ` or ` between them, `malignant` or `drop`.
    """

    classes: tuple[str, ...]
    malignant: tuple[str, ...]
    targets: Mapping[str, str]

    @classmethod
    def parse(
        cls, text: str | Mapping[str, str], *, classes: Sequence[str], malignant: Sequence[str]
    ) -> LabelMap:
        """Read `"all=malignant,hem=benign"` (or the same as a mapping); empty maps nothing.

        Raises:
            DataProblem: a pair without `=`, a label mapped to two targets, or a target that is neither a class of the
                task (or several of them, malignant or not) nor `malignant` nor `drop`.
        """
        pairs = list(text.items()) if isinstance(text, Mapping) else _pairs(text)
        targets: dict[str, str] = {}
        for label, wanted in pairs:
            target = DROP if wanted.strip().casefold() == DROP else _meaning(wanted, classes, malignant)
            if target is None:
                raise DataProblem(
                    f"The label map sends {label} to {wanted}, which is no class: "
                    f"choose {', '.join(classes)}, {MALIGNANT} (all malignant classes) or {DROP}, or several classes "
                    f'with "{OR.strip()}" between them, all malignant or none.'
                )
            key = label.strip().casefold()
            if targets.setdefault(key, target) != target:
                raise DataProblem(
                    f"The label map sends {label} to {targets[key]} and to {target}: keep one of them."
                )
        return cls(tuple(classes), tuple(malignant), targets)

    def knows(self, label: str) -> bool:
        """Whether the label means anything here."""
        return self._found(label) is not None

    def target(self, label: str) -> str:
        """What a data label means: the name of a class, of several, `malignant` or `drop`.

        Raises:
            DataProblem: the task does not know the label and the map does not name it.
        """
        target = self._found(label)
        if target is None:
            raise DataProblem(unknown_labels([label], self.classes))
        return target

    def drops(self, label: str) -> bool:
        """Whether images of this label are left out; raises as `target`."""
        return self.target(label) == DROP

    def members(self, label: str) -> tuple[int, ...]:
        """Numbers of the classes a label stands for: several if coarse, none if dropped; raises as `target`."""
        target = self.target(label)
        if target == DROP:
            return ()
        names = self.malignant if target == MALIGNANT else named_classes(target, self.classes)
        return tuple(self.classes.index(name) for name in names)

    def membership(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """(n, k) 1 where a label stands for that class, else 0; raises as `target`."""
        table = np.zeros((len(labels), len(self.classes)), np.float32)
        for row, label in enumerate(labels):
            table[row, list(self.members(label))] = 1.0
        return table

    def _found(self, label: str) -> str | None:
        key = label.strip().casefold()
        return self.targets.get(key) or _meaning(label, self.classes, self.malignant)


def _meaning(text: str, classes: Sequence[str], malignant: Sequence[str]) -> str | None:
    """What a text means by itself; None where it names no class, or malignant ones beside others.

    The latter says nothing of what matters most, and no figure of it would be right.
    """
    if text.strip().casefold() == MALIGNANT:
        return MALIGNANT
    names = named_classes(text, classes)
    mixed = 0 < sum(name in malignant for name in names) < len(names)
    return None if mixed or not names else label_of(names, malignant)


def unknown_labels(labels: Sequence[str], classes: Sequence[str]) -> str:
    """The sentence for labels that mean nothing to a task."""
    named = ", ".join(labels)
    return (
        f"The data have the label{'s' if len(labels) > 1 else ''} {named}, but the task knows {', '.join(classes)}: "
        f"say which is which with --label-map {labels[0]}=CLASS, or leave those images out with "
        f"{labels[0]}={DROP}."
    )


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        label, sign, target = part.partition("=")
        if not (sign and label.strip() and target.strip()):
            raise DataProblem(f"A label map needs LABEL=CLASS pairs with commas between them, not {part}.")
        pairs.append((label.strip(), target.strip()))
    return pairs
