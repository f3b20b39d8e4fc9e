"""Handing work to the broker, which may be away, and asking how much of it waits there.

The database is the truth about what is to be done; a message is only a nudge. So nothing here raises: what
could not be sent is sent by the sweep.
"""

from __future__ import annotations

import logging
from uuid import UUID

from celery import current_app
from django.utils import timezone
from kombu.exceptions import KombuError

from diagnosis.models import Analysis, Judgement

logger = logging.getLogger(__name__)

ANALYSIS_QUEUE = "analysis"
TRAINING_QUEUE = "training"
TRIAL_EXPIRES_SECONDS = 3600.0
"""A nudge that nobody took for so long is worth nothing: whoever conducts the training sends others."""
SHADOW_EXPIRES_SECONDS = 24 * 3600.0
"""Without a worker for them, shadows must not fill the broker's memory."""

# kombu's own OperationalError is a KombuError; sockets and the Redis client raise OSError and its own kinds,
# which `Celery.connection` lists with the transport's.
_LOOKING_SECONDS = 3


def _broker_errors() -> tuple[type[BaseException], ...]:
    connection = current_app.connection_for_write()
    return (
        KombuError,
        OSError,
        *connection.connection_errors,
        *connection.channel_errors,
    )


def send_analysis(analysis_id: UUID) -> bool:
    """Send the task of a queued analysis; False, and a line in the log, when the broker is away."""
    from diagnosis.tasks import analyze_image

    # Marked first: a worker may take the task, and put it aside, before this function goes on.
    Analysis.objects.filter(pk=analysis_id).update(sent_at=timezone.now())
    try:
        analyze_image.apply_async(args=[str(analysis_id)], queue=ANALYSIS_QUEUE)
    except _broker_errors() as error:
        logger.warning(
            "The broker did not take analysis %s; the sweep sends it again. %s", analysis_id, error
        )
        Analysis.objects.filter(pk=analysis_id).update(sent_at=None)
        return False
    return True


def send_trials(training_id: UUID, *, wanted: int) -> bool:
    """Have as many messages in the queue as trials of a training wait; False when the broker is away."""
    from diagnosis.tasks import run_trial

    there = waiting_messages(TRAINING_QUEUE)
    if there is None:
        return False
    try:
        for _ in range(wanted - there):
            run_trial.apply_async(
                args=[str(training_id)], queue=TRAINING_QUEUE, expires=TRIAL_EXPIRES_SECONDS
            )
    except _broker_errors() as error:
        logger.warning("The broker did not take a trial; it is sent again. %s", error)
        return False
    return True


def send_judgement(judgement_id: UUID) -> bool:
    """Send the task of a queued judgement; False when the broker is away, and the sweep sends it later."""
    from diagnosis.tasks import judge_version

    Judgement.objects.filter(pk=judgement_id).update(sent_at=timezone.now())
    try:
        judge_version.apply_async(args=[str(judgement_id)], queue=TRAINING_QUEUE)
    except _broker_errors() as error:
        logger.warning("The broker did not take judgement %s; the sweep sends it. %s", judgement_id, error)
        Judgement.objects.filter(pk=judgement_id).update(sent_at=None)
        return False
    return True


def send_shadows(analysis_id: UUID) -> bool:
    """Send the task that runs the shadow versions on an analysed image; False when the broker is away, and then
    these shadows do not run: they are for comparison alone, and need not be complete.
    """
    from diagnosis.tasks import run_shadows

    try:
        run_shadows.apply_async(args=[str(analysis_id)], queue=TRAINING_QUEUE, expires=SHADOW_EXPIRES_SECONDS)
    except _broker_errors() as error:
        logger.warning("The broker did not take the shadows of analysis %s. %s", analysis_id, error)
        return False
    return True


def send_verification(*, actor_id: int) -> bool:
    """Send the task that verifies the audit; False when the broker is away."""
    from diagnosis.tasks import verify_audit

    try:
        verify_audit.apply_async(kwargs={"actor_id": actor_id}, expires=TRIAL_EXPIRES_SECONDS)
    except _broker_errors() as error:
        logger.warning("The broker did not take the verification of the audit. %s", error)
        return False
    return True


def waiting_messages(queue: str = ANALYSIS_QUEUE) -> int | None:
    """How many messages of a queue no worker has taken; None when the broker does not answer."""
    try:
        with current_app.connection_for_read(connect_timeout=_LOOKING_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0.2)
            channel = connection.default_channel
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except _broker_errors() as error:
        # No such queue, as in a broker that restarted empty. Kombu's transports give the code as a string.
        if str(getattr(error, "reply_code", "")) == "404":
            return 0
        logger.warning("The broker does not answer: %s", error)
        return None
