"""Who may open which page, as one table; and what strangers, scripts and other methods get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from diagnosis.models import Analysis, Case, Cell, ModelVersion, Site, SmearImage, Training
from tests.diagnosis.told_cells import add_cells

SCRIPT = {"X-Requested-With": "leukoscope"}
HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/cases/7?image=3"}

# Page, then the status for technician, hematologist, administrator, and a hematologist of another laboratory.
READS = [
    ("worklist", 200, 200, 200, 200),
    ("queue-live", 200, 200, 200, 200),
    ("case-new", 200, 200, 200, 200),
    ("case", 200, 200, 200, 404),
    ("case-live", 200, 200, 200, 404),
    ("image-file", 200, 200, 200, 404),
    ("image-thumbnail", 200, 200, 200, 404),
    ("image-processed", 200, 200, 200, 404),
    ("image-overlay", 200, 200, 200, 404),
    ("image-sprite", 404, 404, 404, 404),  # without `?cells=`; test_pages_cells names them
    ("image-cells", 200, 200, 200, 404),
    ("cells", 200, 200, 200, 404),
    ("cells-rows", 200, 200, 200, 404),
    ("cell", 302, 302, 302, 404),
    ("cell-saliency", 200, 200, 200, 404),
    ("history", 200, 200, 200, 200),
    ("models", 403, 200, 200, 200),
    ("bundle-evidence", 403, 200, 200, 404),
    ("trainings-live", 403, 200, 200, 200),
    ("training", 403, 200, 200, 404),
    ("training-live", 403, 200, 200, 404),
    ("sites", 403, 200, 200, 200),
    ("site", 403, 200, 200, 404),
    ("promote", 403, 403, 200, 404),
    ("judgement-live", 403, 403, 204, 404),
]
WRITES = [
    ("upload", 302, 302, 302, 404),
    ("sample", 302, 302, 302, 404),
    ("review", 403, 302, 302, 404),
    ("retry", 302, 302, 302, 404),
    ("cells-read", 403, 400, 400, 404),
    ("cells-undo", 403, 400, 400, 404),
    ("judge", 403, 403, 302, 404),
    ("roll-back", 403, 403, 302, 404),
    ("shadow", 403, 403, 302, 404),
    ("retire", 403, 403, 302, 404),
]
WHO = ("technician", "hematologist", "administrator", "outsider")


@pytest.fixture
def done(image: SmearImage, judge: Callable[..., Analysis]) -> SmearImage:
    """An image with a finished analysis."""
    judge(image)
    add_cells(image, ["blast"])
    laboratory = image.case.laboratory
    ModelVersion.objects.update(laboratory=laboratory)
    Training.objects.create(task="field", name="field-2", laboratory=laboratory, work="nowhere")
    Site.objects.create(laboratory=laboratory, name="Microscope 1")
    return image


def address(name: str, image: SmearImage) -> str:
    version = image.newest_analysis.model_version_id
    arguments: dict[str, list[Any]] = {
        "case": [image.case_id],
        "case-live": [image.case_id],
        "upload": [image.case_id],
        "sample": [image.case_id],
        **{key: [image.case_id] for key in ("cells", "cells-rows", "cells-read", "cells-undo")},
        **{key: [Cell.objects.get().pk] for key in ("cell", "cell-saliency")},
        "image-overlay": [image.pk, "gradcam++"],
        "bundle-evidence": [version, "metrics.json"],
        "training": [Training.objects.get().pk],
        "training-live": [Training.objects.get().pk],
        "site": [Site.objects.get().pk],
        **{key: [version] for key in ("promote", "judgement-live", "judge", "roll-back", "shadow", "retire")},
    }
    plain = ("worklist", "queue-live", "case-new", "history", "models", "trainings-live", "sites")
    return reverse(f"diagnosis:{name}", args=arguments.get(name, [] if name in plain else [image.pk]))


def cells(table: list[tuple[Any, ...]]) -> list[Any]:
    return [
        pytest.param(name, who, expected, id=f"{name}-{who}")
        for name, *row in table
        for who, expected in zip(WHO, row, strict=True)
    ]


@pytest.mark.parametrize(("name", "who", "expected"), cells(READS))
def test_reading(client: Client, cast: Any, done: SmearImage, name: str, who: str, expected: int) -> None:
    client.force_login(cast[who])

    response = client.get(address(name, done))
    response.close()

    assert response.status_code == expected


@pytest.mark.parametrize(("name", "who", "expected"), cells(WRITES))
def test_writing(client: Client, cast: Any, done: SmearImage, name: str, who: str, expected: int) -> None:
    client.force_login(cast[who])

    response = client.post(
        address(name, done), {"verdict": "agree", "analysis": done.newest_analysis_id, "cells": "?"}
    )

    assert response.status_code == expected


@pytest.mark.parametrize("name", [row[0] for row in WRITES])
def test_writing_only_allows_post(client: Client, cast: Any, done: SmearImage, name: str) -> None:
    client.force_login(cast.administrator)

    assert client.get(address(name, done)).status_code == 405


@pytest.mark.parametrize("name", [*(row[0] for row in WRITES), "case-new"])
def test_writing_needs_a_token(cast: Any, done: SmearImage, name: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(cast.administrator)

    response = strict.post(address(name, done), {"verdict": "agree"})

    assert response.status_code == 403
    assert "open for too long" in response.text


@pytest.mark.parametrize("name", [row[0] for row in READS + WRITES])
def test_strangers_are_sent_to_log_in(client: Client, done: SmearImage, name: str) -> None:
    url = address(name, done)
    response = client.post(url) if name in {row[0] for row in WRITES} else client.get(url)

    assert response.status_code == 302
    assert response["Location"].startswith(f"{reverse('login')}?next=")


def test_every_page_of_ours_is_in_the_tables() -> None:
    def names(patterns: list[URLPattern | URLResolver], space: str = "") -> list[str]:
        found = []
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                found += names(pattern.url_patterns, pattern.namespace or "")
            elif space == "diagnosis":
                found.append(str(pattern.name))
        return found

    assert set(names(get_resolver().url_patterns)) == {row[0] for row in READS + WRITES}


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
