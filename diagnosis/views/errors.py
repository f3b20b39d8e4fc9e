"""The page for a request that Django itself refused to read."""

from __future__ import annotations

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from diagnosis.views.access import from_script, refused

TOO_MUCH = "That is more than can be sent at once: send fewer files."


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """413 for a body with too much in it, 400 for one that can't be understood."""
    too_much = isinstance(exception, RequestDataTooBig | TooManyFieldsSent | TooManyFilesSent)
    status = 413 if too_much else 400
    if from_script(request):
        return refused(TOO_MUCH if too_much else "This request could not be understood.", status=status)
    return render(request, f"{status}.html", status=status)
