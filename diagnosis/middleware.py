"""What of every request goes into the audit: where it comes from, and that somebody looked."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from diagnosis.services import audit, audit_origin
from diagnosis.views.access import from_script

PARTS = frozenset({
    "image-thumbnail", "image-screen", "image-processed", "image-overlay", "image-sprite", "image-cells",
    "cell-saliency", "case-new",
})  # fmt: skip
"""What belongs to a page whose opening is recorded, and what shows no patient. So do fragments, named `...-live`."""
LISTS = frozenset({"worklist", "history"})
"""Pages of many patients."""
KINDS = {"cases": "case", "images": "smearimage", "cells": "cell"}
"""What an address is about, by its first part."""
SHOWN = frozenset({200, 206, 304})
"""304: the browser has the picture already, and shows it."""


class AuditMiddleware:
    """Keeps the request's address for the events that it leaves, and records what was opened by a request that left
    none: every page and picture of a patient, unless it is named above. A page that cannot be recorded is not shown.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with audit_origin.coming_from(_address(request)) as origin:
            response = self._get_response(request)
            if not origin.recorded and request.method == "GET" and response.status_code in SHOWN:
                try:
                    _record_opening(request)
                except BaseException:
                    response.close()  # the file that it would have sent
                    raise
            return response


def _record_opening(request: HttpRequest) -> None:
    match = request.resolver_match
    if match is None or match.namespace != "diagnosis" or not request.user.is_authenticated:
        return
    name = match.url_name or ""
    kind = KINDS.get(match.route.split("/")[0], "")
    if name in LISTS:
        if not from_script(request):
            audit.record_opening(
                action=f"open_{name}",
                actor=request.user,
                detail=_searched(request) if name == "history" else {},
            )
    elif kind and name not in PARTS and not name.endswith("-live"):
        if name == "case" and from_script(request):
            return  # the panel of another image, whose picture is asked for beside it
        audit.record_opening(
            action=OPENINGS.get(name, f"open_{name.replace('-', '_')}"),
            actor=request.user,
            object_type=kind,
            object_id=str(match.kwargs.get("pk", "")),
        )


OPENINGS = {"image-file": "open_image"}
"""Actions of pages whose URL has another name."""


def _searched(request: HttpRequest) -> dict[str, list[str]]:
    """By what was searched, and not for what: that may be a patient's name."""
    names = sorted(name for name, value in request.GET.items() if value and name != "page")
    return {"filters": names} if names else {}


def _address(request: HttpRequest) -> str | None:
    return audit_origin.client_address(
        peer=request.META.get("REMOTE_ADDR", ""),
        forwarded_for=request.META.get("HTTP_X_FORWARDED_FOR", ""),
        proxies=settings.LEUKOSCOPE_PROXIES,
    )
