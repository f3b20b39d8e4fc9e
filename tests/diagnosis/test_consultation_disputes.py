"""Disputes: two readers differ about an image, and a third settles it."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from diagnosis.models import AuditEvent, Dispute, Review, User
from diagnosis.services import analyze, consultation
from diagnosis.services.review import ReviewRefused, record_review, withdraw_review

pytestmark = pytest.mark.django_db


@pytest.fixture
def readers(cast, laboratory):
    """Three readers of one laboratory: h, k and m."""

    def reader(name):
        return User.objects.create_user(
            name, role="hematologist", laboratory=laboratory, first_name=name.title(), last_name="Reader"
        )

    return {"h": cast.hematologist, "k": reader("kim"), "m": reader("mia")}


@pytest.fixture
def done(image, judge):
    """An image whose newest analysis says "early"."""
    judge(image, "early")
    return image


@pytest.fixture
def read(readers, done):
    """Has a reader review the image: "early" is an agreement, "" an answer that names no class."""

    def do(who: str, label: str) -> Review:
        done.refresh_from_db()
        verdict = "agree" if label == done.newest_analysis.label else "overrule"
        verdict = verdict if label else "unsure"
        return record_review(
            user=readers[who],
            image=done,
            analysis=done.newest_analysis,
            verdict=verdict,
            label=label if verdict == "overrule" else None,
        )

    return do


def take_back(review: Review) -> Review:
    return withdraw_review(user=review.reviewer, image=review.image, review=review.pk)


# What was read, in order; whether a dispute is open then, and how many there have been.
STORIES = [
    ("alone", [("h", "early")], False, 0),
    ("the same class", [("h", "early"), ("k", "early")], False, 0),
    ("another class", [("h", "early"), ("k", "pro")], True, 1),
    ("one reader changes her mind", [("h", "early"), ("h", "pro")], False, 0),
    ("cannot tell contradicts nobody", [("h", "early"), ("k", "")], False, 0),
    ("nor is it contradicted", [("k", ""), ("h", "early")], False, 0),
    ("a third settles it", [("h", "early"), ("k", "pro"), ("m", "pro")], False, 1),
    ("with a class of her own too", [("h", "early"), ("k", "pro"), ("m", "benign")], False, 1),
    ("but not by being unsure", [("h", "early"), ("k", "pro"), ("m", "")], True, 1),
    ("the first gives in", [("h", "early"), ("k", "pro"), ("h", "pro")], False, 1),
    ("the second gives in", [("h", "early"), ("k", "pro"), ("k", "early")], False, 1),
    ("one of them can tell no longer", [("h", "early"), ("k", "pro"), ("k", "")], False, 1),
    ("the two can't settle it", [("h", "early"), ("k", "pro"), ("h", "benign")], True, 1),
    ("nor by insisting", [("h", "early"), ("k", "pro"), ("k", "pro"), ("h", "early")], True, 1),
    ("a fourth reading agrees", [("h", "early"), ("k", "pro"), ("m", "pro"), ("k", "pro")], False, 1),
    ("and one that insists", [("h", "early"), ("k", "pro"), ("m", "pro"), ("h", "early")], True, 2),
    ("what is left differs", [("h", "early"), ("m", "early"), ("k", "pro"), ("m", "pro")], True, 2),
]


@pytest.mark.parametrize(
    ("story", "open_", "disputes"), [s[1:] for s in STORIES], ids=[s[0] for s in STORIES]
)
def test_a_dispute_is_open_while_two_readers_differ(read, done, story, open_, disputes):
    for who, label in story:
        newest = read(who, label)
    assert consultation.open_disputes(done.case).exists() is open_
    assert Dispute.objects.count() == disputes
    assert newest.image_id == done.pk


def test_a_dispute_names_the_two_readings_and_the_one_that_settles_it(read, done, readers):
    first, second = read("h", "early"), read("k", "pro")
    (dispute,) = consultation.open_disputes(done.case)
    assert (dispute.first, dispute.second, dispute.image) == (first, second, done)
    third = read("m", "benign")
    dispute.refresh_from_db()
    assert dispute.settled_by == third
    assert dispute.ended_at is not None
    done.refresh_from_db()
    assert done.newest_review == third
    told = AuditEvent.objects.filter(action__endswith="_dispute").order_by("pk")
    assert [(event.action, event.actor) for event in told] == [
        ("raise_dispute", readers["k"]),
        ("settle_dispute", readers["m"]),
    ]
    assert {event.object_id for event in told} == {str(done.pk)}


def test_it_shows_the_newest_readings_of_the_two(read, done):
    read("h", "early")
    second = read("k", "pro")
    changed = read("h", "benign")
    (dispute,) = consultation.open_disputes(done.case)
    assert (dispute.first, dispute.second) == (changed, second)


def test_an_agreement_with_an_analysis_of_the_past_contradicts_nobody(cast, read, done, judge):
    read("h", "early")
    analyze.retry(user=cast.technician, image=done)
    judge(done, "pro")
    read("k", "pro")
    assert not consultation.open_disputes(done.case).exists()


def test_taking_back_a_reading_ends_what_it_raised(read, done):
    read("h", "early")
    take_back(read("k", "pro"))
    assert not consultation.open_disputes(done.case).exists()


def test_taking_back_a_change_of_mind_raises_it_again(read, done):
    read("h", "early")
    read("k", "pro")
    take_back(read("h", "pro"))
    assert consultation.open_disputes(done.case).count() == 1


def test_the_reading_that_settled_it_stays(read, done):
    read("h", "early")
    read("k", "pro")
    third = read("m", "pro")
    with pytest.raises(ReviewRefused, match="settled a dispute"):
        take_back(third)
    assert not consultation.open_disputes(done.case).exists()


def test_images_are_disputed_one_by_one(read, done, add_image, case):
    add_image()
    read("h", "early")
    read("k", "pro")
    (dispute,) = consultation.open_disputes(case)
    assert dispute.image == done


@pytest.mark.django_db(transaction=True)
def test_of_two_reviews_at_once_the_later_raises_the_dispute(readers, done):
    start, ended = threading.Barrier(2), []

    def review(who, verdict, label):
        try:
            start.wait(10)
            record_review(
                user=readers[who], image=done, analysis=done.newest_analysis, verdict=verdict, label=label
            )
            ended.append(who)
        finally:
            connection.close()

    deeds = [("h", "agree", None), ("k", "overrule", "pro")]
    threads = [threading.Thread(target=review, args=deed) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(ended) == ["h", "k"]
    (dispute,) = consultation.open_disputes(done.case)
    done.refresh_from_db()
    assert dispute.second == done.newest_review
    assert dispute.first.pk < dispute.second.pk
