"""Running the trials of a search, cheap ones first of all: the head or the last block on cached features of the frozen
part, or all layers at reduced size for a few epochs.

A workbench holds what trials of a process share: decoded images, cached features, traced steps. What is drawn and
when a trial ends early is decided in `ml.search`. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import keras
import numpy as np
import optuna
import tensorflow as tf
from numpy.typing import NDArray

from ml.batches import Examples, batches, image_weights
from ml.callbacks import Stop
from ml.data.augmentation import Augmentation
from ml.features import Features, Frozen, cached_features, images_sha256
from ml.heads import HeadWeights, balanced_accuracy, log_loss, scheduled, train_head
from ml.imaging.preprocessing import Prepares
from ml.network import start_network
from ml.pace import Pace, expected_seconds, measure_pace
from ml.plan import DENSENET_121, DEPTHS, Depth, Plan
from ml.search import (
    RUNGS,
    SIZES,
    TRIAL_EPOCHS,
    Search,
    Setting,
    best_setting,
    carried_over,
    make_study,
    reclaim,
    refit_plan,
    suggest,
)
from ml.stepping import Stepper, starting_head

__all__ = [
    "Pace", "Search", "Setting", "Stop", "Workbench", "best_setting", "carried_over", "expected_seconds", "make_study",
    "measure_pace", "reclaim", "refit_plan", "run_trial", "suggest",
]  # fmt: skip

REPORT_SECONDS = 0.5
JUDGING_BATCH = 64

Report = Callable[[dict[str, Any]], None]
Outcome = tuple[float, NDArray[np.float32]]
"""What an epoch gives: mean training loss, and (n, k) logits of the validation images."""


@dataclass
class Workbench:
    """What the trials of one process share.

    Attributes:
        train, validation: corrected images at the preprocessing's size.
        classes, malignant: of the task, in the order of the network's outputs.
        start: the weights that every trial begins at, as in `ml.network.start_network`.
        cache: folder of cached features.
        trial_epochs: of each trial; None takes those of `TRIAL_EPOCHS`.
        depths, sizes: what the search may choose from; sizes above the preprocessing's are left out.
        augmentation: of the task, at strength 1.
    """

    train: Examples
    validation: Examples
    classes: Sequence[str]
    malignant: Sequence[str]
    preprocessing: Prepares
    start: Path | str | None
    cache: Path
    trial_epochs: int | None = None
    blocks: tuple[int, ...] = DENSENET_121
    seed: int = 20
    depths: Sequence[Depth] = DEPTHS
    sizes: Sequence[int] = SIZES
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        fitting = tuple(size for size in self.sizes if size <= self.preprocessing.size)
        self.sizes = fitting or (self.preprocessing.size,)

    def epochs(self, depth: Depth) -> int:
        """Of a trial at that depth."""
        return self.trial_epochs or TRIAL_EPOCHS[depth]

    def network(self) -> keras.Model:
        """A network at the starting weights, for any size; the same at every call."""
        keras.utils.set_random_seed(self.seed)
        return start_network(len(self.classes), self.start, size=None, dropout=0.0, blocks=self.blocks)

    @cached_property
    def membership(self) -> NDArray[np.float32]:
        """(n, k) of the training images."""
        return self.train.targets(len(self.classes))

    @cached_property
    def held(self) -> NDArray[np.float32]:
        """(n, k) of the validation images."""
        return self.validation.targets(len(self.classes))

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """(n,) how much each training image counts, as in the refit."""
        return image_weights(self.membership, Plan().class_weight_power)

    @cached_property
    def _begun(self) -> tuple[Frozen, HeadWeights]:
        model = self.network()
        return Frozen(model), starting_head(model)

    @property
    def frozen(self) -> Frozen:
        """The part below the last block, at the starting weights."""
        return self._begun[0]

    @property
    def head(self) -> HeadWeights:
        """The dense layer that every trial begins at."""
        return self._begun[1]

    @cached_property
    def block(self) -> Stepper:
        """Trains the last block and the head, on `pool4` maps."""
        # A network of its own: the frozen one must keep its weights.
        own = Frozen(self.network())
        return Stepper(own.tail, self.head)

    @cached_property
    def whole(self) -> Stepper:
        """Trains all layers, on images."""
        own = self.network()
        return Stepper(keras.Model(own.input, own.get_layer("pool").output), self.head)

    @cached_property
    def _sha256(self) -> dict[str, str]:
        return {
            "train": images_sha256(self.train.images),
            "validation": images_sha256(self.validation.images),
        }

    def features(
        self,
        part: str,
        setting: Setting,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Features:
        """Of the `train` part in the setting's variations, or of the `validation` part as it is."""
        varied = part == "train" and setting.augmentation > 0
        return cached_features(
            self.frozen,
            getattr(self, part).images,
            preprocessing=self.preprocessing,
            size=setting.size,
            cache=self.cache,
            augmentation=self.augmentation.scaled(setting.augmentation) if varied else None,
            seed=self.seed,
            sha256=self._sha256[part],
            progress=progress,
        )


def run_trial(
    trial: optuna.Trial,
    bench: Workbench,
    *,
    report: Report = lambda values: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> float:
    """Draw a setting, train it cheaply, and return its lowest validation log loss (nats; lower is better).

    The trial's attributes say how it came about: setting, fidelity, epochs, seconds, balanced_accuracy (0..1, on the
    validation images at the epoch of that loss), stopped.

    Args:
        report: told at most twice a second: fidelity, loss, metric, metric_name, trial, trial_phase
            ("computing features" or "epoch e of n"), trial_done and trial_total of it.
        should_stop: asked after every step; once true, `Stop` is raised.

    Raises:
        optuna.TrialPruned: worse than others at the same share of its budget. Stop: it was asked to.
        TrainingProblem: no room for cached features, or starting weights that do not fit.
    """
    setting = suggest(trial, depths=bench.depths, sizes=bench.sizes)
    trial.set_user_attr("setting", setting.as_dict())
    trial.set_user_attr("fidelity", setting.fidelity)
    watch = _Watch(trial.number, setting, report, should_stop)
    began = perf_counter()
    losses: list[float] = []
    accuracies: list[float] = []
    rung = 0
    epochs = bench.epochs(setting.depth)
    try:
        for epoch, (loss, logits) in enumerate(_outcomes(bench, setting, watch), start=1):
            losses.append(log_loss(logits, bench.held))
            accuracies.append(balanced_accuracy(logits, bench.held))
            watch.judged(loss, accuracies[-1])
            if not np.isfinite(losses[-1]):
                raise optuna.TrialPruned("The loss is no longer a number.")
            reached = RUNGS * epoch // epochs
            if reached > rung:
                rung = reached
                trial.report(losses[-1], step=rung)
                if epoch < epochs and trial.should_prune():
                    raise optuna.TrialPruned(f"Worse than other trials after {epoch} of {epochs} epochs.")
    except Stop:
        trial.set_user_attr("stopped", True)
        raise
    finally:
        trial.set_user_attr("seconds", round(perf_counter() - began, 2))
        trial.set_user_attr("epochs", len(losses))
        if losses:
            trial.set_user_attr("balanced_accuracy", accuracies[int(np.argmin(losses))])
    return min(losses)


class _Watch:
    """Passes on what a trial does, twice a second at most, and stops it when asked."""

    def __init__(
        self, number: int, setting: Setting, report: Report, should_stop: Callable[[], bool]
    ) -> None:
        self._values: dict[str, Any] = {"trial": number, "fidelity": setting.fidelity}
        self._report = report
        self._should_stop = should_stop
        self._told = -REPORT_SECONDS

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self._should_stop():
            raise Stop
        if monotonic() - self._told >= REPORT_SECONDS:
            self._told = monotonic()
            self._report({**self._values, "trial_phase": phase, "trial_done": done, "trial_total": total})

    def judged(self, loss: float, accuracy: float) -> None:
        self._values |= {
            "loss": loss, "metric": accuracy, "metric_name": "balanced accuracy, validation",
        }  # fmt: skip


def _outcomes(bench: Workbench, setting: Setting, watch: _Watch) -> Iterator[Outcome]:
    """The epochs of a trial, by its depth."""
    if setting.depth == "all":
        return _whole_epochs(bench, setting, watch)

    def computing(done: int, total: int) -> None:
        watch("computing features", done, total)

    train, held = (bench.features(part, setting, progress=computing) for part in ("train", "validation"))
    epochs = _head_epochs if setting.depth == "head" else _block_epochs
    return epochs(bench, setting, watch, train, held)


def _head_epochs(
    bench: Workbench, setting: Setting, watch: _Watch, train: Features, held: Features
) -> Iterator[Outcome]:
    epochs = bench.epochs("head")
    pooled = np.asarray(held.pooled[0], np.float32)
    trained = train_head(
        np.asarray(train.pooled), bench.membership, bench.weights,
        start=bench.head, setting=setting, epochs=epochs, seed=bench.seed,
    )  # fmt: skip
    for epoch, (head, loss) in enumerate(trained, start=1):
        watch(f"epoch {epoch} of {epochs}", epoch, epochs)
        yield loss, head.logits(pooled)


def _block_epochs(
    bench: Workbench, setting: Setting, watch: _Watch, train: Features, held: Features
) -> Iterator[Outcome]:
    rng = np.random.default_rng((bench.seed, 2))
    count, batch = len(train), min(setting.batch_size, len(train))

    def rounds() -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
        while True:
            order = rng.permutation(count)
            views = rng.integers(len(train.pool4), size=count)
            for begin in range(0, count - batch + 1, batch):
                rows = order[begin : begin + batch]
                maps = train.pool4[views[begin : begin + batch], rows].astype(np.float32)
                yield maps, bench.membership[rows], bench.weights[rows]

    def judge() -> NDArray[np.float32]:
        chunks = range(0, len(held), JUDGING_BATCH)
        maps = (held.pool4[0, begin : begin + JUDGING_BATCH].astype(np.float32) for begin in chunks)
        return np.concatenate([bench.block.logits(tf.constant(batch)) for batch in maps])

    yield from _stepped(bench.block, bench, setting, watch, rounds(), judge)


def _whole_epochs(bench: Workbench, setting: Setting, watch: _Watch) -> Iterator[Outcome]:
    plan = Plan(
        batch_size=min(setting.batch_size, len(bench.train)),
        augmentation=bench.augmentation.scaled(setting.augmentation),
        seed=bench.seed,
    )
    common: dict[str, Any] = {
        "classes": len(bench.classes), "size": setting.size, "preprocessing": bench.preprocessing,
    }  # fmt: skip
    data = batches(bench.train, batch_size=plan.batch_size, plan=plan, **common)

    def judge() -> NDArray[np.float32]:
        held = batches(bench.validation, batch_size=JUDGING_BATCH, **common)
        return np.concatenate([bench.whole.logits(images) for images, _, _ in held])

    yield from _stepped(bench.whole, bench, setting, watch, iter(data), judge)


def _stepped(
    stepper: Stepper,
    bench: Workbench,
    setting: Setting,
    watch: _Watch,
    data: Iterator[tuple[Any, Any, Any]],
    judge: Callable[[], NDArray[np.float32]],
) -> Iterator[Outcome]:
    epochs = bench.epochs(setting.depth)
    steps = max(1, len(bench.train) // setting.batch_size)
    stepper.begin(setting, seed=bench.seed)
    for epoch in range(epochs):
        losses = []
        for step, (images, membership, weights) in enumerate(islice(data, steps), start=epoch * steps):
            rate = setting.learning_rate * scheduled(step, epochs * steps)
            losses.append(stepper.step(images, membership, weights, rate))
            watch(f"epoch {epoch + 1} of {epochs}", step + 1, epochs * steps)
        yield float(np.mean(losses)), judge()
