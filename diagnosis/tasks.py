"""Celery tasks: each takes an id, calls one service and holds no logic of its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import shared_task

from diagnosis.services import (
    analyze,
    audit_verification,
    idempotency,
    judging,
    quality,
    shadow,
    upkeep,
    webhook_delivery,
)


@shared_task(name="diagnosis.tasks.analyze_image")  # type: ignore[untyped-decorator]
def analyze_image(analysis_id: str) -> None:
    """Run one analysis. It may arrive twice, or after a worker died: the claim in the database decides."""
    analyze.run(analysis_id=UUID(analysis_id))


@shared_task(name="diagnosis.tasks.sweep")  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Bring back what a broker or a worker lost. Safe at any time and twice at once."""
    upkeep.sweep()


@shared_task(name="diagnosis.tasks.remove_orphans")  # type: ignore[untyped-decorator]
def remove_orphans() -> None:
    """Delete stored files that no image points to, and forget what other systems no longer ask about."""
    upkeep.remove_orphans()
    idempotency.forget_old()
    webhook_delivery.forget_old()


# Acknowledged after it ran, as every task of upkeep: a round that a dead worker leaves is taken up by the next one.
@shared_task(name="diagnosis.tasks.deliver_webhooks")  # type: ignore[untyped-decorator]
def deliver_webhooks() -> None:
    """Send the webhook deliveries that are due. Safe at any time and twice at once."""
    webhook_delivery.deliver()


# Acknowledged before it runs: a long chain takes longer than any message may stay unacknowledged.
@shared_task(name="diagnosis.tasks.verify_audit", acks_late=False)  # type: ignore[untyped-decorator]
def verify_audit(actor_id: int | None = None) -> None:
    """Verify the audit once a day, or because somebody asked, and keep the result. Twice does no harm.

    Sweeps and webhooks do not wait for its end: it does their rounds in between.
    """
    audit_verification.run(actor_id=actor_id, progress=upkeep.Rounds())


# Acknowledged before it runs, as that: the first count of a large archive takes long, and is made again when it fails.
@shared_task(name="diagnosis.tasks.count_quality", acks_late=False)  # type: ignore[untyped-decorator]
def count_quality() -> None:
    """Count what the quality page shows: the last days anew. Safe at any time and twice at once."""
    quality.run()


# Acknowledged before it runs: a trial takes longer than any message may stay unacknowledged, and the study in the
# database knows a dead worker's trial by its heartbeat.
@shared_task(name="diagnosis.tasks.run_trial", bind=True, acks_late=False)  # type: ignore[untyped-decorator]
def run_trial(self: Any, training_id: str) -> None:
    """Run one trial of a training's search, if one still waits. It may arrive too often: then there is none."""
    from diagnosis.services import searching  # here: a web process that sends analyses does not pay for it

    searching.run_one(training_id=UUID(training_id), worker=self.request.hostname)


# Acknowledged before it runs, as a trial is: the sweep sends again what no message stands for.
@shared_task(name="diagnosis.tasks.judge_version", acks_late=False)  # type: ignore[untyped-decorator]
def judge_version(judgement_id: str) -> None:
    """Judge one version against the active one. It may arrive twice: the claim in the database decides."""
    judging.run(judgement_id=UUID(judgement_id))


@shared_task(name="diagnosis.tasks.run_shadows", acks_late=False)  # type: ignore[untyped-decorator]
def run_shadows(analysis_id: str) -> None:
    """Have the shadow versions judge an analysed image, each once."""
    shadow.run_shadows(analysis_id=UUID(analysis_id))
