"""Analyses: queueing one, and running it so that it ends exactly once whatever dies on the way."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from diagnosis import permissions
from diagnosis.models import Analysis, ModelVersion, SmearImage, User
from diagnosis.services import audit, cells, queue, registry, shadow, webhooks
from diagnosis.services.analysis_values import AnalysisFailed, values_of
from diagnosis.services.predictors import CACHE, ModelUnavailable, Predictors
from diagnosis.services.renewing import renewed
from diagnosis.services.signed import require_open

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
LONGEST_SECONDS = 600.0
"""How long a lease is renewed. The largest image takes a few seconds; a worker that takes longer hangs."""

GAVE_UP = "The worker stopped while analysing this image, three times: try again, or tell an administrator."
UNEXPECTED = "The analysis stopped with an error that was not foreseen: try again, or tell an administrator."

# What `run` did, for the log and the tests.
DONE, FAILED, NOT_CLAIMED, LOST, WAITING = "done", "failed", "not claimed", "lost", "waiting for a model"


class RetryRefused(Exception):
    """There is nothing to try again; the text is one sentence for the user."""


def enqueue(*, image: SmearImage, user: User | None = None) -> Analysis:
    """Add a queued analysis, and send its task once the surrounding transaction is safe.

    What is stored by then stays stored: if sending fails, whatever the reason, the sweep sends it.
    """
    with transaction.atomic():
        analysis = Analysis.objects.create(image=image, created_by=user)
        SmearImage.objects.filter(pk=image.pk).update(newest_analysis=analysis)
        image.newest_analysis = analysis
        transaction.on_commit(lambda: queue.send_analysis(analysis.pk), robust=True)
    return analysis


def retry(*, user: User, image: SmearImage) -> Analysis:
    """Analyse an image anew, as a new analysis; two clicks at once give one.

    Raises RetryRefused while one is unfinished or the case is signed out, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.RETRY, image)
    try:
        with transaction.atomic():
            require_open(image.case, RetryRefused)
            analysis = enqueue(image=image, user=user)
            audit.record(action="retry", actor=user, laboratory=image.case.laboratory, obj=image)
    except IntegrityError as error:
        raise RetryRefused("This image is being analysed already.") from error
    return analysis


def run(*, analysis_id: uuid.UUID, predictors: Predictors = CACHE) -> str:
    """Run an analysis, if no one else does; returns one of DONE, FAILED, NOT_CLAIMED, LOST and WAITING.

    The model comes first: without one the analysis is not claimed, stays queued and loses no attempt. The
    result is stored only while the claim is ours, so that a task that arrives twice, or a worker that was
    thought dead, never stores a second one.
    """
    analysis = (
        Analysis.objects.select_related("image__case__laboratory")
        .filter(pk=analysis_id, state__in=Analysis.UNFINISHED)
        .first()
    )
    if analysis is None:
        return NOT_CLAIMED
    version = _model_for(analysis)
    if version is None:
        return _put_aside(analysis)
    try:
        predictor = predictors.get(version)
    except ModelUnavailable as problem:
        registry.record_problem(version=version, problem=_own_problem(version, str(problem)))
        logger.error("Analysis %s waits: %s", analysis.pk, problem)
        return _put_aside(analysis)
    registry.record_problem(version=version, problem="")

    claim = _claim(analysis.pk)
    if claim is None:
        return NOT_CLAIMED
    with _lease_kept(analysis.pk, claim):
        try:
            values = values_of(analysis=analysis, version=version, predictor=predictor, predictors=predictors)
        except AnalysisFailed as failure:
            return fail(analysis=analysis, claim=claim, failure=str(failure))
        except DatabaseError:
            raise  # nothing can be stored now; the lease runs out, and another attempt follows
        except Exception:
            logger.exception("Analysis %s failed", analysis.pk)
            return fail(analysis=analysis, claim=claim, failure=UNEXPECTED)
        return _store(analysis, claim, values)


def _model_for(analysis: Analysis) -> ModelVersion | None:
    laboratory = analysis.image.case.laboratory
    version = registry.active_version(laboratory=laboratory)
    if version is None:
        registry.register_shipped_bundles()
        version = registry.active_version(laboratory=laboratory)
    return version


def _own_problem(version: ModelVersion, problem: str) -> str:
    """What is kept with the version: only what looking at its files does not show by itself."""
    return "" if registry.file_problem(version) else problem


def _put_aside(analysis: Analysis) -> str:
    """Leave an analysis queued and its message consumed; the sweep sends it when the model is back."""
    Analysis.objects.filter(pk=analysis.pk, state=Analysis.State.QUEUED).update(sent_at=None)
    return WAITING


def lease() -> timedelta:
    return timedelta(seconds=settings.LEUKOSCOPE_LEASE_SECONDS)


def _claim(analysis_id: uuid.UUID) -> str | None:
    """Take an analysis by one conditional UPDATE; None when someone holds it, or it has ended."""
    now = timezone.now()
    claim = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    free = Q(state=Analysis.State.QUEUED) | Q(state=Analysis.State.RUNNING, lease_expires_at__lt=now)
    taken = Analysis.objects.filter(free, pk=analysis_id, attempts__lt=MAX_ATTEMPTS).update(
        state=Analysis.State.RUNNING,
        claimed_by=claim,
        attempts=F("attempts") + 1,
        started_at=now,
        lease_expires_at=now + lease(),
    )
    return claim if taken else None


@contextmanager
def _lease_kept(analysis_id: uuid.UUID, claim: str) -> Iterator[None]:
    """Renew the lease while the block runs, but not for ever."""

    def renew() -> bool:
        held = Analysis.objects.filter(pk=analysis_id, claimed_by=claim, state=Analysis.State.RUNNING)
        return bool(held.update(lease_expires_at=timezone.now() + lease()))

    every = lease().total_seconds() / 3
    with renewed(renew, every=every, longest=LONGEST_SECONDS, name=f"lease of analysis {analysis_id}"):
        yield


def _store(analysis: Analysis, claim: str, values: dict[str, Any]) -> str:
    """Store a result if the claim is still ours."""
    thumbnail, found = values.pop("thumbnail"), values.pop("cells", None)
    with transaction.atomic():
        if not _end(analysis, claim, state=Analysis.State.DONE, **values):
            logger.warning("Analysis %s was taken over; its result is dropped", analysis.pk)
            return LOST
        webhooks.note_analysis_ended(analysis=analysis)
        cells.store(analysis=analysis, work=found)
        SmearImage.objects.filter(pk=analysis.image_id).exclude(thumbnail=thumbnail).update(
            thumbnail=thumbnail
        )
        audit.record(
            action="analysis_done",
            actor=None,
            laboratory=analysis.image.case.laboratory,
            obj=analysis,
            detail={
                "image": str(analysis.image_id),
                "model_version": values["model_version"].name,
                "outcome": values["outcome"],
                "label": values["label"],
            },
        )
        if shadow.wanted(analysis=analysis):
            transaction.on_commit(lambda: queue.send_shadows(analysis.pk), robust=True)
    return DONE


def fail(*, analysis: Analysis, claim: str, failure: str, lease_before: datetime | None = None) -> str:
    """End an analysis as failed, with a sentence for the page, if the claim still stands.

    With `lease_before`, only if its lease has run out before then: its worker may have renewed it meanwhile.
    """
    lapsed = Q() if lease_before is None else Q(lease_expires_at__lt=lease_before)
    with transaction.atomic():
        if not _end(analysis, claim, lapsed, state=Analysis.State.FAILED, failure=failure):
            return LOST
        webhooks.note_analysis_ended(analysis=analysis)
        audit.record(
            action="analysis_failed",
            actor=None,
            laboratory=analysis.image.case.laboratory,
            obj=analysis,
            detail={"image": str(analysis.image_id), "failure": failure},
        )
    return FAILED


def _end(analysis: Analysis, claim: str, *only: Q, **values: Any) -> bool:
    held = Analysis.objects.filter(*only, pk=analysis.pk, state=Analysis.State.RUNNING, claimed_by=claim)
    return bool(held.update(finished_at=timezone.now(), lease_expires_at=None, **values))
