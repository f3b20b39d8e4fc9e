"""Fine-tuning a DenseNet-121 through all its layers, in stages of growing input size. Imports TensorFlow.

Each epoch is checkpointed under the work folder, so a killed run goes on where it was. Images are decoded and
corrected once (`Preprocessing.correct`) and held in memory; augmentation and contrast run in `tf.data` threads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.data.augmentation import Augmentation
from ml.imaging.preprocessing import Preprocessing, normalise
from ml.network import DENSENET_121, at_size, build_network

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Stage:
    """Some epochs at one input size, the learning rate warmed up, then falling as a cosine."""

    size: int
    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Plan:
    """How a network is trained. Learning rates are those of AdamW at the peak of each stage."""

    stages: tuple[Stage, ...] = (Stage(128, 5, 5e-4), Stage(224, 10, 2e-4))
    batch_size: int = 32
    weight_decay: float = 1e-3
    dropout: float = 0.3
    label_smoothing: float = 0.05
    class_weight_power: float = 0.5
    patience: int = 4
    seed: int = 20
    blocks: tuple[int, ...] = DENSENET_121
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def size(self) -> int:
        return self.stages[-1].size

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Examples:
    """Corrected images (n, S, S, 3) uint8 and their class numbers (n,)."""

    images: Pixels
    labels: NDArray[np.int64]


def class_weights(labels: NDArray[np.int64], classes: int, power: float) -> NDArray[np.float32]:
    """(classes,) weights proportional to frequency ** -power, mean 1 over the examples."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -power, 0.0)
    return (weights * len(labels) / float((weights * counts).sum())).astype(np.float32)


def batches(
    examples: Examples,
    *,
    classes: int,
    size: int,
    preprocessing: Preprocessing,
    batch_size: int,
    plan: Plan | None = None,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Normalised batches. With a plan: shuffled, augmented, weighted by class and endless; without: in order, once.

    A picture's variation depends on the seed, the epoch and its position alone, whatever thread makes it.
    """
    one_hot = np.eye(classes, dtype=np.float32)[examples.labels]
    count = len(examples.labels)
    weights = (
        class_weights(examples.labels, classes, plan.class_weight_power)[examples.labels]
        if plan
        else np.ones(count, np.float32)
    )

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
        return image, tf.gather(one_hot, position), tf.gather(weights, position)

    if plan:

        def tickets() -> Any:
            epoch = first_epoch
            while True:
                order = np.random.default_rng((plan.seed, epoch)).permutation(count)
                yield from (epoch * count + order).astype(np.int64)
                epoch += 1

        source = tf.data.Dataset.from_generator(tickets, output_signature=tf.TensorSpec((), tf.int64))
    else:
        source = tf.data.Dataset.range(count)
    return source.map(example, num_parallel_calls=2).batch(batch_size).prefetch(3)


def train(
    training: Examples,
    validation: Examples,
    *,
    classes: Sequence[str],
    plan: Plan,
    preprocessing: Preprocessing,
    weights: Path | str | None,
    work: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = 2,
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train through all layers; returns the best network by validation loss of the last stage, and its history.

    Args:
        weights: backbone weights as in `build_network`.
        work: folder for checkpoints; a second call with the same folder goes on where the first one stopped.
    """
    keras.utils.set_random_seed(plan.seed)
    work.mkdir(parents=True, exist_ok=True)
    model = build_network(
        len(classes), size=plan.stages[0].size, dropout=plan.dropout, weights=weights, blocks=plan.blocks
    )
    history: dict[str, list[float]] = {}
    epochs_before = 0
    for number, stage in enumerate(plan.stages):
        if number:
            model = at_size(model, stage.size, dropout=plan.dropout, blocks=plan.blocks)
        done = work / f"stage-{number}.weights.h5"
        record = work / f"stage-{number}.json"
        if done.exists() and record.exists():
            log.info("Stage %d of %d is done already.", number + 1, len(plan.stages))
            model.load_weights(done)
            stage_history = json.loads(record.read_text())
        else:
            stage_history = _train_stage(
                model, training, validation, classes=len(classes), plan=plan, stage=stage, number=number,
                preprocessing=preprocessing, first_epoch=epochs_before, work=work, callbacks=callbacks,
                verbose=verbose,
            )  # fmt: skip
            model.save_weights(done)
            record.write_text(json.dumps(stage_history))
        for key, values in stage_history.items():
            history.setdefault(key, []).extend(values)
        epochs_before += stage.epochs
    return model, history


def _train_stage(
    model: keras.Model,
    training: Examples,
    validation: Examples,
    *,
    classes: int,
    plan: Plan,
    stage: Stage,
    number: int,
    preprocessing: Preprocessing,
    first_epoch: int,
    work: Path,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: int | str,
) -> dict[str, list[float]]:
    steps = max(1, len(training.labels) // plan.batch_size)
    total = steps * stage.epochs
    warmup = min(total // 10, 2 * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=stage.learning_rate / 20,
        decay_steps=max(1, total - warmup),
        alpha=0.01,
        warmup_target=stage.learning_rate,
        warmup_steps=warmup,
    )
    optimiser = keras.optimizers.AdamW(schedule, weight_decay=plan.weight_decay, clipnorm=1.0)
    optimiser.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer=optimiser,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=plan.label_smoothing),
        metrics=["accuracy"],
    )
    best = work / f"stage-{number}-best.weights.h5"
    log_file = keras.callbacks.CSVLogger(work / f"stage-{number}.csv", append=True)
    make = partial(
        batches, classes=classes, size=stage.size, preprocessing=preprocessing, batch_size=plan.batch_size
    )
    backup = keras.callbacks.BackupAndRestore(work / f"stage-{number}-backup")
    model.fit(
        make(training, plan=plan, first_epoch=first_epoch),
        validation_data=make(validation),
        epochs=stage.epochs,
        steps_per_epoch=steps,
        verbose=verbose,
        callbacks=[
            keras.callbacks.ModelCheckpoint(
                best, monitor="val_loss", save_best_only=True, save_weights_only=True
            ),
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=plan.patience),
            log_file,
            backup,
            *callbacks,
        ],
    )
    if best.exists():
        model.load_weights(best)
    return _read_log(work / f"stage-{number}.csv")


def _read_log(path: Path) -> dict[str, list[float]]:
    """The epochs of a CSVLogger file, also those before a restart: the last row of an epoch counts."""
    lines = [line.split(",") for line in path.read_text().splitlines() if line]
    header = lines[0]
    rows = {row[0]: row for row in lines[1:] if row[0].isdigit()}
    ordered = [rows[key] for key in sorted(rows, key=int)]
    return {name: [float(row[i]) for row in ordered] for i, name in enumerate(header) if name != "epoch"}


def predict_logits(
    model: keras.Model, images: Pixels, *, preprocessing: Preprocessing, batch_size: int = 32
) -> NDArray[np.float32]:
    """(n, classes) logits of corrected images (n, S, S, 3), contrast and normalisation applied here."""
    size = model.input_shape[1]
    examples = Examples(images, np.zeros(len(images), np.int64))
    data = batches(examples, classes=1, size=size, preprocessing=preprocessing, batch_size=batch_size)
    return np.concatenate([np.asarray(model(x, training=False)) for x, _, _ in data])
