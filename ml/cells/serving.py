"""CellPredictor: a `cell` bundle and a picture in, its leukocytes with their classes out.

Cells of fields and of single-cell pictures go through the same crop, cut-out and normalisation as in training
(`ml.cells.preprocessing`); they differ in how the cell is found alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml.bundle import Bundle
from ml.calibration import apply_temperature
from ml.cells.cell import Cell, Detection, Kind
from ml.cells.cutout import tile
from ml.cells.detection import detect
from ml.cells.findings import CellFinding, FieldCells
from ml.cells.gate import shape_of
from ml.cells.single import SingleCell, find_cell, offset_um, without_black
from ml.cells.single_scale import scale_of_single
from ml.domain import pooled_features
from ml.imaging.preprocessing import normalise
from ml.pictures import MIDDLE_UM
from ml.runtimes import Runtime
from ml.saliency import DEFAULT_METHOD, saliency_map
from ml.serving import Predictor

BATCH: Final = 16
"""Cells that go through the network at once."""

TILE_PIXELS: Final = 96
"""Side of the tiles that galleries show."""

ASKED: Final = (Kind.LEUKOCYTE, Kind.SMUDGE)
"""Kinds that the network is asked about. Platelets, precipitate and clumps are named by the finder of cells."""

Pixels = NDArray[np.uint8]
Detector = Callable[[Pixels], Detection]


class CellPredictor(Predictor):
    """A loaded `cell` bundle: `predict` judges the cell in the middle of a picture, `read` all those of a field."""

    def __init__(self, bundle: Bundle, runtime: Runtime, *, detector: Detector = detect) -> None:
        """Take a bundle, its runtime and the finder of cells.

        Raises:
            BundleCorrupt: the bundle is not one of cells, or its arrays do not fit.
        """
        super().__init__(bundle, runtime)
        self._preprocessing = bundle.cell_preprocessing
        self._detect = detector
        self._malignant = np.asarray([name in bundle.malignant for name in bundle.classes])

    def read(self, pixels: Pixels) -> FieldCells:
        """Find and judge the leukocytes of a field: (H, W, 3) uint8 RGB, as `read_image` gives it."""
        began = perf_counter()
        detection = self._detect(pixels)
        found = perf_counter()
        um = detection.um_per_pixel
        tiles = [
            tile(pixels, cell, um, um=self._preprocessing.crop_um, size=TILE_PIXELS)
            for cell in detection.cells
        ]
        tiled = perf_counter()
        findings = self.judge(pixels, detection)
        ended = perf_counter()
        return FieldCells(
            findings=findings,
            scale=detection.scale,
            problems=detection.problems,
            tiles=np.stack(tiles) if tiles else np.zeros((0, TILE_PIXELS, TILE_PIXELS, 3), np.uint8),
            tile_um=self._preprocessing.crop_um,
            model_version=self.bundle.name,
            timings_ms={
                "cells": round((found - began) * 1000, 3),
                "tiles": round((tiled - found) * 1000, 3),
                "classify": round((ended - tiled) * 1000, 3),
            },
        )

    def judge(self, pixels: Pixels, detection: Detection) -> tuple[CellFinding, ...]:
        """Each thing that was found, with the network's word on leukocytes and smudges."""
        um = detection.um_per_pixel
        findings = [CellFinding(cell) for cell in detection.cells]
        asked = [place for place, cell in enumerate(detection.cells) if cell.kind in ASKED]
        shown = [self._shown(pixels, detection.cells[place], um) for place in asked]
        shapes = [shape_of(detection.cells[place].mask, um) for place in asked]
        for place, judged in zip(asked, self._judged(shown, shapes), strict=True):
            findings[place] = replace(judged, cell=detection.cells[place])
        return tuple(findings)

    def classify(self, pixels: Pixels, um_per_pixel: float | None = None) -> CellFinding:
        """Judge the cell in the middle of a single-cell picture: (H, W, 3) uint8 RGB.

        Args:
            um_per_pixel: of the picture; None measures it on the red cells around, or assumes a usual picture.
        """
        um = um_per_pixel or scale_of_single(pixels).um_per_pixel
        single = find_cell(pixels, um)
        cell = _as_cell(single, um)
        if not single.found or offset_um(single, pixels.shape, um) > MIDDLE_UM:
            return CellFinding(replace(cell, kind=Kind.PRECIPITATE, confidence=0.0))
        shown = self._preprocessing.show(without_black(pixels), single.mask, single.centre, um, origin=(0, 0))
        (judged,) = self._judged([shown], [shape_of(single.mask, um)])
        return replace(judged, cell=cell)

    def _shown(self, pixels: Pixels, cell: Cell, um: float) -> Pixels:
        x, y, width, height = cell.box
        centre = (x + (width - 1) / 2, y + (height - 1) / 2)
        return self._preprocessing.show(pixels, cell.mask, centre, um, origin=(x, y))

    def _judged(self, shown: Sequence[Pixels], shapes: Sequence[NDArray[np.float32]]) -> list[CellFinding]:
        """What the network says of pictures of cells, without the cells."""
        found: list[CellFinding] = []
        bundle = self.bundle
        for begin in range(0, len(shown), BATCH):
            some = slice(begin, begin + BATCH)
            maps, logits = self._runtime.run(normalise(np.stack(shown[some])))
            pooled = np.stack([pooled_features(one) for one in maps])
            scores = bundle.domain.score(pooled, np.stack(shapes[some]))
            chances = apply_temperature(logits, bundle.temperature)
            for row, score in enumerate(scores.tolist()):
                top = int(chances[row].argmax())
                inside = score <= bundle.domain.threshold
                found.append(
                    CellFinding(
                        cell=NOWHERE,
                        label=bundle.classes[top] if inside else None,
                        top_label=bundle.classes[top],
                        probabilities=dict(zip(bundle.classes, chances[row].tolist(), strict=True)),
                        blast_probability=float(chances[row][self._malignant].sum()),
                        domain_score=score,
                        inside_domain=inside,
                        saliency=saliency_map(maps[row], self._head[:, top], DEFAULT_METHOD),
                        embedding=bundle.domain.features.embedded(pooled[row]),
                    )
                )
        return found


def _as_cell(single: SingleCell, um: float) -> Cell:
    """A single cell as one found in a field; its nucleus is not measured there, so it stands for the whole."""
    rows, columns = np.flatnonzero(single.mask.any(axis=1)), np.flatnonzero(single.mask.any(axis=0))
    y, x = int(rows[0]), int(columns[0])
    box = (x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)
    mask = single.mask[y : y + box[3], x : x + box[2]]
    area = float(mask.sum()) * um**2
    edge = np.concatenate([single.mask[0], single.mask[-1], single.mask[:, 0], single.mask[:, -1]])
    return Cell(
        box=box, mask=mask, nucleus=mask, area_um2=area, nucleus_um2=area, confidence=1.0 if single.found else 0.0,
        kind=Kind.LEUKOCYTE, touches_border=bool(edge.any()) and not single.on_black,
    )  # fmt: skip


NOWHERE: Final = Cell(
    (0, 0, 1, 1), np.ones((1, 1), bool), np.ones((1, 1), bool), 0.0, 0.0, 0.0, Kind.LEUKOCYTE, False
)
"""Stands for the cell until its place is known."""
