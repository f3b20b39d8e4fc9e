"""Tables to download: the history as CSV."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from diagnosis.forms import HistoryForm
from diagnosis.services import exports
from diagnosis.views.access import signed_in


@require_safe
@signed_in
def history_csv(request: HttpRequest) -> HttpResponseBase:
    """Every case that matches the filters of the address, those of the history page; `?bom=1` for Excel."""
    form = HistoryForm(request.GET, user=request.user)
    lines = exports.history_csv(
        user=request.user,
        filters=form.filters(request.GET.get("sort", "")),
        with_mark=request.GET.get("bom") == "1",
    )
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="history-{timezone.localdate():%Y-%m-%d}.csv"'
    response["X-Content-Type-Options"] = "nosniff"
    return response
