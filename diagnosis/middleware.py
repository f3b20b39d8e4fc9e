"""What of every request goes into the audit: where it comes from, and that somebody looked."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from diagnosis.services import audit_origin


class AuditMiddleware:
    """Keeps the request's address for the events that it leaves."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with audit_origin.coming_from(_address(request)):
            return self._get_response(request)


def _address(request: HttpRequest) -> str | None:
    return audit_origin.client_address(
        peer=request.META.get("REMOTE_ADDR", ""),
        forwarded_for=request.META.get("HTTP_X_FORWARDED_FOR", ""),
        proxies=settings.LEUKOSCOPE_PROXIES,
    )
