"""What every page says: research use only, and to administrators why no analysis can run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override

from diagnosis import queue_selectors
from diagnosis.models import Analysis, Case, ModelVersion, SmearImage

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

    urls = [reverse("diagnosis:worklist"), reverse("diagnosis:case", args=[case.pk])]
    for url in [*urls, reverse("admin:index")] if told else urls:
        page = client.get(url).text
        assert ("No analysis can run." in page) == told
        assert ("model.onnx has changed" in page) == told


def test_a_whole_bundle_is_not_spoken_of(client: Client, cast: Any, version: ModelVersion) -> None:
    client.force_login(cast.administrator)

    assert "No analysis can run." not in client.get(reverse("diagnosis:worklist")).text


STUCK = "1 image has waited for more than 2 minutes"


def queued_since(image: SmearImage, **ago: float) -> None:
    Analysis.objects.filter(image=image).update(queued_at=timezone.now() - timedelta(**ago))


@pytest.mark.parametrize(
    ("who", "told"), [("administrator", True), ("hematologist", False), ("technician", False)]
)
def test_images_that_no_worker_takes_are_told_to_administrators_alone(
    client: Client, cast: Any, image: SmearImage, version: ModelVersion, who: str, told: bool
) -> None:
    queued_since(image, seconds=130)
    client.force_login(cast[who])

    assert (STUCK in client.get(reverse("diagnosis:worklist")).text) == told
    if told:
        assert STUCK in client.get(reverse("admin:index")).text


def test_an_image_that_waits_its_turn_is_not_spoken_of(
    client: Client, cast: Any, image: SmearImage, add_image: Any, version: ModelVersion
) -> None:
    client.force_login(cast.administrator)
    worklist = reverse("diagnosis:worklist")

    queued_since(image, seconds=100)
    assert STUCK not in client.get(worklist).text
    queued_since(image, minutes=9)
    lease = Analysis.objects.filter(image=add_image())
    lease.update(state="running", lease_expires_at=timezone.now() + timedelta(seconds=20))
    assert STUCK not in client.get(worklist).text
    lease.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert STUCK in client.get(worklist).text


def test_another_laboratory_s_waiting_images_are_its_own(
    client: Client, cast: Any, image: SmearImage, version: ModelVersion, django_assert_num_queries: Any
) -> None:
    queued_since(image, minutes=9)
    with django_assert_num_queries(1):
        assert queue_selectors.stuck_count(user=cast.outsider) == 0
    assert queue_selectors.stuck_count(user=cast.technician) == 1


def test_pages_say_the_language_of_the_settings(client: Client, cast: Any) -> None:
    client.force_login(cast.technician)
    pages = [client.get(reverse("diagnosis:worklist")), Client().get(reverse("login"))]
    assert all('<html lang="en"' in page.text for page in pages)

    with override("de"):
        pages = [client.get(reverse("diagnosis:worklist")), Client().get(reverse("login"))]
    assert all('<html lang="de"' in page.text for page in pages)
