"""Circles denser inside than outside, by votes of edge pixels along their gradient (see `ml.cells.scale`)."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

LEAST_SHARE: Final = 0.3
"""Of a circle's circumference that must vote for its middle; small circles need more, see `_least`."""

_STEP: Final = 1.07
_LEAST_RADIUS: Final = 3.0
_MOST_RADIUS: Final = 0.3
"""Of the picture's shorter side."""
_AWAY: Final = 0.09
"""Of the radius: how far votes for one middle may scatter."""
_MOST: Final = 1500


def find_circles(pixels: Pixels, leave_out: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n, 4): x, y, radius and share of the circumference that votes, best first, none over another's middle.

    Args:
        pixels: (h, w, 3) uint8 RGB, at a scale where the circles sought are 6 to 60 pixels wide.
        leave_out: (h, w): edges and middles there do not count.
    """
    height, width = pixels.shape[:2]
    xs, ys, ux, uy = _edges(pixels, leave_out)
    found: list[tuple[float, float, float, float]] = []
    radius = _LEAST_RADIUS
    while len(xs) and radius < _MOST_RADIUS * min(height, width):
        columns = np.rint(xs - radius * ux).astype(np.intp)
        rows = np.rint(ys - radius * uy).astype(np.intp)
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        votes = np.bincount(rows[inside] * width + columns[inside], minlength=height * width)
        sigma = max(_AWAY * radius, 0.8)
        shares = cv2.GaussianBlur(votes.reshape(height, width).astype(np.float32), (0, 0), sigma) * (
            sigma * sigma / radius
        )
        reach = 2 * int(max(0.6 * radius, 2)) + 1
        peaks = (shares >= cv2.dilate(shares, np.ones((reach, reach), np.uint8)) - 1e-7) & (
            shares > _least(radius)
        )
        found += [
            (float(x), float(y), radius, float(shares[y, x]))
            for y, x in np.argwhere(peaks & ~leave_out).tolist()
        ]
        radius *= _STEP
    found.sort(key=lambda circle: -circle[3])
    return _apart(np.array(found[:_MOST]).reshape(-1, 4))


def _least(radius: float) -> float:
    # A small circle has few edge pixels, which agree by chance more often.
    return max(LEAST_SHARE, 0.25 + 1.0 / radius)


def _edges(pixels: Pixels, leave_out: NDArray[np.bool_]) -> tuple[Plane, Plane, Plane, Plane]:
    """Return (n,) places of edge pixels and the unit vectors towards their brighter side."""
    smooth = cv2.GaussianBlur(pixels, (0, 0), 1.2).astype(np.float32)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3)
    channel = int((across * across + down * down).reshape(-1, 3).mean(axis=0).argmax())
    across, down = across[..., channel], down[..., channel]
    steepness = np.hypot(across, down)
    usual = max(float(np.percentile(steepness, 80)), 8.0)
    edges = cv2.Canny(
        across.astype(np.int16), down.astype(np.int16), 0.3 * usual, 0.72 * usual, L2gradient=True
    )
    ys, xs = np.nonzero((edges > 0) & ~leave_out)
    length = np.maximum(steepness[ys, xs], 1e-6)
    return (
        xs.astype(np.float32),
        ys.astype(np.float32),
        np.asarray(across[ys, xs] / length, np.float32),
        np.asarray(down[ys, xs] / length, np.float32),
    )


def _apart(circles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of circles whose middles lie within 0.7 of the larger radius, keep the one with the most votes."""
    kept = np.zeros(len(circles), bool)
    for index, (x, y, radius, _) in enumerate(circles):
        others = circles[:index][kept[:index]]
        near = np.hypot(others[:, 0] - x, others[:, 1] - y) < 0.7 * np.maximum(others[:, 2], radius)
        kept[index] = not near.any()
    return circles[kept]
