"""Upkeep: bringing back what a broker or a worker lost, and removing files no row points to."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from diagnosis.models import Analysis, SmearImage
from diagnosis.services import analyze, case_tallies, judging, queue, registry, webhook_delivery
from diagnosis.storage import INCOMING, smear_storage

logger = logging.getLogger(__name__)

SENDING_GRACE = timedelta(seconds=3)
"""How long a commit may take to send its own task before the sweep does."""
EMPTY_GRACE = timedelta(seconds=5)
"""After this long a task is lost if the queue holds none: a worker claims what it takes at once."""
RESEND_AFTER = timedelta(minutes=5)
"""After this long a task is sent again although others wait: a few of many may have been lost."""
LARGEST_SWEEP = 1000
"""Analyses of a laboratory that one sweep sends or gives up at most; the next ones do the rest."""
A_ROUND_SECONDS = 10.0
"""How often a long task of the upkeep's one worker does what the clock asks for meanwhile."""
ORPHAN_AGE = timedelta(days=1)
CONTENT_FOLDERS = ("images", "thumbnails", "processed", "sprites", "reports")
"""Folders whose files bear the `stored_sha256` of the image they belong to as the start of their name; reports bear
that of no image, and can be made again."""
SHA256_LENGTH = 64
SMALL_BATCH = 500


@dataclass(frozen=True)
class Swept:
    """How many analyses a sweep ended as failed, took back from dead workers, and sent again."""

    failed: int = 0
    requeued: int = 0
    sent: int = 0


def sweep() -> Swept:
    """Take back expired leases, give up on what stopped three workers, and send what no message stands for.

    While a model is missing its analyses are left alone; one that the runtime could not load is tried with a
    single analysis at a time. The same for judgements, which are given up and not tried again by themselves. Last, the
    worklist's tallies are brought up to date.
    """
    failed, requeued = _take_back()
    sent = sum(queue.send_analysis(pk) for pk in _to_send())
    judging.give_up_silent()
    judging.send_lost()
    case_tallies.refresh()
    if failed or requeued or sent:
        logger.info("Sweep: %d failed, %d taken back, %d sent", failed, requeued, sent)
    return Swept(failed, requeued, sent)


class Rounds:
    """Sweeps and deliveries in the midst of a long task, whose messages of the clock expire behind it: called after
    every small piece of the task, it does a round when one is due.
    """

    def __init__(self) -> None:
        self._newest = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._newest < A_ROUND_SECONDS:
            return
        for deed in (sweep, webhook_delivery.deliver):
            try:
                deed()
            except Exception:  # the clock asks for it again; the long task is not to begin anew for it
                logger.exception("A round of the upkeep failed in the midst of a long task")
        self._newest = time.monotonic()


def _take_back() -> tuple[int, int]:
    """Analyses whose worker no longer renews its lease: failed at the last attempt, else queued again."""
    now = timezone.now()
    expired = Analysis.objects.filter(state=Analysis.State.RUNNING, lease_expires_at__lt=now)
    failed = 0
    hopeless = expired.filter(attempts__gte=analyze.MAX_ATTEMPTS).select_related("image__case__laboratory")
    for analysis in hopeless[:LARGEST_SWEEP]:
        outcome = analyze.fail(
            analysis=analysis, claim=analysis.claimed_by, failure=analyze.GAVE_UP, lease_before=now
        )
        failed += outcome == analyze.FAILED
    abandoned = expired.filter(attempts__lt=analyze.MAX_ATTEMPTS)
    if not abandoned.exists():  # an UPDATE of nothing would still take SQLite's one write lock
        return failed, 0
    return failed, abandoned.update(
        state=Analysis.State.QUEUED, claimed_by="", lease_expires_at=None, sent_at=None
    )


def _to_send() -> list[UUID]:
    """Primary keys of the queued analyses that no message stands for, oldest first."""
    now = timezone.now()
    queued = Analysis.objects.filter(state=Analysis.State.QUEUED)
    if not queued.filter(queued_at__lt=now - SENDING_GRACE).exists():
        return []
    waiting = queue.waiting_messages()
    if waiting is None:
        return []
    grace = EMPTY_GRACE if waiting == 0 else RESEND_AFTER
    lost = queued.filter(
        Q(sent_at__isnull=True, queued_at__lt=now - SENDING_GRACE) | Q(sent_at__lt=now - grace)
    )
    found = lost.order_by("queued_at").values_list("pk", "image__case__laboratory")
    waiting_of: dict[int, list[UUID]] = {}
    for key, laboratory in found:
        waiting_of.setdefault(laboratory, []).append(key)
    return [key for laboratory, keys in waiting_of.items() for key in _servable(keys, laboratory)]


def _servable(keys: list[UUID], laboratory: int) -> list[UUID]:
    """Those of a laboratory's waiting analyses that its model can be asked about now."""
    version = registry.active_version(laboratory=laboratory)
    if version is None:
        registry.register_shipped_bundles()
        version = registry.active_version(laboratory=laboratory)
    if version is None or registry.file_problem(version) is not None:
        return []
    return keys[:1] if version.problem else keys[:LARGEST_SWEEP]


def remove_orphans(*, older_than: timedelta = ORPHAN_AGE) -> int:
    """Delete stored files that no row points to and that are older than `older_than`; returns how many.

    A file being taken in is young, because storing it writes it anew even where it lay already.
    """
    root = Path(smear_storage().location)
    before = time.time() - older_than.total_seconds()
    removed = 0
    for folder in (INCOMING, *CONTENT_FOLDERS):
        for paths in _batches(_older_files(root / folder, before), SMALL_BATCH):
            hashes = {path.name[:SHA256_LENGTH] for path in paths}
            kept = set(
                SmearImage.objects.filter(stored_sha256__in=hashes).values_list("stored_sha256", flat=True)
            )
            removed += sum(
                _remove_if_old(path, before) for path in paths if path.name[:SHA256_LENGTH] not in kept
            )
    return removed


def _older_files(folder: Path, before: float) -> Iterator[Path]:
    for path in folder.rglob("*"):
        try:
            if path.is_file() and path.stat().st_mtime < before:
                yield path
        except FileNotFoundError:  # moved into place meanwhile
            continue


def _batches(paths: Iterator[Path], size: int) -> Iterator[list[Path]]:
    while batch := list(islice(paths, size)):
        yield batch


def _remove_if_old(path: Path, before: float) -> bool:
    """Move the file aside, look at its age again, and put it back if it was stored anew in between."""
    aside = path.with_name(f"{path.name}.orphan")
    try:
        os.replace(path, aside)
        if aside.stat().st_mtime >= before and not path.exists():
            os.replace(aside, path)
            return False
        aside.unlink()
    except FileNotFoundError:
        return False
    return True
