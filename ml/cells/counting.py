"""From classified leukocytes to what a hematologist counts: the differential, blasts per 100, an index of suspicion.

Pure rules, for the worker, the pages and the reader's own labels alike. What counts follows CLSI H20 (2007): intact
leukocytes wholly in view; erythroblasts beside them, per 100 leukocytes; smudge cells, platelets and artefacts not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ml.calibration import wilson_interval
from ml.cells.apl import PROMYELOCYTE
from ml.tasks import CELL

NOT_LEUKOCYTES: Final = frozenset({"erythroblast", "smudge_cell", "platelet_or_artefact"})
"""Classes that are told apart and are no leukocytes of a differential."""

BLASTS: Final = frozenset(CELL.malignant)
ERYTHROBLAST: Final = "erythroblast"

FEW: Final = 100
"""Leukocytes below which a count is marked as insufficient."""

DIAGNOSTIC: Final = 200
"""Leukocytes that a diagnostic statement rests on at least (CLSI H20)."""


@dataclass(frozen=True)
class Counted:
    """What is known of one thing for counting it.

    Attributes:
        label: its class by reader or model; None where there is none.
        is_leukocyte: whether the finder took it for one, or a reader gave it a class.
        on_border: cut by the picture's edge. blast_probability: 0..1, None where it does not count.
    """

    label: str | None
    is_leukocyte: bool = True
    on_border: bool = False
    blast_probability: float | None = None


@dataclass(frozen=True)
class Differential:
    """A count of leukocytes.

    Attributes:
        counts: class -> leukocytes of it, the commonest first. total: leukocytes counted.
        erythroblasts: beside them. smudges: smudge cells. others: platelets and artefacts, by class.
        unclassified: whole leukocytes without a class. on_border: cut by a picture's edge, and not counted.
    """

    counts: dict[str, int]
    total: int
    erythroblasts: int
    smudges: int
    others: int
    unclassified: int
    on_border: int

    @property
    def blasts(self) -> int:
        return sum(self.counts.get(name, 0) for name in BLASTS)

    def share(self, label: str) -> float:
        """Of the leukocytes counted, 0..1."""
        return self.counts.get(label, 0) / self.total if self.total else 0.0

    def interval(self, label: str) -> tuple[float, float] | None:
        """Wilson's 95 % interval of a class's share; None where nothing was counted."""
        return wilson_interval(self.counts.get(label, 0), self.total) if self.total else None

    @property
    def blasts_per_100(self) -> float | None:
        return 100 * self.blasts / self.total if self.total else None

    @property
    def blasts_interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval, per 100 leukocytes."""
        if not self.total:
            return None
        low, high = wilson_interval(self.blasts, self.total)
        return 100 * low, 100 * high

    @property
    def erythroblasts_per_100(self) -> float | None:
        return 100 * self.erythroblasts / self.total if self.total else None

    @property
    def is_insufficient(self) -> bool:
        return self.total < FEW

    @property
    def is_diagnostic(self) -> bool:
        return self.total >= DIAGNOSTIC

    @property
    def promyelocytes(self) -> int:
        return self.counts.get(PROMYELOCYTE, 0)


def differential(cells: Iterable[Counted]) -> Differential:
    """Count cells. A label counts whoever gave it; without one a leukocyte is unclassified, any other thing nothing."""
    labels: Counter[str] = Counter()
    unclassified = on_border = 0
    for one in cells:
        if one.on_border:
            on_border += one.is_leukocyte
        elif one.label is not None:
            labels[one.label] += 1
        elif one.is_leukocyte:
            unclassified += 1
    counts = {name: n for name, n in labels.most_common() if name not in NOT_LEUKOCYTES}
    return Differential(
        counts=counts,
        total=sum(counts.values()),
        erythroblasts=labels[ERYTHROBLAST],
        smudges=labels["smudge_cell"],
        others=labels["platelet_or_artefact"],
        unclassified=unclassified,
        on_border=on_border,
    )


SUSPICIOUS: Final = 0.2
"""Index from which on a field is marked as suspected where no field class may be given: 20 blasts per 100 leukocytes
make an acute leukemia (WHO). Fitted to nothing; a bundle carries it as `thresholds.suspicion`."""

FEW_CELLS: Final = 1.0
"""Cells without a blast that are thought into every count of suspicion: of a single cell little can be said."""


def index_of_suspicion(cells: Sequence[Counted]) -> float | None:
    """An index of suspicion of leukemia in a field or a case, 0..1, from its cells' blast probabilities; None without
    a judged one.

    The mean blast probability of its leukocytes, drawn towards 0 where there are few: the sum over their number and
    `FEW_CELLS` more. Of the 108 fields of another hospital that the design was measured on, the mean told leukemia
    from health with an area of 0.99, which the number of leukocytes alone did with 0.95. It is an index, and no
    probability: how many blasts a leukemia has depends on the patient, and no site is validated yet.
    """
    seen = [
        one.blast_probability
        for one in cells
        if one.blast_probability is not None and one.is_leukocyte and not one.on_border
    ]
    return float(np.sum(seen) / (len(seen) + FEW_CELLS)) if seen else None
