"""Logging in and changing the own password, which are recorded."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse, reverse_lazy

from diagnosis.services import audit, guessing


class LoginView(auth_views.LoginView):
    """Django's, with a brake on guessing and an audit event for who came in or failed to. The one door: the
    admin site sends people here.
    """

    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        wait = guessing.seconds_to_wait(username=self._username(), address=self._address())
        if wait:
            # An unbound form: a bound one would try the password.
            context = self.get_context_data(form=self.form_class(request), minutes=-(-wait // 60))
            return self.render_to_response(context, status=429, headers={"Retry-After": str(wait)})
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            audit.record_login(user=form.get_user())
        guessing.forget_failures(username=self._username(), address=self._address())
        return response

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        if form.cleaned_data.get("username") and form.cleaned_data.get("password"):
            guessing.record_failure(username=self._username(), address=self._address())
        return super().form_invalid(form)

    def _username(self) -> str:
        """As the form reads it, so that one account has one name here; none has more than 150 characters."""
        return unicodedata.normalize("NFKC", self.request.POST.get("username", "").strip()[:150])

    def _address(self) -> str:
        return str(self.request.META.get("REMOTE_ADDR", ""))


class PasswordChangeView(auth_views.PasswordChangeView):
    """Django's, with an audit event; other sessions of the account end."""

    template_name = "registration/password_change.html"
    success_url = reverse_lazy("diagnosis:worklist")

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            user = form.user
            audit.record(action="change_password", actor=user, laboratory=user.laboratory, obj=user)
        messages.info(self.request, "Your password is changed.")
        return response


def admin_login(request: HttpRequest) -> HttpResponse:
    """Where the admin site sends who may not enter: to log in, or away if that is no use."""
    if request.user.is_authenticated:
        raise PermissionDenied("Only administrators may enter here.")
    return redirect_to_login(request.GET.get("next", reverse("admin:index")))
