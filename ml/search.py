"""The search for a good setting: what is tried, by whom it is proposed, when a poor trial ends, and the refit.

Optuna (Akiba et al. 2019) keeps the study, in memory or in a database that several processes share. TensorFlow is
not needed here; `ml.tuning` runs the trials.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from ml.plan import (
    DENSENET_121,
    DEPTHS,
    LOSSES,
    OPTIMISERS,
    Depth,
    Loss,
    Optimiser,
    Plan,
    Stage,
    standing_plan,
)

Search = Literal["random", "asha", "tpe"]

SIZES = (96, 128, 160)
BATCH_SIZES = (8, 16, 32)
"""Up to what all layers at full size take within the memory that a training may have."""

AUGMENTATIONS = (0.0, 0.5, 1.0, 1.5)
"""Strengths, in steps, so that trials share the features that are cached for each."""

SGD_RATE = 30.0
HEAD_RATE = 3.0
"""A trial's rate is drawn for AdamW through all layers; SGD takes it times the first, the head alone times the
second. So one range serves every optimiser and depth, and the importance of the rate can be told."""

RUNGS = 9
"""A trial reports its validation loss so often, whatever its epochs: at each ninth of its budget."""

TRIAL_EPOCHS: dict[Depth, int] = {"head": 30, "block": 8, "all": 4}
"""Of a trial, where nobody says otherwise."""

HEARTBEAT_SECONDS = 10
GRACE_SECONDS = 60
"""A trial whose process was silent for so long counts as dead, and its setting is tried again."""

STARTUP_TRIALS = 10
FULL_SIZE_RATE = 0.4
"""Learning rate at full size over that at reduced size, as in the standing recipe (2e-4 over 5e-4)."""


@dataclass(frozen=True)
class Setting:
    """One point of the search space.

    Attributes:
        learning_rate: peak rate of this optimiser at this depth.
        augmentation: strength, 0 (none) to 1.5, of the standing augmentation.
        depth: what is trained: the dense head, the last dense block too, or all layers.
        size: side of the input in pixels while searching.
    """

    learning_rate: float = 5e-4
    optimiser: Optimiser = "adamw"
    batch_size: int = 32
    dropout: float = 0.3
    weight_decay: float = 1e-3
    augmentation: float = 1.0
    depth: Depth = "all"
    size: int = 128
    label_smoothing: float = 0.05
    loss: Loss = "cross_entropy"
    focal_gamma: float = 2.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Setting:
        return cls(**values)

    @property
    def gamma(self) -> float:
        """The focal exponent; 0 is plain cross-entropy."""
        return self.focal_gamma if self.loss == "focal" else 0.0

    @property
    def fidelity(self) -> str:
        """From what a trial's figures come, in words."""
        if self.depth == "all":
            return f"reduced size, {self.size} px, all layers"
        part = "head" if self.depth == "head" else "last block"
        return f"cached features, {self.size} px, {part}"


def suggest(
    trial: optuna.Trial, *, depths: Sequence[Depth] = DEPTHS, sizes: Sequence[int] = SIZES
) -> Setting:
    """Draw a setting. One parameter a name and range, whatever the others are, so that importances can be told."""
    depth = cast(Depth, trial.suggest_categorical("depth", list(depths)))
    optimiser = cast(Optimiser, trial.suggest_categorical("optimiser", list(OPTIMISERS)))
    rate = trial.suggest_float("rate", 1e-4, 3e-3, log=True)
    decay = trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
    loss = cast(Loss, trial.suggest_categorical("loss", list(LOSSES)))
    return Setting(
        learning_rate=rate * (SGD_RATE if optimiser == "sgd" else 1) * (HEAD_RATE if depth == "head" else 1),
        optimiser=optimiser,
        batch_size=trial.suggest_categorical("batch_size", list(BATCH_SIZES)),
        dropout=trial.suggest_float("dropout", 0.0, 0.6),
        weight_decay=0.0 if optimiser == "adam" else decay,
        augmentation=trial.suggest_categorical("augmentation", list(AUGMENTATIONS)),
        depth=depth,
        size=trial.suggest_categorical("size", list(sizes)),
        label_smoothing=trial.suggest_float("label_smoothing", 0.0, 0.15),
        loss=loss,
    )


def make_study(
    name: str,
    *,
    storage: str | None,
    search: Search = "random",
    seed: int = 20,
    heartbeat: int = HEARTBEAT_SECONDS,
    grace: int = GRACE_SECONDS,
) -> optuna.Study:
    """Open the study of that name, or begin it; it minimises the validation log loss.

    `random` draws settings and ends a trial that is worse than the median of the earlier ones; `asha` draws them
    too and keeps the best third at each rung (Li et al. 2020); `tpe` proposes from what went well (Bergstra 2011).
    A trial's draw depends on the seed and the trial's number, so that processes that share a study never try
    the same, and a resumed study tries what it would have tried.

    Run trials with `study.optimize(lambda trial: run_trial(trial, bench), n_trials=1)`: the heartbeat that tells a
    dead process from a slow one beats inside `optimize` alone.

    Args:
        storage: an SQLAlchemy URL of a database that processes share, or None for memory.
        heartbeat, grace: seconds between signs of life, and of silence before a trial counts as dead.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner: optuna.pruners.BasePruner = (
        optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        if search == "asha"
        else optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=RUNGS // 3)
    )
    return optuna.create_study(
        study_name=name,
        storage=_shared(storage, heartbeat, grace) if storage else None,
        sampler=NumberedSampler(seed, learns=search == "tpe"),
        pruner=pruner,
        direction="minimize",
        load_if_exists=True,
    )


def _shared(url: str, heartbeat: int, grace: int) -> optuna.storages.RDBStorage:
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": 30}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(
            url,
            engine_kwargs=options,
            heartbeat_interval=heartbeat,
            grace_period=grace,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=2),
        )


class NumberedSampler(optuna.samplers.BaseSampler):
    """Draws from the seed and the trial's number; with `learns`, by TPE once enough trials are done."""

    def __init__(self, seed: int, *, learns: bool) -> None:
        self._seed = seed
        self._learns = learns
        self._tpe: tuple[int, optuna.samplers.TPESampler] | None = None

    def _learner(self, study: optuna.Study, trial: FrozenTrial) -> optuna.samplers.TPESampler | None:
        if not self._learns:
            return None
        if self._tpe is None or self._tpe[0] != trial.number:
            ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
            if len(ended) < STARTUP_TRIALS:
                return None
            seed = int(np.random.default_rng((self._seed, trial.number)).integers(2**31))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = optuna.samplers.TPESampler(
                    seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS
                )
            self._tpe = (trial.number, sampler)
        return self._tpe[1]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        learner = self._learner(study, trial)
        return learner.infer_relative_search_space(study, trial) if learner else {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        learner = self._learner(study, trial)
        return learner.sample_relative(study, trial, search_space) if learner else {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        key = (self._seed, trial.number, zlib.crc32(param_name.encode()))
        seed = int(np.random.default_rng(key).integers(2**31))
        drawer = optuna.samplers.RandomSampler(seed=seed)
        return drawer.sample_independent(study, trial, param_name, param_distribution)


def reclaim(study: optuna.Study) -> int:
    """Queue again the settings of trials that were stopped, or left running by a dead process; returns how many.

    For the one process that resumes a study of its own; a study that others work on heals by its heartbeat.
    """
    trials = study.get_trials(deepcopy=False)
    again = {trial.user_attrs.get("retry_of") for trial in trials}
    count = 0
    for trial in trials:
        stopped = trial.state == TrialState.FAIL and trial.user_attrs.get("stopped")
        if trial.state != TrialState.RUNNING and not stopped:
            continue
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        if trial.number not in again and trial.params:
            study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})
            count += 1
    return count


def best_setting(study: optuna.Study) -> Setting:
    """The setting of the completed trial with the lowest log loss; raises ValueError where none is complete."""
    return Setting.from_dict(study.best_trial.user_attrs["setting"])


def refit_plan(
    setting: Setting,
    *,
    task: str = "field",
    size: int = 224,
    epochs: int = 15,
    seed: int = 20,
    blocks: tuple[int, ...] = DENSENET_121,
) -> Plan:
    """The training through all layers that follows a search: some epochs at reduced size, the rest at full size, in
    the shares of the task's standing recipe (of fields, a third).

    What the search found on batch, dropout, smoothing, loss and augmentation carries over. Optimiser, rate and
    decay carry over from a trial through all layers alone, the rate times 0.4 at full size; from a head or a
    block they would say nothing about all layers, and the standing recipe's stand in (`carried_over` says so).
    """
    standing = standing_plan(task)
    throughout = setting.depth == "all"
    rate = setting.learning_rate if throughout else standing.stages[0].learning_rate
    reduced = max(32, round(size * standing.stages[0].size / standing.size / 32) * 32)
    first = epochs * standing.stages[0].epochs // standing.epochs if reduced < size else 0
    stages = [Stage(reduced, first, rate)] if first else []
    stages.append(Stage(size, epochs - first, rate * FULL_SIZE_RATE))
    return replace(
        standing,
        stages=tuple(stages),
        batch_size=setting.batch_size,
        dropout=setting.dropout,
        label_smoothing=setting.label_smoothing,
        loss=setting.loss,
        focal_gamma=setting.focal_gamma,
        augmentation=standing.augmentation.scaled(setting.augmentation),
        optimiser=setting.optimiser if throughout else standing.optimiser,
        weight_decay=setting.weight_decay if throughout else standing.weight_decay,
        seed=seed,
        blocks=blocks,
    )


def carried_over(setting: Setting) -> str:
    """One sentence: what of a trial's setting the refit through all layers takes, and what it does not."""
    shared = "batch size, dropout, label smoothing, loss and augmentation"
    if setting.depth == "all":
        return (
            f"The refit takes the trial's {shared}, optimiser, weight decay and learning rate "
            f"(times {FULL_SIZE_RATE:g} at full size)."
        )
    return (
        f"The refit takes the trial's {shared}; optimiser, weight decay and learning rate are the standing "
        f"recipe's, because those of a trial on {setting.fidelity} say nothing about all layers."
    )
