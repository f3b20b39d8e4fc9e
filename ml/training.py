"""Fine-tuning a DenseNet-121 in stages of growing input size. Imports TensorFlow.

Each epoch is kept under the work folder, so a killed run goes on where it was. Images are decoded and corrected
once (`ml.data.preparing`); augmentation and contrast run in `tf.data` threads (`ml.batches`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ml.batches import Examples, Pixels, batches
from ml.callbacks import History, Keeper, Reporter, Stop, StopWhen
from ml.imaging.preprocessing import Prepares
from ml.losses import MembershipLoss, accuracy
from ml.memory import give_back
from ml.network import build_network, start_network, unfreeze
from ml.plan import CLIP_NORM, DENSENET_121, MOMENTUM, Plan, Stage
from ml.saving import TrainingProblem, load_arrays, save_arrays, saved_whole

__all__ = [
    "DENSENET_121", "Examples", "History", "Plan", "Stage", "Stop", "TrainingProblem", "batches", "predict_logits",
    "train",
]  # fmt: skip

log = logging.getLogger(__name__)


def train(
    training: Examples,
    validation: Examples,
    *,
    classes: Sequence[str],
    plan: Plan,
    preprocessing: Prepares,
    start: Path | str | None,
    work: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    report: Callable[[dict[str, Any]], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    verbose: int | str = 2,
) -> tuple[keras.Model, History]:
    """Train as planned; returns the best network by validation loss of the last stage, and the history.

    Args:
        start: where the weights come from, as in `start_network`.
        work: folder for checkpoints; a second call with the same folder goes on where the first one stopped.
        report: told after every batch how far it is: stage, fidelity, done, total, loss, metric, metric_name,
            seconds_left, history (`Training.progress`).
        should_stop: asked after every batch; once true, `Stop` is raised, and a later call goes on.

    Raises:
        Stop: it was asked to. TrainingProblem: no room to save, or starting weights that do not fit.
    """
    keras.utils.set_random_seed(plan.seed)
    work.mkdir(parents=True, exist_ok=True)
    for half in work.glob("part-*"):  # of a process that was killed while it wrote
        half.unlink(missing_ok=True)
    model = start_network(
        len(classes), start, size=plan.stages[0].size, dropout=plan.dropout, blocks=plan.blocks
    )
    history: History = {}
    epochs_before = 0
    for number, stage in enumerate(plan.stages):
        if number:
            weights = model.get_weights()
            del model
            keras.backend.clear_session()
            give_back()
            model = build_network(len(classes), size=stage.size, dropout=plan.dropout, blocks=plan.blocks)
            model.set_weights(weights)
        kept = work / f"stage-{number}.npz"
        older = work / f"stage-{number}.weights.h5"  # as trainings kept it until NPZ took its place
        record = work / f"stage-{number}.json"
        if record.exists() and (kept.exists() or older.exists()):
            log.info("Stage %d of %d is done already.", number + 1, len(plan.stages))
            if kept.exists():
                model.set_weights(load_arrays(kept))
            else:
                model.load_weights(older)
            stage_history = json.loads(record.read_text())
        else:
            stage_history = _train_stage(
                model, training, validation, classes=len(classes), plan=plan, number=number,
                preprocessing=preprocessing, first_epoch=epochs_before, work=work, callbacks=callbacks,
                report=report, should_stop=should_stop, history=history, verbose=verbose,
            )  # fmt: skip
        for key, values in stage_history.items():
            history.setdefault(key, []).extend(values)
        epochs_before += stage.epochs
    give_back()
    return model, history


def _train_stage(
    model: keras.Model,
    training: Examples,
    validation: Examples,
    *,
    classes: int,
    plan: Plan,
    number: int,
    preprocessing: Prepares,
    first_epoch: int,
    work: Path,
    callbacks: Sequence[keras.callbacks.Callback],
    report: Callable[[dict[str, Any]], None] | None,
    should_stop: Callable[[], bool] | None,
    history: History,
    verbose: int | str,
) -> History:
    """Train one stage to its end, put the best weights into the model and keep them; returns the stage's history."""
    stage = plan.stages[number]
    steps = max(1, len(training) // plan.batch_size)
    parts = plan.parts(stage.size)
    unfreeze(model, plan.depth)
    model.compile(
        optimizer=make_optimiser(plan, schedule(stage.learning_rate, steps, stage.epochs), parts),
        loss=MembershipLoss(plan.label_smoothing, plan.gamma),
        metrics=[accuracy],
    )
    keeper = Keeper(work, number, patience=plan.patience)
    keeper.restore(model)
    chosen: list[keras.callbacks.Callback] = [keeper, *callbacks]
    if report:
        earlier = {key: [*history.get(key, []), *values] for key, values in keeper.history.items()} or history
        chosen.append(
            Reporter(
                report, plan, stage=number, epochs_done=keeper.epochs, steps=steps,
                validation=len(validation), history=earlier, parts=parts,
            )
        )  # fmt: skip
    if should_stop:
        chosen.append(StopWhen(should_stop))
    make = partial(
        batches, classes=classes, size=stage.size, preprocessing=preprocessing,
        batch_size=plan.batch_size // parts,
    )  # fmt: skip
    if keeper.epochs < stage.epochs and not keeper.is_over:
        model.fit(
            make(training, plan=plan, first_epoch=first_epoch, seen=keeper.epochs * steps * plan.batch_size),
            validation_data=make(validation),
            initial_epoch=keeper.epochs,
            epochs=stage.epochs,
            steps_per_epoch=steps * parts,
            verbose=verbose,
            callbacks=chosen,
        )
    if keeper.best.exists():
        model.set_weights(load_arrays(keeper.best))
    save_arrays(work / f"stage-{number}.npz", model.get_weights())
    with saved_whole(work / f"stage-{number}.json") as part:
        part.write_text(json.dumps(keeper.history))
    keeper.clear()
    return keeper.history


def schedule(rate: float, steps: int, epochs: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Warmed up over a tenth of the steps (two epochs at most), then a cosine down to a hundredth of it."""
    total = steps * epochs
    warmup = min(total // 10, 2 * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=rate / 20,
        decay_steps=max(1, total - warmup),
        alpha=0.01,
        warmup_target=rate,
        warmup_steps=warmup,
    )


def make_optimiser(
    plan: Plan, rate: float | keras.optimizers.schedules.LearningRateSchedule, parts: int = 1
) -> keras.Optimizer:
    """The plan's optimiser, which takes a step every `parts` batches by their mean gradient; weight decay is decoupled,
    and spares biases and normalisation.
    """
    common: dict[str, Any] = {
        "clipnorm": CLIP_NORM,
        "gradient_accumulation_steps": parts if parts > 1 else None,
    }
    if plan.optimiser == "adam":
        return keras.optimizers.Adam(rate, **common)
    made = (
        keras.optimizers.SGD(rate, momentum=MOMENTUM, weight_decay=plan.weight_decay, **common)
        if plan.optimiser == "sgd"
        else keras.optimizers.AdamW(rate, weight_decay=plan.weight_decay, **common)
    )
    made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def predict_logits(
    model: keras.Model, images: Pixels, *, preprocessing: Prepares, batch_size: int = 32
) -> NDArray[np.float32]:
    """(n, classes) logits of corrected images (n, S, S, 3), contrast and normalisation applied here."""
    size = model.input_shape[1]
    examples = Examples(images, np.zeros(len(images), np.int64))
    data = batches(examples, classes=1, size=size, preprocessing=preprocessing, batch_size=batch_size)
    return np.concatenate([np.asarray(model(x, training=False)) for x, _, _ in data])
