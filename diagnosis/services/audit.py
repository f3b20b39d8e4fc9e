"""Audit events: who did what, to what, when."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from diagnosis.models import AuditEvent, Laboratory, User


def record(
    *,
    action: str,
    actor: User | None,
    laboratory: Laboratory | None,
    obj: Model | None = None,
    detail: dict[str, Any] | None = None,
) -> AuditEvent:
    """Add an audit event in the caller's transaction: the deed and its record stand or fall together.

    `actor` is None for what the worker did. `detail` must be JSON and must hold no patient data beyond the
    names of rows.
    """
    return AuditEvent.objects.create(
        action=action,
        actor=actor,
        laboratory=laboratory,
        object_type=(obj._meta.model_name or "") if obj is not None else "",
        object_id=str(obj.pk) if obj is not None else "",
        detail=detail or {},
    )


def record_login(*, user: User) -> AuditEvent:
    """Add the event of a person logging in."""
    return record(action="login", actor=user, laboratory=user.laboratory, obj=user)
