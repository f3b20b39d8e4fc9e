"""The worklist: cases by urgency, who reads them, what is asked of the reader, and how much runs now."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from diagnosis import permissions, queue_selectors, worklist_selectors
from diagnosis.models import SavedView, User
from diagnosis.services.assignment import AssignmentRefused, assign
from diagnosis.views.access import from_script, signed_in
from diagnosis.views.saved_views import views_of
from diagnosis.worklist_forms import WorklistForm
from diagnosis.worklist_selectors import MOST_ASKED, SHOWN

A_PAGE = 25
KNOWN = "X-Worklist"
"""Header by which the page says which list it shows."""


def _list_of(user: User, query: QueryDict) -> dict[str, Any]:
    """What the list shows for the filters of an address."""
    form = WorklistForm(query, user=user)
    filters = form.filters()
    found = worklist_selectors.worklist(user=user, filters=filters)
    page = Paginator(found, A_PAGE).get_page(query.get("page"))
    page.object_list = worklist_selectors.with_work(page.object_list, user=user)
    asked = list(worklist_selectors.asked_of(user=user)[: MOST_ASKED + 1])
    return {
        "form": form,
        "page": page,
        "most_signed": worklist_selectors.MOST_SIGNED if found.is_cut else 0,
        "show": filters.show,
        "shown": SHOWN,
        "asked": asked[:MOST_ASKED],
        "asked_more": len(asked) > MOST_ASKED,
        "query": query.urlencode(),
        "here": reverse("diagnosis:worklist") + (f"?{query.urlencode()}" if query else ""),
        "state": worklist_selectors.state_of(page.object_list, asked),
        "assigns": permissions.can(user, permissions.REVIEW),
        "today": timezone.localdate(),
    }


@require_safe
@signed_in
def worklist(request: HttpRequest) -> HttpResponseBase:
    """Cases by urgency, narrowed by the address."""
    context = {
        **_list_of(request.user, request.GET),
        "section": "worklist",
        "counts": _counts(request.user),
        "views": views_of(user=request.user, page=SavedView.Page.WORKLIST, query=request.GET.urlencode()),
    }
    return render(request, "diagnosis/worklist.html", context)


@require_safe
@signed_in
def worklist_live(request: HttpRequest) -> HttpResponseBase:
    """The list anew, for the same address; 204 when it is the one that the page shows."""
    context = _list_of(request.user, request.GET)
    if request.headers.get(KNOWN) == context["state"]:
        return HttpResponse(status=204)
    return render(request, "diagnosis/_cases.html", context)


def _counts(user: User) -> dict[str, Any]:
    counts = queue_selectors.queue_counts(user=user)
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


@require_POST
@signed_in
def case_assign(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Assign a case (`to`: a person's key, or nothing), then show the page that asked, or its list anew."""
    case = permissions.get_case_for(request.user, pk, permissions.REVIEW)
    to = _colleague(request.user, request.POST.get("to", ""))
    try:
        if to is None and request.POST.get("to"):
            raise AssignmentRefused("Choose a colleague of your laboratory who may review.")
        changed = assign(
            user=request.user, case=case, to=to, expected=_number(request.POST.get("expected", ""))
        )
        reader = changed.assigned_to
        said, refused = (
            f"{changed.accession_number} is read by {reader.display_name if reader else 'nobody'} now.",
            False,
        )
    except AssignmentRefused as refusal:
        said, refused = str(refusal), True
    if from_script(request):
        context = _list_of(request.user, QueryDict(request.POST.get("query", "")))
        return render(request, "diagnosis/_cases.html", {**context, "said": said, "refused": refused})
    (messages.warning if refused else messages.info)(request, said)
    return HttpResponseRedirect(safe_next(request, reverse("diagnosis:worklist")))


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _colleague(user: User, key: str) -> User | None:
    number = _number(key)
    if number is None:
        return None
    return worklist_selectors.colleagues(user=user).filter(pk=number).first()


def safe_next(request: HttpRequest, otherwise: str) -> str:
    """The page of ours that a form says it was on."""
    wanted = str(request.POST.get("next", ""))
    is_ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if wanted and is_ours else otherwise
