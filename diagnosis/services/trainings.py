"""The row of a training: beginning it, keeping it alive and up to date, and ending it in one of three ways.

A training writes its own row from its own process. While it runs, `Live` renews its beat; a running row whose
process is gone is taken over by whoever wants to train next, or go on with it.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from diagnosis.models import Laboratory, ModelVersion, Site, Training, User
from diagnosis.services import audit
from diagnosis.services.training_folder import TrainingRefused, is_abandoned

logger = logging.getLogger(__name__)

WRITE_SECONDS = 1.0
"""The page polls once a second: writing more often would be for nobody."""

BEAT_SECONDS = 5.0
DEAD_AFTER = timedelta(seconds=60)
"""Silence after which a training elsewhere counts as dead. One on this machine is known by its lock."""

UNFINISHED = (Training.State.RUNNING, Training.State.STOPPED, Training.State.FAILED)
VANISHED = "Its process ended without a word."


def is_dead(training: Training) -> bool:
    """Whether the process of a running training is gone: its lock is free here, or its beat is old."""
    return timezone.now() - training.beat_at > DEAD_AFTER or is_abandoned(Path(training.work))


def refuse_second(*, task: str) -> None:
    """Raise TrainingRefused while a training of this task runs; one whose process is gone is set to stopped."""
    running = Training.objects.filter(task=task, state=Training.State.RUNNING).first()
    if running is None:
        return
    if not is_dead(running):
        raise TrainingRefused(
            f"{running.name} is in training since {timezone.localtime(running.started_at):%Y-%m-%d %H:%M}: "
            "wait for it, or stop it with Ctrl-C where it runs."
        )
    _end(training=running, state=Training.State.STOPPED, action="stop_training", failure=VANISHED)


def begin(
    *,
    task: str,
    name: str,
    work: Path,
    options: Mapping[str, Any],
    data: Mapping[str, Any],
    laboratory: Laboratory | None = None,
    site: Site | None = None,
    actor: User | None = None,
) -> Training:
    """Add a running training. Raises TrainingRefused when one of this task runs already."""
    refuse_second(task=task)
    try:
        with transaction.atomic():
            training = Training.objects.create(
                task=task, name=name, work=str(work), options=finite(options), data=finite(data),
                laboratory=laboratory, site=site, started_by=actor,
            )  # fmt: skip
            _record("start_training", training, actor)
    except IntegrityError as error:
        raise TrainingRefused(
            "Another training of this task began at the same moment: wait for it."
        ) from error
    return training


def unfinished(*, task: str, name: str | None = None) -> Training:
    """The training to go on with: the newest that is not done, or the one called `name`.

    Raises TrainingRefused when there is none, or it is running.
    """
    found = Training.objects.filter(task=task, state__in=UNFINISHED)
    training = (found.filter(name=name) if name else found).order_by("-started_at").first()
    if training is None:
        what = f"called {name} " if name else ""
        raise TrainingRefused(f"There is no unfinished training {what}to go on with.")
    if training.state == Training.State.RUNNING and not is_dead(training):
        raise TrainingRefused(f"{training.name} is running: there is nothing to go on with.")
    return training


def resume(*, training: Training, options: Mapping[str, Any], actor: User | None = None) -> Training:
    """Set a stopped, failed or dead training running again. Raises TrainingRefused when another one runs."""
    refuse_second(task=training.task)
    now = timezone.now()
    try:
        with transaction.atomic():
            taken = Training.objects.filter(
                pk=training.pk, state__in=(Training.State.STOPPED, Training.State.FAILED)
            ).update(
                state=Training.State.RUNNING, beat_at=now, finished_at=None, failure="",
                options=finite(options),
            )  # fmt: skip
            if taken:
                _record("resume_training", training, actor)
    except IntegrityError as error:
        raise TrainingRefused(
            "Another training of this task began at the same moment: wait for it."
        ) from error
    if not taken:
        raise TrainingRefused(f"{training.name} has ended meanwhile, or runs elsewhere.")
    training.refresh_from_db()
    return training


def finish(*, training: Training, result: ModelVersion) -> None:
    """End a training with the model version it made."""
    _end(training=training, state=Training.State.DONE, action="finish_training", result=result)


def stop(*, training: Training) -> None:
    """End a training that was asked to stop; `--resume` goes on with it."""
    _end(training=training, state=Training.State.STOPPED, action="stop_training")


def fail(*, training: Training, failure: str) -> None:
    """End a training that cannot go on, with one sentence that says why."""
    _end(training=training, state=Training.State.FAILED, action="fail_training", failure=failure)


def _end(
    *,
    training: Training,
    state: Training.State,
    action: str,
    failure: str = "",
    result: ModelVersion | None = None,
) -> None:
    with transaction.atomic():
        ended = Training.objects.filter(pk=training.pk, state=Training.State.RUNNING).update(
            state=state, finished_at=timezone.now(), failure=failure, result=result
        )
        if ended:
            _record(action, training, None, failure=failure, result=result)
    training.refresh_from_db()


def _record(
    action: str,
    training: Training,
    actor: User | None,
    *,
    failure: str = "",
    result: ModelVersion | None = None,
) -> None:
    detail = {"name": training.name, "task": training.task}
    if failure:
        detail["failure"] = failure
    if result is not None:
        detail["model_version"] = result.name
    audit.record(action=action, actor=actor, laboratory=training.laboratory, obj=training, detail=detail)


class Live:
    """Renews a running training's beat and stores its newest progress, from a thread of its own.

    `update` is cheap and may be called for every batch: what came last is written, once a second at most.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self._values: dict[str, Any] = dict(training.progress)
        self._changed = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.taken_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"training {training.name}", daemon=True)

    def update(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Merge values into the progress (None takes a key away); returns a copy of all of it."""
        with self._lock:
            for key, value in values.items():
                if value is None:
                    self._values.pop(key, None)
                else:
                    self._values[key] = finite(value)
            self._changed = True
            return dict(self._values)

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._write()  # in this thread: the row's last words are stored before the row ends

    def _keep(self) -> None:
        since_beat = 0.0
        try:
            while not self._over.wait(WRITE_SECONDS):
                since_beat += WRITE_SECONDS
                if not self._changed and since_beat < BEAT_SECONDS:
                    continue
                try:
                    self._write()
                    since_beat = 0.0
                except DatabaseError:
                    logger.warning("The progress of %s was not stored", self._training.name, exc_info=True)
                    connection.close()  # one that was dropped would fail for ever; the next round opens another
        finally:
            connection.close()

    def _write(self) -> None:
        with self._lock:
            values, self._changed = dict(self._values), False
        held = Training.objects.filter(pk=self._training.pk, state=Training.State.RUNNING).update(
            progress=values, beat_at=timezone.now()
        )
        if not held:
            self.taken_over.set()


def finite(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinities become None, NumPy's numbers and tuples Python's."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
