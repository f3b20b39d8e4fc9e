"""Decoded and corrected images of a manifest, held in memory for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ml.data.duplicates import families, near_duplicates, perceptual_hash, thumbnail
from ml.data.manifest import Item, Manifest
from ml.imaging.preprocessing import Preprocessing
from ml.imaging.reading import read_image


def corrected_images(
    items: Sequence[Item],
    preprocessing: Preprocessing,
    *,
    change: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]] | None = None,
    threads: int = 2,
) -> NDArray[np.uint8]:
    """(n, S, S, 3) uint8 after `Preprocessing.correct`.

    Args:
        change: applied to the decoded pixels and the position before correction (a repaint, say).
    """

    def one(pair: tuple[int, Item]) -> NDArray[np.uint8]:
        position, item = pair
        pixels = read_image(item.path).pixels
        return preprocessing.correct(change(pixels, position) if change else pixels)

    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(one, enumerate(items))))


def duplicate_families(manifest: Manifest, *, threads: int = 2) -> NDArray[np.int64]:
    """(n,) family numbers: exact and near duplicates of a manifest's images share one."""

    def one(item: Item) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        pixels = read_image(item.path).pixels
        return perceptual_hash(pixels), thumbnail(pixels)

    with ThreadPoolExecutor(threads) as pool:
        signatures = list(pool.map(one, manifest.items))
    pairs = near_duplicates(np.stack([h for h, _ in signatures]), np.stack([t for _, t in signatures]))
    return families(len(manifest), pairs)
