"""Finds the leukocytes of a field: where, how large, how sure, and what else is stained there."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.cells.cell import Cell, Detection, Kind
from ml.cells.kinds import name_regions
from ml.cells.parting import part
from ml.cells.pixels import CYTOPLASM, NUCLEUS, pixel_network
from ml.cells.problems import NO_LEUKOCYTE, ONE_CLUMP, picture_problem, scale_problem
from ml.cells.regions import Region, measure_regions
from ml.cells.scale import Scale, assumed_scale, measure_scale
from ml.cells.stain import glass_colour, optical_density

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]
Labels = NDArray[np.int32]

WORKING_UM: Final = 0.25
"""Micrometres a pixel at which cells are sought: a red cell is 30 pixels wide."""

MOST_WORKING: Final = 1400
"""Longer side at which they are sought, whatever the scale."""

LEAST_SIDE: Final = 32
"""Pixels of the shorter side; less shows no cell."""

_CELL: Final = 0.8
"""Probability of nucleus or cytoplasm within a cell: at one half, the blurred rim around it still passes."""

_REACH_UM: Final = 5.0
"""How far cytoplasm reaches from its nucleus."""


def detect(pixels: Pixels) -> Detection:
    """Find the leukocytes of a field, and what else is stained as they are.

    The scale is measured on the red cells, the picture brought to `WORKING_UM`, each of its pixels judged (nucleus,
    cytoplasm, other), touching cells parted, and each region measured and named. Outlines are given at the picture's
    own pixels. Takes 0.1 s at 640x480 and 0.3 s at 2592x1944 (100x).

    Args:
        pixels: (h, w, 3) uint8 RGB, from 32x32 on.

    Raises:
        ValueError: for another shape or type.
    """
    if (
        pixels.ndim != 3
        or pixels.shape[2] != 3
        or pixels.dtype != np.uint8
        or min(pixels.shape[:2]) < LEAST_SIDE
    ):
        raise ValueError(
            f"expected (H, W, 3) uint8 pixels of at least {LEAST_SIDE} a side, got {pixels.shape} {pixels.dtype}"
        )
    problem = picture_problem(pixels)
    if problem:
        return Detection((), assumed_scale(pixels), (problem,))
    scale = measure_scale(pixels)
    problem = scale_problem(pixels, scale)
    if problem:
        return Detection((), scale, (problem,))
    picture, um = working_picture(pixels, scale)
    regions = find_regions(picture, um)
    cells = [
        _enlarged(pixels, picture, region, kind, sure)
        for region, (kind, sure) in zip(regions, name_regions(regions), strict=True)
    ]
    cells.sort(key=lambda cell: (cell.box[1], cell.box[0]))
    return Detection(tuple(cells), scale, _problems(cells))


def _problems(cells: list[Cell]) -> tuple[str, ...]:
    clumps = sum(cell.area_um2 for cell in cells if cell.kind is Kind.CLUMP)
    leukocytes = [cell.area_um2 for cell in cells if cell.kind is Kind.LEUKOCYTE]
    if clumps > sum(leukocytes):
        return (ONE_CLUMP,)
    return () if leukocytes else (NO_LEUKOCYTE,)


def _enlarged(pixels: Pixels, picture: Pixels, region: Region, kind: Kind, sure: float) -> Cell:
    """The region at the picture's own pixels."""
    height, width = pixels.shape[:2]
    down, across = height / picture.shape[0], width / picture.shape[1]
    x, y, w, h = region.box
    left, top = max(int(x * across), 0), max(int(y * down), 0)
    right, bottom = min(int(np.ceil((x + w) * across)), width), min(int(np.ceil((y + h) * down)), height)
    masks = []
    for mask in (region.mask, region.nucleus):
        # Blurred before the threshold: an outline of large pixels would show them.
        grey = cv2.resize(
            mask.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
        )
        masks.append(grey > 0.5 if grey.max() > 0.5 else grey >= grey.max())
    return Cell(
        box=(left, top, right - left, bottom - top),
        mask=masks[0],
        nucleus=masks[1] & masks[0],
        area_um2=region.area,
        nucleus_um2=region.nucleus_area,
        confidence=sure,
        kind=kind,
        touches_border=region.touches_border,
    )


def working_picture(pixels: Pixels, scale: Scale) -> tuple[Pixels, float]:
    """Return the picture at the working scale and its micrometres a pixel."""
    height, width = pixels.shape[:2]
    zoom = min(scale.um_per_pixel / WORKING_UM, MOST_WORKING / max(height, width))
    size = (max(round(width * zoom), 1), max(round(height * zoom), 1))
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8), scale.um_per_pixel / zoom


def disc(radius_um: float, um: float) -> NDArray[np.uint8]:
    """A round structuring element, at least 3 pixels wide."""
    side = 2 * max(round(radius_um / um), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def find_regions(picture: Pixels, um: float) -> list[Region]:
    """Return the stained regions of an (h, w, 3) uint8 RGB picture at `um` micrometres a pixel."""
    odds = pixel_network().probabilities(picture)
    nuclei, cells = masks(odds, um)
    density = optical_density(picture, glass_colour(picture))[..., 1]
    return measure_regions(part(cells, um), nuclei, odds[..., NUCLEUS], density, um)


def masks(odds: Plane, um: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return nuclei and cells, (h, w) uint8 of 0 and 1, from (h, w, 3) probabilities."""
    nuclei = _opened(odds[..., NUCLEUS] > 0.5, 0.4, um)
    whole = _opened(odds[..., NUCLEUS] + odds[..., CYTOPLASM] > _CELL, 1.6, um)
    near = np.asarray(cv2.dilate(nuclei, disc(_REACH_UM, um)), np.uint8)
    cells = _filled(((whole & near) | nuclei).astype(np.uint8))
    # What is connected to a nucleus.
    _, blobs = cv2.connectedComponents(cells, connectivity=4)
    with_nucleus = np.unique(blobs[nuclei > 0])
    kept = np.isin(blobs, with_nucleus[with_nucleus > 0]).astype(np.uint8)
    return nuclei, kept


def _opened(mask: NDArray[np.bool_], radius_um: float, um: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc(radius_um, um)), np.uint8)


def _filled(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, contours, -1, 1, -1)
    return filled
