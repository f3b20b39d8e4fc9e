"""What a stained region measures: the numbers by which its kind is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

Plane = NDArray[np.float32]
Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]

_BAND_UM: Final = 0.8
"""Width of the bands on both sides of an outline whose densities are compared."""


@dataclass(frozen=True)
class Region:
    """A stained region at the working scale.

    Attributes:
        box: x, y, width, height in working pixels. mask, nucleus: (height, width) of it.
        area, nucleus_area: um2.
        solidity: nuclear area over that of its convex hull, 0..1. 1 is convex.
        roundness: 4 pi area over perimeter squared, of the nucleus, 0..1.
        sureness: mean probability of nucleus over the nucleus, 0..1.
        density: mean natural optical density of the nucleus in green.
        crispness: how much denser the nucleus is within its outline than just outside it, over its density; a smeared
            nucleus fades out.
        thickness: inscribed radius of the region, um.
        touches_border: lies at the picture's edge.
    """

    box: tuple[int, int, int, int]
    mask: Mask
    nucleus: Mask
    area: float
    nucleus_area: float
    solidity: float
    roundness: float
    sureness: float
    density: float
    crispness: float
    thickness: float
    touches_border: bool


def measure_regions(
    labels: Labels, nuclei: NDArray[np.uint8], sureness: Plane, density: Plane, um: float
) -> list[Region]:
    """Measure every labelled region that has a nucleus.

    Args:
        labels: (h, w), 0 outside and 1.. a region. nuclei: (h, w) of 0 and 1.
        sureness: (h, w), probability of nucleus. density: (h, w), natural optical density in green.
        um: micrometres a pixel.
    """
    found = []
    height, width = labels.shape
    for name, place in enumerate(find_objects(labels), start=1):
        if place is None:
            continue
        rows, columns = place
        mask = labels[place] == name
        nucleus = mask & (nuclei[place] > 0)
        if not nucleus.any():
            continue
        area, around, hull = _outline(nucleus)
        inner = cv2.distanceTransform(_framed(mask), cv2.DIST_L2, 5)
        found.append(
            Region(
                box=(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start),
                mask=mask,
                nucleus=nucleus,
                area=float(mask.sum()) * um * um,
                nucleus_area=float(nucleus.sum()) * um * um,
                solidity=min(1.0, area / hull),
                roundness=min(1.0, 4 * np.pi * area / (around * around)),
                sureness=float(sureness[place][nucleus].mean()),
                density=float(density[place][nucleus].mean()),
                crispness=_crispness(labels, nuclei, name, place, density, um),
                thickness=float(inner.max()) * um,
                touches_border=rows.start == 0
                or columns.start == 0
                or rows.stop == height
                or columns.stop == width,
            )
        )
    return found


def _framed(mask: Mask) -> NDArray[np.uint8]:
    return np.asarray(cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT), np.uint8)


def _outline(nucleus: Mask) -> tuple[float, float, float]:
    """Return area, perimeter and area of the convex hull in pixels, of the largest piece of a nucleus."""
    contours, _ = cv2.findContours(nucleus.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=cv2.contourArea)
    # Contours run through pixel centres: half a pixel is missing all around.
    around = max(cv2.arcLength(contour, True), 1.0)
    area, hull = cv2.contourArea(contour), cv2.contourArea(cv2.convexHull(contour))
    return area + around / 2 + 1, around + np.pi, hull + around / 2 + 1


def _crispness(
    labels: Labels,
    nuclei: NDArray[np.uint8],
    name: int,
    place: tuple[slice, slice],
    density: Plane,
    um: float,
) -> float:
    wide = max(round(_BAND_UM / um), 1)
    grow = 2 * wide
    rows = slice(max(place[0].start - grow, 0), place[0].stop + grow)
    columns = slice(max(place[1].start - grow, 0), place[1].stop + grow)
    nucleus = ((labels[rows, columns] == name) & (nuclei[rows, columns] > 0)).astype(np.uint8)
    band = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * wide + 1, 2 * wide + 1))
    within = (nucleus > 0) & (cv2.erode(nucleus, band, borderValue=1) == 0)
    # Just beyond the outline lies what the lens blurs; the band starts half its width further out.
    near = cv2.dilate(
        nucleus, band[wide // 2 : band.shape[0] - wide // 2, wide // 2 : band.shape[1] - wide // 2]
    )
    beyond = (
        (cv2.dilate(nucleus, band, iterations=2) > 0)
        & (near == 0)
        & (labels[rows, columns] * nuclei[rows, columns] == 0)
    )
    if not within.any() or not beyond.any():
        return 0.0
    part = density[rows, columns]
    inside = float(part[nucleus > 0].mean())
    return float(part[within].mean() - part[beyond].mean()) / max(inside, 0.05)
