"""What strangers, scripts and browsers get; who may open which page is in permission_table.py."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from diagnosis.models import Case, SmearImage
from tests.diagnosis.permission_table import WRITES, address

SCRIPT = {"X-Requested-With": "leukoscope"}
HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/cases/7?image=3"}


@pytest.mark.parametrize("name", [*(row[0] for row in WRITES), "case-new"])
def test_writing_needs_a_token(cast: Any, done: SmearImage, name: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(cast.administrator)

    response = strict.post(address(name, done), {"verdict": "agree"})

    assert response.status_code == 403
    assert "open for too long" in response.text


def test_a_script_without_a_session_gets_401_and_no_page(client: Client, case: Case) -> None:
    response = client.get(reverse("diagnosis:case-live", args=[case.pk]), headers=HTMX)

    assert response.status_code == 401
    assert response["HX-Redirect"] == f"{reverse('login')}?next=%2Fcases%2F7%3Fimage%3D3"


def test_a_script_is_refused_in_a_sentence(client: Client, cast: Any, done: SmearImage) -> None:
    client.force_login(cast.technician)

    response = client.post(address("review", done), {"verdict": "agree"}, headers=SCRIPT)

    assert response.status_code == 403
    assert "Only hematologists may review" in response.json()["message"]


@pytest.mark.parametrize("who", ["hematologist", None])
@pytest.mark.parametrize("path", ["/nothing-here", "/cases/999999", "/images/not-a-uuid/file"])
def test_what_is_not_there_gets_our_page(client: Client, cast: Any, path: str, who: str | None) -> None:
    if who:
        client.force_login(cast[who])
    response = client.get(path, follow=True)

    assert response.status_code in (404, 200)
    assert "Research use only" in response.text
    assert (response.status_code == 404) == bool(who or path == "/nothing-here" or "uuid" in path)


def test_pages_with_patients_are_not_kept_by_browsers(client: Client, cast: Any, done: SmearImage) -> None:
    client.force_login(cast.hematologist)

    for name in ("worklist", "case", "history"):
        assert client.get(address(name, done))["Cache-Control"] == "private, no-store"


def test_pages_have_a_strict_policy_and_nothing_inline(client: Client, cast: Any, done: SmearImage) -> None:
    client.force_login(cast.administrator)

    for name in (
        "worklist", "case", "case-new", "cells", "history", "models", "training", "sites", "site", "promote",
    ):  # fmt: skip
        response = client.get(address(name, done))
        policy = response["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "style-src 'self'" in policy
        assert "unsafe" not in policy
        for inline in ("<style", " style=", "<script>", " onclick=", " onload="):
            assert inline not in response.text, name
