"""Reviewed images to compare with: references of each class, and those nearest to the network."""

from __future__ import annotations

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from diagnosis import reading_selectors
from diagnosis.models import Analysis, Laboratory, User
from diagnosis.nearest import nearest, packed, vector
from diagnosis.services import intake
from diagnosis.services.review import record_review, withdraw_review

pytestmark = pytest.mark.django_db

CLASSES = ("benign", "early", "pre", "pro")


@pytest.fixture
def archive(cast, add_image, judge):
    """Adds a case with one image that was read as a class; `place` is where the network puts it."""
    numbers = iter(range(100))

    def add(label: str, *, place: tuple[float, float] = (1.0, 0.0), readers=(), drawn: bool = False):
        number = next(numbers)
        other = intake.create_case(
            user=cast.technician, accession_number=f"A-{number}", patient_code=f"Q-{number}"
        )
        image = add_image(to=other)
        judge(image, label)
        if drawn:
            type(image).objects.filter(pk=image.pk).update(is_drawn=True)
        Analysis.objects.filter(image=image).update(embedding=packed(np.array(place, np.float32)))
        for reader in readers or (cast.hematologist,):
            record_review(user=reader, image=image, analysis=image.newest_analysis, verdict="agree")
        image.refresh_from_db()
        return image

    return add


@pytest.fixture
def at_hand(image, judge):
    judge(image, "early")
    Analysis.objects.filter(image=image).update(embedding=packed(np.array([1.0, 0.0], np.float32)))
    image.refresh_from_db()
    return image


def test_the_worker_stores_where_the_network_places_an_image(image, judge):
    analysis = judge(image)
    stored = vector(analysis.embedding)
    assert len(bytes(analysis.embedding)) == 2 * len(stored) > 0
    assert np.isfinite(stored).all()


def test_references_are_of_their_class_most_agreed_first_then_newest(cast, at_hand, archive):
    agreed = archive("pre", readers=(cast.hematologist, cast.administrator))
    older, newer = archive("pre"), archive("pre")
    benign = archive("benign")
    archive("early", drawn=True)
    found = reading_selectors.reference_images(user=cast.hematologist, image=at_hand, classes=CLASSES, each=3)
    assert [(one.image, one.readers) for one in found["pre"]] == [(agreed, 2), (newer, 1), (older, 1)]
    assert [one.image for one in found["benign"]] == [benign]
    assert found["early"] == found["pro"] == []


def test_what_was_taken_back_or_overruled_is_a_reference_no_more(cast, at_hand, archive):
    back, other = archive("pre"), archive("pre")
    withdraw_review(user=cast.hematologist, image=back)
    record_review(
        user=cast.hematologist, image=other, analysis=other.newest_analysis, verdict="overrule", label="pro"
    )
    found = reading_selectors.reference_images(user=cast.hematologist, image=at_hand, classes=CLASSES)
    assert found["pre"] == []
    assert [one.image for one in found["pro"]] == [other]


def test_similar_images_come_nearest_first_and_never_from_the_case_itself(
    cast, at_hand, archive, add_image, judge
):
    far, near, middle = (
        archive("pro", place=(0, 1)),
        archive("pre", place=(1, 0.1)),
        archive("pre", place=(1, 1)),
    )
    own = add_image()
    judge(own)
    record_review(user=cast.hematologist, image=own, analysis=own.newest_analysis, verdict="agree")
    found = reading_selectors.similar_images(user=cast.hematologist, image=at_hand, limit=2)
    assert [one.image for one in found] == [near, middle]
    assert found[0].distance < found[1].distance < 0.5
    assert far not in [one.image for one in found]


def test_another_version_or_laboratory_is_not_compared(cast, at_hand, archive, version):
    seen = archive("pre")
    assert reading_selectors.similar_images(user=cast.hematologist, image=at_hand)[0].image == seen
    other = type(version).objects.create(
        task="field", name="field-other", bundle_path="nowhere", bundle_sha256="0" * 64, classes=list(CLASSES)
    )
    Analysis.objects.filter(image=seen).update(model_version=other)
    assert reading_selectors.similar_images(user=cast.hematologist, image=at_hand) == []


def test_one_analysed_before_there_was_a_place_says_so(client: Client, cast, at_hand):
    Analysis.objects.update(embedding=b"")
    client.force_login(cast.hematologist)
    page = client.get(reverse("diagnosis:compare", args=[at_hand.pk])).text
    assert "analyse it again" in page


def test_the_page_shows_them_beside_the_image(client: Client, cast, at_hand, archive):
    near = archive("pre", place=(1, 0.1))
    benign = archive("benign", place=(0, 1))
    client.force_login(cast.hematologist)
    url = reverse("diagnosis:compare", args=[at_hand.pk])
    page = client.get(url)
    assert page.context["beside"].image == near
    assert "distance 0.0" in page.text
    chosen = client.get(url, {"with": benign.pk})
    assert chosen.context["beside"].image == benign
    assert client.get(url, {"with": "nonsense"}).status_code == 200


def test_another_laboratorys_image_is_not_there(client: Client, cast, at_hand, archive):
    other = archive("pre")
    Laboratory.objects.create(name="Third", slug="third")
    case = other.case
    case.laboratory = cast.outsider.laboratory
    case.save()
    client.force_login(cast.hematologist)
    url = reverse("diagnosis:compare", args=[at_hand.pk])
    assert client.get(url, {"with": other.pk}).status_code == 404
    assert client.get(url).context["similar"] == []


def test_who_reads_blind_sees_references_she_has_read_and_no_likeness(
    client: Client, cast, laboratory, at_hand, archive
):
    mine = archive("pre")
    theirs = archive("benign", readers=(cast.administrator,))
    Laboratory.objects.filter(pk=laboratory.pk).update(is_blind=True)
    client.force_login(User.objects.get(pk=cast.hematologist.pk))
    url = reverse("diagnosis:compare", args=[at_hand.pk])
    page = client.get(url)
    shown = {one.image for _, group in page.context["references"] for one in group}
    assert mine in shown
    assert theirs not in shown
    assert page.context["similar"] == []
    assert "shown once you have given your class" in page.text
    assert client.get(url, {"with": theirs.pk}).status_code == 403


def test_the_page_asks_the_same_queries_whatever_the_archive_holds(client: Client, cast, at_hand, archive):
    client.force_login(cast.hematologist)
    url = reverse("diagnosis:compare", args=[at_hand.pk])

    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url).status_code == 200
        return len(queries)

    archive("pre")
    asked()  # the first look at an image is written down
    before = asked()
    for label in ("pre", "benign", "pro", "pre"):
        archive(label)
    assert asked() == before


def test_the_nearest_of_vectors_are_found_over_batches():
    rng = np.random.default_rng(4)
    points = rng.normal(size=(2500, 16)).astype(np.float32)
    wanted = points[1234] + 0.01
    stored = [(n, packed(point)) for n, point in enumerate(points)]
    found = nearest(packed(wanted), [*stored, (9999, b"\x00\x00"), (8888, b"")], 5)
    cosine = points @ wanted / np.linalg.norm(points, axis=1) / np.linalg.norm(wanted)
    assert list(found) == np.argsort(-cosine)[:5].tolist()
    assert next(iter(found)) == 1234


def test_what_is_no_number_has_no_place():
    assert (
        packed(None)
        == packed(np.array([np.inf, 1.0], np.float32))
        == packed(np.array([1e9, 0], np.float32))
        == b""
    )
