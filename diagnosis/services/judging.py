"""Judging a version against the active one on locked images: the verdict that promoting rests on.

It takes half a minute and loads two networks, so a page has it done by a worker and reads the row meanwhile; a
command does it itself. One judgement of a version runs at a time; one whose process has died is given up.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from diagnosis.models import Judgement, ModelVersion, User
from diagnosis.services import audit, predictors, queue, registry
from diagnosis.services.predictors import ModelUnavailable
from diagnosis.services.renewing import renewed

if TYPE_CHECKING:
    from ml.bundle import Bundle
    from ml.data.manifest import Item, Manifest
    from ml.evaluation.predictions import Row
    from ml.promotion import Verdict

logger = logging.getLogger(__name__)

Track = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Hands on what it is given, and may draw progress: (things, how many, description)."""

SEED = 20
"""Of the bootstrap: the same two bundles and images always get the same verdict."""
RESAMPLES = 2000
SILENT_AFTER = timedelta(seconds=60)
BEAT_EVERY = 15.0
LONGEST_SECONDS = 3600.0
"""A judgement that takes longer hangs, and is given up."""
RESEND_AFTER = timedelta(minutes=5)
WRITE_EVERY = 1.0
"""Seconds between two writes of the progress."""

BUSY = "This version is being judged already: wait for it."
GAVE_UP = "The process that judged this version stopped: judge it again."
UNEXPECTED = (
    "Judging stopped with an error that was not foreseen: judge again, or look into the worker's log."
)


class JudgingBusy(Exception):
    """Another process judges this version now; the text is one sentence."""


class _Impossible(Exception):
    """A judgement that cannot be made; the text is the sentence that is kept."""


def no_progress(things: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    """Draw nothing."""
    return things


def request(*, version: ModelVersion, actor: User | None) -> Judgement:
    """Have a worker of the queue `training` judge a version on `LEUKOSCOPE_DATA`; returns at once.

    While a judgement of the version is unfinished that one is returned, so two clicks give one.
    """
    give_up_silent()
    unfinished = Judgement.objects.filter(version=version, state__in=Judgement.UNFINISHED)
    try:
        with transaction.atomic():
            running = unfinished.first()
            if running is not None:
                return running
            judgement = _create(version, actor)
            transaction.on_commit(lambda: queue.send_judgement(judgement.pk), robust=True)
    except IntegrityError:  # another request was first
        return unfinished.get()
    return judgement


def judge_now(
    *, version: ModelVersion, actor: User | None, data: Sequence[Path] = (), track: Track = no_progress
) -> Judgement:
    """Judge a version in this process on `data`, or on `LEUKOSCOPE_DATA` where none are named.

    Raises JudgingBusy while another process judges this version.
    """
    give_up_silent()
    try:
        with transaction.atomic():
            waiting = Judgement.objects.filter(version=version, state=Judgement.State.QUEUED).first()
            judgement = waiting or _create(version, actor)
    except IntegrityError:
        raise JudgingBusy(BUSY) from None
    if not run(judgement_id=judgement.pk, data=data, track=track):
        raise JudgingBusy(BUSY)
    judgement.refresh_from_db()
    return judgement


def newest(*, version: ModelVersion, finished: bool = False) -> Judgement | None:
    """The newest judgement of a version against the version that is active now; None where there is none.

    With `finished`, the newest that came to a verdict.
    """
    active = registry.active_version(task=version.task, laboratory=version.laboratory_id)
    found = Judgement.objects.select_related("version", "against", "actor").filter(
        version=version, against=active
    )
    return (found.filter(state=Judgement.State.DONE) if finished else found).first()


def run(*, judgement_id: uuid.UUID, data: Sequence[Path] = (), track: Track = no_progress) -> bool:
    """Make a queued judgement, if no one else does; False where it was not claimed, or taken away meanwhile.

    What stands in the way becomes its `failure`. Progress goes to the row and to `track`.
    """
    claim = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    if not Judgement.objects.filter(pk=judgement_id, state=Judgement.State.QUEUED).update(
        state=Judgement.State.RUNNING, claimed_by=claim, beat_at=timezone.now()
    ):
        return False
    judgement = Judgement.objects.select_related("version__laboratory", "actor").get(pk=judgement_id)
    active = registry.active_version(task=judgement.version.task, laboratory=judgement.version.laboratory_id)
    try:
        with _alive(judgement_id, claim):
            verdict = _judge(judgement.version, active, data, _reporting(judgement_id, claim, track))
    except (_Impossible, ModelUnavailable) as problem:
        return _end(judgement, claim, state=Judgement.State.FAILED, failure=str(problem), against=active)
    except BaseException as error:
        stopped = GAVE_UP if isinstance(error, KeyboardInterrupt | SystemExit) else UNEXPECTED
        _end(judgement, claim, state=Judgement.State.FAILED, failure=stopped, against=active)
        raise
    return _end(judgement, claim, state=Judgement.State.DONE, verdict=verdict.to_dict(), against=active)


def give_up_silent() -> int:
    """End as failed what a process that died was judging; returns how many."""
    silent = Judgement.objects.filter(
        state=Judgement.State.RUNNING, beat_at__lt=timezone.now() - SILENT_AFTER
    )
    if not silent.exists():  # an UPDATE of nothing would still take SQLite's one write lock
        return 0
    return silent.update(state=Judgement.State.FAILED, failure=GAVE_UP, finished_at=timezone.now())


def send_lost() -> int:
    """Send queued judgements that no message stands for; returns how many."""
    lost = Judgement.objects.filter(
        Q(sent_at__isnull=True) | Q(sent_at__lt=timezone.now() - RESEND_AFTER), state=Judgement.State.QUEUED
    )
    return sum(queue.send_judgement(key) for key in lost.values_list("pk", flat=True)[:100])


def _create(version: ModelVersion, actor: User | None) -> Judgement:
    against = registry.active_version(task=version.task, laboratory=version.laboratory_id)
    return Judgement.objects.create(version=version, against=against, actor=actor)


def _end(judgement: Judgement, claim: str, **values: Any) -> bool:
    """Store how it ended, if the claim still stands, with its audit event."""
    with transaction.atomic():
        held = Judgement.objects.filter(
            pk=judgement.pk, state=Judgement.State.RUNNING, claimed_by=claim
        ).update(finished_at=timezone.now(), progress={}, **values)
        if held:
            audit.record(
                action="judge_model",
                actor=judgement.actor,
                laboratory=judgement.version.laboratory,
                obj=judgement.version,
                detail={
                    "name": judgement.version.name,
                    "against": values["against"].name if values["against"] else None,
                    "passed": values.get("verdict", {}).get("passed"),
                    "failure": values.get("failure", ""),
                },
            )
    return bool(held)


@contextmanager
def _alive(judgement_id: uuid.UUID, claim: str) -> Iterator[None]:
    """Renew `beat_at` while the block runs: hashing the data, loading two networks and the bootstrap report no
    progress, and on a busy machine each may take longer than a judgement may be silent.
    """

    def renew() -> bool:
        held = Judgement.objects.filter(pk=judgement_id, claimed_by=claim, state=Judgement.State.RUNNING)
        return bool(held.update(beat_at=timezone.now()))

    with renewed(renew, every=BEAT_EVERY, longest=LONGEST_SECONDS, name=f"claim on judgement {judgement_id}"):
        yield


def _reporting(judgement_id: uuid.UUID, claim: str, track: Track) -> Track:
    """A `Track` that also writes to the judgement's row, at most once in `WRITE_EVERY` seconds."""

    def report(things: Iterable[Any], total: int, description: str) -> Iterator[Any]:
        written = 0.0
        for done, thing in enumerate(track(things, total, description)):
            if time.monotonic() - written >= WRITE_EVERY:
                written = time.monotonic()
                Judgement.objects.filter(pk=judgement_id, claimed_by=claim).update(
                    progress={"done": done, "total": total, "words": description}
                )
            yield thing

    return report


# --- the work itself ----------------------------------------------------------------------------------------


def _judge(version: ModelVersion, active: ModelVersion | None, data: Sequence[Path], track: Track) -> Verdict:
    """Read both bundles, find the locked images, have both judge them and compare. Raises _Impossible."""
    from ml.promotion import compare, locked_images

    if active is not None and active.pk == version.pk:
        raise _Impossible(f"{version.name} is active already.")
    candidate = _load(version)
    other = _load(active) if active is not None else None
    owner: Bundle = (other or candidate).bundle
    manifests = _manifests(data, version.task)
    items = locked_images(owner, manifests, candidate=candidate.bundle)
    rows = [_rows(predictor, items, track) for predictor in (candidate, other) if predictor is not None]
    common = set.intersection(*(set(one) for one in rows)) if rows else set()
    paired = [[one[key] for key in one if key in common] for one in rows]
    return compare(
        candidate.bundle,
        other.bundle if other is not None else None,
        paired[0],
        paired[1] if other is not None else [],
        seed=SEED,
        resamples=RESAMPLES,
    )


def _load(version: ModelVersion) -> Any:
    problem = registry.file_problem(version)
    if problem is not None:
        raise _Impossible(problem)
    return predictors.load(registry.bundle_folder(version))


def _rows(predictor: Any, items: Sequence[Item], track: Track) -> dict[str, Row]:
    """What a bundle says of the images that can be read, by SHA-256, in the order of `items`."""
    from ml.cache import cache_dir
    from ml.evaluation.predictions import Row
    from ml.evaluation.remembered import remembered_rows

    answers = remembered_rows(predictor, items, folder=cache_dir() / "predictions", track=track)
    return {one.sha256: one for one in answers if isinstance(one, Row)}


def _manifests(data: Sequence[Path], task: str) -> list[Manifest]:
    """The data sets at the places named, or at `LEUKOSCOPE_DATA`; a place may be a folder of data sets.

    Raises _Impossible where a place that was named cannot be read; others are left out, and images that are then
    missing make the verdict unproven.
    """
    from ml.data.labelled import load_labelled
    from ml.data.manifest import DataProblem

    found = []
    for place in data or ([settings.LEUKOSCOPE_DATA] if settings.LEUKOSCOPE_DATA else []):
        inside = sorted(index.parent for index in Path(place).glob("*/index.csv"))
        several = bool(inside) and not (Path(place) / "index.csv").is_file()
        for folder in inside if several else [Path(place)]:
            try:
                found.append(load_labelled(folder, task=task))
            except DataProblem as error:
                if data and not several:
                    raise _Impossible(str(error)) from error
                logger.warning("%s is left out: %s", folder, error)
    return found
