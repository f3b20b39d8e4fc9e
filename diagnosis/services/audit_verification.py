"""Whether the audit is whole: its chain walked from the first link, and compared with every head kept elsewhere.

It reads row by row, in constant memory, while others go on adding events.
"""

from __future__ import annotations

import datetime
import heapq
import hmac
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from diagnosis.models import AuditEvent, AuditHead, SignOut, User
from diagnosis.services import audit, audit_chain, audit_triggers
from diagnosis.services.audit_chain import A_BATCH, FIELDS

logger = logging.getLogger(__name__)

VERIFY = "verify_audit"
A_DAY = datetime.timedelta(hours=23)
LOOKED_AHEAD = 10_000
"""How many rows are looked through for an event that does not stand in its place."""


@dataclass(frozen=True)
class Anchor:
    """A link of the chain as something beside the chain remembers it: `mac` may be the beginning of the HMAC alone;
    `source` is the subject of a sentence.
    """

    sequence: int
    mac: str
    source: str


@dataclass(frozen=True)
class Verification:
    """What was found. `events` links hold, the last of them `sequence` with `mac`; `problems` are sentences, and
    `broken_at` is the number of the first link that does not hold.

    `older` counts events from before there was a chain; of those its first link keeps the number and a hash.
    """

    events: int
    older: int
    sequence: int
    mac: str
    problems: tuple[str, ...]
    broken_at: int | None
    seconds: float

    @property
    def is_whole(self) -> bool:
        return not self.problems


Progress = Callable[[int, int], None]
"""Told the number of links looked at, and how many there are."""


def verify(
    *, anchors: Sequence[Anchor] = (), start: int = 1, progress: Progress | None = None
) -> Verification:
    """Walk the chain and compare it with `anchors`, the table of its head, its file and all signed reports.

    With `start`, the links before that one are taken for granted, as they must be where their key is lost.
    """
    began = time.monotonic()
    walk = _Walk(anchors, progress)
    walk.start_at(start)
    walk.go()
    problems = [*walk.problems, *_missing_triggers()]
    return Verification(
        events=walk.sequence - walk.taken,
        older=walk.older,
        sequence=walk.sequence,
        mac=walk.mac,
        problems=tuple(problems),
        broken_at=walk.broken_at,
        seconds=time.monotonic() - began,
    )


def keep_result(found: Verification, *, actor: User | None = None) -> AuditEvent:
    """Keep a result as an event of the whole installation, which the audit's page shows."""
    return audit.record(
        action=VERIFY,
        actor=actor,
        laboratory=None,
        detail={
            "whole": found.is_whole,
            "broken_at": found.broken_at,
            "events": found.events,
            "older": found.older,
            "head": f"{found.sequence}:{found.mac}",
            "problems": list(found.problems[:20]),
            "seconds": round(found.seconds, 1),
        },
    )


def run(*, actor_id: int | None = None, progress: Progress | None = None) -> Verification | None:
    """Verify and keep the result, for the clock or for who pressed the button; what is wrong is in the log too.

    `progress` is called after every batch of links, and may do what can't wait for the last one. The clock asks every
    hour, for it does not know when it asked last: None where a day has not gone by.
    """
    newest = newest_result()
    if actor_id is None and newest is not None and timezone.now() - newest.at < A_DAY:
        return None
    found = verify(progress=progress)
    for problem in found.problems:
        logger.error("The audit is not whole: %s", problem)
    keep_result(found, actor=User.objects.filter(pk=actor_id).first() if actor_id is not None else None)
    return found


def newest_result() -> AuditEvent | None:
    """The event of the newest verification."""
    found: AuditEvent | None = (
        AuditEvent.objects.filter(action=VERIFY, laboratory__isnull=True).order_by("-at", "-pk").first()
    )
    return found


def files_of_heads() -> list[Anchor]:
    """Heads kept in files, those put aside too."""
    if settings.LEUKOSCOPE_AUDIT_HEAD is None:
        return []
    path = Path(settings.LEUKOSCOPE_AUDIT_HEAD)
    read = [
        (there, audit_chain.kept_outside(there)) for there in (path, *audit_chain.conflicts_outside(path))
    ]
    return [Anchor(*kept, source=f"The file {there.name}") for there, kept in read if kept is not None]


class _Walk:
    """One walk along the chain: where it stands, and what it found wrong."""

    def __init__(self, anchors: Sequence[Anchor], progress: Progress | None) -> None:
        self._progress = progress
        self._key = audit_chain.audit_key()
        # Read before the walk: each of them names a link that must be there when the walk comes to it.
        self._head = AuditHead.objects.filter(pk=audit_chain.HEAD).first()
        given = [*anchors, *files_of_heads()]
        if self._head is not None and self._head.sequence:
            given.append(Anchor(self._head.sequence, self._head.mac, "The table of the chain's head"))
        self._anchors = _with_reports(given)
        self._next = next(self._anchors, None)
        self.sequence, self.mac, self.older, self.taken = 0, "", 0, 0
        self.problems: list[str] = []
        self.broken_at: int | None = None

    def start_at(self, sequence: int) -> None:
        before = AuditEvent.objects.filter(sequence=sequence - 1).values_list("sequence", "mac").first()
        if before is not None and sequence > 1:
            self.sequence, self.mac = before
            self.taken = self.sequence
            self._pass_anchors()

    def go(self) -> None:
        if self._follow():
            while self._next is not None:
                self._found(self.sequence + 1, _cut(self._next, self.sequence))
                self._next = next(self._anchors, None)
            self._look_at_head()
        self._look_at_older()

    def _follow(self) -> bool:
        """Walk to the end, what is added meanwhile included; False where a link is broken."""
        total = self._head.sequence if self._head is not None else 0
        while True:
            rows = AuditEvent.objects.filter(sequence__gt=self.sequence).order_by("sequence")
            batch = list(rows.values_list("pk", "mac", *FIELDS)[:A_BATCH])
            for pk, mac, *rest in batch:
                values = tuple(rest)
                if values[0] != self.sequence + 1:
                    self._found(self.sequence + 1, _gap(self.sequence + 1, values[0] - 1))
                    return False
                if not hmac.compare_digest(mac, audit_chain.seal_of(values, self.mac, self._key)):
                    self._found(values[0], self._what_is_wrong(pk, mac, values))
                    return False
                self.sequence, self.mac = values[0], mac
                self._pass_anchors()
            if self._progress is not None:
                self._progress(self.sequence, max(total, self.sequence))
            if len(batch) < A_BATCH:
                return True

    def _found(self, sequence: int, sentence: str) -> None:
        if self.broken_at is None:
            self.broken_at = sequence
        self.problems.append(sentence)

    def _pass_anchors(self) -> None:
        while self._next is not None and self._next.sequence <= self.sequence:
            if self._next.sequence == self.sequence and not self.mac.startswith(self._next.mac):
                self._found(
                    self.sequence,
                    f"{self._next.source} names event {self.sequence} with another HMAC: the chain was made anew, at "
                    "this event or before it.",
                )
            self._next = next(self._anchors, None)

    def _what_is_wrong(self, pk: int, mac: str, values: tuple[Any, ...]) -> str:
        """A sentence on a row whose HMAC does not fit: edited, moved, or put in its place."""
        number = values[0]
        row = f"Event {number} (row {pk}: {values[5]}, {values[1]:%Y-%m-%d %H:%M:%S} UTC)"
        after = AuditEvent.objects.filter(sequence__gt=number).order_by("sequence")
        rows = after.values_list("mac", *FIELDS)[:LOOKED_AHEAD]
        there: tuple[Any, ...] | None = None
        for other_mac, *rest in rows.iterator(chunk_size=A_BATCH):
            other = tuple(rest)
            if other[0] == number + 1 and other_mac == audit_chain.seal_of(other, mac, self._key):
                return (
                    f"{row} was edited after it was recorded: the event after it still follows on its HMAC."
                )
            if there is not None:
                follows = audit_chain.seal_of((number + 1, *other[1:]), there[1], self._key)
                if other[0] == number + 2 and other_mac == follows:
                    return f"{row} was inserted: event {number} as recorded, and what came after it, stand one later."
                break
            if other_mac == audit_chain.seal_of((number, *other[1:]), self.mac, self._key):
                there = (other[0], other_mac)
        if there is not None:
            return f"{row} is out of order: what was recorded as event {number} stands as event {there[0]}."
        if self._head is not None and self._head.sequence == number and self._head.mac == mac:
            return f"{row} was edited after it was recorded: the head of the chain still names its HMAC."
        if number == 1:
            return (
                f"{row} does not fit the key: it was altered, or another LEUKOSCOPE_AUDIT_KEY made the chain."
            )
        return f"{row} does not follow on event {number - 1}: it was altered, inserted or moved there."

    def _look_at_older(self) -> None:
        """Rows outside the chain must be those that its first link counted."""
        self.older, digest = audit_chain.older_events()
        begun = AuditEvent.objects.filter(sequence=1, action=audit_chain.BEGIN).first()
        count = begun.detail["older_events"] if begun is not None else 0
        if self.older > count:
            last = (
                AuditEvent.objects.filter(audit_chain.OUTSIDE).order_by("-pk").values_list("pk", flat=True)[0]
            )
            self.problems.append(
                f"{self.older} events stand outside the chain, {count} did when it began: rows were inserted (the "
                f"last one is row {last})."
            )
        elif self.older < count:
            self.problems.append(
                f"{count - self.older} of the {count} events from before the chain are missing."
            )
        elif begun is not None and digest != begun.detail["sha256"]:
            self.problems.append(f"Of the {count} events from before the chain, one or more were edited.")

    def _look_at_head(self) -> None:
        head = AuditHead.objects.filter(pk=audit_chain.HEAD).first()
        if head is None:
            if self.sequence:
                self._found(self.sequence, "The table of the chain's head is empty: its row was removed.")
            return
        if head.sequence < self.sequence:
            self._found(
                head.sequence + 1,
                f"Event {head.sequence + 1} stands beyond the head of the chain, event {head.sequence}: it was "
                "inserted, or the head was set back.",
            )
        if head.sequence and head.seal != audit_chain.head_seal(head.sequence, head.mac, self._key):
            self._found(head.sequence, "The row of the chain's head was altered, or another key made it.")


def _gap(first: int, last: int) -> str:
    if first == last:
        return f"Event {first} is missing: it was deleted."
    return f"Events {first} to {last} are missing: they were deleted."


def _cut(anchor: Anchor, end: int) -> str:
    source = anchor.source[0].lower() + anchor.source[1:]
    return f"The end is cut off: {source} names event {anchor.sequence}, and the chain ends at event {end}."


def _with_reports(given: Sequence[Anchor]) -> Iterator[Anchor]:
    """Anchors by their numbers: those given, and those of signed reports, read as they are needed."""

    def place(anchor: Anchor) -> int:
        return anchor.sequence

    return heapq.merge(sorted(given, key=place), _reports(), key=place)


def _reports() -> Iterator[Anchor]:
    """Anchors of signed reports, read piece by piece: an open query would keep SQLite from writing what is done in the
    midst of the walk.
    """
    signed = SignOut.objects.filter(audit_sequence__isnull=False).order_by("audit_sequence", "pk")
    rows = signed.values_list("audit_sequence", "audit_head", "case__accession_number", "number", "pk")
    batch = list(rows[:A_BATCH])
    while batch:
        for sequence, mac, accession, number, _ in batch:
            yield Anchor(sequence, mac, f"Report {number} of case {accession}")
        after = Q(audit_sequence__gt=sequence) | Q(audit_sequence=sequence, pk__gt=batch[-1][-1])
        batch = list(rows.filter(after)[:A_BATCH]) if len(batch) == A_BATCH else []


def _missing_triggers() -> list[str]:
    lacking = audit_triggers.missing(connection)
    if not lacking:
        return []
    return [
        f"The database does not guard the audit: {', '.join(lacking)} missing or switched off. "
        "`manage.py migrate` puts them back."
    ]
