"""What Leukoscope says of the leukocytes of a field: each found thing with its class, and what the field comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.cells.cell import Cell, Kind
from ml.cells.counting import Counted, index_of_suspicion
from ml.cells.scale import Scale


@dataclass(frozen=True)
class CellFinding:
    """One thing found, and what the `cell` model says of it where it is a leukocyte or a smudge.

    Attributes:
        cell: where it is, its outline, area and kind, as the finder of cells gives them.
        label: the class; None where the cell is no leukocyte, or unlike those that the model was validated on.
        top_label: the network's first choice in any case; empty where the network was not asked.
        probabilities: calibrated, by class, summing to 1; empty where the network was not asked.
        blast_probability: of the malignant classes together, 0..1; None where the network was not asked.
        domain_score: at most the bundle's threshold is inside. inside_domain: whether it is.
        saliency: (h, w) float32 in 0..1, Grad-CAM for `top_label` over the square that the network saw.
        embedding: (d,) float32, what cells are compared by; near cells look alike to the network.
    """

    cell: Cell
    label: str | None = None
    top_label: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    blast_probability: float | None = None
    domain_score: float | None = None
    inside_domain: bool | None = None
    saliency: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None

    @property
    def counted(self) -> Counted:
        """What counting needs of it."""
        return Counted(
            label=self.label, is_leukocyte=self.cell.kind is Kind.LEUKOCYTE, on_border=self.cell.touches_border,
            blast_probability=self.blast_probability if self.inside_domain else None,
        )  # fmt: skip


@dataclass(frozen=True)
class FieldCells:
    """What was found in a field.

    Attributes:
        findings: everything found, from top to bottom. scale: micrometres a pixel, and how sure.
        problems: why nothing, or not everything, could be found; sentences for pages. Empty when all is well.
        tiles: (n, S, S, 3) uint8 RGB, each finding in its surroundings, `tile_um` micrometres a side; in their order.
        timings_ms: by step: cells (finding them), tiles, classify.
    """

    findings: tuple[CellFinding, ...]
    scale: Scale
    problems: tuple[str, ...]
    tiles: NDArray[np.uint8]
    tile_um: float
    model_version: str
    timings_ms: Mapping[str, float]

    @property
    def suspicion(self) -> float | None:
        """The field's index of suspicion, 0..1 (`ml.cells.counting`); None where no cell was judged."""
        return index_of_suspicion([one.counted for one in self.findings])

    def record(self) -> list[dict[str, Any]]:
        """The cells as `manage.py analyze --json` prints them."""
        return [
            {
                "box": list(one.cell.box),
                "kind": one.cell.kind.value,
                "label": one.label,
                "probabilities": dict(one.probabilities),
                "blast_probability": one.blast_probability,
                "area_um2": round(one.cell.area_um2, 1),
                "nucleus_um2": round(one.cell.nucleus_um2, 1),
                "confidence": round(one.cell.confidence, 3),
                "touches_border": one.cell.touches_border,
                "inside_domain": one.inside_domain,
                "domain_score": one.domain_score,
            }
            for one in self.findings
        ]
