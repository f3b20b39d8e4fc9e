"""The leukocyte in the middle of a single-cell picture: its mask (`ml.cells.cutout` shows it at one size).

Classical image processing, for pictures that an analyser or a person has centred on one cell already. Colour is read
as optical density over the picture's own empty glass, where a stain adds up (Beer and Lambert), and only as its
direction (which dyes), for how much dye there is differs from slide to slide:

1. Nuclei take up azure, violet under every Romanowsky stain (`ml.imaging.nuclei`). Otsu's threshold (1979) among the
   stained pixels finds them; the one in the middle is the cell's, with the lobes around it.
2. What is stained and not red is cytoplasm. What red is, the picture says itself: the stained pixels far from nuclei.
3. Pink cytoplasm is told from red cells by where it lies and what it weighs, and their border is the steepest edge
   between (watershed).
4. A pixel belongs to the nearest nucleus, so that touching leukocytes part between their nuclei.

Lengths are in micrometres throughout; no threshold hangs on the size of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.cells.morphology import (
    WORKING_UM,
    away_from,
    ball,
    eroded,
    filled,
    hull_of,
    joined,
    largest_piece,
    opened,
)
from ml.imaging.preprocessing import background_colour

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float32]

STAINED: Final = 0.12
"""Natural optical density of green that is no longer empty glass; noise stays below 0.05."""

AZURE: Final = (0.87, 1.50, 0.38)
HAEMOGLOBIN: Final = (0.31, 0.48, 0.27)
"""Optical densities (red, green, blue) of nuclei and of red cells where a picture has none to measure: medians over
two pictures of each type of `deepapl-discovery` and `pbc-acevedo`."""

LEAST_VIOLET: Final = 0.15
"""Median natural optical density of green above that of red and blue in what is taken for nuclei. Less is the palest
part of red cells, in a picture without a nucleus; of 568 leukocytes of three sets the palest has 0.17, and 99 % have
0.31."""

NOT_RED: Final = 0.6
"""From the direction of the nuclei's colour (0) to that of red cells (1), how far a pixel may be and still count as
the leukocyte's: the bluest cytoplasm lies at 0.1, the palest lilac at 0.5, eosinophil granules at 0.7 to 0.9."""

REACH: Final = 6.0
"""Micrometres that cytoplasm may stretch from its nucleus."""

LOBE_AREA: Final = 40.0
LOBE_GAP: Final = 2.0
LOBES_GAP: Final = 4.5
"""A piece of nucleus of less than so many square micrometres belongs to one that is so many micrometres away; the
second gap is for two pieces that are both small, as of an eosinophil with granules between its lobes."""

NUCLEUS_AREA: Final = 170.0
"""Square micrometres: a nucleus 15 micrometres wide, as the largest blasts have. More is several that touch."""

SOLID: Final = 0.92
"""Share of its convex hull that a single nucleus of that size fills at least."""

CORE_DEPTH: Final = 0.6
"""Share of the greatest distance from the edge at which the cores of touching nuclei come apart."""

SPECK_AREA: Final = 1.5
"""Square micrometres; a smaller piece of violet is no nucleus and no platelet."""

BLACK: Final = 4
"""Grey level; where most of a picture is no lighter, the cell was cut out onto black already."""

FALLBACK_UM: Final = 4.0
"""Radius of the disc in the middle that stands for a cell where nothing is found."""


@dataclass(frozen=True)
class SingleCell:
    """The cell in the middle of a picture.

    Attributes:
        mask: (H, W) bool, nucleus and cytoplasm; a disc in the middle where nothing was found.
        found: whether there was something to find.
        on_black: whether the picture was cut out onto black already.
        centre: (x, y) in pixels, the middle of the mask's box.
    """

    mask: Mask
    found: bool
    on_black: bool
    centre: tuple[float, float]


def find_cell(pixels: Pixels, micrometres: float) -> SingleCell:
    """Find the cell in the middle of an (H, W, 3) uint8 RGB picture. Takes about 10 ms.

    Args:
        micrometres: that a pixel shows.

    Raises:
        ValueError: for pixels of another shape or type, or a scale that is not positive.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"expected (H, W, 3) uint8 pixels, got {pixels.shape} {pixels.dtype}")
    if not micrometres > 0:
        raise ValueError(f"a pixel must show more than nothing, not {micrometres} micrometres")
    on_black = cut_out_on_black(pixels)
    scale = micrometres / WORKING_UM
    size = [max(8, round(side * scale)) for side in pixels.shape[1::-1]]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small: Pixels = np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)
    found = _on_black(small) if on_black else _on_glass(small)
    if not found.any():
        return SingleCell(_disc(pixels, micrometres), False, on_black, _middle(pixels))
    mask = cv2.resize(found.astype(np.float32), pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR) >= 0.5
    if not mask.any():
        return SingleCell(_disc(pixels, micrometres), False, on_black, _middle(pixels))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    centre = (float(columns[0] + columns[-1]) / 2, float(rows[0] + rows[-1]) / 2)
    return SingleCell(mask, True, on_black, centre)


def cut_out_on_black(pixels: Pixels) -> bool:
    """Whether a picture shows a cell cut out onto black: two fifths of it, and nearly all of its rim, are black."""
    black = pixels.max(axis=2) <= BLACK
    rim = np.concatenate([black[0], black[-1], black[:, 0], black[:, -1]])
    return bool(black.mean() > 0.4 and rim.mean() > 0.9)


def without_black(pixels: Pixels) -> Pixels:
    """A picture of a cell that was cut out onto black, with the cell's own colours carried on over the black around it.

    Black mixes into the rim wherever a picture is resized, and a dark rim is no chromatin. Of another picture, itself.
    """
    if not cut_out_on_black(pixels):
        return pixels
    black = (pixels.max(axis=2) <= BLACK).astype(np.uint8)
    # The outermost pixels of the cell hold black already.
    unsure = cv2.dilate(black, np.ones((3, 3), np.uint8), iterations=2)
    if unsure.all():
        return pixels
    _, nearest = cv2.distanceTransformWithLabels(unsure, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    sure = unsure == 0
    colours = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    colours[nearest[sure]] = pixels[sure]
    return np.where(sure[..., None], pixels, colours[nearest])


def offset_um(cell: SingleCell, shape: tuple[int, ...], micrometres: float) -> float:
    """How far the cell lies from the middle of its (H, W, 3) picture, in micrometres: 0 where it covers the middle."""
    rows, columns = np.nonzero(cell.mask)
    x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    return float(np.hypot(rows - y, columns - x).min()) * micrometres if len(rows) else float("inf")


def _middle(pixels: Pixels) -> tuple[float, float]:
    return (pixels.shape[1] - 1) / 2, (pixels.shape[0] - 1) / 2


def _disc(pixels: Pixels, micrometres: float) -> Mask:
    x, y = _middle(pixels)
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    reach = max(FALLBACK_UM / micrometres, 1.0)
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= reach**2)


def _on_black(small: Pixels) -> Mask:
    """What is not black, in one piece without holes; frayed threads of the cutting fall away."""
    shown = (small.max(axis=2) > BLACK).astype(np.uint8)
    return largest_piece(np.asarray(cv2.morphologyEx(shown, cv2.MORPH_OPEN, ball(0.5)), np.uint8))


def _on_glass(small: Pixels) -> Mask:
    glass = background_colour(small, (0.0, 0.0))
    smooth = cv2.GaussianBlur(small, (0, 0), 0.25 / WORKING_UM).astype(np.float32)
    density = -np.log((smooth + 1.0) / (glass + 1.0))
    stained = density[..., 1] > STAINED
    nuclei = _nuclei(density, stained)
    pieces = _pieces(nuclei)
    own = _own_nucleus(pieces)
    if not own.any():
        return own
    redness, amount = _like_red_cells(density, stained, nuclei)
    away = away_from(own)
    others = (pieces > 0) & ~own
    nearest = away <= away_from(others) if others.any() else np.ones(own.shape, bool)
    within = nearest & (away <= REACH / WORKING_UM)
    cytoplasm = stained & (redness < NOT_RED) & within
    # Cytoplasm may be as pink as red cells, but is denser (eosinophil granules) or paler (neutrophils). So what looks
    # and weighs like red cells, away from the nucleus, is theirs, and the borders between are found as edges.
    body = joined(own | opened(cytoplasm, 0.9), own)
    red = stained & (redness >= NOT_RED) & (np.abs(np.log(np.maximum(amount, 1e-3))) < np.log(1.35))
    red &= away_from(hull_of(own)) > 1.5 / WORKING_UM
    flooded = _flooded(density, body, opened(red, 0.7) | (others & ~body), eroded(~stained, 0.3))
    cell = joined(opened(own | (flooded & within), 1.5) | own, own)
    return filled(np.asarray(cv2.morphologyEx(cell.astype(np.uint8), cv2.MORPH_CLOSE, ball(0.8)), bool))


def _nuclei(density: FloatArray, stained: Mask) -> Mask:
    """Violet pixels: Otsu's threshold among the stained ones, of how much denser green is than red and blue."""
    red, green, blue = (density[..., channel] for channel in range(3))
    violet = np.minimum(green - (red + blue) / 2.0, green - blue)
    if not stained.any():
        return np.zeros(stained.shape, bool)
    levels = np.clip(np.rint(violet[stained] * 150.0), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    found = (stained & (violet > threshold / 150.0)).astype(np.uint8)
    if found.any() and float(np.median(violet[found > 0])) < LEAST_VIOLET:
        return np.zeros(stained.shape, bool)
    return np.asarray(cv2.morphologyEx(found, cv2.MORPH_OPEN, ball(0.4)), bool)


def _pieces(nuclei: Mask) -> NDArray[np.int32]:
    """(h, w) int32: 0 where there is no nucleus, else the number of its piece; specks are left out.

    A piece too large for one nucleus is parted between the thickest places in it, if it has several.
    """
    count, found, stats, _ = cv2.connectedComponentsWithStats(nuclei.astype(np.uint8))
    label: NDArray[np.int32] = np.asarray(found, np.int32)
    for piece in range(1, count):
        area = float(stats[piece, cv2.CC_STAT_AREA]) * WORKING_UM**2
        here = label == piece
        if area < SPECK_AREA:
            label[here] = 0
        elif area > NUCLEUS_AREA and here.sum() < SOLID * hull_of(here).sum():
            depth = cv2.distanceTransform(here.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            cores, core = cv2.connectedComponents((depth > CORE_DEPTH * depth.max()).astype(np.uint8))
            if cores > 2:
                nearest = np.argmin([away_from(core == k) for k in range(1, cores)], axis=0)
                label[here] = count + nearest[here]
                count += cores - 1
    return label


def _own_nucleus(pieces: NDArray[np.int32]) -> Mask:
    """The nucleus in the middle with its lobes; nothing where there is no nucleus.

    Large pieces pull from further away: a platelet beside the middle is not the cell that the picture was taken of.
    """
    names, areas = np.unique(pieces[pieces > 0], return_counts=True)
    if not len(names):
        return np.zeros(pieces.shape, bool)
    height, width = pieces.shape
    rows, columns = np.indices(pieces.shape)
    off = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) * WORKING_UM
    area = {int(name): float(count) * WORKING_UM**2 for name, count in zip(names, areas, strict=True)}
    nearest = {name: float(off[pieces == name].min()) for name in area}
    own = {min(area, key=lambda name: nearest[name] - np.sqrt(area[name] / np.pi) / 2)}
    while True:
        away = away_from(np.isin(pieces, list(own)))
        largest = max(area[one] for one in own)
        close = set()
        for name in area.keys() - own:
            both_small = max(area[name], largest) < LOBE_AREA and area[name] > LOBE_AREA / 4
            gap = LOBES_GAP if both_small else LOBE_GAP
            if min(area[name], largest) < LOBE_AREA and float(away[pieces == name].min()) * WORKING_UM <= gap:
                close.add(name)
        if not close:
            return np.asarray(np.isin(pieces, list(own)))
        own |= close


def _flooded(density: FloatArray, inside: Mask, red: Mask, glass: Mask) -> Mask:
    """Where a flood from `inside` comes before those from red cells and glass, which meet it at the steepest edges
    (watershed; Meyer 1992)."""
    levels = np.clip(density * 140.0, 0, 255).astype(np.uint8)
    markers = np.zeros(inside.shape, np.int32)
    markers[glass] = 3
    markers[red] = 2
    markers[inside] = 1
    found = cv2.watershed(np.ascontiguousarray(levels), markers)
    return np.asarray(found == 1)


def _like_red_cells(density: FloatArray, stained: Mask, nuclei: Mask) -> tuple[FloatArray, FloatArray]:
    """(h, w) how far a pixel's colour lies on the way from the nuclei's (0) to the red cells' (1), and how much dye it
    holds, with that of red cells as 1."""
    near = cv2.dilate(nuclei.astype(np.uint8), ball(3.0)) > 0
    red = _median_density(density, stained & ~near, HAEMOGLOBIN)
    azure = _median_density(density, nuclei, AZURE)
    length = np.linalg.norm(density, axis=2)
    amount = length / np.linalg.norm(red)
    red, azure = red / np.linalg.norm(red), azure / np.linalg.norm(azure)
    way = red - azure
    direction = density / np.maximum(length, 1e-3)[..., None]
    redness = (direction - azure) @ way / max(float(way @ way), 1e-6)
    return np.asarray(redness, np.float32), np.asarray(amount, np.float32)


def _median_density(density: FloatArray, where: Mask, otherwise: tuple[float, float, float]) -> FloatArray:
    """(3,) the median where there are 20 square micrometres of it; else the usual one."""
    if where.sum() * WORKING_UM**2 < 20.0:
        return np.asarray(otherwise, np.float32)
    return np.asarray(np.maximum(np.median(density[where], axis=0), 1e-3), np.float32)
