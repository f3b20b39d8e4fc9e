"""The pictures of an image: whole, small, processed, overlaid; and what browsers may do with them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from PIL import Image

from diagnosis.models import Analysis, AuditEvent, Case, SmearImage
from diagnosis.services import intake
from diagnosis.views.images import overlay_size
from ml.saliency import DEFAULT_METHOD, METHODS, overlay_png


@pytest.fixture
def done(image: SmearImage, judge: Callable[..., Analysis]) -> SmearImage:
    judge(image)
    return image


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def body(response: Any) -> bytes:
    # The client closes a streamed response at its end; closing one by hand would close the test's database too.
    return b"".join(response.streaming_content) if response.streaming else response.content


def picture(response: Any) -> Image.Image:
    assert response.status_code == 200
    return Image.open(io.BytesIO(body(response)))


def test_the_file_is_the_stored_bytes(reader: Client, done: SmearImage) -> None:
    response = reader.get(reverse("diagnosis:image-file", args=[done.pk]))

    assert response["Content-Type"] == "image/png"
    with done.file.open("rb") as file:
        assert body(response) == file.read()


@pytest.mark.parametrize("by", ["the worker", "this request"])
def test_a_thumbnail_is_small_whoever_made_it(
    reader: Client, image: SmearImage, judge: Callable[..., Analysis], by: str
) -> None:
    if by == "the worker":
        judge(image)
        assert image.thumbnail
    response = reader.get(reverse("diagnosis:image-thumbnail", args=[image.pk]))

    assert response["Content-Type"] == "image/jpeg"
    assert picture(response).size == (256, 192)


@pytest.fixture
def large(case: Case, cast: Any) -> SmearImage:
    """A JPEG as a microscope's camera makes them, and its pixels a gradient that tells where each lies."""
    across, down = np.meshgrid(np.linspace(0, 255, 2592), np.linspace(0, 255, 1944))
    pixels = np.stack([across, down, 255 - across], axis=-1).astype(np.uint8)
    return jpeg_of(case, cast, Image.fromarray(pixels))


def jpeg_of(case: Case, cast: Any, pixels: Image.Image, **more: Any) -> SmearImage:
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=95, **more)
    buffer.seek(0)
    return intake.add_image(case=case, name="large.jpg", stream=buffer, user=cast.technician)


def test_a_large_jpeg_is_first_shown_at_half_its_size(reader: Client, large: SmearImage) -> None:
    page = reader.get(reverse("diagnosis:case", args=[large.case_id])).text
    screen = reverse("diagnosis:image-screen", args=[large.pk])
    shown = picture(reader.get(screen))
    whole = picture(reader.get(reverse("diagnosis:image-file", args=[large.pk])))

    assert f'src="{screen}"' in page
    assert f'href="{screen}"' in page
    assert shown.size == (1296, 972)
    wanted = np.asarray(whole.convert("RGB").resize((1296, 972)), np.float32)
    assert np.abs(np.asarray(shown, np.float32) - wanted).mean() < 2


def test_it_belongs_to_the_page_whose_opening_is_recorded(reader: Client, large: SmearImage) -> None:
    """As do a thumbnail and the overlays; that the file itself was opened is recorded of its own."""
    before = AuditEvent.objects.count()
    reader.get(reverse("diagnosis:image-screen", args=[large.pk]))
    assert AuditEvent.objects.count() == before
    body(reader.get(reverse("diagnosis:image-file", args=[large.pk])))
    assert AuditEvent.objects.latest("pk").action == "open_image"


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((2048, 1539), (1024, 770)),
        ((4096, 3075), (1024, 769)),
        ((4000, 1), (4000, 1)),
        ((2592, 1944), (1296, 972)),
    ],
)
def test_it_is_the_smallest_that_fills_the_screen(
    reader: Client, case: Case, cast: Any, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    image = jpeg_of(case, cast, Image.new("RGB", size, (200, 180, 190)))
    assert picture(reader.get(reverse("diagnosis:image-screen", args=[image.pk]))).size == shown


def test_a_progressive_file_is_shown_itself_and_that_is_recorded(
    reader: Client, case: Case, cast: Any
) -> None:
    """To reduce it, all its coefficients would have to be held at once: hundreds of megabytes of the largest."""
    image = jpeg_of(case, cast, Image.new("RGB", (2592, 1944), (200, 180, 190)), progressive=True)
    sent = reader.get(reverse("diagnosis:image-screen", args=[image.pk]), follow=True)
    assert picture(sent).size == (2592, 1944)
    assert sent.redirect_chain == [(reverse("diagnosis:image-file", args=[image.pk]), 302)]
    assert AuditEvent.objects.latest("pk").action == "open_image"


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("technician", 200),
        ("hematologist", 200),
        ("laboratory_head", 200),
        ("administrator", 200),
        ("outsider", 404),
    ],
)
def test_who_may_see_it(client: Client, large: SmearImage, cast: Any, who: str, status: int) -> None:
    client.force_login(getattr(cast, who))
    assert client.get(reverse("diagnosis:image-screen", args=[large.pk])).status_code == status


def test_its_picture_is_private_unguessed_sent_once_and_of_its_laboratory(
    reader: Client, large: SmearImage, cast: Any
) -> None:
    url = reverse("diagnosis:image-screen", args=[large.pk])
    response = reader.get(url)
    assert response["Cache-Control"] == "private, no-cache"
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert reader.get(url, headers={"If-None-Match": response["ETag"]}).status_code == 304
    reader.force_login(cast.outsider)
    assert reader.get(url, headers={"If-None-Match": response["ETag"]}).status_code == 404
    reader.logout()
    assert reader.get(url).status_code == 302


def test_what_is_small_or_no_jpeg_is_shown_as_it_is(reader: Client, image: SmearImage) -> None:
    page = reader.get(reverse("diagnosis:case", args=[image.case_id])).text

    assert f'src="{reverse("diagnosis:image-file", args=[image.pk])}"' in page
    assert reader.get(reverse("diagnosis:image-screen", args=[image.pk])).status_code == 404


def test_the_processed_picture_is_what_the_network_saw(reader: Client, done: SmearImage) -> None:
    assert picture(reader.get(reverse("diagnosis:image-processed", args=[done.pk]))).size == (64, 64)


@pytest.mark.parametrize("method", METHODS)
def test_an_overlay_is_the_stored_map_in_the_shape_of_the_image(
    reader: Client, done: SmearImage, method: str
) -> None:
    response = reader.get(reverse("diagnosis:image-overlay", args=[done.pk, method]))

    values = np.asarray(done.newest_analysis.maps[method], np.float32)
    assert response["Content-Type"] == "image/png"
    assert response.content == overlay_png(values, (400, 300))


def test_the_case_offers_the_method_shown_first_before_the_others(reader: Client, done: SmearImage) -> None:
    page = reader.get(reverse("diagnosis:case", args=[done.case_id])).text

    assert re.findall(r'data-method="([^"]+)"', page) == [
        DEFAULT_METHOD,
        *(m for m in METHODS if m != DEFAULT_METHOD),
    ]
    assert re.search(r'data-overlays="\{&quot;(.+?)&quot;', page)[1] == DEFAULT_METHOD


def test_the_overlay_of_the_processed_picture_is_square(reader: Client, done: SmearImage) -> None:
    url = reverse("diagnosis:image-overlay", args=[done.pk, "layercam"])
    shape = picture(reader.get(url, {"frame": "processed"})).size

    assert shape[0] == shape[1]


def test_an_overlay_belongs_to_its_analysis(reader: Client, done: SmearImage) -> None:
    first = done.newest_analysis
    url = reverse("diagnosis:image-overlay", args=[done.pk, "gradcam"])
    reader.post(reverse("diagnosis:retry", args=[done.pk]))

    assert reader.get(url).status_code == 404
    assert reader.get(url, {"analysis": first.pk}).status_code == 200
    assert reader.get(url, {"analysis": "nonsense"}).status_code == 404


@pytest.mark.parametrize(
    ("size", "expected"), [((400, 300), (400, 300)), ((2592, 1944), (1024, 768)), ((9000, 3), (1024, 1))]
)
def test_an_overlay_keeps_the_shape_and_is_no_larger_than_needed(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert overlay_size(*size) == expected


@pytest.mark.parametrize("name", ["image-file", "image-thumbnail", "image-processed", "image-overlay"])
def test_pictures_are_private_unguessed_and_sent_once(reader: Client, done: SmearImage, name: str) -> None:
    url = reverse(f"diagnosis:{name}", args=[done.pk, "gradcam"] if name == "image-overlay" else [done.pk])
    response = reader.get(url)
    body(response)

    assert response["Cache-Control"] == "private, no-cache"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response["Content-Security-Policy"]
    again = reader.get(url, headers={"If-None-Match": response["ETag"]})
    assert again.status_code == 304
    assert not again.content
    assert again["Cache-Control"] == "private, no-cache"
    reader.logout()
    assert reader.get(url, headers={"If-None-Match": response["ETag"]}).status_code == 302


def test_a_lost_file_is_a_404(reader: Client, image: SmearImage) -> None:
    image.file.storage.delete(image.file.name)

    for name in ("image-file", "image-thumbnail"):
        assert reader.get(reverse(f"diagnosis:{name}", args=[image.pk])).status_code == 404


@pytest.mark.parametrize("method", ["rise", "gradcam/..", "%2e%2e"])
def test_an_unknown_method_is_a_404(reader: Client, done: SmearImage, method: str) -> None:
    assert reader.get(f"/images/{done.pk}/overlay/{method}.png").status_code == 404
