"""Saved views of the worklist and the history: listed, kept, forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_POST

from diagnosis import worklist_selectors
from diagnosis.models import SavedView, User
from diagnosis.services import saved_views
from diagnosis.services.saved_views import LONGEST_NAME, ViewRefused, normalised
from diagnosis.views.access import signed_in


@dataclass(frozen=True)
class Shown:
    """A saved view as its page lists it."""

    view: SavedView
    is_current: bool


def views_of(*, user: User, page: str, query: str) -> dict[str, Any]:
    """What `_saved_views.html` shows on a page whose address has this query string."""
    here = normalised(query)
    listed = [
        Shown(view, view.query == here) for view in worklist_selectors.saved_views(user=user, page=page)
    ]
    return {
        "page": page,
        "query": here,
        "listed": listed,
        "current": next((one.view for one in listed if one.is_current), None),
        "longest": LONGEST_NAME,
    }


def address_of(page: str, query: str) -> str:
    """The address of a page with these filters."""
    try:
        url = reverse(f"diagnosis:{page}")
    except NoReverseMatch:
        url = reverse("diagnosis:worklist")
    return f"{url}?{query}" if query else url


@require_POST
@signed_in
def view_save(request: HttpRequest) -> HttpResponseBase:
    """Keep the filters of a page under a name. A refused name comes back with its sentence, to be changed."""
    page, name = request.POST.get("page", ""), request.POST.get("name", "")
    query = request.POST.get("query", "")
    try:
        view = saved_views.save(user=request.user, page=page, name=name, query=query)
    except ViewRefused as refusal:
        context = {
            "section": page,
            "views": {"page": page, "query": normalised(query), "longest": LONGEST_NAME},
            "name": name,
            "error": str(refusal),
            "back": address_of(page, normalised(query)),
        }
        return render(request, "diagnosis/saved_view.html", context, status=422)
    messages.info(request, f"Saved as “{view.name}”.")
    return HttpResponseRedirect(address_of(view.page, view.query))


@require_POST
@signed_in
def view_delete(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Forget a view of one's own; anybody else's is not found."""
    view = SavedView.objects.filter(pk=pk, user=request.user).first()
    if view is None:
        raise Http404("There is no such view.")
    saved_views.delete(user=request.user, view=view)
    messages.info(request, f"“{view.name}” is deleted.")
    return HttpResponseRedirect(address_of(view.page, view.query))
