"""Labelled images as batches for a network: shuffled, augmented, contrast raised, normalised, in `tf.data` threads.

Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.imaging.preprocessing import Prepares, normalise
from ml.plan import Plan

Pixels = NDArray[np.uint8]
THREADS = 2


@dataclass(frozen=True)
class Examples:
    """Corrected images with what each may be: class numbers, or a membership where labels are coarse.

    Attributes:
        images: (n, S, S, 3) uint8 as `Preprocessing.correct` leaves them; an array, or a file mapped to memory.
        labels: (n,) class numbers, or None with a membership.
        membership: (n, k) float32, 1 where an image's label stands for a class (`ml.losses`).
    """

    images: Pixels
    labels: NDArray[np.int64] | None = None
    membership: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.membership is None):
            raise ValueError("Examples need class numbers or a membership, and not both.")
        given = self.membership if self.labels is None else self.labels
        if given is None or len(given) != len(self.images):
            raise ValueError("Examples need one label for each image.")

    def __len__(self) -> int:
        return len(self.images)

    def targets(self, classes: int) -> NDArray[np.float32]:
        """(n, classes) membership; of class numbers, one 1 a row."""
        if self.membership is not None:
            return self.membership.astype(np.float32)
        return np.asarray(np.eye(classes, dtype=np.float32)[self.labels], np.float32)


def patterns(membership: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n,) which of the distinct labels each row is, numbered in any order: coarse labels count as their own."""
    _, number = np.unique(membership > 0, axis=0, return_inverse=True)
    return np.asarray(number, np.int64).reshape(-1)


def image_weights(membership: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """(n,) weights proportional to the frequency of an image's label ** -power, mean 1."""
    number = patterns(membership)
    weights = np.bincount(number).astype(np.float64)[number] ** -power
    return np.asarray(weights / weights.mean(), np.float32)


def batches(
    examples: Examples,
    *,
    classes: int,
    size: int,
    preprocessing: Prepares,
    batch_size: int,
    plan: Plan | None = None,
    first_epoch: int = 0,
    seen: int = 0,
) -> tf.data.Dataset:
    """Normalised batches. With a plan: shuffled, augmented, weighted by class and endless; without: in order, once.

    A picture's variation depends on the seed, the epoch and its position alone, whatever thread makes it.

    Args:
        first_epoch: number of the first round through the images, which sets its order and its variations.
        seen: images of it that an interrupted training has seen already; the others follow in the same order.
    """
    targets = examples.targets(classes)
    count = len(examples)
    weights = image_weights(targets, plan.class_weight_power) if plan else np.ones(count, np.float32)

    def picture(ticket: NDArray[np.int64]) -> NDArray[np.float32]:
        epoch, position = divmod(int(ticket), count)
        image = examples.images[position]
        if image.shape[0] != size:
            image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        if plan:
            image = plan.augmentation.apply(image, np.random.default_rng((plan.seed, epoch, position)))
        return normalise(preprocessing.contrast(image))

    def example(ticket: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = tf.numpy_function(picture, [ticket], tf.float32, stateful=False)
        image.set_shape((size, size, 3))
        position = ticket % count
        return image, tf.gather(targets, position), tf.gather(weights, position)

    if plan:
        source = tf.data.Dataset.from_generator(
            lambda: _tickets(count, plan.seed, first_epoch, seen),
            output_signature=tf.TensorSpec((), tf.int64),
        )
    else:
        source = tf.data.Dataset.range(count)
    return source.map(example, num_parallel_calls=THREADS).batch(batch_size).prefetch(3)


def _tickets(count: int, seed: int, first_epoch: int, seen: int) -> Iterator[np.int64]:
    """Round after round: epoch * count + position, each round in an order of its own."""
    rounds, skipped = divmod(seen, count)
    epoch = first_epoch + rounds
    while True:
        order = np.random.default_rng((seed, epoch)).permutation(count)
        yield from (epoch * count + order[skipped:]).astype(np.int64)
        epoch, skipped = epoch + 1, 0
