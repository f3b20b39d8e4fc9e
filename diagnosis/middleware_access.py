"""What stands between a session and every page: the screen that locks when nobody works, and the second factor.

Both hold for the pages of Django's admin site too. Requests that only look whether something has changed are no work;
their URLs have names that end in `-live`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.reauthentication import STATE_SESSION_KEY
from allauth.core.internal.httpkit import serialize_request
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode

from diagnosis.models import User
from diagnosis.services import accounts
from diagnosis.views.access import from_script, log_in_first

ACTIVE_AT = "active_at"

# What a locked session may still open: the ways to unlock it, and the way out.
UNLOCKING = {"account_reauthenticate", "mfa_reauthenticate", "mfa_reauthenticate_webauthn"}
ALWAYS = UNLOCKING | {"healthz", "logout", "admin:logout", "diagnosis:idle-live"}
# What someone who still needs a second factor may open: the ways to get one.
SETTING_UP = {
    "diagnosis:second-factor",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_view_recovery_codes",
    "mfa_download_recovery_codes",
}


class AccessMiddleware:
    """Asks as a view is about to be called, when a form's token has been checked already."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        name = request.resolver_match.view_name if request.resolver_match else ""
        if name in ALWAYS or not request.user.is_authenticated:
            return None
        if seconds_left(request) <= 0:
            return _unlock_first(request, name)
        if not name.endswith("-live"):
            keep_awake(request)
        if request.user.laboratory.needs_second_factor and name not in SETTING_UP:
            return _second_factor_first(request)
        return None


def seconds_left(request: HttpRequest) -> float:
    """How long until the session locks, if nothing is done; 0 or less: it is locked.

    A session that has not worked yet begins now.
    """
    newest = _newest_work(request)
    limit = _limit(request.user)
    return limit if newest is None else newest + limit - time.time()


def keep_awake(request: HttpRequest) -> None:
    """Note that somebody works. Not at every request: the note costs a write."""
    newest = _newest_work(request)
    if newest is None or time.time() - newest > min(60.0, _limit(request.user) / 10):
        request.session[ACTIVE_AT] = time.time()


def shown_second_factor(request: HttpRequest) -> bool:
    """Whether whoever has this session has shown a second factor in it."""
    return any(record["method"] == "mfa" for record in get_authentication_records(request, request.user))


def _limit(user: User) -> float:
    return float(user.laboratory.idle_minutes * 60)


def _newest_work(request: HttpRequest) -> float | None:
    """When the session last worked, or proved again who has it."""
    times = [record["at"] for record in get_authentication_records(request, request.user)[-1:]]
    if ACTIVE_AT in request.session:
        times.append(request.session[ACTIVE_AT])
    return max(times, default=None)


def _unlock_first(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for the password, and then go on with the request where that can be."""
    if not request.user.has_usable_password() and not accounts.second_factors(user=request.user):
        logout(request)  # single sign-on let her in, and does so again
        return log_in_first(request)
    if from_script(request):
        response = JsonResponse(
            {"message": "The screen is locked: give your password to go on.", "locked": True}, status=401
        )
        response["HX-Trigger"] = "leukoscope:locked"
        return response
    page = request.get_full_path()
    if name == "login":
        page = request.GET.get("next", "")
        if not url_has_allowed_host_and_scheme(page, request.get_host()):
            page = "/"
    elif request.method == "POST":
        page = _page_after_post(request)
    return HttpResponseRedirect(f"{reverse('account_reauthenticate')}?{urlencode({'next': page})}")


def _page_after_post(request: HttpRequest) -> str:
    """Keep what was typed, to be sent when unlocked; files and passwords are not kept."""
    secret = any("password" in field or field in ("code", "credential") for field in request.POST)
    if request.FILES or secret or request.GET:
        return request.META.get("HTTP_REFERER", "/")
    request.session[STATE_SESSION_KEY] = {"request": serialize_request(request)}
    return request.path


def _second_factor_first(request: HttpRequest) -> HttpResponse | None:
    if shown_second_factor(request):
        return None
    kinds = accounts.second_factors(user=request.user)
    if not kinds:
        target = reverse("diagnosis:second-factor")
    else:
        # Set up in another session: this one shows it too before it goes on.
        way = "mfa_reauthenticate" if "totp" in kinds else "mfa_reauthenticate_webauthn"
        target = reverse(way)
    if from_script(request):
        response = JsonResponse({"message": "Your laboratory asks for a second factor."}, status=403)
        response["HX-Redirect"] = target
        return response
    page = request.get_full_path() if request.method == "GET" else "/"
    return HttpResponseRedirect(f"{target}?{urlencode({'next': page})}")
