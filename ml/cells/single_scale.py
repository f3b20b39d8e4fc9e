"""How many micrometres a pixel of a single-cell picture shows, where nobody says."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml.cells.scale import RED_CELL_UM, Scale, measure_scale
from ml.cells.single import cut_out_on_black

ON_BLACK_UM: Final = 0.060
"""Of a cell cut out onto black: that of the public set of such pictures (`ml.data.cells.ON_BLACK_MICROMETRES`)."""

BELIEVED_FROM: Final = 0.3
"""Confidence in a measured scale from which on it is believed: a single-cell picture shows few red cells. Of 240
pictures of `deepapl-discovery` and `pbc-acevedo`, 0.89 and 0.93 of those believed lie within a fifth of the truth."""

USUAL_WIDTH_UM: Final = 37.0
"""That a single-cell picture shows where nothing in it can be measured: what the analyser behind both sets cuts out."""


def scale_of_single(pixels: NDArray[np.uint8]) -> Scale:
    """The scale of an (H, W, 3) uint8 RGB single-cell picture: of its red cells where some are seen, else a usual
    picture's.
    """
    if cut_out_on_black(pixels):
        return Scale(ON_BLACK_UM, RED_CELL_UM / ON_BLACK_UM, 0, 0.0, False)
    measured = measure_scale(pixels)
    if measured.measured and measured.confidence >= BELIEVED_FROM:
        return measured
    usual = USUAL_WIDTH_UM / max(pixels.shape[:2])
    return Scale(usual, RED_CELL_UM / usual, 0, 0.0, False)
