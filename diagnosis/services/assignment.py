"""Who reads a case: assigned to a reader, to a colleague, or released."""

from __future__ import annotations

from django.db import transaction

from diagnosis import permissions
from diagnosis.models import Case, User
from diagnosis.services import audit, signed


class AssignmentRefused(Exception):
    """An assignment that can't be made as it was asked for; the text is one sentence for the reader."""


@transaction.atomic
def assign(*, user: User, case: Case, to: User | None, expected: int | None) -> Case:
    """Make `to` the case's reader, or nobody's; `expected` is the reader the asking page showed.

    Of two who assign at once the first wins and the other is told: she decided by what was no longer so.
    Raises AssignmentRefused with a sentence, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.REVIEW, case)
    if to is not None and not permissions.can(to, permissions.REVIEW, case):
        raise AssignmentRefused("Choose a colleague of your laboratory who may review.")
    locked = signed.require_open(case, AssignmentRefused)
    wanted = to.pk if to is not None else None
    if locked.assigned_to_id == wanted:
        return locked
    if locked.assigned_to_id != expected:
        holder = locked.assigned_to.display_name if locked.assigned_to else "nobody"
        raise AssignmentRefused(
            f"{locked.accession_number} was assigned in the meantime: {holder} reads it now."
        )
    old = locked.assigned_to_id
    locked.assigned_to = to
    locked.save(update_fields=["assigned_to"])
    audit.record(
        action="assign" if to is not None else "release",
        actor=user,
        laboratory=locked.laboratory,
        obj=locked,
        detail={"old": old, "new": wanted},
    )
    return locked
