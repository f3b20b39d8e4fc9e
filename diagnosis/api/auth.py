"""Who asks: a token in the Authorization header, what it may do, and how often."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from ninja.security import HttpBearer

from diagnosis.api.problems import NO_TOKEN, ApiProblem
from diagnosis.models import ApiToken
from diagnosis.services import api_tokens
from diagnosis.services.api_tokens import KeyRefused

MINUTE = 60
CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Bearer(HttpBearer):
    """Lets in who holds a token with `scope`; what is done is done in the name of the token's user.

    A session is not looked at: a page of another site could send a browser's cookie along, never a token. What the
    user may do is for `permissions` to say, with every request anew.
    """

    openapi_description = "A token of the page Interfaces, or of `manage.py api_token`."

    def __init__(self, scope: str = "") -> None:
        super().__init__()
        self.scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken:
        """The token of a key. Raises ApiProblem: 401 for a bad one, 429 for too many requests, 403 for the scope."""
        try:
            found = api_tokens.authenticate(key=token.strip())
        except KeyRefused as refusal:
            raise ApiProblem(401, str(refusal), headers=CHALLENGE) from refusal
        _count(found)
        if self.scope and self.scope not in found.scopes:
            raise ApiProblem(
                403, f"This token may not {api_tokens.SCOPES[self.scope]}: it lacks {self.scope}."
            )
        request.user = found.user  # whose files the upload handlers keep, and whose name services record
        return found


def _count(token: ApiToken) -> None:
    """Raise ApiProblem when a token has made its requests of this minute.

    Two requests at once may count as one, for the cache does not lock: a brake on scripts gone wild, no account.
    """
    now = time.time()
    key = f"api-requests-{token.pk}-{int(now // MINUTE)}"
    made = cache.get(key, 0) + 1
    if made > settings.LEUKOSCOPE_API_RATE:
        left = str(max(1, round(MINUTE - now % MINUTE)))
        raise ApiProblem(
            429,
            f"This token makes more than {settings.LEUKOSCOPE_API_RATE} requests a minute: go on in {left} seconds.",
            headers={"Retry-After": left},
        )
    cache.set(key, made, 2 * MINUTE)


def scope(name: str) -> dict[str, Any]:
    """Arguments of an operation that needs a scope, for the gate and for the schema alike."""
    return {"auth": Bearer(name), "openapi_extra": {"x-scope": name}}


def token_or_login(view: Any) -> Any:
    """For the schema: whoever is logged in may read it, and any token."""

    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated and not Bearer()(request):
            raise ApiProblem(401, NO_TOKEN, headers=CHALLENGE)
        response: HttpResponse = view(request, *args, **kwargs)
        return response

    return guarded
