"""Exact and near duplicates of smear fields, so that both copies stay on one side of a split.

A perceptual hash proposes pairs; the correlation of the small grey pictures decides, since fields of one
microscope look alike to a 64-bit hash.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 8
HASH_DISTANCE = 10
"""Bits of 64 in which two hashes may differ for a pair to be looked at."""

ROWS_AT_A_TIME = 1024
"""Of the comparison of all images with all, which would take gigabytes at once from ten thousand images on."""

THUMBNAIL_SIDE = 32
NEAR_DUPLICATE_CORRELATION = 0.90
"""Pearson correlation of 32x32 grey thumbnails from which two fields count as the same place on the slide."""


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """64-bit DCT hash (pHash; Zauner 2010) of an (H, W, 3) RGB picture: (64,) booleans."""
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:HASH_SIDE, :HASH_SIDE].ravel()
    return np.asarray(low > np.median(low[1:]), np.bool_)


def grey_thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(1024,) uint8 of an (H, W, 3) RGB picture, shrunk to 32x32 and grey."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).ravel()


def standardised(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A grey thumbnail (1024,) with mean 0 and norm 1; zeros for a flat picture."""
    small = grey.astype(np.float32)
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(1024,) grey thumbnail with mean 0 and norm 1; zeros for a flat picture."""
    return standardised(grey_thumbnail(pixels))


def near_duplicates(
    hashes: NDArray[np.bool_],
    thumbnails: NDArray[np.float32],
    *,
    max_distance: int = HASH_DISTANCE,
    min_correlation: float = NEAR_DUPLICATE_CORRELATION,
) -> list[tuple[int, int]]:
    """Pairs (i < j) that show the same field, from (n, 64) hashes and (n, 1024) thumbnails."""
    signs = hashes.astype(np.float32) * 2 - 1
    pairs: list[tuple[int, int]] = []
    for first in range(0, len(signs), ROWS_AT_A_TIME):
        rows = slice(first, first + ROWS_AT_A_TIME)
        distance = (hashes.shape[1] - signs[rows] @ signs[first:].T) / 2
        correlation = thumbnails[rows] @ thumbnails[first:].T
        found = np.nonzero(np.triu((distance <= max_distance) & (correlation >= min_correlation), k=1))
        pairs += zip((found[0] + first).tolist(), (found[1] + first).tolist(), strict=True)
    return pairs


def families(count: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Connected components of duplicate pairs: (count,) family numbers, the smallest member's index."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    return np.array([root(i) for i in range(count)], dtype=np.int64)
