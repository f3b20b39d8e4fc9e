"""A stand-in for the predictor of a `cell` bundle: it finds the cells that it is told of, and no network runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml.bundle import Bundle
from ml.cells.cell import Cell, Kind
from ml.cells.counting import Counted, index_of_suspicion
from ml.cells.findings import CellFinding, FieldCells
from ml.cells.scale import Scale
from ml.tasks import CELL

SIDE = 24
TILE = 32
EMBEDDED = 8


@dataclass(frozen=True)
class Told:
    """A cell to be found; `blast` is its blast probability, None where the network is not to be asked."""

    label: str = "lymphocyte"
    blast: float | None = 0.05
    kind: Kind = Kind.LEUKOCYTE
    inside: bool = True
    border: bool = False


USUAL = (
    Told("blast", 0.9), Told("blast", 0.8), Told("lymphocyte", 0.1), Told("segmented_neutrophil", 0.02),
    Told("monocyte", 0.3, inside=False), Told("lymphocyte", 0.2, border=True),
    Told("", None, kind=Kind.PLATELET),
)  # fmt: skip
"""Four judged leukocytes; one unlike those known, one at the border, and a platelet."""

USUAL_BLASTS = (0.9, 0.8, 0.1, 0.02)
"""Blast probabilities of `USUAL` that count."""


def index(*blasts: float) -> float | None:
    """The index of suspicion of leukocytes with these blast probabilities."""
    return index_of_suspicion([Counted("lymphocyte", blast_probability=blast) for blast in blasts])


def finding(told: Told, number: int, *, across: int = 8) -> CellFinding:
    """What is said of a told cell; its place is the `number`-th of a grid, `across` in a row."""
    box = (SIDE * (number % across), SIDE * (number // across), SIDE, SIDE)
    mask = np.ones((SIDE, SIDE), bool)
    cell = Cell(box, mask, mask, 120.0, 80.0, 0.9, told.kind, told.border)
    if told.blast is None:
        return CellFinding(cell)
    rest = (1 - told.blast) / (len(CELL.classes) - len(CELL.malignant))
    probabilities = dict.fromkeys(CELL.classes, rest) | {"blast": told.blast, "promonocyte": 0.0}
    rng = np.random.default_rng(CELL.classes.index(told.label) * 1000 + number)
    near = np.eye(EMBEDDED, dtype=np.float32)[CELL.classes.index(told.label) % EMBEDDED]
    return CellFinding(
        cell=cell,
        label=told.label if told.inside else None,
        top_label=told.label,
        probabilities=probabilities,
        blast_probability=told.blast,
        domain_score=0.5 if told.inside else 1.5,
        inside_domain=told.inside,
        saliency=np.linspace(0, 1, 49, dtype=np.float32).reshape(7, 7),
        embedding=(near + rng.normal(0, 0.01, EMBEDDED)).astype(np.float32),
    )


class CellStandIn:
    """`ml.cells.serving.CellPredictor` as far as the rest of the house knows it.

    Attributes:
        cells: what is found in every picture. problems: what is said of it. error: raised instead.
    """

    runtime = "stand-in"
    device = "none"

    def __init__(self, bundle: Bundle, cells: Sequence[Told] = USUAL) -> None:
        self.bundle = bundle
        self.cells = list(cells)
        self.problems: tuple[str, ...] = ()
        self.error: Exception | None = None

    def read(self, pixels: NDArray[np.uint8]) -> FieldCells:
        """The told cells, in rows over the picture."""
        if self.error is not None:
            raise self.error
        across = max(pixels.shape[1] // SIDE, 1)
        findings = tuple(finding(told, number, across=across) for number, told in enumerate(self.cells))
        tiles = np.zeros((len(findings), TILE, TILE, 3), np.uint8)
        tiles += (10 * np.arange(len(findings)) % 256).astype(np.uint8)[:, None, None, None]
        return FieldCells(
            findings=findings,
            scale=Scale(0.1, 75.0, 40, 0.9, True),
            problems=self.problems,
            tiles=tiles,
            tile_um=25.0,
            model_version=self.bundle.name,
            timings_ms={"cells": 20.0, "tiles": 1.0, "classify": 30.0},
        )

    def classify(self, pixels: NDArray[np.uint8], um_per_pixel: float | None = None) -> CellFinding:
        """The first told cell, as large as the picture; nothing where none is told."""
        if self.error is not None:
            raise self.error
        found = finding(self.cells[0] if self.cells else Told("", None, kind=Kind.PRECIPITATE), 0)
        return replace(found, cell=replace(found.cell, box=(0, 0, pixels.shape[1], pixels.shape[0])))
