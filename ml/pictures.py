"""From a picture to what a bundle's network and its gate see of it, whatever the bundle is of: a field, or a cell.

The one place that knows that fields are squashed and single-cell pictures searched for the cell in their middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.cells.gate import shape_of
from ml.cells.preprocessing import CellPreprocessing
from ml.cells.single import find_cell, offset_um, without_black
from ml.cells.single_scale import scale_of_single
from ml.data.manifest import MICROMETRES, Item
from ml.domain import appearance
from ml.imaging.preprocessing import Preprocessing, is_field_shaped, squash
from ml.imaging.reading import read_image

Pixels = NDArray[np.uint8]
Preparation = Preprocessing | CellPreprocessing

NOT_FIELD_SHAPED = "the picture is not a 4:3 field, and the model was validated on 4:3 fields alone"
NO_CELL = "there is no leukocyte in the middle of the picture"
MIDDLE_UM = 1.5
"""Of the middle of a single-cell picture: a leukocyte further away is another one than the picture was taken of."""


@dataclass(frozen=True)
class Picture:
    """What is seen of a picture.

    Attributes:
        corrected: (S, S, 3) uint8 RGB before augmentation and contrast. prepared: the same after contrast, before
            `normalise`.
        plain: (d,) float32, what the gate looks at beside the network's features.
        problem: why no outcome may be given, in words; empty where nothing speaks against one.
    """

    corrected: Pixels
    prepared: Pixels
    plain: NDArray[np.float32]
    problem: str = ""


def picture_of(preparation: Preparation, pixels: Pixels, um_per_pixel: float | None = None) -> Picture:
    """What is seen of (H, W, 3) uint8 RGB pixels.

    Args:
        um_per_pixel: of a single-cell picture; None measures it. Of a field it says nothing.
    """
    if isinstance(preparation, Preprocessing):
        squashed = squash(pixels, preparation.size)
        corrected = preparation.correct_squashed(squashed)
        problem = "" if is_field_shaped(pixels, preparation.size) else NOT_FIELD_SHAPED
        return Picture(corrected, preparation.contrast(corrected), appearance(squashed), problem)
    um = um_per_pixel or scale_of_single(pixels).um_per_pixel
    cell = find_cell(pixels, um)
    shown = preparation.show(without_black(pixels), cell.mask, cell.centre, um, origin=(0, 0))
    there = cell.found and offset_um(cell, pixels.shape, um) <= MIDDLE_UM
    return Picture(shown, shown, shape_of(cell.mask, um), "" if there else NO_CELL)


def corrected_picture(preparation: Preparation, pixels: Pixels, um_per_pixel: float | None = None) -> Pixels:
    """`Picture.corrected` alone: what trainings keep of a picture."""
    if isinstance(preparation, Preprocessing):
        return preparation.correct(pixels)
    return picture_of(preparation, pixels, um_per_pixel).corrected


def prepared_picture(preparation: Preparation, item: Item) -> Pixels:
    """`Picture.prepared` of an item. Raises UnreadableImage."""
    return picture_of(preparation, read_image(item.path).pixels, scale_stated(item)).prepared


def scale_stated(item: Item) -> float | None:
    """Micrometres a pixel of an item's picture, where its manifest says so."""
    stated = item.columns.get(MICROMETRES)
    return float(stated) if stated else None
