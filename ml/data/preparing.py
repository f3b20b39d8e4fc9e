"""Decoded and corrected images of a manifest, for training: in memory, or in a file that a second training maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.data.manifest import Item
from ml.imaging.reading import read_image
from ml.pictures import Preparation, corrected_picture, scale_stated
from ml.saving import new_array, saved_whole


def corrected_images(
    items: Sequence[Item],
    preprocessing: Preparation,
    *,
    change: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]] | None = None,
    threads: int = 2,
) -> NDArray[np.uint8]:
    """(n, S, S, 3) uint8 of fields after `Preprocessing.correct`, or of cells as `CellPreprocessing.show` leaves them.

    Args:
        change: applied to the decoded pixels and the position before correction (a repaint, say).
    """

    def one(pair: tuple[int, Item]) -> NDArray[np.uint8]:
        position, item = pair
        pixels = read_image(item.path).pixels
        seen = change(pixels, position) if change else pixels
        return corrected_picture(preprocessing, seen, scale_stated(item))

    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(one, enumerate(items))))


def cached_corrected(
    items: Sequence[Item],
    preprocessing: Preparation,
    *,
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    threads: int = 2,
) -> NDArray[np.uint8]:
    """The same as `corrected_images`, as an array mapped from a file that a second call finds ready.

    The file is named by the images' SHA-256, in their order, and the preprocessing; it appears whole or not at all.
    Mapped read-only, its pages are the system's to keep or drop: they are no memory of the process's own.

    Args:
        cache: folder of these files. progress: called with the images done and their total.

    Raises:
        TrainingProblem: no room for the file.
    """
    key = hashlib.sha256(json.dumps(preprocessing.as_dict(), sort_keys=True).encode())
    with ThreadPoolExecutor(threads) as pool:
        for digest in pool.map(lambda item: item.sha256, items):
            key.update(digest.encode())
        file = cache / f"corrected-{key.hexdigest()[:32]}.npy"
        if not file.exists():
            shape = (len(items), preprocessing.size, preprocessing.size, 3)
            with saved_whole(file) as part:
                array = new_array(part, np.uint8, shape)

                def fill(position: int) -> None:
                    item = items[position]
                    array[position] = corrected_picture(
                        preprocessing, read_image(item.path).pixels, scale_stated(item)
                    )

                for done, _ in enumerate(pool.map(fill, range(len(items))), start=1):
                    progress(done, len(items))
                array.flush()
    mapped: NDArray[np.uint8] = np.load(file, mmap_mode="r")
    return mapped
