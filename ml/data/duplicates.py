"""Exact and near duplicates of smear fields, so that both copies stay on one side of a split.

A perceptual hash proposes pairs; the correlation of the small grey pictures decides, since fields of one
microscope look alike to a 64-bit hash. Cells cut out on a plain ground all look alike to that too: of them the
insides are correlated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 8
HASH_DISTANCE = 10
"""Bits of 64 in which two hashes may differ for a pair to be looked at."""

CUT_OUT_SHARE = 0.5
"""Share of a thumbnail with one and the same value from which a picture counts as cut out on a plain ground. Of the
fields in taleqani-all the highest is 0.27, of the cells in cnmc2019-fold1 the lowest 0.69."""

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
    """Pairs (i < j) that show the same field or cell, from (n, 64) hashes and (n, 1024) thumbnails.

    On cnmc2019-fold1, the plain correlation alone takes 42,515 pairs for copies, 82 % of them cells of two
    patients; with that of the insides 275 pairs are left, none of them of two patients.
    """
    signs = hashes.astype(np.float32) * 2 - 1
    pairs: list[tuple[int, int]] = []
    for first in range(0, len(signs), ROWS_AT_A_TIME):
        rows = slice(first, first + ROWS_AT_A_TIME)
        distance = (hashes.shape[1] - signs[rows] @ signs[first:].T) / 2
        correlation = thumbnails[rows] @ thumbnails[first:].T
        found = np.nonzero(np.triu((distance <= max_distance) & (correlation >= min_correlation), k=1))
        pairs += zip((found[0] + first).tolist(), (found[1] + first).tolist(), strict=True)
    inside = {k: _inside(thumbnails[k]) for k in {k for pair in pairs for k in pair}}
    return [(i, j) for i, j in pairs if _same_inside(thumbnails, inside, i, j, min_correlation)]


def _inside(small: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Where a cut-out picture's thumbnail is not ground nor its edge; None for a picture that is not cut out."""
    values, counts = np.unique(small, return_counts=True)
    most = int(counts.argmax())
    if counts[most] < CUT_OUT_SHARE * len(small):
        return None
    shown = (small != values[most]).astype(np.uint8).reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    # A pixel at the edge is part ground: it would tell of the outline again.
    return np.asarray(cv2.erode(shown, np.ones((3, 3), np.uint8)).ravel() > 0)


def _same_inside(
    thumbnails: NDArray[np.float32],
    inside: Mapping[int, NDArray[np.bool_] | None],
    i: int,
    j: int,
    min_correlation: float,
) -> bool:
    """Whether two cut-out pictures also agree where both show something; nothing is asked of others."""
    one, other = inside[i], inside[j]
    if one is None or other is None:
        return True
    both = one & other
    a, b = (thumbnails[k][both] - thumbnails[k][both].mean() for k in (i, j)) if both.any() else (both, both)
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    # Without anything inside, two plain pictures are told apart by nothing.
    return scale == 0.0 or float(a @ b) / scale >= min_correlation


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
