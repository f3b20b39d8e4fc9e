"""Logging in, which is recorded."""

from __future__ import annotations

from django.contrib.auth import views as auth_views
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from diagnosis.services import audit


class LoginView(auth_views.LoginView):
    """Django's, with an audit event for who came in. The one door: the admin site sends people here."""

    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            audit.record_login(user=form.get_user())
        return response


def admin_login(request: HttpRequest) -> HttpResponse:
    """Where the admin site sends who may not enter: to log in, or away if that is no use."""
    if request.user.is_authenticated:
        raise PermissionDenied("Only administrators may enter here.")
    return redirect_to_login(request.GET.get("next", reverse("admin:index")))
