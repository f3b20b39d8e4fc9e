"""Cannot tell, taking readings back, several images at once, and two readers at one image."""

from __future__ import annotations

import math
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from diagnosis import selectors, wording
from diagnosis.models import Analysis, AuditEvent, Case, Review, User
from diagnosis.selectors import HistoryFilters
from diagnosis.services import analyze, intake
from diagnosis.services.review import ReviewRefused, record_review, withdraw_review
from diagnosis.services.review_several import MOST_IMAGES, review_several, withdraw_batch
from diagnosis.services.reviewed import reviewed_items
from tests.diagnosis.told_worklist import listed

pytestmark = pytest.mark.django_db

SCRIPT = {"X-Requested-With": "leukoscope"}


@pytest.fixture
def done(image, judge):
    """An image whose newest analysis says "early"."""
    judge(image, "early")
    return image


@pytest.fixture
def colleague(laboratory):
    return User.objects.create_user(
        "cora", role=User.Role.HEMATOLOGIST, laboratory=laboratory, first_name="Cora", last_name="Colleague"
    )


def review(user, image, verdict, label=None, **more):
    image.refresh_from_db()
    return record_review(
        user=user, image=image, analysis=image.newest_analysis, verdict=verdict, label=label, **more
    )


def only_case(user, **more) -> Any:
    (found,) = listed(user=user, **more)
    return found


# --- cannot tell


def test_cannot_tell_is_read_names_no_class_and_keeps_the_case_on_the_list(cast, laboratory, done):
    made = review(cast.hematologist, done, "unsure", comment="Smudged.")
    assert (made.label, wording.review_sentence(made)) == ("", "cannot tell")
    found = only_case(cast.hematologist, unread_only=True)
    assert (found.reviewed_count, found.unread_count, found.unsure_count) == (1, 0, 1)
    assert (found.suspected_count, found.unjudged_count) == (1, 1)
    assert reviewed_items(laboratory=laboratory) == []
    for filters in (HistoryFilters(disagreement=True), HistoryFilters(label="early")):
        assert not selectors.history(user=cast.hematologist, filters=filters).exists()


def test_cannot_tell_of_a_benign_image_ranks_its_case_with_the_unjudged(cast, image, judge):
    judge(image, "benign")
    assert only_case(cast.hematologist).rank == selectors.RANK_OTHER
    review(cast.hematologist, image, "unsure")
    assert only_case(cast.hematologist).rank == selectors.RANK_UNJUDGED


def test_cannot_tell_holds_until_the_image_is_analysed_anew(cast, done, judge):
    review(cast.hematologist, done, "unsure")
    analyze.retry(user=cast.technician, image=done)
    judge(done, "benign")
    found = only_case(cast.hematologist)
    assert (found.reviewed_count, found.unread_count, found.unsure_count) == (0, 1, 0)
    assert not selectors.history(user=cast.hematologist, filters=HistoryFilters(disagreement=True)).exists()


def test_who_cannot_tell_waits_for_the_outcome(cast, image):
    with pytest.raises(ReviewRefused, match="still being analysed"):
        review(cast.hematologist, image, "unsure")


# --- undo


def test_taking_back_lets_the_review_before_count_again(cast, colleague, done):
    first = review(cast.hematologist, done, "agree")
    second = review(colleague, done, "overrule", "benign")
    withdraw_review(user=colleague, image=done, review=second.pk)
    done.refresh_from_db()
    assert done.newest_review == first
    withdraw_review(user=cast.hematologist, image=done)
    done.refresh_from_db()
    assert done.newest_review is None
    found = only_case(cast.hematologist)
    assert (found.reviewed_count, found.unread_count, found.overruled_count) == (0, 1, 0)
    assert done.reviews.count() == 4
    event = AuditEvent.objects.filter(action="withdraw_review").order_by("pk").last()
    assert event.detail["withdraws"] == first.pk
    assert (event.detail["old"], event.detail["new"]) == ("agrees: early pre-B", "not reviewed")


def test_only_ones_own_is_taken_back_and_once(cast, colleague, done):
    made = review(cast.hematologist, done, "agree")
    with pytest.raises(ReviewRefused, match="no reading of this image"):
        withdraw_review(user=colleague, image=done)
    withdraw_review(user=cast.hematologist, image=done, review=made.pk)
    with pytest.raises(ReviewRefused, match="no reading of this image"):
        withdraw_review(user=cast.hematologist, image=done, review=made.pk)


def test_a_page_that_is_out_of_date_takes_nothing_back(cast, done):
    old = review(cast.hematologist, done, "agree")
    review(cast.hematologist, done, "overrule", "benign")
    with pytest.raises(ReviewRefused, match="out of date"):
        withdraw_review(user=cast.hematologist, image=done, review=old.pk)


def test_a_signed_case_takes_no_reading_and_gives_none_back_until_it_is_amended(cast, done):
    review(cast.hematologist, done, "agree")
    Case.objects.update(status=Case.Status.FINAL)
    with pytest.raises(ReviewRefused, match="open an amendment"):
        review(cast.hematologist, done, "overrule", "benign")
    with pytest.raises(ReviewRefused, match="open an amendment"):
        withdraw_review(user=cast.hematologist, image=done)
    Case.objects.update(amending_since=timezone.now())
    withdraw_review(user=cast.hematologist, image=done)
    done.refresh_from_db()
    assert done.newest_review is None


@pytest.mark.parametrize(("who", "refusal"), [("technician", PermissionDenied), ("outsider", Http404)])
def test_who_may_not_take_back(cast, done, who, refusal):
    with pytest.raises(refusal):
        withdraw_review(user=cast[who], image=done)


def test_the_page_takes_back_and_shows_that_it_was(client: Client, cast, done):
    client.force_login(cast.hematologist)
    made = review(cast.hematologist, done, "agree", comment="Too early.")
    url = reverse("diagnosis:review-undo", args=[done.pk])
    answer = client.post(url, {"review": made.pk}, headers=SCRIPT)
    assert answer.status_code == 200
    assert 'data-said="Taken back. The image is unread again."' in answer.text
    assert "takenback" in answer.text
    assert "Too early." in answer.text
    assert "Take it back" not in answer.text
    again = client.post(url, {"review": made.pk}, headers=SCRIPT)
    assert again.status_code == 422
    assert "You have no reading of this image to take back." in again.text


# --- two readers at one image


def test_the_later_of_two_readers_is_told_and_loses_nothing(client: Client, cast, colleague, done):
    review(colleague, done, "overrule", "benign")
    client.force_login(cast.hematologist)
    url = reverse("diagnosis:review", args=[done.pk])
    sent = {
        "verdict": "agree",
        "analysis": done.newest_analysis_id,
        "shown": "none",
        "comment": "Ten minutes.",
    }
    answer = client.post(url, sent, headers=SCRIPT)
    assert answer.status_code == 422
    assert "Cora Colleague has read this image meanwhile (overruled: benign (hematogones))" in answer.text
    assert ">Ten minutes.</textarea>" in answer.text
    assert Review.objects.count() == 1
    done.refresh_from_db()
    assert f'name="shown" value="{done.newest_review_id}"' in answer.text
    again = client.post(url, {**sent, "shown": done.newest_review_id}, headers=SCRIPT)
    assert again.status_code == 200
    assert Review.objects.filter(reviewer=cast.hematologist, comment="Ten minutes.").exists()


def test_ones_own_newer_review_stops_nobody(cast, done):
    review(cast.hematologist, done, "agree", shown=None)
    review(cast.hematologist, done, "overrule", "pro", shown=None)
    assert done.reviews.count() == 2


@pytest.mark.parametrize(
    ("told", "kept"),
    [("12.34", 12.3), ("0", 0.0), ("-1", None), ("nan", None), ("inf", None), ("99999", None), ("?", None)],
)
def test_a_browsers_clock_is_kept_as_far_as_it_can_be_believed(client: Client, cast, done, told, kept):
    client.force_login(cast.hematologist)
    url = reverse("diagnosis:review", args=[done.pk])
    client.post(url, {"verdict": "agree", "analysis": done.newest_analysis_id, "seconds": told})
    seconds = Review.objects.get().seconds
    assert seconds is kept if kept is None else math.isclose(seconds, kept)


# --- several at once


@pytest.fixture
def three(add_image, judge):
    images = [add_image() for _ in range(3)]
    for image, label in zip(images, ("early", "benign", "early"), strict=True):
        judge(image, label)
    return images


def shown(images):
    return {image.pk: image.newest_analysis_id for image in images}


def test_a_class_is_set_for_several_and_the_models_own_is_agreed_with(cast, case, three):
    made = review_several(
        user=cast.hematologist, case=case, analyses=shown(three), verdict="overrule", label="early"
    )
    assert [(one.verdict, one.label) for one in made.done] == [
        ("agree", "early"),
        ("overrule", "early"),
        ("agree", "early"),
    ]
    assert made.refused == ()
    assert {one.batch for one in made.done} == {made.batch}


def test_each_is_taken_or_refused_by_itself_with_a_sentence(cast, case, three, add_image, judge):
    waiting = add_image()
    replaced = three[0]
    seen = shown([*three, waiting])
    analyze.retry(user=cast.technician, image=replaced)
    judge(replaced, "pro")
    made = review_several(user=cast.hematologist, case=case, analyses=seen, verdict="agree")
    assert [one.image.position for one in made.done] == [2, 3]
    assert [(image.position, why[:28]) for image, why in made.refused] == [
        (1, "A newer analysis exists: loo"),
        (4, "There is no outcome to agree"),
    ]


def test_a_batch_is_taken_back_but_for_what_was_read_since(cast, case, three):
    made = review_several(user=cast.hematologist, case=case, analyses=shown(three), verdict="agree")
    review(cast.hematologist, three[1], "overrule", "pro")
    back = withdraw_batch(user=cast.hematologist, case=case, batch=made.batch)
    assert [one.image.position for one in back.done] == [1, 3]
    assert [image.position for image, _ in back.refused] == [2]
    found = only_case(cast.hematologist)
    assert (found.reviewed_count, found.overruled_count) == (1, 1)


def test_whose_batch_it_is_not(cast, colleague, case, three):
    made = review_several(user=cast.hematologist, case=case, analyses=shown(three), verdict="agree")
    with pytest.raises(ReviewRefused, match="Only the reader"):
        withdraw_batch(user=colleague, case=case, batch=made.batch)
    with pytest.raises(Http404):
        withdraw_batch(user=cast.hematologist, case=case, batch=uuid4())


def test_what_can_not_be_read_at_once(cast, case, three):
    elsewhere = intake.create_case(user=cast.technician, accession_number="H-2", patient_code="P-2")
    with pytest.raises(ReviewRefused, match="Choose an image"):
        review_several(user=cast.hematologist, case=case, analyses={}, verdict="agree")
    many = {uuid4(): None for _ in range(MOST_IMAGES + 1)}
    with pytest.raises(ReviewRefused, match="at most"):
        review_several(user=cast.hematologist, case=case, analyses=many, verdict="agree")
    with pytest.raises(Http404):
        review_several(user=cast.hematologist, case=elsewhere, analyses=shown(three), verdict="agree")
    with pytest.raises(PermissionDenied):
        review_several(user=cast.technician, case=case, analyses=shown(three), verdict="agree")
    assert not Review.objects.exists()


def test_the_page_reads_several_and_undoes_it(client: Client, cast, case, three):
    client.force_login(cast.hematologist)
    Analysis.objects.filter(image=three[2]).update(state="failed", failure="It broke.")
    pairs = [f"{image.pk}:{image.newest_analysis_id}" for image in three]
    url = reverse("diagnosis:reviews", args=[case.pk])
    answer = client.post(url, {"image": pairs, "verdict": "agree", "comment": "All alike."}, headers=SCRIPT)
    told = answer.json()
    assert answer.status_code == 200
    assert told["message"] == "2 images read."
    assert [one["number"] for one in told["refused"]] == [3]
    assert Review.objects.filter(comment="All alike.").count() == 2
    undo = client.post(
        reverse("diagnosis:reviews-undo", args=[case.pk]), {"batch": told["batch"]}, headers=SCRIPT
    )
    assert undo.json()["message"] == "2 images taken back."
    assert only_case(cast.hematologist).reviewed_count == 0
    assert client.post(url, {"image": ["nonsense"]}, headers=SCRIPT).status_code == 400
