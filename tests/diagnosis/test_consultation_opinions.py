"""Second opinions: who may ask whom for what, and when a question is answered."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from diagnosis.models import AuditEvent, Case, SecondOpinion
from diagnosis.services import consultation, intake
from diagnosis.services.consultation import ConsultationRefused
from diagnosis.services.review import record_review, withdraw_review

pytestmark = pytest.mark.django_db


@pytest.fixture
def done(image, judge):
    judge(image, "early")
    return image


@pytest.fixture
def ask(cast, done):
    def do(**more):
        return consultation.ask(
            **{"user": cast.hematologist, "case": done.case, "of": cast.administrator, **more}
        )

    return do


def agree(user, image):
    image.refresh_from_db()
    return record_review(user=user, image=image, analysis=image.newest_analysis, verdict="agree")


def is_open(opinion) -> bool:
    opinion.refresh_from_db()
    return opinion.answered_at is None and opinion.withdrawn_at is None


def test_a_colleague_is_asked_and_it_is_on_record(cast, ask, done):
    opinion = ask(image=done, question="  Blasts or hematogones? ")
    assert (opinion.asked_by, opinion.asked_of) == (cast.hematologist, cast.administrator)
    assert opinion.question == "Blasts or hematogones?"
    event = AuditEvent.objects.get(action="ask_opinion")
    assert (event.actor, event.object_id) == (cast.hematologist, str(done.pk))
    assert event.detail == {"opinion": opinion.pk, "asked_of": cast.administrator.pk}


@pytest.mark.parametrize(
    ("who", "of", "expected"),
    [
        ("technician", "administrator", PermissionDenied),
        ("outsider", "administrator", Http404),
        ("hematologist", "technician", ConsultationRefused),
        ("hematologist", "outsider", ConsultationRefused),
        ("hematologist", "hematologist", ConsultationRefused),
        ("hematologist", None, ConsultationRefused),
        ("administrator", "hematologist", None),
    ],
)
def test_who_may_ask_whom(cast, ask, who, of, expected):
    if expected is None:
        ask(user=cast[who], of=cast[of])
        return
    with pytest.raises(expected):
        ask(user=cast[who], of=cast[of] if of else None)
    assert not SecondOpinion.objects.exists()


def test_who_has_left_is_not_asked(cast, ask):
    cast.administrator.is_active = False
    cast.administrator.save()
    with pytest.raises(ConsultationRefused, match="Choose a colleague"):
        ask()


def test_what_is_refused_says_why(cast, ask, done, add_image):
    other = add_image(to=intake.create_case(user=cast.technician, accession_number="H-2", patient_code="P-2"))
    empty = intake.create_case(user=cast.technician, accession_number="H-3", patient_code="P-3")
    with pytest.raises(ConsultationRefused, match="another case"):
        ask(image=other)
    with pytest.raises(ConsultationRefused, match="no image"):
        ask(case=empty)
    with pytest.raises(ConsultationRefused, match="under 2000"):
        ask(question="x" * 2001)
    ask()
    with pytest.raises(ConsultationRefused, match="asked already"):
        ask()
    ask(image=done)
    with pytest.raises(ConsultationRefused, match="asked already"):
        ask(image=done)
    assert SecondOpinion.objects.count() == 2


def test_who_has_read_it_is_not_asked(cast, ask, done):
    agree(cast.administrator, done)
    with pytest.raises(ConsultationRefused, match="has read this image already"):
        ask(image=done)


def test_a_signed_case_is_not_asked_about(ask, done):
    Case.objects.update(status="final")
    with pytest.raises(ConsultationRefused, match="signed out"):
        ask()


def test_an_image_is_answered_by_her_review_of_it_alone(cast, ask, done, add_image, judge):
    other = add_image()
    judge(other)
    opinion = ask(image=done)
    agree(cast.hematologist, done)
    agree(cast.administrator, other)
    assert is_open(opinion)
    agree(cast.administrator, done)
    assert not is_open(opinion)
    event = AuditEvent.objects.get(action="answer_opinion")
    assert (event.actor, event.detail["opinion"]) == (cast.administrator, opinion.pk)


def test_a_case_is_answered_by_her_review_of_every_image(cast, ask, done, add_image, judge):
    other = add_image()
    judge(other)
    opinion = ask()
    agree(cast.administrator, done)
    assert is_open(opinion)
    agree(cast.administrator, other)
    assert not is_open(opinion)


def test_who_takes_her_reading_back_is_asked_still(cast, ask, done):
    opinion = ask(image=done)
    review = agree(cast.administrator, done)
    assert not is_open(opinion)
    withdraw_review(user=cast.administrator, image=done, review=review.pk)
    assert is_open(opinion)


def test_only_who_asked_withdraws(cast, ask, done):
    opinion = ask()
    with pytest.raises(ConsultationRefused, match="Only Hedy"):
        consultation.withdraw(user=cast.administrator, opinion=opinion)
    with pytest.raises(Http404):
        consultation.withdraw(user=cast.outsider, opinion=opinion)
    consultation.withdraw(user=cast.hematologist, opinion=opinion)
    assert not is_open(opinion)
    consultation.withdraw(user=cast.hematologist, opinion=opinion)
    assert AuditEvent.objects.filter(action="withdraw_opinion").count() == 1
    agree(cast.administrator, done)
    opinion.refresh_from_db()
    assert opinion.answered_at is None


def test_what_was_answered_in_the_meantime_is_not_withdrawn(cast, ask, done):
    opinion = ask(image=done)
    agree(cast.administrator, done)
    with pytest.raises(ConsultationRefused, match="has answered in the meantime"):
        consultation.withdraw(user=cast.hematologist, opinion=opinion)
