"""The quality page: agreement, drift, abstention, turnaround and the queue of one's own laboratory."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from diagnosis import permissions, quality_selectors
from diagnosis.quality_page import DEFAULT_PERIOD, PERIODS
from diagnosis.services.quality_tallies import TOO_FEW
from diagnosis.views.access import signed_in


@require_safe
@signed_in
def quality(request: HttpRequest) -> HttpResponseBase:
    """The period of the address (`?period=30`, `90` or `365`), up to today."""
    permissions.require(request.user, permissions.SEE_QUALITY)
    asked = request.GET.get("period", "")
    period = PERIODS.get(asked, DEFAULT_PERIOD)
    context = {
        "section": "quality",
        "quality": quality_selectors.quality_of(user=request.user, period=period),
        "periods": PERIODS.values(),
        "too_few": TOO_FEW,
        "unknown_period": bool(asked) and asked not in PERIODS,
        "manages_models": permissions.can(request.user, permissions.MANAGE_MODELS),
    }
    return render(request, "diagnosis/quality.html", context)
