"""The trials of a training's search: the study they share, what they look like from outside, and running one."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection

from diagnosis.models import Training
from diagnosis.services.retraining_data import Prepared
from diagnosis.services.retraining_request import RetrainProblem, RetrainRequest
from ml.data.augmentation import augmentation_of

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from ml.tuning import Workbench

logger = logging.getLogger(__name__)

ASKED, RETRY = "asked", "retry_of"
"""Attributes of trials that were wanted, or are the second attempt of one that was."""

MOST_FAILURES = 5


class Stopped(Exception):
    """Work was asked to stop; what was done is kept."""


@dataclass(frozen=True)
class Watch:
    """How a stage tells what it does, and learns that it should stop."""

    update: Callable[[Mapping[str, Any]], None]
    say: Callable[[str], None]
    should_stop: Callable[[], bool]


def study_url() -> str:
    """The database that the trials share: the application's own PostgreSQL, or an SQLite file beside its own.

    SQLite gets a file apart, so that a search never waits for the application's writes, nor they for it.
    """
    if connection.vendor == "sqlite":
        folder = Path(settings.VAR_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / 'studies.sqlite3'}"
    from sqlalchemy.engine import URL

    values = connection.settings_dict
    query = {key: str(value) for key, value in values["OPTIONS"].items() if isinstance(value, str | int)}
    host = str(values["HOST"])
    if host.startswith("/"):  # a socket's folder is no host name to SQLAlchemy
        query["host"], host = host, ""
    url = URL.create(
        "postgresql+psycopg",
        username=values["USER"] or None,
        password=values["PASSWORD"] or None,
        host=host or None,
        port=int(values["PORT"]) if values["PORT"] else None,
        database=values["NAME"],
        query=query,
    )
    return url.render_as_string(hide_password=False)


def study_options(*, training: Training, request: RetrainRequest) -> dict[str, Any]:
    """What `ml.search.make_study` opens a training's study by."""
    grace = settings.LEUKOSCOPE_TRIAL_GRACE_SECONDS
    return {
        "name": f"training-{training.pk}",
        "storage": study_url(),
        "search": request.search,
        "seed": request.seed,
        "heartbeat": max(1, grace // 6),
        "grace": grace,
    }


def open_study(*, training: Training, request: RetrainRequest) -> optuna.Study:
    """The study of a training, begun at the first call."""
    from ml.search import make_study

    return make_study(**study_options(training=training, request=request))


def bench_options(*, prepared: Prepared, request: RetrainRequest, work: Path) -> dict[str, Any]:
    """All that a `ml.tuning.Workbench` is made of but its images."""
    return {
        "classes": prepared.task.classes,
        "malignant": prepared.task.malignant,
        "preprocessing": prepared.preprocessing,
        "start": prepared.start.weights,
        "cache": work / "features",
        "trial_epochs": request.trial_epochs,
        "blocks": prepared.start.blocks,
        "seed": request.seed,
        "augmentation": augmentation_of(prepared.task.name),
    }


def workbench(*, prepared: Prepared, request: RetrainRequest, work: Path) -> Workbench:
    """What the trials of one process share: decoded images, start weights, the folder of cached features."""
    from ml.tuning import Workbench

    return Workbench(
        train=prepared.examples("train"),
        validation=prepared.examples("validation"),
        **bench_options(prepared=prepared, request=request, work=work),
    )


@dataclass(frozen=True)
class Standing:
    """Where a study stands at one moment."""

    trials: Sequence[FrozenTrial]

    def count(self, *states: str) -> int:
        return sum(trial.state.name in states for trial in self.trials)

    @property
    def ended(self) -> int:
        """Trials that said something of their setting."""
        return self.count("COMPLETE", "PRUNED")

    @property
    def waiting(self) -> int:
        return self.count("WAITING")

    @property
    def running(self) -> int:
        return self.count("RUNNING")

    def rows(self) -> list[dict[str, Any]]:
        """Every trial that was begun, in order: what it tried, where it stands, who ran it."""
        return [_row(trial) for trial in self.trials if trial.state.name != "WAITING" and trial.params]

    def refuse_many_failures(self) -> None:
        """Raise RetrainProblem when as many trials fail as end: more of them would not help."""
        errors = [trial.user_attrs["error"] for trial in self.trials if "error" in trial.user_attrs]
        if len(errors) >= max(MOST_FAILURES, self.ended):
            raise RetrainProblem(
                f"{len(errors)} trials failed and {self.ended} ended. The last one: {errors[-1]}"
            )


def standing(study: optuna.Study) -> Standing:
    """Look at a study once."""
    return Standing(study.get_trials(deepcopy=False))


def _row(trial: FrozenTrial) -> dict[str, Any]:
    facts = trial.user_attrs
    value = trial.value
    if value is None and trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    return {
        "number": trial.number,
        "state": "stopped" if facts.get("stopped") else trial.state.name.lower().replace("fail", "failed"),
        "value": value,
        "fidelity": facts.get("fidelity", ""),
        "settings": facts.get("setting", trial.params),
        "worker": facts.get("worker", ""),
        "balanced_accuracy": facts.get("balanced_accuracy"),
        "epochs": facts.get("epochs"),
        "seconds": facts.get("seconds"),
    }


def ask(study: optuna.Study, wanted: int) -> None:
    """Queue what lacks of the wanted trials; the settings are drawn when they begin."""
    for _ in range(wanted - standing(study).count("COMPLETE", "PRUNED", "RUNNING", "WAITING")):
        study.enqueue_trial({}, user_attrs={ASKED: True})


class _Unasked(Exception):
    """Another worker took the last waiting trial first, and Optuna made one that nobody wants."""


def run_next(
    study: optuna.Study,
    bench: Workbench,
    *,
    worker: str,
    report: Callable[[Mapping[str, Any]], None],
    should_stop: Callable[[], bool],
) -> None:
    """Run the next waiting trial; one that fails by its setting is noted, and the search goes on.

    Raises:
        Stopped: it was asked to. TrainingProblem: going on would not help (no room on the disk, say).
    """
    import optuna

    from ml.saving import TrainingProblem
    from ml.tuning import Stop, run_trial

    survivable = (ArithmeticError, MemoryError, RuntimeError, ValueError)

    def objective(trial: optuna.Trial) -> float:
        if not {ASKED, RETRY} & trial.user_attrs.keys():
            raise _Unasked
        trial.set_user_attr("worker", worker)
        try:
            value: float = run_trial(trial, bench, report=report, should_stop=should_stop)
        except (optuna.TrialPruned, Stop):
            raise
        except TrainingProblem as problem:
            trial.set_user_attr("error", str(problem))
            raise
        except survivable as error:
            logger.exception("Trial %d failed", trial.number)
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            raise
        return value

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            study.optimize(objective, n_trials=1, catch=(_Unasked, *survivable))
        except Stop as stop:
            raise Stopped from stop
