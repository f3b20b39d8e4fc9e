"""One's own account: name, password, second factors, sessions; and how long until the screen locks."""

from __future__ import annotations

import math

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from diagnosis.account_forms import PersonForm
from diagnosis.models import User
from diagnosis.services import accounts
from diagnosis.views.access import signed_in


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def account(request: HttpRequest) -> HttpResponseBase:
    """Show one's own account, or change what one is called."""
    user = request.user
    now = {"title": user.title, "first_name": user.first_name, "last_name": user.last_name}
    form = PersonForm(request.POST if request.method == "POST" else None, initial=now)
    if request.method == "POST" and form.is_valid():
        accounts.change_person(user=user, **form.cleaned_data)
        messages.info(
            request, "Your name is changed. Signatures given so far keep the one they were given with."
        )
        return redirect("diagnosis:account")
    form.mark_errors()
    context = {
        "section": "account",
        "form": form,
        "sessions": accounts.sessions(user=user),
        "this_session": request.session.session_key,
        **_second_factors(user),
    }
    return render(request, "diagnosis/account.html", context, status=422 if form.errors else 200)


def _second_factors(user: User) -> dict[str, object]:
    """Her authenticators, without opening a seed or loading what reads passkeys."""
    held = list(Authenticator.objects.filter(user=user).order_by("created_at"))
    passkeys = [a for a in held if a.type == Authenticator.Type.WEBAUTHN]
    for passkey in passkeys:
        passkey.name = passkey.data.get("name", "")
    return {
        "app": next((a for a in held if a.type == Authenticator.Type.TOTP), None),
        "passkeys": passkeys,
        "has_recovery_codes": any(a.type == Authenticator.Type.RECOVERY_CODES for a in held),
    }


@require_POST
@signed_in
def sessions_end(request: HttpRequest) -> HttpResponseBase:
    """Log oneself out everywhere else."""
    count = accounts.end_other_sessions(user=request.user, current=request.session.session_key)
    messages.info(
        request,
        "You are logged out everywhere else." if count else "You were logged in nowhere else.",
    )
    return redirect("diagnosis:account")


@require_safe
@signed_in
def second_factor(request: HttpRequest) -> HttpResponseBase:
    """Where someone is led who may do nothing before she has a second factor."""
    if accounts.second_factors(user=request.user):
        return redirect("diagnosis:worklist")
    return render(request, "diagnosis/second_factor.html", {"section": "account"})


@require_safe
@signed_in
def idle_live(request: HttpRequest) -> HttpResponseBase:
    """Seconds until the screen locks, 0 when it is locked; and whose it is, with the token to unlock it. Asking is no
    work.
    """
    from diagnosis.middleware_access import seconds_left

    left = max(0, math.ceil(seconds_left(request)))
    return JsonResponse({"seconds": left, "token": get_token(request), "username": request.user.username})
