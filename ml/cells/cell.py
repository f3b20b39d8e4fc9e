"""What is said of a thing found in a field, and of the field."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ml.cells.scale import Scale

Mask = NDArray[np.bool_]


class Kind(StrEnum):
    """What a stained thing is. Only a leukocyte (erythroblasts among them, until classified) is ever counted."""

    LEUKOCYTE = "leukocyte"
    SMUDGE = "smudge"
    """A smeared nucleus without a cell around it."""
    PLATELET = "platelet"
    PRECIPITATE = "precipitate"
    """Stain, dirt or debris."""
    CLUMP = "clump"
    """Cells that could not be told apart."""


@dataclass(frozen=True)
class Cell:
    """One thing found.

    Attributes:
        box: x, y, width, height in pixels of the picture as it was given, inside it.
        mask: (height, width) of the box, the whole cell. nucleus: the same for its nucleus.
        area_um2, nucleus_um2: in square micrometres, of what the picture shows of it.
        nucleus_to_cytoplasm: nuclear over cytoplasmic area, as the N:C ratio is defined; infinite for a naked nucleus.
        confidence: 0..1 that it is what `kind` says.
        touches_border: cut by the picture's edge, and so not counted.
    """

    box: tuple[int, int, int, int]
    mask: Mask
    nucleus: Mask
    area_um2: float
    nucleus_um2: float
    confidence: float
    kind: Kind
    touches_border: bool

    @property
    def nucleus_to_cytoplasm(self) -> float:
        """Nuclear over cytoplasmic area."""
        cytoplasm = self.area_um2 - self.nucleus_um2
        return self.nucleus_um2 / cytoplasm if cytoplasm > 0 else float("inf")

    @property
    def counted(self) -> bool:
        """Whether it is one of the field's leukocytes: found whole."""
        return self.kind is Kind.LEUKOCYTE and not self.touches_border


@dataclass(frozen=True)
class Detection:
    """What was found in a field.

    Attributes:
        cells: everything found, from top to bottom.
        scale: micrometres a pixel, and how sure.
        problems: why nothing, or not everything, could be found; in words for pages. Empty when all is well.
    """

    cells: tuple[Cell, ...]
    scale: Scale
    problems: tuple[str, ...] = ()

    @property
    def um_per_pixel(self) -> float:
        """Of the picture as it was given."""
        return self.scale.um_per_pixel

    @property
    def leukocytes(self) -> tuple[Cell, ...]:
        """The cells that count: leukocytes wholly inside the picture."""
        return tuple(cell for cell in self.cells if cell.counted)
