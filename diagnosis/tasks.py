"""Celery tasks: each takes an id, calls one service and holds no logic of its own."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from diagnosis.services import analyze, upkeep


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
    """Delete stored files that no image points to."""
    upkeep.remove_orphans()
