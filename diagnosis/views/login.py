"""Logging in and out, proving again who one is, and changing the own password; all of it is recorded."""

from __future__ import annotations

import unicodedata
from typing import Any

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from allauth.account.views import ReauthenticateView as AllauthReauthenticateView
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse, reverse_lazy
from django.utils.http import urlencode

from diagnosis.account_adapters import client_address
from diagnosis.services import accounts, audit, guessing
from diagnosis.views.access import from_script


class LoginView(auth_views.LoginView):
    """Django's, with a brake on guessing; a second factor is asked for where the account has one. The one door: the
    admin site sends people here.
    """

    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        wait = guessing.seconds_to_wait(username=self._username(), address=client_address(request))
        if wait:
            # An unbound form: a bound one would try the password.
            context = self.get_context_data(form=self.form_class(request), minutes=-(-wait // 60))
            return self.render_to_response(context, status=429, headers={"Retry-After": str(wait)})
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        guessing.forget_failures(username=self._username(), address=client_address(self.request))
        user = form.get_user()
        login = Login(user=user, redirect_url=self.get_redirect_url() or None)
        answer: HttpResponse = perform_password_login(self.request, {"username": user.get_username()}, login)
        return answer

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        if form.cleaned_data.get("username") and form.cleaned_data.get("password"):
            guessing.record_failure(username=self._username(), address=client_address(self.request))
        return super().form_invalid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        provider = settings.LEUKOSCOPE_SINGLE_SIGN_ON
        if provider is not None:
            page = self.get_redirect_url()
            query = f"?{urlencode({'next': page})}" if page else ""
            context["provider"] = provider.name
            context["provider_url"] = reverse("openid_connect_login", args=[provider.key]) + query
        return context

    def _username(self) -> str:
        """As the form reads it, so that one account has one name here; none has more than 150 characters."""
        return unicodedata.normalize("NFKC", self.request.POST.get("username", "").strip()[:150])


class LogoutView(auth_views.LogoutView):
    """Django's, with an audit event."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        user = request.user
        if user.is_authenticated:
            audit.record(action="logout", actor=user, laboratory=user.laboratory, obj=user)
        return super().post(request, *args, **kwargs)


class ReauthenticateView(AllauthReauthenticateView):
    """The password once more: for what needs it, and for a screen that locked. A script gets its answer as JSON."""

    def form_valid(self, form: Any) -> HttpResponse:
        user = self.request.user
        audit.record(
            action="reauthenticate",
            actor=user,
            laboratory=user.laboratory,
            obj=user,
            detail={"with": ["password"]},
        )
        response = super().form_valid(form)  # which may go on with the request that was held up
        answer: HttpResponse = JsonResponse({"message": "Unlocked."}) if self._is_script else response
        return answer

    def form_invalid(self, form: Any) -> HttpResponse:
        if self._is_script:
            return JsonResponse({"message": " ".join(form.errors.get("password", []))}, status=422)
        page: HttpResponse = super().form_invalid(form)
        return page

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        self._is_script = from_script(request)  # before a suspended request takes this one's place
        return super().dispatch(request, *args, **kwargs)


class PasswordChangeView(auth_views.PasswordChangeView):
    """Django's, with an audit event; other sessions of the account end."""

    template_name = "registration/password_change.html"
    success_url = reverse_lazy("diagnosis:account")

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            user = form.user
            accounts.end_sessions(sessions=UserSession.objects.filter(user=user))
            UserSession.objects.create_from_request(self.request)  # this one goes on, under a new key
            audit.record(action="change_password", actor=user, laboratory=user.laboratory, obj=user)
        messages.info(self.request, "Your password is changed.")
        return response


def admin_login(request: HttpRequest) -> HttpResponse:
    """Where the admin site sends who may not enter: to log in, or away if that is no use."""
    if request.user.is_authenticated:
        raise PermissionDenied("Only administrators may enter here.")
    return redirect_to_login(request.GET.get("next", reverse("admin:index")))


def inactive(request: HttpRequest) -> HttpResponse:
    """For someone whose account was closed, and who came with a passkey or by single sign-on."""
    sentence = "This account is closed. Ask an administrator of your laboratory."
    return render(request, "socialaccount/authentication_error.html", {"sentence": sentence}, status=403)
