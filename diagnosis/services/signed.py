"""What a signature closes: a case that is signed out is changed by an amendment alone."""

from __future__ import annotations

from typing import Final

from diagnosis.models import Case

CLOSED: Final = "This case is signed out: open an amendment on its sign-out page before you change anything."


class CaseSignedOut(Exception):
    """The case is signed out and no amendment is open; the text is the sentence to show."""


def is_open_for_reading(case: Case) -> bool:
    """Whether readings, images and facts of a case may change: nobody has signed it, or an amendment is open."""
    return case.status == Case.Status.PRELIMINARY or case.amending_since is not None


def require_open(case: Case, refused: type[Exception] = CaseSignedOut) -> Case:
    """Lock a case for the caller's transaction, read anew, and raise `refused` with the sentence if it is closed.

    What follows in the transaction is then stored before a signature or after it, and never beside it. Everybody locks
    the case before its images, and those before the audit's head.
    """
    locked = Case.objects.select_for_update().get(pk=case.pk)
    if not is_open_for_reading(locked):
        raise refused(CLOSED)
    return locked
