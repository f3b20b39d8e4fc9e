"""Reviews: who may, what is taken, and that the newest counts."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from diagnosis.models import AuditEvent, Review
from diagnosis.models.immutable import ImmutableRow
from diagnosis.services import analyze
from diagnosis.services.review import ReviewRefused, record_review

pytestmark = pytest.mark.django_db


@pytest.fixture
def done(image, judge):
    """An image whose newest analysis says "early"."""
    judge(image, "early")
    return image


def review(user, image, verdict, label=None, comment="", analysis=...):
    chosen = image.newest_analysis if analysis is ... else analysis
    return record_review(
        user=user, image=image, analysis=chosen, verdict=verdict, label=label, comment=comment
    )


def test_agreeing_takes_the_class_of_the_analysis(cast, done):
    made = review(cast.hematologist, done, "agree", comment="  typical ")
    assert (made.label, made.comment, made.analysis) == ("early", "typical", done.newest_analysis)
    done.refresh_from_db()
    assert done.newest_review == made
    event = AuditEvent.objects.get(action="review")
    assert (event.actor, event.object_id, event.detail["verdict"]) == (
        cast.hematologist,
        str(done.pk),
        "agree",
    )


def test_overruling_takes_another_class(cast, done):
    assert review(cast.hematologist, done, "overrule", "benign").label == "benign"


def test_the_newest_review_counts_and_none_is_lost(cast, done):
    review(cast.hematologist, done, "agree")
    second = review(cast.administrator, done, "overrule", "pro")
    done.refresh_from_db()
    assert done.newest_review == second
    assert done.reviews.count() == 2


@pytest.mark.parametrize(
    ("verdict", "label", "comment", "words"),
    [
        ("overrule", None, "", "Choose the class"),
        ("overrule", "unheard-of", "", "Choose the class"),
        ("overrule", "early", "", "agree with it"),
        ("overrule", "other", "  ", "Say in the comment"),
        ("maybe", "benign", "", "agree or to overrule"),
        ("agree", None, "x" * 4001, "under 4000"),
    ],
)
def test_a_review_that_makes_no_sense_is_refused_with_a_sentence(cast, done, verdict, label, comment, words):
    with pytest.raises(ReviewRefused, match=words):
        review(cast.hematologist, done, verdict, label, comment)
    done.refresh_from_db()
    assert done.newest_review is None
    assert not Review.objects.exists()


def test_another_finding_needs_words_and_then_is_taken(cast, done):
    assert review(cast.hematologist, done, "overrule", "other", "Auer rods").label == "other"


def test_there_is_nothing_to_agree_with_before_the_outcome(cast, image):
    with pytest.raises(ReviewRefused, match="no outcome"):
        review(cast.hematologist, image, "agree")
    assert review(cast.hematologist, image, "overrule", "benign", analysis=None).label == "benign"


def test_agreeing_with_indeterminate_stands_for_no_class(cast, image, judge, version, predictors):
    image.newest_analysis.state = "done"
    image.newest_analysis.outcome = "indeterminate"
    image.newest_analysis.model_version = version
    image.newest_analysis.save()
    assert review(cast.hematologist, image, "agree").label == ""


def test_the_analysis_of_another_image_is_refused(cast, done, add_image):
    other = add_image()
    with pytest.raises(ReviewRefused, match="another image"):
        review(cast.hematologist, other, "overrule", "benign", analysis=done.newest_analysis)


def test_a_review_stays_with_the_analysis_the_reader_saw(cast, done):
    seen = done.newest_analysis
    analyze.retry(user=cast.technician, image=done)
    assert review(cast.hematologist, done, "agree", analysis=seen).analysis == seen


@pytest.mark.parametrize("third_is_queued", [False, True])
def test_agreeing_with_an_outcome_that_was_replaced_is_refused(cast, done, judge, third_is_queued):
    seen = done.newest_analysis
    analyze.retry(user=cast.technician, image=done)
    newer = judge(done, "benign")
    if third_is_queued:
        analyze.retry(user=cast.technician, image=done)
    with pytest.raises(ReviewRefused, match="A newer analysis exists: look at it before you agree"):
        review(cast.hematologist, done, "agree", analysis=seen)
    assert review(cast.hematologist, done, "overrule", "pro", analysis=seen).label == "pro"
    assert review(cast.hematologist, done, "agree", analysis=newer).label == "benign"


@pytest.mark.parametrize(("who", "refusal"), [("technician", PermissionDenied), ("outsider", Http404)])
def test_who_may_not_review(cast, done, who, refusal):
    with pytest.raises(refusal):
        review(cast[who], done, "agree")


def test_a_review_is_never_edited_or_deleted(cast, done):
    made = review(cast.hematologist, done, "agree")
    made.comment = "changed"
    for change in (
        made.save,
        made.delete,
        Review.objects.all().delete,
        lambda: Review.objects.update(comment="changed"),
        lambda: Review.objects.bulk_update([made], ["comment"]),
        lambda: done.reviews.update(comment="changed"),
    ):
        with pytest.raises(ImmutableRow):
            change()
    assert Review.objects.get().comment == ""


def test_an_audit_event_is_never_edited_or_deleted(cast, done):
    event = AuditEvent.objects.first()
    for change in (event.save, event.delete, AuditEvent.objects.all().delete):
        with pytest.raises(ImmutableRow):
            change()
