"""Another system that asks the API: a client with a token."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client

from diagnosis.models import User
from diagnosis.services import api_tokens

ALL = tuple(api_tokens.SCOPES)


class System:
    """A scanner or an LIS, with a token that acts for `user`."""

    def __init__(self, user: User, scopes: Iterable[str] = ALL) -> None:
        self.token, self.key = api_tokens.create(
            actor=None, user=user, name=f"scanner of {user.username}", scopes=scopes
        )
        self.client = Client()

    def get(self, path: str, **query: Any) -> HttpResponse:
        return self.client.get(f"/api/v1/{path}", query, headers=self.headers())

    def post(self, path: str, body: Any, **headers: str) -> HttpResponse:
        return self.client.post(
            f"/api/v1/{path}",
            body if isinstance(body, str) else json.dumps(body),
            content_type="application/json",
            headers=self.headers(**headers),
        )

    def upload(
        self, case: int, content: bytes, name: str = "field.png", *, site: str | None = None, **headers: str
    ) -> HttpResponse:
        return self.client.post(
            f"/api/v1/cases/{case}/images",
            {"file": SimpleUploadedFile(name, content), **({} if site is None else {"site": site})},
            headers=self.headers(**headers),
        )

    def headers(self, **more: str) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {"Authorization": f"Bearer {self.key}", **named}


def said(response: HttpResponse) -> str:
    """The sentence of a problem; fails for what is none."""
    assert response["Content-Type"] == "application/problem+json", response.content[:200]
    told = response.json()
    assert told["status"] == response.status_code
    assert told["type"] == "about:blank"
    return str(told["detail"])
