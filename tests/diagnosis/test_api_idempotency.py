"""Idempotency keys: what is sent twice is done once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from diagnosis.models import Case, IdempotencyKey, SmearImage
from diagnosis.services import idempotency, intake
from diagnosis.tasks import remove_orphans
from tests.diagnosis.told_api import System, said

pytestmark = pytest.mark.django_db

FACTS = {"accession_number": "S-1", "patient_code": "P-9"}
KEY = {"Idempotency_Key": "3f0c-1"}


@pytest.fixture
def scanner(cast: Any) -> System:
    return System(cast.technician)


def test_the_same_request_again_gets_the_same_answer(scanner: System) -> None:
    first = scanner.post("cases", FACTS, **KEY)
    again = scanner.post("cases", FACTS, **KEY)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert (first.has_header("Idempotency-Replayed"), again["Idempotency-Replayed"]) == (False, "true")
    assert Case.objects.count() == 1


def test_an_upload_again_is_no_second_image(scanner: System, case: Case, field_png: bytes) -> None:
    first = scanner.upload(case.pk, field_png, **KEY)
    again = scanner.upload(case.pk, field_png, **KEY)

    assert again.json() == first.json()
    assert again.status_code == 201
    assert SmearImage.objects.count() == 1


@pytest.mark.parametrize("change", ["body", "path", "file", "name"])
def test_the_same_key_for_another_request_is_refused(
    scanner: System, case: Case, field_png: bytes, change: str
) -> None:
    if change in ("body", "path"):
        scanner.post("cases", FACTS, **KEY)
    else:
        scanner.upload(case.pk, field_png, **KEY)
    response = {
        "body": lambda: scanner.post("cases", {**FACTS, "note": "x"}, **KEY),
        "path": lambda: scanner.upload(case.pk, field_png, **KEY),
        "file": lambda: scanner.upload(case.pk, field_png[:-1], **KEY),
        "name": lambda: scanner.upload(case.pk, field_png, "other.png", **KEY),
    }[change]()

    assert response.status_code == 422
    assert "came with another request" in said(response)


def test_while_the_first_runs_the_second_waits(scanner: System) -> None:
    told: list[Any] = []
    genuine = intake.create_case

    def slow(**given: Any) -> Case:
        told.append(scanner.post("cases", FACTS, **KEY))
        return genuine(**given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "create_case", slow)
        first = scanner.post("cases", FACTS, **KEY)

    assert first.status_code == 201
    assert told[0].status_code == 409
    assert "still runs" in said(told[0])
    assert told[0]["Retry-After"] == "2"
    assert Case.objects.count() == 1


def test_what_was_refused_may_be_corrected_with_the_same_key(scanner: System) -> None:
    assert scanner.post("cases", {**FACTS, "patient_code": " "}, **KEY).status_code == 422
    assert not IdempotencyKey.objects.exists()

    assert scanner.post("cases", FACTS, **KEY).status_code == 201


def test_what_broke_off_is_neither_done_nor_remembered(
    scanner: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("diagnosis.api.idempotency.idempotency.remember", broken)
        response = scanner.post("cases", FACTS, **KEY)
    assert response.status_code == 500
    assert "disk" not in said(response)
    assert not Case.objects.exists()

    assert scanner.post("cases", FACTS, **KEY).status_code == 201


def test_a_key_whose_process_died_is_taken_over(scanner: System) -> None:
    row = idempotency.begin(token=scanner.token, key="3f0c-1", request_sha256="0" * 64)
    assert isinstance(row, IdempotencyKey)
    assert scanner.post("cases", FACTS, **KEY).status_code == 422  # it stood for another request

    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(minutes=6))
    assert scanner.post("cases", FACTS, **KEY).status_code == 201
    idempotency.remember(row=row, status=200, body="late")  # the dead one comes back, and changes nothing
    assert IdempotencyKey.objects.get().status == 201


def test_keys_belong_to_their_token(scanner: System, cast: Any) -> None:
    other = System(cast.outsider)

    assert scanner.post("cases", FACTS, **KEY).status_code == 201
    assert other.post("cases", FACTS, **KEY).status_code == 201
    assert Case.objects.count() == 2


def test_answers_are_forgotten_after_a_day(scanner: System) -> None:
    scanner.post("cases", FACTS, **KEY)
    remove_orphans()
    assert IdempotencyKey.objects.count() == 1

    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert scanner.post("cases", FACTS, **KEY).status_code == 409  # begun anew: the case is there
    scanner.post("cases", {**FACTS, "accession_number": "S-2"}, **KEY)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))
    remove_orphans()
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("key", ["", "two words", "x" * 129, "ü"])
def test_a_key_that_is_none_is_refused(scanner: System, key: str) -> None:
    response = scanner.post("cases", FACTS, Idempotency_Key=key)

    assert response.status_code == 422
    assert "1 to 128" in said(response)
    assert not Case.objects.exists()
