"""Reading blind: nothing of the model before her own class, everything after it, and who is not kept from seeing."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from diagnosis import selectors, veil
from diagnosis.models import AuditEvent, BlindReading, Case, Cell, Laboratory, Review, User
from diagnosis.selectors import HistoryFilters
from diagnosis.services import analyze
from diagnosis.services.blind import record_blind_reading
from diagnosis.services.review import ReviewRefused, record_review
from diagnosis.services.review_several import review_several
from tests.diagnosis.told_cells import add_cells
from tests.diagnosis.told_worklist import listed

pytestmark = pytest.mark.django_db

SCRIPT = {"X-Requested-With": "leukoscope"}
TELLTALES = (
    "▲",
    "Leukemia suspected",
    "suspected: ",
    "Early pre-B",
    "Confidence",
    "gradcam",
    "overlay/",
    "per 100",
)


@pytest.fixture
def done(laboratory, image, judge):
    """A suspected image with a blast, in a laboratory that reads blind."""
    Laboratory.objects.filter(pk=laboratory.pk).update(is_blind=True)
    judge(image, "early")
    add_cells(image, ["blast"])
    return image


@pytest.fixture
def colleague(laboratory):
    return User.objects.create_user(
        "cora", role=User.Role.HEMATOLOGIST, laboratory=laboratory, first_name="Cora", last_name="Colleague"
    )


@pytest.fixture
def reader(client: Client, cast, done) -> Client:
    client.force_login(cast.hematologist)
    return client


def fresh(user: User) -> User:
    """The user as a request has her: with her laboratory as it is now."""
    return User.objects.select_related("laboratory").get(pk=user.pk)


def pages(image: Any) -> dict[str, tuple[str, dict[str, str]]]:
    case = reverse("diagnosis:case", args=[image.case_id])
    return {
        "page": (case, {}),
        "panel": (f"{case}?image={image.pk}", SCRIPT),
        "live": (reverse("diagnosis:case-live", args=[image.case_id]), {}),
        "worklist": (reverse("diagnosis:worklist"), {}),
        "compare": (reverse("diagnosis:compare", args=[image.pk]), {}),
    }


def main_of(page: str) -> str:
    """What a page says of the case, without the dialog of keys, the tools of the viewer and the tabs of the list."""
    page = html.unescape(page).split("<dialog")[0]
    for begin, end in (('<div class="tools">', '<div class="view">'), ('<nav class="tabs"', "</nav>")):
        if begin in page:
            page = page.split(begin)[0] + page.split(begin)[1].split(end, 1)[1]
    return page.split("<main", 1)[-1]


@pytest.mark.parametrize("name", ["page", "panel", "live"])
def test_nothing_of_the_model_is_in_any_answer_before_her_own_class(reader: Client, done, name: str) -> None:
    url, headers = pages(done)[name]
    said = main_of(reader.get(url, headers=headers).text)
    for telltale in TELLTALES:
        assert telltale not in said, telltale
    assert ("your class first" in said) == (name != "panel")
    assert ("Give this class" in said) == (name != "live")


def test_the_worklist_and_the_history_tell_nothing_of_it(reader: Client, cast, done) -> None:
    user = fresh(cast.hematologist)
    (found,) = listed(user=user)
    assert (found.suspected_count, found.rank, found.suspicion, found.veiled_count) == (
        0, selectors.RANK_OTHER, None, 1,
    )  # fmt: skip
    for filters in (HistoryFilters(outcome="suspected"), HistoryFilters(label="early")):
        assert not selectors.history(user=user, filters=filters).exists()
    said = main_of(reader.get(reverse("diagnosis:worklist")).text)
    assert "1 to be read blind" in said
    assert "none suspected" not in said
    assert "▲" not in said


def gated(image: Any) -> list[str]:
    cell = Cell.objects.get()
    sprite = reverse("diagnosis:image-sprite", args=[image.pk])
    return [
        reverse("diagnosis:image-overlay", args=[image.pk, "gradcam"]),
        f"{reverse('diagnosis:image-overlay', args=[image.pk, 'gradcam'])}?analysis={image.newest_analysis_id}",
        reverse("diagnosis:image-cells", args=[image.pk]),
        f"{sprite}?cells={cell.cell_analysis_id}",
        reverse("diagnosis:cell", args=[cell.pk]),
        reverse("diagnosis:cell-saliency", args=[cell.pk]),
        reverse("diagnosis:cells", args=[image.case_id]),
    ]


def test_pictures_and_cells_are_gated_until_she_has_given_her_class(reader: Client, cast, done) -> None:
    for url in gated(done):
        answer = reader.get(url, headers=SCRIPT)
        assert answer.status_code == 403, url
        assert "own class" in answer.json()["message"]
    read = reader.post(
        reverse("diagnosis:cells-read", args=[done.case_id]),
        {"cells": Cell.objects.get().pk, "label": "monocyte"},
    )
    assert read.status_code == 403
    assert reader.get(reverse("diagnosis:image-file", args=[done.pk])).status_code == 200
    record_blind_reading(user=fresh(cast.hematologist), image=done, label="early")
    assert 403 not in [reader.get(url, headers=SCRIPT).status_code for url in gated(done)]


def test_her_class_reveals_the_outcome_with_the_agreement(reader: Client, cast, done) -> None:
    url = reverse("diagnosis:blind", args=[done.pk])
    answer = reader.post(
        url, {"label": "early", "seconds": "31.26", "comment": "Half a thought"}, headers=SCRIPT
    )
    assert answer.status_code == 200
    reading = BlindReading.objects.get()
    assert (reading.label, reading.seconds, reading.reader) == ("early", 31.3, cast.hematologist)
    assert reading.analysis_id == done.newest_analysis_id
    assert "<b>Early pre-B</b>, as the model says." in answer.text
    assert "Confidence" in answer.text
    assert ">Half a thought</textarea>" in answer.text
    assert AuditEvent.objects.get(action="read_blind").detail["label"] == "early"
    reader.post(
        reverse("diagnosis:review", args=[done.pk]),
        {"verdict": "agree", "analysis": done.newest_analysis_id, "seconds": "4"},
        headers=SCRIPT,
    )
    review = Review.objects.get()
    assert (review.blind_reading, review.seconds) == (reading, 4.0)


def test_a_class_of_her_own_that_differs_is_offered_for_overruling(reader: Client, done) -> None:
    answer = reader.post(reverse("diagnosis:blind", args=[done.pk]), {"label": "pro"}, headers=SCRIPT)
    assert "<b>Pro-B</b>; the model says early pre-B." in answer.text
    assert 'value="pro" checked' in answer.text


def test_she_may_say_that_she_cannot_tell_before(reader: Client, done) -> None:
    answer = reader.post(reverse("diagnosis:blind", args=[done.pk]), {"label": "unsure"}, headers=SCRIPT)
    assert "<b>Cannot tell</b>; the model says early pre-B." in answer.text
    assert 'value="early" checked' not in answer.text.replace('name="label" ', "")
    assert '<details id="overrule">' in answer.text


def test_her_first_class_counts(reader: Client, cast, done) -> None:
    url = reverse("diagnosis:blind", args=[done.pk])
    reader.post(url, {"label": "pro"})
    answer = reader.post(url, {"label": "early"}, headers=SCRIPT)
    assert answer.status_code == 422
    assert "shown to you already" in answer.text
    assert BlindReading.objects.get().label == "pro"


@pytest.mark.parametrize("label", ["", "unheard-of"])
def test_without_a_class_nothing_is_shown(reader: Client, done, label: str) -> None:
    answer = reader.post(
        reverse("diagnosis:blind", args=[done.pk]), {"label": label, "comment": "Kept."}, headers=SCRIPT
    )
    assert answer.status_code == 422
    assert "Choose the class that you read" in answer.text
    assert ">Kept.</textarea>" in answer.text
    assert "Confidence" not in answer.text


def test_a_review_needs_her_class_first(cast, case, done) -> None:
    user = fresh(cast.hematologist)
    with pytest.raises(ReviewRefused, match="your own class"):
        record_review(user=user, image=done, analysis=done.newest_analysis, verdict="agree")
    made = review_several(
        user=user, case=case, analyses={done.pk: done.newest_analysis_id}, verdict="overrule", label="early"
    )
    assert made.done == ()
    assert "your own class" in made.refused[0][1]


def test_a_colleagues_reading_is_kept_back_too(reader: Client, colleague, cast, done) -> None:
    record_blind_reading(user=fresh(colleague), image=done, label="benign")
    record_review(
        user=fresh(colleague), image=done, analysis=done.newest_analysis, verdict="overrule", label="benign",
        comment="Hematogones, surely.",
    )  # fmt: skip
    for url, headers in pages(done).values():
        said = main_of(reader.get(url, headers=headers).text)
        assert "Hematogones, surely." not in said
        assert "verruled" not in said.replace("Overrule", "")
    record_blind_reading(user=fresh(cast.hematologist), image=done, label="early")
    url, headers = pages(done)["panel"]
    assert "Hematogones, surely." in reader.get(url, headers=headers).text


@pytest.mark.parametrize("who", ["technician"])
def test_who_does_not_review_sees_as_ever(client: Client, cast, done, who: str) -> None:
    client.force_login(cast[who])
    url, headers = pages(done)["panel"]
    assert "Confidence" in client.get(url, headers=headers).text
    assert 403 not in [client.get(url, headers=SCRIPT).status_code for url in gated(done)]


def test_a_new_analysis_and_a_signed_case_are_not_veiled(cast, done, colleague, judge) -> None:
    user = fresh(cast.hematologist)
    assert veil.is_veiled(user=user, image=done)
    record_blind_reading(user=user, image=done, label="early")
    analyze.retry(user=cast.technician, image=done)
    judge(done, "benign")
    assert not veil.is_veiled(user=user, image=done)
    assert veil.veiled_count(user=fresh(colleague), case=done.case) == 1
    Case.objects.update(status=Case.Status.FINAL)
    done.refresh_from_db()
    done.case.refresh_from_db()
    assert not veil.is_veiled(user=fresh(colleague), image=done)
    assert veil.veiled_count(user=fresh(colleague), case=done.case) == 0


def test_an_analysis_that_failed_hides_nothing_and_is_read_at_once(reader: Client, done) -> None:
    done.analyses.update(state="failed", failure="The stored file can't be read.")
    url, headers = pages(done)["panel"]
    said = reader.get(url, headers=headers).text
    assert "stored file can" in said
    answer = reader.post(
        reverse("diagnosis:review", args=[done.pk]),
        {"verdict": "overrule", "label": "benign", "analysis": done.newest_analysis_id},
        headers=SCRIPT,
    )
    assert answer.status_code == 200


def test_blind_pages_ask_as_many_queries_for_ten_images_as_for_one(
    reader: Client, done, add_image, judge
) -> None:
    def asked() -> list[int]:
        counts = []
        for name in ("page", "panel", "live"):
            url, headers = pages(done)[name]
            with CaptureQueriesContext(connection) as queries:
                assert reader.get(url, headers=headers).status_code == 200
            counts.append(len(queries))
        return counts

    asked()  # the first look at a case is written down
    before = asked()
    for _ in range(9):
        judge(add_image())
    assert asked() == before
