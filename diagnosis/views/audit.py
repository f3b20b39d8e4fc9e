"""The audit: who saw and did what, narrowed by the address, as a table to download, and whether it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from diagnosis import audit_selectors, audit_veil, audit_wording, permissions
from diagnosis.audit_forms import AuditForm
from diagnosis.audit_selectors import Cursor, Thing
from diagnosis.models import AuditEvent
from diagnosis.services import audit as recording
from diagnosis.services import audit_export, audit_verification, queue
from diagnosis.views.access import signed_in
from diagnosis.views.saved_views import views_of

A_PAGE = 50
_LONGEST = 200
"""Characters of a value that the page shows; the export has all of it."""


@dataclass(frozen=True)
class Change:
    """A value before and after; `old` is None for what an event tells without a change. One alone has no name."""

    name: str
    old: str | None
    new: str


@dataclass(frozen=True)
class Row:
    """An event as the page shows it."""

    event: AuditEvent
    action: str
    thing: Thing | None
    changes: list[Change]


@require_safe
@signed_in
def audit(request: HttpRequest) -> HttpResponseBase:
    """Events that match the filters of the address, newest first."""
    permissions.require(request.user, permissions.SEE_AUDIT)
    form = AuditForm(request.GET, user=request.user)
    filters = form.filters()
    after = Cursor.read(request.GET.get("after", ""))
    found = audit_selectors.page_of(user=request.user, filters=filters, after=after, size=A_PAGE)
    things = audit_selectors.things_of(user=request.user, events=found.events)
    veiled = audit_veil.veiled_events(user=request.user, events=found.events)
    context = {
        "section": "audit",
        "form": form,
        "rows": [_row(event, things, veiled) for event in found.events],
        "older": found.older,
        "is_first": after is None,
        "verified": audit_verification.newest_result(),
        "views": views_of(user=request.user, page="audit", query=request.META["QUERY_STRING"]),
    }
    recording.record_opening(action="open_audit", actor=request.user, detail=_asked(request))
    return render(request, "diagnosis/audit.html", context)


def _asked(request: HttpRequest) -> dict[str, Any]:
    """By what it was narrowed, and not to what: that may be a patient's code."""
    names = sorted(name for name, value in request.GET.items() if value and name != "after")
    return {"filters": names} if names else {}


@require_safe
@signed_in
def audit_csv(request: HttpRequest) -> HttpResponseBase:
    """Every event that matches the filters of the address; `?bom=1` for Excel."""
    form = AuditForm(request.GET, user=request.user)
    lines = audit_export.audit_csv(
        user=request.user, filters=form.filters(), with_mark=request.GET.get("bom") == "1"
    )
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="audit-{timezone.localdate():%Y-%m-%d}.csv"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


@require_POST
@signed_in
def audit_verify(request: HttpRequest) -> HttpResponseBase:
    """Have the chain verified by the worker of the upkeep."""
    permissions.require(request.user, permissions.SEE_AUDIT)
    if queue.send_verification(actor_id=request.user.pk):
        messages.info(request, "The audit is being verified: reload this page in a moment.")
    else:
        messages.warning(
            request, "The broker does not answer, so the audit cannot be verified now: try again later."
        )
    return HttpResponseRedirect(reverse("diagnosis:audit"))


def _row(event: AuditEvent, things: dict[tuple[str, str], Thing], veiled: frozenset[int]) -> Row:
    return Row(
        event=event,
        action=audit_wording.action_word(event.action),
        thing=things.get((event.object_type, event.object_id)),
        changes=_changes(audit_veil.detail_of(event, veiled)),
    )


def _changes(detail: dict[str, Any]) -> list[Change]:
    """What an event says beside: old and new values first, then the rest."""
    rest = [
        Change(_name(name), None, _text(value))
        for name, value in detail.items()
        if name not in ("old", "new")
    ]
    if "old" not in detail and "new" not in detail:
        return rest
    old, new = detail.get("old"), detail.get("new")
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [Change("", _text(old), _text(new)), *rest]
    return [
        *(Change(_name(name), _text(old.get(name)), _text(new.get(name))) for name in {**old, **new}),
        *rest,
    ]


def _name(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    """A value in words: nothing as a dash, lists and tables flat."""
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        text = ", ".join(f"{_name(str(name)) or '–'}: {_text(item)}" for name, item in value.items())
    elif isinstance(value, list):
        text = ", ".join(_text(item) for item in value)
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
