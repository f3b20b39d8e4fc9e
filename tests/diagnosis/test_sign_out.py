"""Signing a case out: what it freezes, what stands in its way, and who may."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import RequestFactory

from diagnosis.models import AuditEvent, Case, Dispute, SecondOpinion, SignOut, SmearImage, User
from diagnosis.models.immutable import ImmutableRow
from diagnosis.second_factor_forms import AuthenticateForm
from diagnosis.services import analyze, audit_chain, report_content, sign_out
from diagnosis.services.sign_out import SignOutRefused
from diagnosis.services.sign_out_checks import check
from diagnosis.services.signer import IdentityRefused
from tests.diagnosis.told_sign_out import read, reader, shown, sign

pytestmark = pytest.mark.django_db


@pytest.fixture
def ready(cast, case, image, judge) -> Case:
    """A case of one image, analysed and read."""
    judge(image, "early")
    read(cast.hematologist, image)
    return case


def fail(image: SmearImage) -> None:
    """End the newest analysis of an image as failed."""
    image.refresh_from_db()
    image.newest_analysis.state, image.newest_analysis.failure = "failed", "The file is gone."
    image.newest_analysis.save()


def kinds(user, case) -> list[str]:
    return [one.kind for one in check(user=user, case=case).obstacles]


def test_the_signature_names_who_when_in_which_role_and_what_it_means(cast, ready):
    cast.hematologist.title = "Dr. med."
    cast.hematologist.save()
    made = sign(cast.hematologist, ready, "  Blasts:\r\nsuspicious. ")
    ready.refresh_from_db()
    assert (ready.status, ready.newest_sign_out, made.number) == ("final", made, 1)
    assert (made.signer_name, made.signer_role) == ("Dr. med. Hedy Hematologist", "hematologist")
    assert made.meaning == "I have examined the images of this case and I am responsible for this report."
    assert made.conclusion == made.content["conclusion"] == "Blasts:\nsuspicious."
    assert made.content["signature"]["signed_at"] == report_content.utc(made.signed_at)
    assert made.content["status"] == "final"


def test_what_was_signed_is_frozen_with_its_hash_and_a_link_of_the_audit(cast, ready):
    made = SignOut.objects.get(pk=sign(cast.hematologist, ready).pk)
    assert report_content.sha256_of(made.content) == made.content_sha256
    event = AuditEvent.objects.get(action="sign_out")
    assert event.detail == {"number": 1, "content_sha256": made.content_sha256}
    assert (event.sequence, event.mac) == (made.audit_sequence, made.audit_head) == audit_chain.head()
    told = report_content.document(case=ready)
    assert told["content"] == made.content
    assert told["seal"] == {
        "sha256": made.content_sha256,
        "audit_sequence": made.audit_sequence,
        "audit_head": made.audit_head,
    }
    with pytest.raises(ImmutableRow):
        made.save()


def test_later_changes_of_the_laboratory_do_not_touch_it(cast, ready):
    made = sign(cast.hematologist, ready)
    ready.laboratory.name = "Renamed"
    ready.laboratory.save()
    cast.hematologist.last_name = "Married"
    cast.hematologist.save()
    told = report_content.document(case=Case.objects.get(pk=ready.pk))["content"]
    assert told["laboratory"]["name"] == "Central Laboratory"
    assert told["signature"]["name"] == "Hedy Hematologist"
    assert report_content.sha256_of(told) == made.content_sha256


def test_an_unread_image_is_in_the_way_by_its_position(cast, ready, add_image, judge):
    judge(add_image(), "pre")
    (one,) = check(user=cast.hematologist, case=ready).obstacles
    assert (one.kind, one.sentence, [image.position for image in one.images]) == (
        "unread",
        "Image 2 is not read.",
        [2],
    )
    with pytest.raises(SignOutRefused, match="Image 2 is not read"):
        sign(cast.hematologist, ready)
    assert not SignOut.objects.exists()


def test_a_case_without_images_cannot_be_signed(cast, case):
    assert kinds(cast.hematologist, case) == ["no_images"]


def test_an_agreement_with_an_earlier_analysis_does_not_count(cast, ready, image, judge):
    analyze.retry(user=cast.technician, image=image)
    assert kinds(cast.hematologist, ready) == ["unfinished"]
    judge(image, "early")
    assert kinds(cast.hematologist, ready) == ["unread"]


def test_a_failed_analysis_is_in_the_way_until_the_image_is_read_and_that_accepted(
    cast, ready, add_image, version
):
    fail(add_image())
    assert kinds(cast.hematologist, ready) == ["failed"]
    image = ready.images.get(position=2)
    read(cast.hematologist, image, "overrule", label="not_judgeable")
    assert kinds(cast.hematologist, ready) == []
    with pytest.raises(SignOutRefused, match="without an outcome of image 2") as refused:
        sign(cast.hematologist, ready)
    assert refused.value.field == "accepted"
    made = sign(cast.hematologist, ready, accepted=True)
    assert made.content["signature"]["statements"] == [
        "Signed without an outcome of image 2, whose analysis failed."
    ]


def test_a_dispute_is_in_the_way_until_a_third_settles_it(cast, ready, image):
    read(reader("rita", cast.hematologist), image, "overrule", label="benign")
    assert Dispute.objects.filter(ended_at=None).count() == 1
    assert kinds(cast.hematologist, ready) == ["disputed"]
    read(reader("theo", cast.hematologist), image, "overrule", label="benign")
    assert kinds(cast.hematologist, ready) == []


def test_who_cannot_tell_must_be_addressed(cast, case, image, judge):
    judge(image, "early")
    read(cast.hematologist, image, "unsure")
    assert [one.position for one in check(user=cast.hematologist, case=case).unsure] == [1]
    with pytest.raises(SignOutRefused, match="what follows from image 1") as refused:
        sign(cast.hematologist, case)
    assert refused.value.field == "addressed"
    made = sign(cast.hematologist, case, addressed=True)
    assert made.content["signature"]["statements"] == [
        "The conclusion addresses image 1, where the reader cannot tell."
    ]


def test_an_open_second_opinion_is_warned_of_and_hinders_nobody(cast, ready):
    SecondOpinion.objects.create(case=ready, asked_by=cast.hematologist, asked_of=cast.administrator)
    found = check(user=cast.hematologist, case=ready)
    assert found.is_ready
    assert found.warnings == (
        "Hedy Hematologist asked Ada Administrator for a second opinion on this case, and there is no answer yet.",
    )


def test_who_reads_blind_signs_nothing_she_has_not_classed(cast, ready):
    ready.laboratory.is_blind = True
    ready.laboratory.save()
    assert kinds(cast.hematologist, ready) == []
    assert kinds(cast.administrator, ready) == ["veiled"]


@pytest.mark.parametrize(
    ("conclusion", "words"),
    [
        ("", "Write a conclusion"),
        (" \n\x00 ", "Write a conclusion"),
        ("x" * 8001, "under 8000 characters; it has 8001"),
    ],
)
def test_a_conclusion_that_cannot_be_taken_is_refused_with_a_sentence(cast, ready, conclusion, words):
    with pytest.raises(SignOutRefused, match=words) as refused:
        sign(cast.hematologist, ready, conclusion)
    assert refused.value.field == "conclusion"


def test_a_wrong_password_signs_nothing_and_is_recorded(cast, ready):
    with pytest.raises(IdentityRefused, match="not right"):
        sign(cast.hematologist, ready, password="guess")
    assert not SignOut.objects.exists()
    event = AuditEvent.objects.get(action="signature_failed")
    assert (event.object_id, event.detail) == (str(cast.hematologist.pk), {"address": "192.0.2.1"})


def test_guessing_is_braked_and_the_right_password_waits_too(cast, ready):
    for _ in range(10):
        with pytest.raises(IdentityRefused, match="not right"):
            sign(cast.hematologist, ready, password="guess")
    with pytest.raises(IdentityRefused, match="Too many wrong passwords: try again in 10 minutes") as refused:
        sign(cast.hematologist, ready)
    assert 0 < refused.value.wait <= 600
    assert sign(cast.hematologist, ready, address="192.0.2.2").number == 1


@pytest.fixture
def clock(monkeypatch) -> None:
    """Codes hold for half a minute, which must not end between a test's two steps: their clock stands still."""
    monkeypatch.setattr(totp, "time", SimpleNamespace(time=lambda: 1_800_000_000))


@pytest.fixture
def app(cast, clock) -> str:
    """The secret of the hematologist's authenticator app."""
    secret = totp.generate_totp_secret()
    totp.TOTP.activate(cast.hematologist, secret)
    return secret


def code_of(secret: str) -> str:
    """What the app shows now."""
    return totp.format_hotp_value(totp.hotp_value(secret, next(totp.yield_hotp_counters_from_time())))


def forget_by_allauth(user: User, code: str) -> None:
    """As half a minute does, after which a code is good for a minute more."""
    key = totp.TOTP(Authenticator.objects.get(user=user, type="totp"))._get_used_cache_key(code)
    assert cache.delete(key)


def test_who_has_an_authenticator_app_gives_its_code_too_and_each_once(cast, ready, app):
    code = code_of(app)
    for wrong in ("", "000000" if code != "000000" else "111111"):
        with pytest.raises(IdentityRefused, match="one-time code is not right") as refused:
            sign(cast.hematologist, ready, code=wrong)
        assert refused.value.field == "code"
    with pytest.raises(IdentityRefused, match="password is not right"):
        sign(cast.hematologist, ready, code=code, password="wrong")
    assert sign(cast.hematologist, ready, code=code).number == 1
    sign_out.open_amendment(user=cast.hematologist, case=ready, reason="x")
    with pytest.raises(IdentityRefused, match="was used already"):
        sign(cast.hematologist, ready, "Another.", code=code)


def test_a_code_that_logged_in_signs_nothing_even_when_allauth_has_forgotten_it(cast, ready, app):
    code = code_of(app)
    with context.request_context(RequestFactory().post("/accounts/code")):
        assert AuthenticateForm({"code": code}, user=cast.hematologist).is_valid()
    forget_by_allauth(cast.hematologist, code)
    with pytest.raises(IdentityRefused, match="was used already"):
        sign(cast.hematologist, ready, code=code)


def test_a_code_that_signed_neither_signs_again_nor_logs_in_while_it_would_be_good(cast, ready, app):
    code = code_of(app)
    sign(cast.hematologist, ready, code=code)
    sign_out.open_amendment(user=cast.hematologist, case=ready, reason="x")
    forget_by_allauth(cast.hematologist, code)
    with pytest.raises(IdentityRefused, match="was used already"):
        sign(cast.hematologist, ready, "Another.", code=code[:3] + " " + code[3:])
    assert not AuthenticateForm({"code": code}, user=cast.hematologist).is_valid()


def test_a_signature_that_is_refused_for_the_case_uses_no_code_up(cast, ready, app):
    code = code_of(app)
    with pytest.raises(SignOutRefused, match="no longer as this page showed it"):
        sign(cast.hematologist, ready, code=code, shown={})
    assert sign(cast.hematologist, ready, code=code).number == 1


def test_an_account_of_single_sign_on_signs_by_its_app_and_without_one_is_told_so(cast, ready, clock):
    cast.hematologist.set_unusable_password()
    cast.hematologist.save()
    with pytest.raises(IdentityRefused, match="your account has neither here"):
        sign(cast.hematologist, ready)
    secret = totp.generate_totp_secret()
    totp.TOTP.activate(cast.hematologist, secret)
    assert sign(cast.hematologist, ready, password="", code=code_of(secret)).number == 1


@pytest.mark.parametrize(("who", "refusal"), [("technician", PermissionDenied), ("outsider", Http404)])
def test_who_may_not_sign(cast, ready, who, refusal):
    with pytest.raises(refusal):
        sign(cast[who], ready)
    with pytest.raises(refusal):
        sign_out.open_amendment(user=cast[who], case=ready, reason="x")
    with pytest.raises(refusal):
        sign_out.abandon_amendment(user=cast[who], case=ready)


def test_the_second_of_two_who_sign_is_told_who_signed(cast, ready):
    seen = shown(ready)
    sign(cast.hematologist, ready)
    with pytest.raises(
        SignOutRefused, match=r"Hedy Hematologist signed this case on .* while you were on this page"
    ):
        sign(cast.administrator, ready, shown=seen, number=1)
    assert SignOut.objects.count() == 1


def test_what_changed_since_the_page_was_shown_is_named(cast, ready, image, add_image, judge):
    seen = shown(ready)
    added = add_image()
    judge(added, "pre")
    read(cast.hematologist, added)
    read(cast.administrator, image)
    ready.patient_code = "P-18"
    ready.save()
    with pytest.raises(SignOutRefused) as refused:
        sign(cast.hematologist, ready, shown=seen)
    assert "image 2 was added" in str(refused.value)
    assert "the reading of image 1 changed" in str(refused.value)
    assert "the facts of the case changed" in str(refused.value)
    assert "of image 2 changed" not in str(refused.value)
    assert sign(cast.hematologist, ready).number == 1


def test_a_page_that_showed_nothing_signs_nothing(cast, ready):
    with pytest.raises(SignOutRefused, match="no longer as this page showed it"):
        sign(cast.hematologist, ready, shown={})
