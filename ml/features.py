"""What the frozen part of a network makes of images, computed once and kept: a trial then trains the rest alone.

Two levels: `pool4`, the map that the last dense block reads, and `pooled`, the mean over places of the last map,
which the dense head reads. Both come for v random variations of each image, or for the image as it is. Stored as
float16: half the room, and finer than what augmentation moves. Imports TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.batches import Pixels
from ml.data.augmentation import Augmentation
from ml.imaging.preprocessing import Prepares, normalise
from ml.network import LAST_BLOCK_INPUT, at_size, blocks_of
from ml.saving import TrainingProblem, new_array, saved_whole

Half = NDArray[np.float16]

VIEWS = 3
"""Random variations of each image that are kept for a strength of augmentation."""

BATCH = 32
REVISION = 1
"""Raised when the same network, images and settings would give other features."""


@dataclass(frozen=True)
class Features:
    """Features of n images in v variations, mapped from a file.

    Attributes:
        pool4: (v, n, h, w, c) float16, what the last dense block reads. pooled: (v, n, d) float16, for the head.
    """

    pool4: Half
    pooled: Half

    def __len__(self) -> int:
        return int(self.pooled.shape[1])


class Frozen:
    """A network cut before its last dense block, for images of any size; it is never trained.

    Attributes:
        trunk: (b, s, s, 3) normalised images -> (b, s/32, s/32, c). tail: that -> (b, d) pooled features.
        sha256: of all weights below the head, and so the identity of the features.
    """

    def __init__(self, model: keras.Model) -> None:
        """Copies the weights of a network made by `build_network`."""
        own = at_size(model, None, blocks=blocks_of(model))
        cut, pooled = own.get_layer(LAST_BLOCK_INPUT).output, own.get_layer("pool").output
        self.trunk = keras.Model(own.input, cut)
        self.tail = keras.Model(cut, pooled)
        digest = hashlib.sha256()
        for weight in own.get_weights()[:-2]:
            digest.update(np.ascontiguousarray(weight, np.float32).tobytes())
        self.sha256 = digest.hexdigest()
        self._call = tf.function(
            self._both, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)]
        )

    def _both(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        cut = self.trunk(images, training=False)
        return cut, self.tail(cut, training=False)

    def features(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(b, s, s, 3) normalised images -> (b, s/32, s/32, c) and (b, d); traced once for all sizes."""
        cut, pooled = self._call(tf.constant(images))
        return cut.numpy(), pooled.numpy()


def images_sha256(images: Pixels) -> str:
    """Of the pixels of (n, S, S, 3): a second's work for some thousand fields, so keep it."""
    digest = hashlib.sha256()
    for begin in range(0, len(images), 256):
        digest.update(np.ascontiguousarray(images[begin : begin + 256]).tobytes())
    return digest.hexdigest()


def cached_features(
    frozen: Frozen,
    images: Pixels,
    *,
    preprocessing: Prepares,
    size: int,
    cache: Path,
    augmentation: Augmentation | None = None,
    views: int = VIEWS,
    seed: int = 0,
    sha256: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Features:
    """Features of corrected images (n, S, S, 3) at `size` pixels, from the cache or computed now.

    Args:
        augmentation: how views vary; None gives one view, the image as it is.
        sha256: of the images (`images_sha256`), where the caller knows it.
        progress: called with the pictures done and their total, while computing; what it raises stops the work.

    Raises:
        TrainingProblem: no room to keep them, or a feature too large for float16.
    """
    views = views if augmentation else 1
    facts = {
        "revision": REVISION, "network": frozen.sha256, "images": sha256 or images_sha256(images),
        "preprocessing": preprocessing.as_dict(), "size": size, "seed": seed, "views": views,
        "augmentation": augmentation.as_dict() if augmentation else None,
    }  # fmt: skip
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    pooled, pool4 = cache / f"{name}-pooled.npy", cache / f"{name}-pool4.npy"
    if not (pooled.exists() and pool4.exists()):
        with saved_whole(pool4) as part_pool4, saved_whole(pooled) as part_pooled:
            _compute(
                frozen, images, (part_pool4, part_pooled), views=views, progress=progress,
                picture=_picture_maker(images, preprocessing, size, augmentation, seed),
            )  # fmt: skip
    return Features(np.load(pool4, mmap_mode="r"), np.load(pooled, mmap_mode="r"))


def _picture_maker(
    images: Pixels, preprocessing: Prepares, size: int, augmentation: Augmentation | None, seed: int
) -> Callable[[int], NDArray[np.float32]]:
    """Ticket view * n + position -> normalised (size, size, 3)."""

    def picture(ticket: int) -> NDArray[np.float32]:
        view, position = divmod(int(ticket), len(images))
        image = np.asarray(images[position])
        if image.shape[0] != size:
            image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
        if augmentation:
            image = augmentation.apply(image, np.random.default_rng((seed, view, position)))
        return normalise(preprocessing.contrast(image))

    return picture


def _compute(
    frozen: Frozen,
    images: Pixels,
    parts: tuple[Path, Path],
    *,
    views: int,
    picture: Callable[[int], NDArray[np.float32]],
    progress: Callable[[int, int], None],
) -> None:
    count = len(images)
    total = views * count

    def made(ticket: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(picture, [ticket], tf.float32, stateful=False)

    data = tf.data.Dataset.range(total).map(made, num_parallel_calls=2).batch(BATCH).prefetch(2)
    arrays: list[np.memmap[Any, Any]] = []
    done = 0
    for batch in data.as_numpy_iterator():
        found = frozen.features(batch)
        if not arrays:
            arrays = [
                new_array(part, np.float16, (views, count, *level.shape[1:]))
                for part, level in zip(parts, found, strict=True)
            ]
        for array, level in zip(arrays, found, strict=True):
            halved = level.astype(np.float16)
            if not np.isfinite(halved).all():
                raise TrainingProblem(
                    "The network's features are too large to keep; start from another network."
                )
            array.reshape(total, *halved.shape[1:])[done : done + len(batch)] = halved
        done += len(batch)
        progress(done, total)
    for array in arrays:
        array.flush()
