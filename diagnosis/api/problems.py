"""Whatever goes wrong is told as a problem (RFC 9457): `application/problem+json` with a sentence for people."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, cast

from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import (
    Http404,
    HttpRequest,
    HttpResponseBase,
    JsonResponse,
    UnreadablePostError,
)
from django.http.multipartparser import MultiPartParserError
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponseBase]

MEDIA_TYPE = "application/problem+json"
NO_TOKEN = "Send a token with the request, as the header Authorization: Bearer lk_..."
TOO_MUCH = "That is more than can be sent at once."

DOCUMENTED = {
    400: "The request cannot be read.",
    401: "There is no token, or it lets nobody in.",
    403: "The token has not the scope, or its account not the role.",
    404: "There is no such thing in the token's laboratory.",
    409: "It is there already, or the first request with this key still runs.",
    413: "It is too large.",
    422: "Something in the request is not taken; the sentence says what.",
    429: "The token has made too many requests this minute; Retry-After says when to go on.",
}
SCHEMA = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "about:blank: the status says what kind of problem it is."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence or more for people."},
        "errors": {
            "type": "array",
            "description": "What is wrong with which field.",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
        "case": {"type": "integer", "description": "The case that is there already."},
        "image": {"type": "string", "format": "uuid", "description": "The image that is there already."},
    },
}


class ApiProblem(Exception):
    """A refusal with its status; `more` are further members of the problem."""

    def __init__(
        self, status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers or {}, more


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> JsonResponse:
    """The answer for what went wrong."""
    told = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    response = JsonResponse({**told, **more}, status=status, content_type=MEDIA_TYPE)
    for name, value in (headers or {}).items():
        response[name] = value
    return response


def told_of(error: Exception) -> JsonResponse:
    """The problem that an exception is told as; what was not foreseen goes to the log and is a 500."""
    if isinstance(error, ApiProblem):
        return problem(error.status, error.detail, error.headers, **error.more)
    if isinstance(error, AuthenticationError):
        return problem(401, NO_TOKEN, {"WWW-Authenticate": "Bearer"})
    if isinstance(error, ValidationError):
        errors = [{"field": _field(one), "detail": _sentence(one)} for one in error.errors]
        said = " ".join(f"{one['field']}: {one['detail']}" for one in errors)
        return problem(422, said, errors=errors)
    if isinstance(error, HttpError):
        unread = error.status_code == 400
        return problem(
            error.status_code, "The body is no JSON that can be read." if unread else error.message
        )
    if isinstance(error, Http404):
        return problem(404, _text(error) or "There is nothing here.")
    if isinstance(error, PermissionDenied):
        return problem(403, _text(error) or "This account may not do this.")
    if isinstance(error, RequestDataTooBig | TooManyFieldsSent | TooManyFilesSent):
        return problem(413, TOO_MUCH)
    if isinstance(error, SuspiciousOperation | BadRequest | MultiPartParserError | UnreadablePostError):
        return problem(400, "This request could not be understood.")
    logger.error("A request of the API failed", exc_info=error)
    return problem(500, "Something went wrong here, and is in the server's log. Nothing was done.")


def _text(error: Exception) -> str:
    return str(error.args[0]) if error.args and isinstance(error.args[0], str) else ""


def _field(error: dict[str, Any]) -> str:
    """The name of what is wrong, as the client sent it: without where ninja and pydantic keep it."""
    places = [str(part) for part in error["loc"]]
    return ".".join(part for part in places if part not in _PLACES) or places[-1]


_PLACES = {"body", "query", "path", "form", "file", "header", "filters", "facts"}


def _sentence(error: dict[str, Any]) -> str:
    said = str(error["msg"]).removeprefix("Value error, ")
    return said if said.endswith(".") else f"{said}."


def with_problems(view: View) -> View:
    """A view whose every answer is ours: problems instead of pages, and nothing that a cache may keep."""

    @wraps(view)
    def told(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = view(request, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - told_of puts what was not foreseen into the log
            response = told_of(error)
        if response.status_code == 405:
            allowed = response["Allow"]
            response = problem(405, f"This address takes {allowed} alone.", {"Allow": allowed})
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "private, no-store"
        return response

    return told


class ProblemApi(NinjaAPI):
    """NinjaAPI that tells every failure as a problem, and says so in its schema."""

    def set_default_exception_handlers(self) -> None:
        self.add_exception_handler(Exception, lambda request, error: told_of(cast(Exception, error)))

    @property
    def urls(self) -> tuple[list[Any], str, str]:
        patterns, app, space = super().urls
        for pattern in patterns:
            pattern.callback = with_problems(cast(View, pattern.callback))
        return patterns, app, space

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        """Ninja's, with the problems that an operation may end in and the scope that it needs."""
        schema = super().get_openapi_schema(**options)
        schema["components"]["schemas"]["Problem"] = SCHEMA
        for operations in schema["paths"].values():
            for operation in operations.values():
                scope = operation.get("x-scope")
                operation["security"] = [{"Bearer": [scope]}]
                operation["description"] = _with_scope(operation.get("description", ""), scope)
                operation["responses"] = {str(key): value for key, value in operation["responses"].items()}
                for status, what in DOCUMENTED.items():
                    operation["responses"][str(status)] = {
                        "description": what,
                        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                    }
        return schema


def _with_scope(description: str, scope: str) -> str:
    return f"{description.strip()}\n\nNeeds a token with the scope `{scope}`.".strip()
