"""The REST API for scanners and the LIS, under /api/v1. docs/api.md tells how it is used."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path

from diagnosis.api import cases, reports, results
from diagnosis.api.auth import token_or_login
from diagnosis.api.problems import ProblemApi, with_problems

DESCRIPTION = (
    "Open cases, upload smear images, follow their analyses, and read results and reports. "
    "Research use only: it supports a reader and never replaces one. "
    "What goes wrong is told as a problem (RFC 9457) with a sentence."
)

api = ProblemApi(
    title="Leukoscope",
    version="1",
    description=DESCRIPTION,
    docs_url=None,  # ninja's page loads its scripts from elsewhere, which our policy for pages forbids
    docs_decorator=token_or_login,
    urls_namespace="api",
)
api.add_router("", cases.router, tags=["cases"])
api.add_router("", results.router, tags=["results"])
api.add_router("", reports.router, tags=["reports"])


def _nothing(request: HttpRequest, rest: str) -> HttpResponse:
    raise Http404("The API has no such address.")


_nothing.csrf_exempt = True  # type: ignore[attr-defined]  # the answer is the same for every method

_patterns, _app, _space = api.urls
urls = ([*_patterns, path("<path:rest>", with_problems(_nothing), name="nothing")], _app, _space)
"""For `path("api/v1/", urls)`: what nobody has an operation for is a problem too, and no page."""
