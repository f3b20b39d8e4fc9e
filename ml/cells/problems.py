"""What keeps a picture from being searched for leukocytes, in words: it is blank, grey, no smear, too small a scale.

Limits were set on txl-pbc-v2's training part, Taleqani and drawn fields, as they are and with their channels swapped,
and on everyday photographs; the docstring of each says what was seen.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.cells.pixels import NUCLEUS, pixel_network
from ml.cells.scale import Scale
from ml.cells.stain import glass_colour, optical_density

Pixels = NDArray[np.uint8]

BLANK: Final = "The field is blank: nothing stained can be seen in it."
GREY: Final = "The picture has no colour: leukocytes are found by their stain."
NOT_A_SMEAR: Final = "This is no stained smear: its colours do not occur in one."
CHANNELS_SWAPPED: Final = "Red and blue are swapped in this picture: its nuclei are red instead of violet."
TOO_SMALL: Final = (
    "The magnification is too small to judge leukocytes: a red cell is {0:.0f} pixels wide. "
    "Use a 40x to 100x objective."
)
TOO_COARSE: Final = "What is stained is too small, or has too few pixels, to be judged."
ONE_CLUMP: Final = "The cells lie in one clump and cannot be told apart: choose a thinner part of the smear."
NO_LEUKOCYTE: Final = "No leukocyte was found."

LEAST_DENSITY: Final = 0.10
"""Natural optical density that 0.5 % of the pixels exceed. Real fields: 0.46 at least."""

LEAST_GLASS: Final = 20.0
"""Brightest channel of the empty glass, 0..255. Real fields: 168 at least."""

LEAST_CHROMA: Final = 0.03
"""Largest difference of the channels' densities that 2 % of the pixels exceed. Greyscale: 0 to 0.01 by JPEG."""

MOST_YELLOW: Final = 0.10
"""Share of pixels that absorb blue much more than green: skin, wood, leaves. Smears: 0, with swapped channels 0.08."""

MOST_COLD: Final = 0.40
"""Share of pixels that absorb red more than green, or green least: sky, leaves. Smears: 0.23 at most."""

MOST_BLUE_OVER_RED: Final = 0.12
"""Density in blue over that in red of the densest 3 %. Nuclei: -0.12 at most in Taleqani and drawn fields; up to 0.31
in crops of txl-pbc-v2, hence the second look at the swapped picture."""

MOST_NUCLEI: Final = 0.30
"""Share of nuclei in a swapped picture. Where red cells are crimson on greenish glass (crops of 256 pixels in
txl-pbc-v2's training and validation parts), swapping turns them violet: 0.35 at least."""

LEAST_RED_CELL: Final = 8.0
"""Pixels across a red cell. In Taleqani's fields of 224 pixels it has 14."""

WEAK_RED_CELL, WIDE_FIELD_UM = 20.0, 450.0
"""A red cell of fewer pixels in a field wider than this was taken with less than a 40x objective (about 300 um)."""

_SIDE: Final = 200
_GREEN, _YELLOW, _COLD = 0.12, 0.22, 0.12


def picture_problem(pixels: Pixels) -> str:
    """Return why an (H, W, 3) uint8 RGB picture is no field to search, or "". Takes 10 ms."""
    height, width = pixels.shape[:2]
    shrink = min(1.0, _SIDE / max(height, width))
    size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    raw = small  # noise of all colours is no smear either, and blurred it could pass for one
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), 0.7), np.uint8)
    glass = glass_colour(small)
    density = optical_density(small, glass)
    red, green, blue = (density[..., channel] for channel in range(3))
    if glass.max() < LEAST_GLASS or np.percentile(density.max(axis=-1), 99.5) < LEAST_DENSITY:
        return BLANK
    if np.percentile(density.max(axis=-1) - density.min(axis=-1), 98) < LEAST_CHROMA:
        return GREY
    sharp = optical_density(raw, glass)
    yellow = float(np.mean((sharp[..., 2] > sharp[..., 1] + _YELLOW) & (sharp.max(axis=-1) > 0.2)))
    cold = float(np.mean((red > green + _COLD) | (green < np.minimum(red, blue) - _GREEN)))
    if yellow > MOST_YELLOW or cold > MOST_COLD:
        return NOT_A_SMEAR
    dense = green >= np.percentile(green, 97)
    if float(np.median((blue - red)[dense])) > MOST_BLUE_OVER_RED:
        swapped = _nuclei(small[..., ::-1])
        if 2 * _nuclei(small) < swapped < MOST_NUCLEI:
            return CHANNELS_SWAPPED
    return ""


def _nuclei(small: Pixels) -> float:
    """Share of the picture that is nucleus."""
    odds = pixel_network().probabilities(np.ascontiguousarray(small))
    nuclei = (odds[..., NUCLEUS] > 0.5).astype(np.uint8)
    return float(cv2.morphologyEx(nuclei, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).mean())


def scale_problem(pixels: Pixels, scale: Scale) -> str:
    """Return why the magnification is too small, or ""."""
    wide = max(pixels.shape[:2]) * scale.um_per_pixel
    across = scale.red_cell_pixels
    if not scale.measured and across < LEAST_RED_CELL:
        return TOO_COARSE
    if scale.measured and (across < LEAST_RED_CELL or (across < WEAK_RED_CELL and wide > WIDE_FIELD_UM)):
        return TOO_SMALL.format(across)
    return ""
