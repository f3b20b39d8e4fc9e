"""Shapes in a picture of one cell at the working scale: masks are (h, w) bool, lengths micrometres unless said."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

WORKING_UM: Final = 0.2
"""Micrometres a pixel at which a cell's mask is found: a nucleus is 30 pixels wide or more."""


def ball(micrometres: float) -> NDArray[np.uint8]:
    """A disc of that radius as a structuring element."""
    radius = max(1, round(micrometres / WORKING_UM))
    return np.asarray(
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8
    )


def away_from(mask: Mask) -> NDArray[np.float32]:
    """(h, w) distance in pixels from the mask."""
    found = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(found, np.float32)


def opened(mask: Mask, micrometres: float) -> Mask:
    """The mask without what is narrower than a disc of that radius."""
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, ball(micrometres)), bool)


def eroded(mask: Mask, micrometres: float) -> Mask:
    """The mask without a rim that wide."""
    return np.asarray(cv2.erode(mask.astype(np.uint8), ball(micrometres)), bool)


def hull_of(mask: Mask) -> Mask:
    """The convex hull of a mask that is not empty."""
    points = cv2.findNonZero(mask.astype(np.uint8))
    hull = cv2.convexHull(points)
    return np.asarray(cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), hull, 1), bool)


def joined(mask: Mask, seed: Mask) -> Mask:
    """The connected pieces that touch the seed."""
    label = cv2.connectedComponents(mask.astype(np.uint8))[1]
    touched = np.unique(label[seed & (label > 0)])
    return np.asarray(np.isin(label, touched))


def largest_piece(mask: NDArray[np.uint8]) -> Mask:
    """The largest connected piece, its holes filled."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return np.zeros(mask.shape, bool)
    return filled(label == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def filled(mask: Mask) -> Mask:
    """The mask with its holes."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED), bool)
