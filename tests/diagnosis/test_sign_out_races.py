"""A signature beside another deed on the same case, on a real database: one is stored before the other, never both."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from diagnosis.models import AuditEvent, Case, Review, SignOut
from diagnosis.services import sign_out
from diagnosis.services.review import ReviewRefused
from diagnosis.services.sign_out import SignOutRefused
from tests.diagnosis.told_sign_out import read, shown, sign

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ready(cast, case, image, judge) -> Case:
    judge(image, "early")
    read(cast.hematologist, image)
    return case


class Deed(threading.Thread):
    """Does one thing beside the test; `came` is what came of it."""

    def __init__(self, deed, *, after: threading.Event | threading.Barrier | None = None) -> None:
        super().__init__()
        self.deed, self.after, self.came = deed, after, None
        self.start()

    def run(self) -> None:
        try:
            if self.after is not None:
                self.after.wait(20)
            self.came = self.deed()
        except (SignOutRefused, ReviewRefused) as refusal:
            self.came = refusal
        finally:
            connection.close()


@pytest.fixture
def slow_signature(monkeypatch):
    """Holds a signature, once the case is locked and looked at, until `go` is set; `inside` tells that it is there."""
    inside, go, store = threading.Event(), threading.Event(), sign_out._store

    def held(*args):
        inside.set()
        go.wait(20)
        return store(*args)

    monkeypatch.setattr(sign_out, "_store", held)
    return inside, go


def test_of_two_who_sign_at_once_one_wins_and_the_other_is_told(cast, ready):
    seen, together = shown(ready), threading.Barrier(2)
    deeds = [
        Deed(lambda user=user: sign(user, ready, user.username, shown=seen, number=1), after=together)
        for user in (cast.hematologist, cast.administrator)
    ]
    for deed in deeds:
        deed.join(60)
    (told,) = [deed.came for deed in deeds if isinstance(deed.came, SignOutRefused)]
    (made,) = [deed.came for deed in deeds if isinstance(deed.came, SignOut)]
    assert f"{made.signer_name} signed this case on" in str(told)
    assert SignOut.objects.get() == made
    assert AuditEvent.objects.filter(action="sign_out").count() == 1


def test_a_reading_that_comes_while_the_case_is_being_signed_is_refused(cast, ready, image, slow_signature):
    inside, go = slow_signature
    signing = Deed(lambda: sign(cast.hematologist, ready))
    assert inside.wait(20)
    reading = Deed(lambda: read(cast.administrator, image, "overrule", label="benign"))
    reading.join(0.5)
    assert reading.is_alive(), reading.came  # it waits for the signature
    go.set()
    signing.join(60)
    reading.join(60)
    assert isinstance(signing.came, SignOut)
    assert isinstance(reading.came, ReviewRefused)
    assert Review.objects.count() == 1


def test_a_signature_that_comes_while_an_image_is_being_read_sees_the_reading(cast, ready, image):
    seen, locked, go = shown(ready), threading.Event(), threading.Event()

    def slow_reading():
        with transaction.atomic():
            read(cast.administrator, image, comment="atypical")
            locked.set()
            go.wait(20)

    reading = Deed(slow_reading)
    assert locked.wait(20)
    signing = Deed(lambda: sign(cast.hematologist, ready, shown=seen, number=1))
    signing.join(0.5)
    go.set()
    reading.join(60)
    signing.join(60)
    assert "the reading of image 1 changed" in str(signing.came)
    assert not SignOut.objects.exists()


def test_of_two_who_open_an_amendment_at_once_one_wins(cast, ready):
    sign(cast.hematologist, ready)
    together = threading.Barrier(2)
    deeds = [
        Deed(
            lambda user=user: sign_out.open_amendment(user=user, case=ready, reason=user.username),
            after=together,
        )
        for user in (cast.hematologist, cast.administrator)
    ]
    for deed in deeds:
        deed.join(60)
    assert sorted(isinstance(deed.came, SignOutRefused) for deed in deeds) == [False, True]
    assert AuditEvent.objects.filter(action="open_amendment").count() == 1
