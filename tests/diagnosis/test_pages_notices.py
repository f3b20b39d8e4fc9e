"""What every page says: research use only, and to administrators why no analysis can run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from diagnosis.models import Case, ModelVersion

PAGES = ["worklist", "case-new", "history"]


@pytest.mark.parametrize("name", PAGES)
def test_every_page_says_research_use_only(client: Client, cast: Any, name: str) -> None:
    client.force_login(cast.technician)

    assert "Research use only" in client.get(reverse(f"diagnosis:{name}")).text


def test_the_log_in_page_says_it_too(client: Client, db: None) -> None:
    assert "Research use only" in client.get(reverse("login")).text


@pytest.mark.parametrize(
    ("who", "told"), [("administrator", True), ("hematologist", False), ("technician", False)]
)
def test_a_damaged_bundle_is_told_to_administrators_alone(
    client: Client, cast: Any, case: Case, version: ModelVersion, bundles: Path, who: str, told: bool
) -> None:
    (bundles / "field-test" / "model.onnx").write_bytes(b"changed")
    client.force_login(cast[who])

    for url in (reverse("diagnosis:worklist"), reverse("diagnosis:case", args=[case.pk])):
        page = client.get(url).text
        assert ("No analysis can run." in page) == told
        assert ("model.onnx has changed" in page) == told


def test_a_whole_bundle_is_not_spoken_of(client: Client, cast: Any, version: ModelVersion) -> None:
    client.force_login(cast.administrator)

    assert "No analysis can run." not in client.get(reverse("diagnosis:worklist")).text
