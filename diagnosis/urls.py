"""URLs of the clinical application."""

from __future__ import annotations

from django.urls import URLPattern

app_name = "diagnosis"

urlpatterns: list[URLPattern] = []
