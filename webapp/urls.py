"""URLs of the project: the clinical application at the root, accounts, admin site and health check."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from diagnosis.api import urls as api_urls
from diagnosis.views.login import admin_login
from webapp.health import healthz

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("", include("webapp.account_urls")),
    path("admin/login/", admin_login),
    path("admin/password_change/", RedirectView.as_view(pattern_name="password-change")),
    path("admin/", admin.site.urls),
    path("api/v1/", api_urls),
    path("", include("diagnosis.urls")),
]

handler400 = "diagnosis.views.errors.bad_request"
