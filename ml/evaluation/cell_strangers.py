"""What the gate of a `cell` bundle does with strangers: leukocytes of laboratories it never saw, and things that are no
leukocytes at all.

Pictures of the second kind are cut out of fields with boxes (red cells and platelets of a set in YOLO's format, glass
and red cells between the boxes), cropped from everyday photographs, or drawn; each is shown as a single-cell picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.cells.cutout import CROP_UM
from ml.cells.pixel_training import PLATELET, WHITE_CELL, boxes_of
from ml.cells.scale import measure_scale
from ml.drawing import CELL_KINDS, draw_cell
from ml.evaluation.gates import Source, photograph_source
from ml.evaluation.photographs import everyday_photograph_crops
from ml.imaging.reading import read_image
from ml.tasks import CELL

Pixels = NDArray[np.uint8]

SIDE_UM: Final = 37.0
"""Of the pictures that are cut out: as wide as an analyser's single-cell picture."""

LEAST_PIXELS: Final = 48


def boxed_source(name: str, folder: Path, part: str, kind: int, *, most: int, seed: int) -> Source:
    """Single-cell pictures of what boxes of one class hold, drawn from the pictures of one part of the set."""
    return _source(name, folder, part, most, seed, lambda boxes, shape, rng: _centres(boxes, kind, rng))


def empty_source(name: str, folder: Path, part: str, *, most: int, seed: int) -> Source:
    """Single-cell pictures whose middle lies in no leukocyte's or platelet's box: glass, and red cells at random."""
    return _source(name, folder, part, most, seed, _places)


def photograph_cells(name: str, *, most: int, seed: int) -> Source:
    """Crops of everyday photographs, square as single-cell pictures are."""

    def pictures() -> Iterator[Pixels]:
        for crop in everyday_photograph_crops(np.random.default_rng(seed), most):
            side = min(crop.shape[:2])
            yield np.asarray(
                cv2.resize(crop[:side, :side], (256, 256), interpolation=cv2.INTER_AREA), np.uint8
            )

    return Source(name, most, pictures)


def photographs_for(task: str, count: int, *, seed: int) -> Source:
    """Crops of everyday photographs in the shape of the pictures of a task."""
    if task == CELL.name:
        return photograph_cells("everyday photographs", most=count, seed=seed)
    return photograph_source(count, seed=seed)


def drawn_cells(count: int, *, seed: int = 0) -> Source:
    """Single-cell pictures that were drawn and never lay under a microscope."""

    def pictures() -> Iterator[Pixels]:
        for number in range(count):
            kind = CELL_KINDS[number % len(CELL_KINDS)]
            yield draw_cell(np.random.default_rng((seed, number)), kind=kind)[0]

    return Source("drawn cells", count, pictures)


Middles = Callable[[NDArray[np.float64], tuple[int, int], np.random.Generator], list[tuple[float, float]]]


def _source(name: str, folder: Path, part: str, most: int, seed: int, middles: Middles) -> Source:
    paths = sorted((folder / "images" / part).iterdir())
    rng = np.random.default_rng(seed)
    chosen: list[tuple[Path, tuple[float, float]]] = []
    for path in [paths[i] for i in rng.permutation(len(paths))]:
        if len(chosen) >= most:
            break
        height, width = read_image(path).pixels.shape[:2]
        boxes = boxes_of(folder / "labels" / part / f"{path.stem}.txt", width, height)
        # A few of each field, so that no field is all of them.
        chosen += [(path, place) for place in middles(boxes, (width, height), rng)[:4]]
    chosen = chosen[:most]

    def pictures() -> Iterator[Pixels | str]:
        for path, (x, y) in chosen:
            pixels = read_image(path).pixels
            yield _window(pixels, (x, y), max(LEAST_PIXELS, SIDE_UM / measure_scale(pixels).um_per_pixel))

    return Source(name, len(chosen), pictures)


def _window(pixels: Pixels, middle: tuple[float, float], side: float) -> Pixels:
    """A square about a place. Beyond the picture its edge goes on: a square that was cut off had another middle."""
    margin = round(side / 2) + 1
    padded = cv2.copyMakeBorder(pixels, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    left, top = (round(place + margin - side / 2) for place in middle)
    return np.ascontiguousarray(padded[top : top + round(side), left : left + round(side)])


def _centres(boxes: NDArray[np.float64], kind: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    own = boxes[boxes[:, 0] == kind]
    return [(row[1] + row[3] / 2, row[2] + row[4] / 2) for row in own[rng.permutation(len(own))].tolist()]


def _places(
    boxes: NDArray[np.float64], shape: tuple[int, int], rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Middles at least a cell's radius from every leukocyte's and platelet's box, and from the picture's edge."""
    others = boxes[np.isin(boxes[:, 0], (WHITE_CELL, PLATELET))]
    width, height = shape
    found: list[tuple[float, float]] = []
    for x, y in rng.uniform((0.1 * width, 0.1 * height), (0.9 * width, 0.9 * height), (40, 2)).tolist():
        away = [
            max(left - x, x - left - wide, top - y, y - top - high)
            for _, left, top, wide, high in others.tolist()
        ]
        if not away or min(away) > 0.04 * width * CROP_UM / SIDE_UM:
            found.append((x, y))
    return found
