"""What a training does beside its steps: keep each epoch, stop when asked, say how far it is. Imports TensorFlow."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import keras

from ml.plan import Plan
from ml.saving import TrainingProblem, load_arrays, save_arrays, saved_whole

History = dict[str, list[float]]
VALIDATION_COST = 0.35
"""Work of judging an image over that of a training step on it: forward alone against forward and backward."""


class Stop(Exception):
    """The training was asked to stop, and has; what it kept can be resumed."""


class StopWhen(keras.callbacks.Callback):  # type: ignore[misc]
    """Raises `Stop` after the batch during which `should_stop` began to say so."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        super().__init__()
        self._should_stop = should_stop

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._check()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._check()

    def _check(self) -> None:
        if self._should_stop():
            raise Stop


class Keeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps every epoch of a stage, and the best by validation loss; ends the stage when patience is out.

    Two files hold the state in turn, and a small one says which is whole: whenever the process is killed,
    there is one to go on from. `epochs` and `history` are those of earlier processes too.
    """

    def __init__(self, work: Path, stage: int, *, patience: int) -> None:
        super().__init__()
        self._work = work
        self._name = f"stage-{stage}"
        self._patience = patience
        self._record = work / f"{self._name}-kept.json"
        kept = json.loads(self._record.read_text()) if self._record.exists() else {}
        self._state = kept.get("state", "")
        self.history: History = kept.get("history", {})
        self.best = work / f"{self._name}-best.npz"

    @property
    def epochs(self) -> int:
        """Finished so far."""
        return len(self.history.get("loss", []))

    @property
    def is_over(self) -> bool:
        """Whether the validation loss has not improved for too long."""
        losses = self.history.get("val_loss", [])
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self._patience

    def restore(self, model: keras.Model) -> None:
        """Put the state of the last finished epoch, the optimiser's included, into a compiled model."""
        if self._state:
            model.optimizer.build(model.trainable_variables)
            kept = load_arrays(self._work / self._state)
            for variable, value in zip(_state_of(model), kept, strict=True):
                variable.assign(value)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        history = {name: [*self.history.get(name, []), float(value)] for name, value in (logs or {}).items()}
        if not math.isfinite(history["loss"][-1]):
            raise TrainingProblem(
                "The training ran away: its loss is no longer a number. Try a smaller learning rate."
            )
        if history["val_loss"][-1] < min(history["val_loss"][:-1], default=math.inf):
            save_arrays(self.best, self.model.get_weights())
        state = f"{self._name}-{epoch % 2}.npz"
        save_arrays(self._work / state, [variable.numpy() for variable in _state_of(self.model)])
        with saved_whole(self._record) as part:
            part.write_text(json.dumps({"state": state, "history": history}))
        self._state, self.history = state, history
        self.model.stop_training = self.is_over

    def clear(self) -> None:
        """Remove the states of a stage that is done; the best of it stays."""
        for file in (self._record, *self._work.glob(f"{self._name}-[01].npz")):
            file.unlink(missing_ok=True)


def _state_of(model: keras.Model) -> list[keras.Variable]:
    """All that a compiled model goes on from: weights, the optimiser's moments, dropout's random state."""
    seeds = [layer.seed_generator.state for layer in model.layers if hasattr(layer, "seed_generator")]
    return [*model.weights, *seeds, *model.optimizer.variables]


class Reporter(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells `report` after every step how far the whole training is: the keys of a training's progress."""

    def __init__(
        self,
        report: Callable[[dict[str, Any]], None],
        plan: Plan,
        *,
        stage: int,
        epochs_done: int,
        steps: int,
        validation: int,
        history: Mapping[str, list[float]],
        parts: int = 1,
    ) -> None:
        """Of a stage whose epochs are `steps` steps, each of `parts` batches as Keras counts them."""
        super().__init__()
        self._report = report
        self._plan = plan
        self._stage = stage
        self._epoch = epochs_done
        self._steps = steps
        self._parts = parts
        self._validation_share = VALIDATION_COST * validation / max(1, steps * plan.batch_size)
        self._history = {name: list(values) for name, values in history.items()}
        self._began: tuple[float, float] | None = None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        step, rest = divmod(batch + 1, self._parts)
        if rest:
            return
        done = self._work_done(step)
        # The first batch of a process carries the tracing, which is paid once a stage.
        if self._began is None:
            self._began = (perf_counter(), done)
        stages = self._plan.stages
        judged = self._history.get("val_accuracy", [])
        before = sum(stage.epochs for stage in stages[: self._stage])
        self._report(
            {
                "stage": f"training, stage {self._stage + 1} of {len(stages)}",
                "fidelity": f"{stages[self._stage].size} px, {DEPTH_WORDS[self._plan.depth]}",
                "done": (before + self._epoch) * self._steps + step,
                "total": self._plan.epochs * self._steps,
                "loss": float((logs or {}).get("loss", float("nan"))),
                "metric": judged[-1] if judged else None,
                "metric_name": "validation accuracy",
                "seconds_left": self._seconds_left(done),
                "history": {name: list(values) for name, values in self._history.items()},
            }
        )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        for name, value in (logs or {}).items():
            self._history.setdefault(name, []).append(float(value))

    def _work_done(self, steps: int) -> float:
        """Epochs of this stage, in units of an image's pixels, up to and with so many steps of this one."""
        area = self._plan.stages[self._stage].size ** 2
        return area * (self._epoch * (1 + self._validation_share) + steps / self._steps)

    def _seconds_left(self, done: float) -> float | None:
        if self._began is None or done <= self._began[1]:
            return None
        rate = (perf_counter() - self._began[0]) / (done - self._began[1])
        total = sum(
            stage.size**2 * stage.epochs * (1 + self._validation_share)
            for stage in self._plan.stages[self._stage :]
        )
        return max(0.0, rate * (total - done))


DEPTH_WORDS = {"head": "head alone", "block": "last block and head", "all": "all layers"}
