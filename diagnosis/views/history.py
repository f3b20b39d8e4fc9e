"""The history: search, filters in the address, sort, pages."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from diagnosis import worklist_selectors
from diagnosis.forms import HistoryForm
from diagnosis.history_selectors import Found
from diagnosis.models import SavedView
from diagnosis.services import exports
from diagnosis.views.access import signed_in
from diagnosis.views.saved_views import views_of

A_PAGE = 25
COLUMNS = (
    ("Case", "accession", "-accession"),
    ("Patient", "patient", "-patient"),
    ("Outcomes", "", ""),
    ("Read", "", ""),
    ("Status", "", ""),
    ("Received", "-received", "received"),
    ("Reader", "", ""),
    ("Specimen", "", ""),
)
"""Heading, the order its first click gives, and the order of the second."""


@require_safe
@signed_in
def history(request: HttpRequest) -> HttpResponseBase:
    """Cases that match the filters of the address."""
    form = HistoryForm(request.GET, user=request.user)
    filters = form.filters(request.GET.get("sort", ""))
    found = Found(user=request.user, filters=filters)
    page = Paginator(found, A_PAGE).get_page(request.GET.get("page"))
    page.object_list = worklist_selectors.with_work(page.object_list, user=request.user)
    context = {
        "section": "history",
        "form": form,
        "page": page,
        "headings": [_heading(*column, filters.sort) for column in COLUMNS],
        "sort": filters.sort,
        "today": timezone.localdate(),
        "most_exported": exports.MOST_CASES if found.is_cut or found.count() > exports.MOST_CASES else None,
        "views": views_of(user=request.user, page=SavedView.Page.HISTORY, query=request.GET.urlencode()),
    }
    return render(request, "diagnosis/history.html", context)


def _heading(word: str, first: str, second: str, sort: str) -> dict[str, str]:
    """A column heading: the order it stands in, as ARIA calls it, and the order a click gives."""
    direction = ""
    if first and sort in (first, second):
        direction = "descending" if sort.startswith("-") else "ascending"
    next_sort = second if sort == first else first
    return {"word": word, "aria": direction, "next": next_sort}
