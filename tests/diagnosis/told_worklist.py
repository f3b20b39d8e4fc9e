"""What the worklist shows somebody, all of its pages."""

from __future__ import annotations

from diagnosis import worklist_selectors
from diagnosis.models import Case, User
from diagnosis.worklist_selectors import OPEN, UNREAD, WorklistFilters


def listed(*, user: User, unread_only: bool = False) -> list[Case]:
    """The open cases in the order of the list; or those that need a reader alone."""
    filters = WorklistFilters(show=UNREAD if unread_only else OPEN)
    return worklist_selectors.worklist(user=user, filters=filters)[0:10_000]
