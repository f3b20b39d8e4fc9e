"""The search of a training: its trials one after the other here, or shared by workers through a database.

The study in the database is the truth about which trials are wanted, running and done; a message to a worker is only
a nudge. So a lost message, a dead worker or a stopped conductor costs a trial's time at most.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils import timezone

from diagnosis.models import Training
from diagnosis.services import queue, retraining_data, trainings, trials, trials_apart
from diagnosis.services.retraining_data import Prepared
from diagnosis.services.retraining_request import RetrainProblem, RetrainRequest
from diagnosis.services.trials import Standing, Stopped, Watch
from ml.apart import run_apart

if TYPE_CHECKING:
    import optuna

    from ml.tuning import Workbench

logger = logging.getLogger(__name__)

CLOSED = "closed"
"""Attribute of a study whose search has ended, by its trials or its time: nobody begins another trial."""

TROUBLE = "trouble"
"""Attribute of a study: why a worker could not even begin a trial, in its words."""

POLL_SECONDS = 1.0
NUDGE_SECONDS = 5.0
"""How often the messages in the queue are compared with the trials that wait."""

ALONE_SECONDS = 20.0
"""Without a trial begun for so long, the conductor says that there may be no worker."""

NO_WORKER = (
    "No worker has taken a trial yet: start one with `python -m webapp.processes training`, on any machine that "
    "reaches this database, this broker, the images and LEUKOSCOPE_CACHE."
)
NO_BROKER = "The broker does not answer, so no worker can be told of the trials; trying again."


def search(
    *, training: Training, request: RetrainRequest, prepared: Prepared, watch: Watch
) -> list[dict[str, Any]]:
    """Run the wanted trials, here or at the workers; returns the rows of all trials.

    A search that was stopped or killed goes on with what is left of it. Raises Stopped and RetrainProblem.
    """
    study = trials.open_study(training=training, request=request)
    if not study.user_attrs.get(CLOSED):
        clock = _Clock(study, request)
        if request.distributed:
            _search_together(study, clock, training=training, request=request, watch=watch)
        else:
            _search_here(study, clock, training=training, request=request, prepared=prepared, watch=watch)
        study.set_user_attr(CLOSED, True)
    stands = trials.standing(study)
    rows = stands.rows()
    watch.update({"trials": rows, "done": stands.ended})
    if not stands.count("COMPLETE"):
        raise RetrainProblem("No trial ended with a figure: give the search more trials, or more minutes.")
    return rows


def _search_here(
    study: optuna.Study,
    clock: _Clock,
    *,
    training: Training,
    request: RetrainRequest,
    prepared: Prepared,
    watch: Watch,
) -> None:
    from ml.search import reclaim

    reclaim(study)
    trials.ask(study, request.trials)

    def report(values: Mapping[str, Any]) -> None:
        watch.update({**clock.progress(trials.standing(study)), **values})

    report({})
    order = trials_apart.order_of(training=training, prepared=prepared, request=request)
    run_apart(trials_apart.run_waiting, order, report=report, should_stop=watch.should_stop)


class _Clock:
    """How long this process has searched, how long the rest may take, and when its time (`--budget`) is over."""

    def __init__(self, study: optuna.Study, request: RetrainRequest) -> None:
        self._began = time.monotonic()
        self._ended_before = trials.standing(study).ended
        self._budget = request.budget_minutes * 60 if request.budget_minutes else None
        self._total = request.trials

    @property
    def over(self) -> bool:
        return self._budget is not None and time.monotonic() - self._began >= self._budget

    def progress(self, stands: Standing) -> dict[str, Any]:
        """What the training's progress says of the search."""
        rows = stands.rows()
        running = [row for row in rows if row["state"] == "running"]
        left = self._seconds_left(stands)
        return {
            "trials": rows,
            "done": stands.ended,
            "total": self._total,
            "fidelity": running[-1]["fidelity"] if running else None,
            "seconds_left": None if left is None else round(left),
        }

    def _seconds_left(self, stands: Standing) -> float | None:
        """By the pace so far; the trials that run count half."""
        elapsed = time.monotonic() - self._began
        ended = stands.ended - self._ended_before
        by_pace = elapsed / ended * (stands.waiting + stands.running / 2) if ended else None
        if self._budget is None:
            return by_pace
        by_budget = max(0.0, self._budget - elapsed)
        return by_budget if by_pace is None else min(by_pace, by_budget)


# --- together -----------------------------------------------------------------------------------------------


def _search_together(
    study: optuna.Study, clock: _Clock, *, training: Training, request: RetrainRequest, watch: Watch
) -> None:
    """Wait while workers of the queue `training` run the trials; those of dead workers are asked for again."""
    import optuna

    nudged, seen, said = 0.0, time.monotonic(), set[str]()

    def say_once(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            watch.say(sentence)

    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        if not clock.over:
            trials.ask(study, request.trials)
        elif not study.user_attrs.get(CLOSED):
            study.set_user_attr(CLOSED, True)
        stands = trials.standing(study)
        stands.refuse_many_failures()
        watch.update(clock.progress(stands))
        if not stands.running and (not stands.waiting or clock.over):
            return
        if watch.should_stop():
            raise Stopped
        if trouble := study.user_attrs.get(TROUBLE):
            say_once(f"A worker could not begin a trial. {trouble}")
        now = time.monotonic()
        if stands.running:
            seen = now
        elif now - seen > ALONE_SECONDS:
            say_once(NO_WORKER)
        if stands.waiting and not clock.over and now - nudged > NUDGE_SECONDS:
            nudged = now
            if not queue.send_trials(training.pk, wanted=stands.waiting):
                say_once(NO_BROKER)
        time.sleep(POLL_SECONDS)


def run_one(*, training_id: UUID, worker: str) -> None:
    """A worker's part: the next waiting trial of a training's study, if there is one."""
    from ml.saving import TrainingProblem

    training = Training.objects.filter(pk=training_id, state=Training.State.RUNNING).first()
    if training is None:
        return
    study = trials.open_study(training=training, request=RetrainRequest.from_dict(training.options))
    if study.user_attrs.get(CLOSED) or not trials.standing(study).waiting:
        return
    try:
        bench = _kept_bench(training.pk)
    except Exception as error:
        # Nobody reads a worker's log while a search stands still: the conductor says it.
        study.set_user_attr(TROUBLE, f"{worker}: {error}")
        raise
    try:
        trials.run_next(
            study, bench, worker=worker, report=lambda values: None, should_stop=_Orphaned(training_id)
        )
    except Stopped:
        logger.info("The training %s has stopped; its trial is given back", training.name)
    except TrainingProblem as problem:
        study.set_user_attr(TROUBLE, f"{worker}: {problem}")
        logger.error("A trial of %s could not go on: %s", training.name, problem)


@lru_cache(maxsize=1)
def _kept_bench(training_id: UUID) -> Workbench:
    """The newest training's workbench, so that a worker's second trial begins at once."""
    training = Training.objects.get(pk=training_id)
    request, work = RetrainRequest.from_dict(training.options), Path(training.work)
    return trials.workbench(prepared=retraining_data.restore(request, work), request=request, work=work)


class _Orphaned:
    """Whether a trial works for nobody: its training has ended, or whoever conducts it is silent. Asked often,
    it looks every few seconds.
    """

    SILENT = 2 * trainings.DEAD_AFTER
    EVERY_SECONDS = 5.0

    def __init__(self, training_id: UUID) -> None:
        self._id = training_id
        self._looked = time.monotonic()
        self._answer = False

    def __call__(self) -> bool:
        if time.monotonic() - self._looked > self.EVERY_SECONDS:
            self._looked = time.monotonic()
            self._answer = not Training.objects.filter(
                pk=self._id, state=Training.State.RUNNING, beat_at__gt=timezone.now() - self.SILENT
            ).exists()
        return self._answer
