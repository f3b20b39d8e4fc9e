"""A retraining from labelled images to a candidate: check, split, search, refit, assemble, measure, register.

The active model is read and never written. Whatever was done is kept in the training's work folder, so that a run that
was stopped or killed goes on where it was.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from diagnosis import wording
from diagnosis.models import ModelVersion, Training, User
from diagnosis.services import retraining_data, retraining_site, sites, training_folder, trainings
from diagnosis.services.retraining_data import Prepared
from diagnosis.services.retraining_request import (
    RetrainProblem,
    RetrainRequest,
    next_name,
    require_sensible,
)
from diagnosis.services.retraining_stages import Stages, plan_of
from diagnosis.services.trials import Stopped, Watch
from ml.bundle import BundleError
from ml.cache import cache_dir
from ml.data.manifest import DataProblem
from ml.saving import TrainingProblem, storage_problem

logger = logging.getLogger(__name__)

UNFORESEEN = "The training stopped with an error that was not foreseen; its log says more."

CHECK = "checking the images"


class Observer(Protocol):
    """Who follows a retraining: a terminal, a log, a test."""

    def say(self, text: str) -> None:
        """A sentence worth keeping."""

    def show(self, progress: Mapping[str, Any]) -> None:
        """Where the training stands, as `Training.progress` describes it; many times a second."""

    def should_stop(self) -> bool:
        """Asked often; once it is true, the training ends at the next step, resumable."""


def check(*, request: RetrainRequest, observer: Observer) -> tuple[Prepared, dict[str, Any]]:
    """Everything that can refuse a training, and what `--dry-run` prints: {images, split, ..., expected}.

    Raises RetrainProblem or TrainingRefused with one sentence; writes nothing but caches.
    """
    require_sensible(request)
    with _in_words(cache_dir()):
        prepared = retraining_data.prepare(request, progress=_reading(observer))
        images, size = len(prepared.manifest), prepared.preprocessing.size
        for place in (cache_dir(), Path(settings.LEUKOSCOPE_OWN_BUNDLES)):
            retraining_data.check_room(place, images, size)
    return prepared, prepared.describe()


def retrain(*, request: RetrainRequest, observer: Observer, actor: User | None = None) -> Training:
    """Run a retraining to its end; returns its row, done or stopped.

    Raises:
        RetrainProblem: the training can't be, or failed; one sentence, which its row keeps too.
        TrainingRefused: another one of this task is running.
    """
    trainings.refuse_second(task=request.task)
    prepared, facts = check(request=request, observer=observer)
    request = replace(request, name=request.name or next_name(request.task))
    if prepared.start.bundle is not None and not prepared.adapts:
        # By its folder: whoever goes on after a promotion starts where this one did.
        request = replace(request, start=str(prepared.start.bundle.path.resolve()))
    work = training_folder.work_folder(request.name)
    site = prepared.site
    if request.site and site is None and prepared.laboratory is not None:
        site = sites.site_named(laboratory=prepared.laboratory, name=request.site)
        observer.say(f"{site} is a new site of {prepared.laboratory}.")
    lock = training_folder.WorkLock(work)
    lock.take()
    try:
        for leftover in work.iterdir():  # of a training whose row was never made
            if leftover.name != training_folder.LOCK:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        retraining_data.store(prepared, work)
        training = trainings.begin(
            task=request.task, name=request.name, work=work, options=request.as_dict(), data=facts,
            laboratory=prepared.laboratory, site=site, actor=actor,
        )  # fmt: skip
        return _conduct(training, request, prepared, observer, expected=True)
    finally:
        lock.release()


def resume(
    *,
    task: str,
    name: str = "",
    distributed: bool | None = None,
    observer: Observer,
    actor: User | None = None,
) -> Training:
    """Go on with a training that was stopped, failed or killed: the same images, split, study and epoch.

    Raises as `retrain`.
    """
    training = trainings.unfinished(task=task, name=name or None)
    trainings.refuse_second(task=task)
    request = RetrainRequest.from_dict(training.options)
    if distributed is not None:
        request = replace(request, distributed=distributed)
    work = Path(training.work)
    if not work.is_dir():
        raise RetrainProblem(f"The work folder of {training.name} is gone: start anew without --resume.")
    lock = training_folder.WorkLock(work)
    lock.take()
    try:
        with _in_words(work):
            prepared = retraining_data.restore(request, work)
            retraining_data.check_room(work, len(prepared.manifest), prepared.preprocessing.size)
        training = trainings.resume(training=training, options=request.as_dict(), actor=actor)
        observer.say(f"Going on with {training.name}.")
        return _conduct(training, request, prepared, observer)
    finally:
        lock.release()


def _conduct(
    training: Training,
    request: RetrainRequest,
    prepared: Prepared,
    observer: Observer,
    *,
    expected: bool = False,
) -> Training:
    """Run the stages, and end the row whatever happens."""
    with trainings.Live(training) as live:

        def update(values: Mapping[str, Any]) -> None:
            observer.show(live.update(values))

        def should_stop() -> bool:
            return observer.should_stop() or live.taken_over.is_set()

        watch = Watch(update, observer.say, should_stop)
        stages = Stages(training, request, prepared, watch)
        version, failure = None, ""
        error: Exception | None = None
        try:
            with _in_words(Path(training.work)):
                if expected and (parts := expect(request=request, prepared=prepared, observer=observer)):
                    observer.say(expected_words(parts))
                version = _adapted(training, request, prepared, watch) if prepared.adapts else stages.run()
        except (Stopped, KeyboardInterrupt):
            pass
        except RetrainProblem as problem:
            failure, error = str(problem), problem
        except Exception as problem:
            logger.exception("The training %s failed", training.name)
            failure, error = UNFORESEEN, problem
    if error is not None:
        trainings.fail(training=training, failure=failure)
        raise error
    if version is None:
        trainings.stop(training=training)
    else:
        trainings.finish(training=training, result=version)
        stages.clear()
    return training


def _adapted(training: Training, request: RetrainRequest, prepared: Prepared, watch: Watch) -> ModelVersion:
    """A version adapted to the site, where there are too few images for a training."""
    start = retraining_site.version_to_adapt(prepared=prepared, start=request.start)
    return retraining_site.adapt(
        training=training, prepared=prepared, version=start, seed=request.seed, watch=watch,
        actor=training.started_by,
    ).version  # fmt: skip


def expected_words(parts: Mapping[str, float]) -> str:
    """One sentence of what `expect` found."""
    named = [
        f"{name} {wording.duration(seconds)}"
        for name, seconds in parts.items()
        if name != "total" and seconds >= 1
    ]
    return (
        f"Expected at this machine's pace: {wording.duration(parts['total'])} ({', '.join(named)}), and then the "
        "evidence; trials and epochs that end early make it less."
    )


def expect(*, request: RetrainRequest, prepared: Prepared, observer: Observer) -> dict[str, float]:
    """Seconds that each part of the training will take here, from the pace of a few steps; evidence is not in it.

    Empty where this machine's pace would say little: trials at other workers, or a version adapted to a site.
    """
    if prepared.adapts or request.distributed:
        return {}
    from ml.pace import expected_seconds, pace_apart
    from ml.search import SIZES, Setting

    observer.show({"stage": "measuring this machine's pace"})
    size, blocks = prepared.preprocessing.size, prepared.start.blocks
    return expected_seconds(
        pace_apart(classes=len(prepared.task.classes), blocks=blocks),
        plan_of(Setting(), request=request, prepared=prepared),
        training=len(prepared.split.train),
        validation=len(prepared.split.validation),
        trials=request.trials,
        trial_epochs=request.trial_epochs,
        sizes=[side for side in SIZES if side <= size] or [size],
    )


def _reading(observer: Observer) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if observer.should_stop():
            raise RetrainProblem("Stopped before the training began; nothing was changed.")
        observer.show({"stage": CHECK, "done": done, "total": total})

    return progress


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    """Give every foreseen error as RetrainProblem, a full disk included."""
    try:
        yield
    except RetrainProblem:
        raise
    except (DataProblem, TrainingProblem, BundleError) as problem:
        raise RetrainProblem(str(problem)) from problem
    except (OSError, RuntimeError, ValueError) as error:
        no_room = storage_problem(error, folder)
        if no_room is None:
            raise
        raise RetrainProblem(str(no_room)) from error
