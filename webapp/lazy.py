"""Views whose modules are imported with the first request for them: what few people ask for loads when they do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string


def lazily(name: str) -> Callable[..., Any]:
    """The view of that dotted name, imported when it is first called."""

    @cache
    def found() -> Callable[..., Any]:
        view: Callable[..., Any] = import_string(name)
        return view

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return found()(request, *args, **kwargs)

    view.__name__ = name.rpartition(".")[2]
    return view
