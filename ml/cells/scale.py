"""How many micrometres a pixel is, read off the red cells.

A red cell is about 7.5 um across in a dried smear, and nearly every field holds dozens. They are found as circles:
every edge pixel votes for the middles that lie on its dense side, a radius away (the gradient Hough transform; Kimme,
Ballard and Sklansky 1975, Communications of the ACM 18, 120). The rim of a pale middle has its dense side outside and
votes for nothing in particular, and of touching and overlapping cells the visible arcs still agree, where a threshold
sees one blob. The commonest radius is the red cells'; leukocytes, which are larger, are left out beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.cells.circles import find_circles
from ml.cells.pixels import CYTOPLASM, NUCLEUS, pixel_network

Pixels = NDArray[np.uint8]

RED_CELL_UM: Final = 7.5
"""Diameter of a red cell in a dried smear."""

LEUKOCYTE_UM: Final = 13.0
"""Diameter of a leukocyte, between a lymphocyte's 9 and a monocyte's 18, where there is no red cell to measure."""

CELLS_ACROSS: Final = 16.0
"""Red cells that fit side by side into a field's longer side, where there is nothing to measure: 120 um, about what a
common camera sees through a 100x objective."""

LOOKS: Final = ((288, 6), (208, 6), (640, 24), (1280, 60))
"""Longer side in pixels at which red cells are sought, and how many must agree for no finer look. At 100x they are
some 20 pixels wide in the first look, at 40x 8. The coarser second look sees arcs in crowded and blurred fields that
the first does not; the finer ones see fields taken with weaker objectives."""

FEW: Final = 2
"""Red cells; fewer make no measurement."""

SPREAD: Final = 0.09
"""Of the kernel over the logarithm of radii; red cells' diameters vary by some 7 %."""

_DIAMETER: Final = 2.22
"""Diameter over the radius voted for, which lies within the blurred rim. Set on the boxes of red cells in
txl-pbc-v2's training part."""


@dataclass(frozen=True)
class Scale:
    """The scale of a field.

    Attributes:
        um_per_pixel: of the picture as it was given.
        red_cell_pixels: diameter of a red cell in it.
        red_cells: how many agreed on it.
        confidence: 0..1; how many agreed, and which share of all circles they are. 0 where `measured` is false.
        measured: false where there were too few red cells and the scale is an assumption.
    """

    um_per_pixel: float
    red_cell_pixels: float
    red_cells: int
    confidence: float
    measured: bool

    @property
    def words(self) -> str:
        """The scale in a sentence, as pages show it."""
        if not self.measured:
            return f"Scale assumed, {self.um_per_pixel:.3f} µm a pixel: too few red cells to measure it."
        sure = "" if self.confidence >= 0.5 else ", uncertain"
        return f"{self.um_per_pixel:.3f} µm a pixel, from {self.red_cells} red cells{sure}."


def measure_scale(pixels: Pixels) -> Scale:
    """Measure the red cells of an (H, W, 3) uint8 RGB field.

    Takes 40 ms at 100x, up to 300 ms at weaker magnification.
    """
    best, leukocyte = (0.0, 0, 0.0), 0.0
    leukocytes: NDArray[np.uint8] | None = None
    seen: set[int] = set()
    for side, enough in LOOKS:
        small, shrink = _reduced(pixels, side)
        if max(small.shape) in seen:
            continue  # the picture has no finer look
        seen.add(max(small.shape))
        if leukocytes is None:
            leukocytes, leukocyte = _leukocytes(small)
            leukocyte /= shrink
        size = (small.shape[1], small.shape[0])
        hidden = cv2.resize(leukocytes, size, interpolation=cv2.INTER_NEAREST) > 0
        radius, agreeing, share = _commonest(find_circles(small, hidden))
        coarse = side <= LOOKS[0][0]
        if agreeing >= enough or (coarse and agreeing * share > best[1] * best[2]):
            best = (radius / shrink, agreeing, share)
        if agreeing >= enough:
            break
    radius, agreeing, share = best
    if agreeing < FEW:
        return assumed_scale(pixels, leukocyte)
    across = radius * _DIAMETER
    confidence = min(1.0, agreeing / 10.0) * min(1.0, 1.4 * share)
    return Scale(RED_CELL_UM / across, across, agreeing, confidence, True)


def assumed_scale(pixels: Pixels, leukocyte: float = 0.0) -> Scale:
    """A scale that was not measured: from the usual diameter of the leukocytes in pixels, or a usual field's width."""
    across = leukocyte * RED_CELL_UM / LEUKOCYTE_UM or max(pixels.shape[:2]) / CELLS_ACROSS
    return Scale(RED_CELL_UM / across, across, 0, 0.0, False)


def _reduced(pixels: Pixels, side: int) -> tuple[Pixels, float]:
    height, width = pixels.shape[:2]
    shrink = min(1.0, side / max(height, width))
    size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8), shrink


def _leukocytes(small: Pixels) -> tuple[NDArray[np.uint8], float]:
    """Return where leukocytes are, (h, w) uint8 of 0 and 1, and their usual diameter in pixels (0 without any)."""
    odds = pixel_network().probabilities(small)
    nuclei = (odds[..., NUCLEUS] > 0.5).astype(np.uint8)
    nuclei = np.asarray(cv2.morphologyEx(nuclei, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    cells = (odds[..., NUCLEUS] + odds[..., CYTOPLASM] > 0.5).astype(np.uint8)
    cells = np.asarray(cv2.morphologyEx(cells, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(cells)
    seeds = np.unique(labels[nuclei > 0])
    areas = stats[seeds[seeds > 0], cv2.CC_STAT_AREA]
    areas = areas[areas >= 0.15 * areas.max()] if len(areas) else areas
    usual = float(np.sqrt(np.median(areas) * 4 / np.pi)) if len(areas) else 0.0
    return np.asarray(cv2.dilate(nuclei, np.ones((5, 5), np.uint8)), np.uint8), usual


def _commonest(circles: NDArray[np.float64]) -> tuple[float, int, float]:
    """Return of (n, 4) circles the commonest radius, how many have it, and which share of their area they make up."""
    if not len(circles):
        return 0.0, 0, 0.0
    scores, logs = circles[:, 3], np.log(circles[:, 2])
    # Weighted by area: stain and noise make many small circles, and each covers little.
    weights = scores * circles[:, 2] ** 2
    away = (logs[:, None] - logs[None, :]) / SPREAD
    middle = logs[int((np.exp(-0.5 * away * away) * weights[None, :]).sum(axis=1).argmax())]
    near = np.abs(logs - middle) < 2 * SPREAD
    radius = float(np.exp(np.average(logs[near], weights=scores[near])))
    return radius, int(near.sum()), float(weights[near].sum() / weights.sum())
