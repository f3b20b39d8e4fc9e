"""Audit events: who did what, to what, when, from where, what it was and what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.db.models import Model

from diagnosis.models import AuditEvent, Laboratory, User
from diagnosis.services import audit_chain, audit_origin


def record(
    *,
    action: str,
    actor: User | None,
    laboratory: Laboratory | None,
    obj: Model | None = None,
    detail: Mapping[str, Any] | None = None,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Add an audit event in the caller's transaction: the deed and its record stand or fall together.

    `actor` is None for what the worker did. `detail` must be JSON and must hold no patient data beyond the names of
    rows. Of `old` and `new`, values by their names, those that differ are kept in the detail under these two words.
    Where it came from is known from the request.

    The event is a link of the chain, which stays locked till the transaction ends: record last, after whatever
    locks other rows.
    """
    event = AuditEvent(
        action=action,
        actor=actor,
        laboratory=laboratory,
        object_type=(obj._meta.model_name or "") if obj is not None else "",
        object_id=str(obj.pk) if obj is not None else "",
    )
    return _add(event, {**(detail or {}), **_changes(old, new)})


def record_opening(
    *,
    action: str,
    actor: User,
    object_type: str = "",
    object_id: str = "",
    detail: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Add the event of somebody looking at a page or picture of her laboratory, of an object where one is named."""
    event = AuditEvent(
        action=action,
        actor=actor,
        laboratory_id=actor.laboratory_id,
        object_type=object_type,
        object_id=object_id,
    )
    return _add(event, detail or {})


def record_login(*, user: User) -> AuditEvent:
    """Add the event of a person logging in."""
    return record(action="login", actor=user, laboratory=user.laboratory, obj=user)


def _add(event: AuditEvent, detail: Mapping[str, Any]) -> AuditEvent:
    origin = audit_origin.current()
    event.address = origin.address if origin is not None else None
    # As the database gives it back: tuples are lists there, and every key is a text.
    event.detail = json.loads(json.dumps(detail, allow_nan=False))
    audit_chain.append([event])
    if origin is not None:
        origin.recorded += 1
    return event


def _changes(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values that differ, as `old` and `new`; a name that is missing on one side is None there."""
    if old is None and new is None:
        return {}
    before, after = old or {}, new or {}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {
        "old": {name: before.get(name) for name in names},
        "new": {name: after.get(name) for name in names},
    }
