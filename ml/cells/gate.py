"""What the gate of a `cell` bundle looks at beside the network's features: the outline of the cell, whatever its stain.

A cell's stain says which laboratory it came from, and strangers' leukocytes must pass; its size and outline say whether
it is a leukocyte at all.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

MEASUREMENTS: Final = 4


def shape_of(mask: Mask, um_per_pixel: float) -> NDArray[np.float32]:
    """Size and outline of a cell's (h, w) mask: (4,) float32, each of about unit spread over leukocytes.

    The logarithm of its area in square micrometres, of its thickest place over the radius of a disc of that area, of
    its convex hull over it, and of the ratio of the axes of its second moments (0 for a disc).
    """
    levels = np.pad(mask.astype(np.uint8), 1)
    pixels = float(levels.sum())
    if pixels == 0:
        return np.full(MEASUREMENTS, -9.0, np.float32)
    radius = np.sqrt(pixels / np.pi)
    thickest = float(cv2.distanceTransform(levels, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())
    contours, _ = cv2.findContours(levels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(contours)))
    moments = cv2.moments(levels, binaryImage=True)
    a, b, c = (moments[key] / moments["m00"] for key in ("mu20", "mu11", "mu02"))
    spread = np.hypot((a - c) / 2, b)
    middle = (a + c) / 2
    axes = np.sqrt(max(middle + spread, 1e-6) / max(middle - spread, 1e-6))
    return np.asarray(
        [
            np.log(pixels * um_per_pixel**2) / 0.4,
            np.log(max(thickest, 0.5) / radius) / 0.1,
            np.log(max(hull, pixels) / pixels) / 0.05,
            np.log(axes) / 0.15,
        ],
        np.float32,
    )
