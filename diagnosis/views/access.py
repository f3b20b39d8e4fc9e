"""What every view of ours shares: who may come in, how scripts are answered, and what browsers may keep."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast
from urllib.parse import urlsplit

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import resolve_url
from django.utils.cache import patch_vary_headers
from django.utils.http import urlencode

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]

SCRIPT = "leukoscope"
"""Our own scripts send this as X-Requested-With; htmx sends HX-Request."""


def from_script(request: HttpRequest) -> bool:
    """Whether a script of ours asks, which takes a fragment or JSON and no whole page."""
    return request.headers.get("X-Requested-With") == SCRIPT or "HX-Request" in request.headers


def signed_in(view: View[P]) -> View[P]:
    """Let in who is logged in, and send the others to log in and come back.

    A script gets 401 instead of a log-in page it would take for a fragment, and a refusal as JSON with a
    `message`. Unless the view says otherwise, browsers keep no copy of the answer: it shows patients.
    """

    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return log_in_first(request)
        try:
            response = view(request, *args, **kwargs)
        except PermissionDenied as refusal:
            if not from_script(request):
                raise
            response = JsonResponse({"message": str(refusal) or "Your account may not do this."}, status=403)
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "private, no-store"
        patch_vary_headers(response, ["Cookie", "X-Requested-With", "HX-Request"])
        return response

    return cast("View[P]", guarded)  # whose arguments have names, which `View` does not ask for


def log_in_first(request: HttpRequest) -> HttpResponse:
    """Send a stranger to log in and come back; a script gets 401."""
    if not from_script(request):
        return redirect_to_login(request.get_full_path())
    response = JsonResponse({"message": "Your session has ended: log in again."}, status=401)
    # htmx follows this header; the page the reader is on is where she comes back to.
    page = urlsplit(request.headers.get("HX-Current-URL", ""))
    here = page.path + (f"?{page.query}" if page.query else "")
    response["HX-Redirect"] = f"{resolve_url('login')}?{urlencode({'next': here or '/'})}"
    return response


def refused(sentence: str, *, status: int = 422, **more: Any) -> JsonResponse:
    """A refusal for a script: one sentence to show."""
    return JsonResponse({"outcome": "refused", "message": sentence, **more}, status=status)
