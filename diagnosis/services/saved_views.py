"""Saved views: filters of a page that a person gave a name."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from django.db import transaction

from diagnosis import permissions
from diagnosis.models import SavedView, User
from diagnosis.services import audit

LONGEST_NAME = 80
LONGEST_QUERY = 1000
MOST_VIEWS = 30
"""Of one person on one page: more are no shortcut any more."""

NEEDED = {
    SavedView.Page.WORKLIST: permissions.VIEW,
    SavedView.Page.HISTORY: permissions.VIEW,
    SavedView.Page.AUDIT: permissions.SEE_AUDIT,
}
_OF_THE_MOMENT = frozenset({"page", "csrfmiddlewaretoken"})


class ViewRefused(Exception):
    """A view that can't be saved as it is; the text is one sentence for the person."""


def normalised(query: str) -> str:
    """A query string as it is kept and compared: what is empty, and the number of the page, left out."""
    pairs = parse_qsl(query.lstrip("?"), keep_blank_values=False)
    return urlencode(sorted((key, value) for key, value in pairs if key not in _OF_THE_MOMENT))


@transaction.atomic
def save(*, user: User, page: str, name: str, query: str) -> SavedView:
    """Keep the filters of a page under a name; the name of an earlier view replaces that one's filters.

    Raises ViewRefused with a sentence, and what `permissions.require` raises.
    """
    if page not in SavedView.Page.values:
        raise ViewRefused("Views of this page can't be saved.")
    permissions.require(user, NEEDED[SavedView.Page(page)])
    name = " ".join(name.replace("\x00", "").split())
    if not name:
        raise ViewRefused("Give the view a name.")
    if len(name) > LONGEST_NAME:
        raise ViewRefused(f"Keep the name under {LONGEST_NAME} characters.")
    kept = normalised(query)
    if len(kept) > LONGEST_QUERY:
        raise ViewRefused("These filters are too long to be kept; search for less text.")
    # Locking the person keeps two tabs from passing the limit, or the unique name, together.
    User.objects.select_for_update().get(pk=user.pk)
    others = SavedView.objects.filter(user=user, page=page).exclude(name=name)
    if others.count() >= MOST_VIEWS:
        raise ViewRefused(f"You have {MOST_VIEWS} views here already: delete one first.")
    old = SavedView.objects.filter(user=user, page=page, name=name).values_list("query", flat=True).first()
    view, _ = SavedView.objects.update_or_create(user=user, page=page, name=name, defaults={"query": kept})
    # Neither name nor filters go into the audit: what somebody searched for may be a patient's code.
    audit.record(
        action="save_view",
        actor=user,
        laboratory=user.laboratory,
        obj=view,
        detail={"page": page, "replaced": old is not None},
    )
    return view


@transaction.atomic
def delete(*, user: User, view: SavedView) -> None:
    """Forget a view of one's own."""
    audit.record(
        action="delete_view", actor=user, laboratory=user.laboratory, obj=view, detail={"page": view.page}
    )
    SavedView.objects.filter(pk=view.pk, user=user).delete()
