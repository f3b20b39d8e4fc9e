"""The chain of audit events: each is sealed with an HMAC over itself and the HMAC of the one before.

Whoever changes, removes, inserts or moves an event must make every later HMAC anew, and for that needs the key, which
lies outside the database (settings.LEUKOSCOPE_AUDIT_KEY). A tail that is cut off leaves a whole, shorter chain: what
gives it away are the heads kept elsewhere (the table AuditHead, the file settings.LEUKOSCOPE_AUDIT_HEAD, signed
reports). `services.audit_verification` looks for all of it.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import hmac
import json
import logging
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from diagnosis.models import AuditEvent, AuditHead, Laboratory, User
from diagnosis.services.audit_origin import normal_address

logger = logging.getLogger(__name__)

BEGIN = "begin_audit_chain"
RESEAL = "reseal_audit_chain"
HEAD = 1
"""Primary key of the one row of AuditHead."""
A_BATCH = 2000
_LONGEST_LINE = 128
OUTSIDE = Q(sequence__isnull=True) | Q(sequence__lt=1)
"""Events that are no links: those from before there was a chain, and any that was slipped in."""

FIELDS = (
    "sequence", "at", "laboratory_id", "actor_id", "address", "action", "object_type", "object_id", "detail",
)  # fmt: skip
"""What of an event goes into its HMAC, in the order of the tuples given to `seal_of`."""


class AuditKeyRefused(Exception):
    """The head of the chain does not fit this process's key; the message says what to do."""

    def __init__(self) -> None:
        super().__init__(
            "The audit cannot be continued: its newest link does not fit the key of this process. Give every process "
            "the same LEUKOSCOPE_AUDIT_KEY (or audit_key file). If the key is lost for good, or the head was "
            "tampered with, `manage.py verify_audit --reseal REASON` goes on with the present key."
        )


def head() -> tuple[int, str]:
    """Number and HMAC of the newest link, the caller's own included; (0, "") before the first."""
    found = AuditHead.objects.filter(pk=HEAD).values_list("sequence", "mac").first()
    return found or (0, "")


def append(events: Sequence[AuditEvent]) -> None:
    """Add events as the next links of the chain, in the caller's transaction or one of their own.

    The head stays locked until that transaction ends, so that no two links follow the same one: whatever else the
    caller locks, it locks before. Raises AuditKeyRefused.
    """
    if not events:
        return
    with transaction.atomic(savepoint=False):
        _hold_named(events)
        _append(_locked_head(), events)


def reseal(*, reason: str) -> tuple[int, str]:
    """Go on from the newest event with the present key, recording why; returns the new head."""
    with transaction.atomic(savepoint=False):
        found, _ = AuditHead.objects.select_for_update().get_or_create(pk=HEAD)
        newest = _newest()
        if newest is not None and newest[0] >= found.sequence:
            found.sequence, found.mac = newest
        _append(found, [AuditEvent(action=RESEAL, detail={"reason": reason, "from": found.sequence})])
        return found.sequence, found.mac


def seal_of(values: tuple[Any, ...], previous: str, key: bytes) -> str:
    """The HMAC of an event, given as the values of FIELDS, after the link whose HMAC is `previous`.

    Each value is brought to the one form that it has in any database: times in UTC to the microsecond, addresses in
    their one spelling, JSON with sorted keys and whole numbers as such.
    """
    sequence, at, laboratory, actor, address, action, object_type, object_id, detail = values
    text = json.dumps(
        [
            previous, sequence, at.astimezone(datetime.UTC).isoformat(timespec="microseconds"), laboratory, actor,
            normal_address(address), action, object_type, object_id, _plain(detail),
        ],
        sort_keys=True, ensure_ascii=True, separators=(",", ":"),
    )  # fmt: skip
    return hmac.new(key, text.encode("ascii"), hashlib.sha256).hexdigest()


def head_seal(sequence: int, mac: str, key: bytes) -> str:
    """The HMAC of the head itself: it tells a process with another key, and a head set back by hand."""
    return hmac.new(key, f"head {sequence} {mac}".encode("ascii"), hashlib.sha256).hexdigest()


def audit_key() -> bytes:
    return str(settings.LEUKOSCOPE_AUDIT_KEY).encode()


def older_events() -> tuple[int, str]:
    """How many events are not in the chain, and the SHA-256 over them, in the order of their rows."""
    rows = AuditEvent.objects.filter(OUTSIDE).order_by("pk").values_list("pk", *FIELDS)
    digest, count, last = hashlib.sha256(), 0, -(2**62)
    while batch := list(rows.filter(pk__gt=last)[:A_BATCH]):
        for key, *values in batch:
            digest.update(seal_of(tuple(values), str(key), b"").encode("ascii"))
        count, last = count + len(batch), batch[-1][0]
    return count, digest.hexdigest()


def ensure_begun() -> None:
    """Bind the events from before there was a chain to its first link; cheap where that is done or needless."""
    if not AuditHead.objects.filter(pk=HEAD).exists() and AuditEvent.objects.exists():
        with transaction.atomic(savepoint=False):
            _locked_head()


def _hold_named(events: Sequence[AuditEvent]) -> None:
    """Keep whom the events name from being locked by others until the transaction ends.

    PostgreSQL checks foreign keys by such a hold when it commits, when the head is locked already: whoever has locked
    an account and waits for the head would wait for ever.
    """
    if connection.vendor != "postgresql":
        return
    people = sorted({event.actor_id for event in events if event.actor_id is not None})
    laboratories = sorted({event.laboratory_id for event in events if event.laboratory_id is not None})
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH held AS (SELECT 1 FROM {User._meta.db_table} WHERE id = ANY(%s) FOR KEY SHARE), "
            f"kept AS (SELECT 1 FROM {Laboratory._meta.db_table} WHERE id = ANY(%s) FOR KEY SHARE) "
            "SELECT (SELECT count(*) FROM held) + (SELECT count(*) FROM kept)",
            [people, laboratories],
        )


def _append(found: AuditHead, events: Iterable[AuditEvent]) -> None:
    key, before = audit_key(), (found.sequence, found.mac)
    links = []
    for event in events:
        event.sequence = found.sequence + 1
        event.mac = seal_of(tuple(getattr(event, name) for name in FIELDS), found.mac, key)
        found.sequence, found.mac = event.sequence, event.mac
        links.append(event)
    if len(links) == 1:
        links[0].save(force_insert=True)
    else:
        AuditEvent.objects.bulk_create(links, batch_size=500)
    AuditHead.objects.filter(pk=found.pk).update(
        sequence=found.sequence, mac=found.mac, seal=head_seal(found.sequence, found.mac, key)
    )
    if settings.LEUKOSCOPE_AUDIT_HEAD is not None:
        transaction.on_commit(partial(keep_outside, found.sequence, found.mac, after=before), robust=True)


def _locked_head() -> AuditHead:
    """The head, locked till the transaction ends; made where there is none."""
    found = AuditHead.objects.select_for_update().filter(pk=HEAD).first()
    if found is None:
        # Of two that come first, one makes it and the other waits for it here.
        AuditHead.objects.bulk_create([AuditHead(pk=HEAD)], ignore_conflicts=True)
        found = AuditHead.objects.select_for_update().get(pk=HEAD)
        if not found.sequence:
            _begin(found)
        return found
    seal = head_seal(found.sequence, found.mac, audit_key())
    if found.sequence and not hmac.compare_digest(found.seal, seal):
        raise AuditKeyRefused
    return found


def _begin(found: AuditHead) -> None:
    """The first link, if there are older events; the newest one, if the head's row alone was lost."""
    newest = _newest()
    if newest is not None:
        logger.error("The head of the audit's chain was missing; it goes on from event %d.", newest[0])
        found.sequence, found.mac = newest
        return
    count, digest = older_events()
    if count:
        _append(found, [AuditEvent(action=BEGIN, detail={"older_events": count, "sha256": digest})])


def _newest() -> tuple[int, str] | None:
    chained = AuditEvent.objects.filter(sequence__isnull=False).order_by("-sequence")
    return chained.values_list("sequence", "mac").first()


def _plain(value: Any) -> Any:
    """JSON as any database gives it back: PostgreSQL writes 1e22 as a whole number, and knows no minus zero."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


# --- the head kept outside the database ---------------------------------------------------------------------


def kept_outside(path: Path) -> tuple[int, str] | None:
    """Number and HMAC in a file written by `keep_outside`; None where there is none that can be read."""
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return None


def conflicts_outside(path: Path) -> list[Path]:
    """Files of heads that the chain, as it went on, no longer held."""
    return sorted(path.parent.glob(f"{path.name}.lost-*"))


def keep_outside(sequence: int, mac: str, *, after: tuple[int, str]) -> None:
    """Write the head to its file, after the commit, unless a newer one stands there; `after` is the link before.

    A head that stands there and is not in the chain any more is evidence, of a cut tail or of a restored backup: it
    is copied aside, never lost. The line is one short write in place, since every event pays for it.
    """
    path = settings.LEUKOSCOPE_AUDIT_HEAD
    if path is None:
        return
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            there = _parsed(os.pread(handle, _LONGEST_LINE, 0))
            if there is not None and there[0] >= sequence:
                return
            if there is not None and there != after and not _is_link(*there):
                logger.error("Event %d, which %s names, is not in the audit's chain.", there[0], path.name)
                lost = path.with_name(f"{path.name}.lost-{there[0]}-{timezone.now():%Y%m%d%H%M%S}")
                lost.write_text(_line(*there), encoding="ascii")
            os.pwrite(handle, _line(sequence, mac).encode("ascii"), 0)
        finally:
            os.close(handle)
    except OSError as error:
        logger.warning("The head of the audit's chain could not be kept in %s: %s", path, error)


def _line(sequence: int, mac: str) -> str:
    """Of one length, so that a new one covers the old."""
    return f"{sequence:020d} {mac}\n"


def _parsed(line: bytes) -> tuple[int, str] | None:
    try:
        number, mac = line.decode("ascii").split()
        return int(number), mac
    except ValueError:
        return None


def _is_link(sequence: int, mac: str) -> bool:
    return AuditEvent.objects.filter(sequence=sequence, mac=mac).exists()
