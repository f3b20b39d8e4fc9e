"""How long a search and its refit will take here, from the pace of a few steps. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import keras
import numpy as np
import tensorflow as tf

from ml.apart import run_apart
from ml.features import VIEWS
from ml.network import build_network
from ml.plan import DENSENET_121, DEPTHS, Depth, Plan
from ml.search import AUGMENTATIONS, SIZES, TRIAL_EPOCHS, Setting
from ml.stepping import Stepper, starting_head

PACE_SIZE = 128
PACE_BATCH = 16

BLOCK_SHARE = 0.07
"""Work of training the last block on an image's cached map over that of all layers on the image: 500 against 34
images/s at 128 px on the machine that the design was measured on."""

HEAD_SECONDS = 1.5
"""Of a trial of the head on cached features: its 30 epochs over some thousand images."""


@dataclass(frozen=True)
class Pace:
    """Images a second at `PACE_SIZE`; the work at other sizes goes by area.

    Attributes:
        training: through all layers, forward and backward. judging: forward alone.
        tracing: seconds until the first step, once a process for trials and once a stage for the refit.
    """

    training: float
    judging: float
    tracing: float

    def seconds(self, size: int, *, trained: float = 0, judged: float = 0) -> float:
        """For so many images at a size, the tracing left out."""
        return (size / PACE_SIZE) ** 2 * (trained / self.training + judged / self.judging)


def measure_pace(*, classes: int, blocks: tuple[int, ...] = DENSENET_121, steps: int = 3) -> Pace:
    """Train a network with random weights on grey images for `steps` steps; half a minute for a DenseNet-121."""
    began = perf_counter()
    model = build_network(classes, size=None, blocks=blocks)
    stepper = Stepper(keras.Model(model.input, model.get_layer("pool").output), starting_head(model))
    stepper.begin(Setting(), seed=0)
    images = tf.zeros((PACE_BATCH, PACE_SIZE, PACE_SIZE, 3))
    membership = np.eye(classes, dtype=np.float32)[np.arange(PACE_BATCH) % classes]
    weights = np.ones(PACE_BATCH, np.float32)
    stepper.step(images, membership, weights, 1e-4)
    tracing = perf_counter() - began
    stepper.logits(images)
    moments = [perf_counter()]
    for _ in range(steps):
        stepper.step(images, membership, weights, 1e-4)
    moments.append(perf_counter())
    for _ in range(steps):
        stepper.logits(images)
    moments.append(perf_counter())
    training, judging = (PACE_BATCH * steps / float(spent) for spent in np.diff(moments))
    return Pace(training, judging, tracing)


def pace_apart(*, classes: int, blocks: tuple[int, ...] = DENSENET_121) -> Pace:
    """As `measure_pace`, in a process of its own: what TensorFlow keeps of it, the training would lack."""
    return run_apart(_measure, classes, blocks)


def _measure(classes: int, blocks: tuple[int, ...], **_: object) -> Pace:
    return measure_pace(classes=classes, blocks=blocks)


def expected_seconds(
    pace: Pace,
    plan: Plan,
    *,
    training: int,
    validation: int,
    trials: int,
    trial_epochs: int | None = None,
    depths: Sequence[Depth] = DEPTHS,
    sizes: Sequence[int] = SIZES,
) -> dict[str, float]:
    """Seconds of each part, if no trial and no stage ends early: features, search, refit, bundle, and their total.

    Args:
        training, validation: images of the parts. trials: 0 for none.

    Depths, sizes and strengths of augmentation are drawn alike; evidence on the test images is not in it.
    """
    epochs = {depth: trial_epochs or TRIAL_EPOCHS[depth] for depth in depths}
    share = trials / len(depths)
    on_features = share * sum(depth != "all" for depth in depths)
    cells = len(sizes) * len(AUGMENTATIONS)
    drawn = 1 - (1 - 1 / cells) ** on_features  # of each size and strength, whether it comes up at all
    views = np.mean([VIEWS if strength else 1 for strength in AUGMENTATIONS])
    features = search = 0.0
    for size in sizes:
        plain = 1 - (1 - 1 / len(sizes)) ** on_features
        judged = drawn * len(AUGMENTATIONS) * views * training + plain * validation
        features += pace.seconds(size, judged=judged)
        for depth in depths:
            if depth == "head":
                search += share / len(sizes) * HEAD_SECONDS * epochs[depth] / TRIAL_EPOCHS["head"]
                continue
            work = pace.seconds(size, trained=training, judged=validation) * epochs[depth]
            search += share / len(sizes) * work * (1 if depth == "all" else BLOCK_SHARE)
    if trials:
        search += pace.tracing * len(depths)
    refit = sum(
        pace.tracing + stage.epochs * pace.seconds(stage.size, trained=training, judged=validation)
        for stage in plan.stages
    )
    bundle = 2 * pace.tracing + pace.seconds(plan.size, judged=training + validation)
    parts = {"features": features, "search": search, "refit": refit, "bundle": bundle}
    return {**{name: float(value) for name, value in parts.items()}, "total": float(sum(parts.values()))}
