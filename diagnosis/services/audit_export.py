"""The audit as CSV, row by row, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from diagnosis import audit_selectors, audit_veil, audit_wording, permissions
from diagnosis.audit_selectors import AuditFilters
from diagnosis.models import AuditEvent, User
from diagnosis.services import audit
from diagnosis.services.exports import BYTE_ORDER_MARK, harmless

A_BATCH = 1000
MOST_LINES = 200_000
"""More take longer than a request may; the last line says so."""
HEADINGS = (
    "number", "at (UTC)", "person", "account", "address", "action", "what was done", "object", "object's key",
    "object's name", "old", "new", "detail", "hmac",
)  # fmt: skip


class _Echo:
    """A file whose writes are what the writer returns."""

    def write(self, text: str) -> str:
        return text


def audit_csv(*, user: User, filters: AuditFilters, with_mark: bool = False) -> Iterator[str]:
    """The events of a view of the audit as lines of CSV (RFC 4180), newest first.

    The export is an event itself before its first line is given out. Raises what `permissions.require` raises.
    """
    permissions.require(user, permissions.SEE_AUDIT)
    audit.record(
        action="export", actor=user, laboratory=user.laboratory,
        detail={"what": "audit.csv", "filters": _told(filters)},
    )  # fmt: skip
    return _lines(user=user, filters=filters, with_mark=with_mark)


def _told(filters: AuditFilters) -> dict[str, Any]:
    """The filters as the audit keeps them: what was searched for may be a patient's, and is left out."""
    told = {name: value for name, value in vars(filters).items() if value not in ("", None)}
    if told.pop("q", ""):
        told["searched"] = True
    return {name: value if isinstance(value, bool | int) else str(value) for name, value in told.items()}


def _lines(*, user: User, filters: AuditFilters, with_mark: bool) -> Iterator[str]:
    writer: Any = csv.writer(_Echo())  # its writerow returns what the file's write returns
    yield (BYTE_ORDER_MARK if with_mark else "") + writer.writerow(HEADINGS)
    events = audit_selectors.all_of(user=user, filters=filters, a_batch=A_BATCH)
    lines = 0
    while batch := list(islice(events, min(A_BATCH, MOST_LINES - lines))):
        things = audit_selectors.things_of(user=user, events=batch)
        veiled = audit_veil.veiled_events(user=user, events=batch)
        yield "".join(
            writer.writerow([harmless(cell) for cell in _row(event, things, veiled)]) for event in batch
        )
        lines += len(batch)
    if next(events, None) is not None:
        yield writer.writerow(
            [f"Not all: there are older events. Narrow by dates; at most {MOST_LINES:,} go out."]
        )


def _row(
    event: AuditEvent, things: dict[tuple[str, str], audit_selectors.Thing], veiled: frozenset[int]
) -> tuple[object, ...]:
    thing = things.get((event.object_type, event.object_id))
    detail = audit_veil.detail_of(event, veiled)
    old, new = detail.pop("old", None), detail.pop("new", None)
    actor = event.actor
    return (
        event.sequence,
        event.at.astimezone(datetime.UTC).isoformat(timespec="milliseconds"),
        actor.display_name if actor else "",
        actor.username if actor else "",
        event.address,
        event.action,
        audit_wording.action_word(event.action),
        thing.kind if thing else "",
        event.object_id,
        thing.name if thing else "",
        _json(old),
        _json(new),
        _json(detail or None),
        event.mac,
    )


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
