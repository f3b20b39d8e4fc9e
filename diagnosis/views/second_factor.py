"""Second factors: showing one, setting one up, taking one away. allauth's views, with audit events.

Imported with the first request for one (webapp.urls): what they load is heavy.
"""

from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.base.views import AuthenticateView as AllauthAuthenticateView
from allauth.mfa.base.views import ReauthenticateView as AllauthReauthenticateView
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView as AllauthGenerateRecoveryCodesView
from allauth.mfa.recovery_codes.views import download_recovery_codes, view_recovery_codes
from allauth.mfa.totp.views import ActivateTOTPView as AllauthActivateTOTPView
from allauth.mfa.totp.views import DeactivateTOTPView as AllauthDeactivateTOTPView
from allauth.mfa.webauthn.views import AddWebAuthnView as AllauthAddWebAuthnView
from allauth.mfa.webauthn.views import EditWebAuthnView, login_webauthn
from allauth.mfa.webauthn.views import ReauthenticateWebAuthnView as AllauthReauthenticateWebAuthnView
from allauth.mfa.webauthn.views import RemoveWebAuthnView as AllauthRemoveWebAuthnView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse_lazy

from diagnosis.models import User
from diagnosis.services import audit

__all__ = ["download_recovery_codes", "login_webauthn", "view_recovery_codes"]


def _record(action: str, user: User, *kinds: str) -> None:
    audit.record(
        action=action, actor=user, laboratory=user.laboratory, obj=user, detail={"with": list(kinds)}
    )


def _has_shown(request: HttpRequest, kind: str) -> None:
    """Who has just set a factor up has it: this session needs no other proof."""
    record_authentication(request, request.user, "mfa", type=kind, reauthenticated=True)


class AuthenticateView(AllauthAuthenticateView):
    """The second step of a login; the login itself is recorded as it succeeds."""

    def form_invalid(self, form: Any) -> HttpResponse:
        user = self.stage.login.user
        audit.record(
            action="login_failed",
            actor=None,
            laboratory=user.laboratory,
            obj=user,
            detail={"with": ["second factor"]},
        )
        return super().form_invalid(form)


class ReauthenticateView(AllauthReauthenticateView):
    def form_valid(self, form: Any) -> HttpResponse:
        _record("reauthenticate", self.request.user, form.authenticator.type)
        return super().form_valid(form)


class ReauthenticateWebAuthnView(AllauthReauthenticateWebAuthnView):
    def form_valid(self, form: Any) -> HttpResponse:
        _record("reauthenticate", self.request.user, "webauthn")
        return super().form_valid(form)


class ActivateTOTPView(AllauthActivateTOTPView):
    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            _has_shown(self.request, Authenticator.Type.TOTP)
            _record("add_second_factor", self.request.user, "totp")
        return response


class DeactivateTOTPView(AllauthDeactivateTOTPView):
    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            _record("remove_second_factor", self.request.user, "totp")
        return response


class GenerateRecoveryCodesView(AllauthGenerateRecoveryCodesView):
    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            _record("renew_recovery_codes", self.request.user, "recovery_codes")
        return response


class AddWebAuthnView(AllauthAddWebAuthnView):
    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            _has_shown(self.request, Authenticator.Type.WEBAUTHN)
            _record("add_second_factor", self.request.user, "webauthn")
        return response


class RemoveWebAuthnView(AllauthRemoveWebAuthnView):
    success_url = reverse_lazy("diagnosis:account")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        context["is_needed"] = not self._may_go()
        return context

    def form_valid(self, form: Any) -> HttpResponse:
        if not self._may_go():
            return self.render_to_response(self.get_context_data(form=form), status=403)
        with transaction.atomic():
            response = super().form_valid(form)
            _record("remove_second_factor", self.request.user, "webauthn")
        return response

    def _may_go(self) -> bool:
        from allauth.mfa.adapter import get_adapter

        return bool(get_adapter().can_delete_authenticator(self.object))


class RenameWebAuthnView(EditWebAuthnView):
    success_url = reverse_lazy("diagnosis:account")


authenticate = AuthenticateView.as_view()
reauthenticate = ReauthenticateView.as_view()
reauthenticate_webauthn = ReauthenticateWebAuthnView.as_view()
activate_totp = ActivateTOTPView.as_view()
deactivate_totp = DeactivateTOTPView.as_view()
generate_recovery_codes = GenerateRecoveryCodesView.as_view()
add_webauthn = AddWebAuthnView.as_view()
remove_webauthn = RemoveWebAuthnView.as_view()
rename_webauthn = RenameWebAuthnView.as_view()
