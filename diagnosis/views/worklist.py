"""The worklist: cases by urgency, and how much is queued and running now."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from diagnosis import selectors
from diagnosis.models import Case, User
from diagnosis.views.access import signed_in

A_PAGE = 50
SHOWN = {
    "unread": "To read",
    "suspected": "Suspected",
    "unfinished": "Being analysed",
    "all": "All cases",
}


def _shown(user: User, show: str) -> QuerySet[Case]:
    cases = selectors.worklist(user=user, unread_only=show == "unread")
    if show == "suspected":
        return cases.filter(suspected_count__gt=0)
    if show == "unfinished":
        return cases.filter(unfinished_count__gt=0)
    return cases


@require_safe
@signed_in
def worklist(request: HttpRequest) -> HttpResponseBase:
    """Cases by urgency, narrowed by `?show=`."""
    show = request.GET.get("show", "unread")
    if show not in SHOWN:
        show = "unread"
    page = Paginator(_shown(request.user, show), A_PAGE).get_page(request.GET.get("page"))
    context = {
        "section": "worklist",
        "page": page,
        "show": show,
        "shown": SHOWN,
        "counts": _counts(request.user),
        "today": timezone.localdate(),
    }
    return render(request, "diagnosis/worklist.html", context)


def _counts(user: User) -> dict[str, Any]:
    counts = selectors.queue_counts(user=user)
    unfinished = counts["queued"] + counts["running"]
    # What only waits is not about to change; what runs is.
    return {**counts, "unfinished": unfinished, "poll": "500ms" if counts["running"] else "2s"}


@require_safe
@signed_in
def queue_live(request: HttpRequest) -> HttpResponseBase:
    """How much is queued and running; 204 when that is what the page knows (`?state=`).

    A change also tells the page to look at its list again.
    """
    counts = _counts(request.user)
    if request.GET.get("state") == f"{counts['queued']}-{counts['running']}":
        return HttpResponse(status=204)
    response = render(request, "diagnosis/_queue.html", {"counts": counts})
    response["HX-Trigger"] = "leukoscope:queue"
    return response
