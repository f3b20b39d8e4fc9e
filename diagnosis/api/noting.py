"""That another system read a patient's results is an audit event, as a page that was opened is."""

from __future__ import annotations

from django.core.cache import cache
from django.http import HttpRequest

from diagnosis.models import ApiToken, Case
from diagnosis.services import audit

ONCE_IN_SECONDS = 600
"""A system that polls leaves one event in this time for what it reads, and not one a second."""


def note_reading(request: HttpRequest, case: Case, *, what: str, often: bool = False) -> None:
    """Record that `what` of a case was read by the request's token; each time if `often`."""
    token: ApiToken = request.auth  # type: ignore[attr-defined]  # ninja puts there what the gate returned
    key = f"api-read-{token.pk}-{case.pk}-{what}"
    if not often and not cache.add(key, True, ONCE_IN_SECONDS):
        return
    audit.record(
        action="read_by_api",
        actor=token.user,
        laboratory=token.laboratory,
        obj=case,
        detail={"what": what, "token": token.name},
    )
