"""From a cell in a picture to what a `cell` network sees: one code path for training and for serving.

The counterpart of `ml.imaging.preprocessing` for single leukocytes: the same micrometres at the same size in pixels
whatever the camera, nothing squashed; then, as the bundle's parameters say, the stain brought to a reference over the
cell, and what surrounds the cell painted over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ml.cells.cutout import CROP_PIXELS, CROP_UM, alone, square, square_mask
from ml.cells.normalisation import macenko, reinhard
from ml.imaging.preprocessing import UnknownPreprocessing

CELL_PREPROCESSING_VERSION: Final = 1
"""Raised whenever the same pixels and parameters would give other numbers."""

STAINS: Final = {"none": None, "reinhard": reinhard, "macenko": macenko}

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Cut = Literal["natural", "cutout"]
Stain = Literal["none", "reinhard", "macenko"]


@dataclass(frozen=True)
class CellPreprocessing:
    """The parameters of one preprocessing of cells; they travel inside the bundle.

    Attributes:
        size: side of the square network input, in pixels. crop_um: side of what it shows, in micrometres.
        cut: `natural` with what surrounds the cell, or `cutout`. stain: `none`, `reinhard` or `macenko`, over the cell.
    """

    size: int = CROP_PIXELS
    crop_um: float = CROP_UM
    cut: Cut = "cutout"
    stain: Stain = "none"
    version: int = CELL_PREPROCESSING_VERSION

    def as_dict(self) -> dict[str, Any]:
        return {"kind": "cell", **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CellPreprocessing:
        """Raises UnknownPreprocessing for another version or parameter than this code knows."""
        given = {key: value for key, value in values.items() if key != "kind"}
        if given.get("version") != CELL_PREPROCESSING_VERSION:
            raise UnknownPreprocessing(
                f"The model wants version {given.get('version')} of the preprocessing of cells, "
                f"this Leukoscope has version {CELL_PREPROCESSING_VERSION}."
            )
        try:
            made = cls(**given)
        except TypeError as error:
            raise UnknownPreprocessing(
                f"The model's preprocessing has unknown parameters: {error}."
            ) from error
        if made.cut not in ("natural", "cutout") or made.stain not in STAINS:
            raise UnknownPreprocessing(
                f"The model's preprocessing has unknown parameters: {made.cut}, {made.stain}."
            )
        return made

    def show(
        self,
        pixels: Pixels,
        mask: Mask,
        centre: tuple[float, float],
        um_per_pixel: float,
        *,
        origin: tuple[int, int],
    ) -> Pixels:
        """What the network sees of a cell, before `normalise`: (size, size, 3) uint8 RGB.

        Args:
            pixels: (H, W, 3) uint8 RGB, the whole picture. mask: (h, w) bool of the cell, over a part of it.
            centre: (x, y) of the cell in the whole picture, in pixels. origin: (x, y) of the mask's first pixel.
            um_per_pixel: of the picture.

        Raises:
            ValueError: for a scale that is not positive.
        """
        taken = square(pixels, centre, um_per_pixel, size=self.size, side=self.crop_um)
        within = (centre[0] - origin[0], centre[1] - origin[1])
        inside = square_mask(mask, within, um_per_pixel, size=self.size, side=self.crop_um)
        return self.finish(taken, inside)

    def finish(self, square_pixels: Pixels, inside: Mask) -> Pixels:
        """The stain and the cut, of a square and its mask that are at the network's size already."""
        way = STAINS[self.stain]
        stained = square_pixels if way is None else way(square_pixels, inside)
        return alone(stained, inside) if self.cut == "cutout" else stained

    def contrast(self, image: Pixels) -> Pixels:
        """Cells are shown as they are; here so that training treats cells and fields alike."""
        return image
