"""Parts a mask of cells into cells: touching ones at their necks, lobes of one nucleus kept together.

A cell's middle is where the distance to the mask's edge peaks. Two peaks are two cells where the mask narrows between
them, as two discs do that touch; a lobed nucleus or a kidney-shaped cell narrows less, and a bulge is too thin to be a
cell. Pixels go to the cell whose circle they are nearest to (the power diagram; Aurenhammer 1987, SIAM Journal on
Computing 16, 78), which cuts overlapping discs along their common chord.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
Labels = NDArray[np.int32]

NECK: Final = 0.74
"""Least half-width of the mask between two peaks, over the smaller one's radius, within one cell. Two discs of one size
that overlap by a third of their diameter reach it."""

APART: Final = 0.85
APART_NECK: Final = 0.88
"""Cells pressed against each other narrow less: there, two peaks whose inscribed circles hardly overlap (middles at
least `APART` of the sum of their radii apart) are two cells up to this neck. One cell as long as that is rare, and none
without a waist."""

LEAST_RADIUS_UM: Final = 2.0
"""Inscribed radius of a cell; a thinner part is a bulge or a lobe. A small lymphocyte has 3.5 um."""


def part(mask: Mask, um: float) -> Labels:
    """Return (h, w) int32, 0 outside and 1.. a cell, for an (h, w) mask of 0 and 1 at `um` micrometres a pixel."""
    count, blobs, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    labels = np.zeros(mask.shape, np.int32)
    used = 0
    for blob in range(1, count):
        x, y, w, h = (int(value) for value in stats[blob, :4])
        window = (slice(y, y + h), slice(x, x + w))
        inside = blobs[window] == blob
        # Against the picture's edge a cell goes on: the distance is to its outline, not to the edge.
        edges = (y == 0, y + h == mask.shape[0], x == 0, x + w == mask.shape[1])
        parts = _part_blob(inside.astype(np.uint8), edges, um)
        labels[window][inside] = parts[inside] + used
        used += int(parts.max())
    return labels


def _part_blob(blob: Mask, edges: tuple[bool, bool, bool, bool], um: float) -> Labels:
    """Return (h, w): 1.. for the cells of one connected blob."""
    pad = max(blob.shape)
    top, bottom, left, right = (min(pad, round(8.0 / um)) * edge + 1 for edge in edges)
    padded = cv2.copyMakeBorder(blob, top, bottom, left, right, cv2.BORDER_REPLICATE)
    padded[0, :] = padded[-1, :] = padded[:, 0] = padded[:, -1] = 0
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[
        top : top + blob.shape[0], left : left + blob.shape[1]
    ]
    smooth = np.asarray(cv2.GaussianBlur(distance, (0, 0), 0.4 / um), np.float32)
    reach = 2 * round(2.0 / um) + 1
    peaks = (
        smooth >= cv2.dilate(smooth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) - 1e-6
    ) & (blob > 0)
    seeds = [(int(y), int(x), float(distance[y, x])) for y, x in np.argwhere(peaks).tolist()]
    seeds.sort(key=lambda seed: -seed[2])
    groups = _joined(seeds, smooth, um)
    if len(set(groups)) < 2:
        return np.ones(blob.shape, np.int32)
    rows, columns = np.nonzero(blob)
    away = np.stack([(rows - y) ** 2.0 + (columns - x) ** 2.0 - r * r for y, x, r in seeds])
    names = np.unique(groups, return_inverse=True)[1] + 1
    parts = np.zeros(blob.shape, np.int32)
    parts[rows, columns] = names[away.argmin(axis=0)]
    return parts


def _joined(seeds: list[tuple[int, int, float]], distance: NDArray[np.float32], um: float) -> list[int]:
    """Return the group of each seed (y, x, radius), largest first: the index of the first seed of its cell."""
    groups = list(range(len(seeds)))
    for index, (y, x, radius) in enumerate(seeds):
        best, widest = -1, 0.0
        for other in range(index):
            oy, ox, _ = seeds[other]
            steps = max(abs(oy - y), abs(ox - x), 1)
            along = np.linspace(0.0, 1.0, steps + 1)
            rows, columns = (
                np.rint(y + (oy - y) * along).astype(int),
                np.rint(x + (ox - x) * along).astype(int),
            )
            neck = float(distance[rows, columns].min())
            if neck > widest:
                best, widest = other, neck
        if best < 0:
            continue
        oy, ox, other_radius = seeds[best]
        far = np.hypot(oy - y, ox - x) > APART * (radius + other_radius)
        if radius * um < LEAST_RADIUS_UM or widest > (APART_NECK if far else NECK) * float(distance[y, x]):
            groups[index] = groups[best]
    return groups
