"""Webhooks: who is told of what, in which transaction, and how a laboratory manages them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404

from diagnosis.models import Analysis, AuditEvent, Case, Laboratory, SmearImage, Webhook, WebhookDelivery
from diagnosis.services import analyze, sign_out, webhooks
from diagnosis.services.sign_out import SignOutRefused
from diagnosis.services.webhooks import ANALYSED, EVENTS, WebhookRefused
from tests.diagnosis.told_sign_out import read, sign

pytestmark = pytest.mark.django_db

URL = "https://lis.example/hook"


@pytest.fixture
def webhook(cast: Any) -> Webhook:
    return webhooks.create(user=cast.administrator, url=URL, events=EVENTS)[0]


def events() -> list[str]:
    return list(WebhookDelivery.objects.order_by("created_at").values_list("event", flat=True))


def test_a_case_is_told_of_once_its_last_image_is_analysed(
    webhook: Webhook, case: Case, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]
) -> None:
    first, second = add_image(), add_image()
    judge(first, "early")
    assert events() == []
    judge(second, "benign")

    delivery = WebhookDelivery.objects.get()
    assert delivery.event == ANALYSED
    assert delivery.payload == {
        "case": case.pk, "accession_number": "H-1001", "status": "preliminary",
        "images": 2, "failed": 0, "indeterminate": 0, "suspected": 1,
    }  # fmt: skip
    assert case.patient_code not in json.dumps(delivery.payload)


def test_an_image_that_fails_ends_the_case_too(
    webhook: Webhook, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]
) -> None:
    judge(add_image())
    WebhookDelivery.objects.all().delete()
    image = add_image()
    Analysis.objects.filter(image=image).update(state="running", claimed_by="w")
    analyze.fail(analysis=Analysis.objects.get(image=image), claim="w", failure="The file is gone.")

    assert WebhookDelivery.objects.get().payload["failed"] == 1


def test_an_analysis_that_is_not_stored_tells_nobody(
    webhook: Webhook, image: SmearImage, judge: Callable[..., Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("the database is gone")

    monkeypatch.setattr("diagnosis.services.analyze.cells.store", broken)
    with pytest.raises(RuntimeError):
        judge(image)

    assert events() == []


def test_signing_queues_a_message_and_so_does_signing_an_amendment_and_a_refused_one_queues_none(
    webhook: Webhook, cast: Any, case: Case, image: SmearImage, judge: Callable[..., Analysis]
) -> None:
    judge(image, "early")
    WebhookDelivery.objects.all().delete()
    with pytest.raises(SignOutRefused):
        sign(cast.hematologist, case)  # nobody has read it
    assert events() == []
    read(cast.hematologist, image)
    first = sign(cast.hematologist, case)
    assert events() == ["case.signed_out"]
    sign_out.open_amendment(user=cast.hematologist, case=case, reason="A second look.")
    assert events() == ["case.signed_out"]
    second = sign(cast.hematologist, case, "No sign of B-ALL.")
    assert events() == ["case.signed_out", "case.amended"]
    told = list(WebhookDelivery.objects.order_by("created_at").values_list("payload", flat=True))
    assert [one["content_sha256"] for one in told] == [first.content_sha256, second.content_sha256]
    assert [(one["number"], one["status"]) for one in told] == [(1, "final"), (2, "amended")]


def test_signatures_are_told_of_the_first_and_those_that_amend(webhook: Webhook, case: Case) -> None:
    webhooks.note_sign_out(case=case, number=1, content_sha256="a" * 64)
    webhooks.note_sign_out(case=case, number=2, content_sha256="b" * 64)

    assert events() == ["case.signed_out", "case.amended"]
    assert WebhookDelivery.objects.get(event="case.amended").payload["number"] == 2


def test_what_is_rolled_back_was_never_told(webhook: Webhook, laboratory: Laboratory) -> None:
    with transaction.atomic():
        assert webhooks.enqueue(laboratory=laboratory, event=ANALYSED, payload={}) == 1
        transaction.set_rollback(True)

    assert events() == []


def test_only_those_who_asked_for_it_are_told(cast: Any, laboratory: Laboratory) -> None:
    webhooks.create(user=cast.administrator, url=URL, events=["case.amended"])
    gone = webhooks.create(user=cast.administrator, url=f"{URL}/gone", events=EVENTS)[0]
    webhooks.remove(user=cast.administrator, webhook=gone)
    Webhook.objects.create(
        laboratory=cast.outsider.laboratory,
        url=URL,
        secret="s",
        events=list(EVENTS),
        created_by=cast.outsider,
    )

    assert webhooks.enqueue(laboratory=laboratory, event=ANALYSED, payload={}) == 0
    assert webhooks.enqueue(laboratory=laboratory, event="case.amended", payload={}) == 1


def test_without_webhooks_an_analysis_asks_one_query_more(
    image: SmearImage, django_assert_num_queries: Any
) -> None:
    analysis = Analysis.objects.select_related("image__case__laboratory").get()
    with django_assert_num_queries(1):
        webhooks.note_analysis_ended(analysis=analysis)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "Enter the address"),
        ("lis.example/hook", "whole address"),
        ("ftp://lis.example", "whole address"),
        ("http://lis.example", "Only https"),
        ("https://user:pass@lis.example", "user and password"),
        ("https://lis.example:99999/", "no address"),
        ("https://[::1/", "no address"),
        ("https://lis.example/a b", "plain letters"),
        ("https://lis.exämple/", "plain letters"),
        ("https://127.0.0.1/", "not on the public internet"),
        ("https://169.254.169.254/latest", "not on the public internet"),
        ("https://10.1.2.3/", "not on the public internet"),
        ("https://[::1]/", "not on the public internet"),
        ("https://lis.example/" + "x" * 500, "under 501"),
    ],
)
def test_an_address_that_may_not_be_called_is_refused(cast: Any, url: str, words: str) -> None:
    with pytest.raises(WebhookRefused, match=words):
        webhooks.create(user=cast.administrator, url=url, events=EVENTS)
    assert not Webhook.objects.exists()


def test_an_address_is_told_once_and_of_something(cast: Any, webhook: Webhook) -> None:
    with pytest.raises(WebhookRefused, match="told already"):
        webhooks.create(user=cast.administrator, url=URL, events=EVENTS)
    with pytest.raises(WebhookRefused, match="at least one"):
        webhooks.create(user=cast.administrator, url=f"{URL}/2", events=[])
    with pytest.raises(WebhookRefused, match="no event x"):
        webhooks.create(user=cast.administrator, url=f"{URL}/2", events=["x"])


def test_the_secret_is_in_no_audit_event(cast: Any) -> None:
    _, secret = webhooks.create(user=cast.administrator, url=URL, events=EVENTS)

    assert secret.startswith("whsec_")
    assert not any(secret in json.dumps(event.detail) for event in AuditEvent.objects.all())


def test_a_webhook_that_is_removed_gives_up_what_waits(
    cast: Any, webhook: Webhook, laboratory: Laboratory
) -> None:
    webhooks.enqueue(laboratory=laboratory, event=ANALYSED, payload={})
    assert webhooks.remove(user=cast.administrator, webhook=webhook)

    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.last_problem) == ("given_up", webhooks.REMOVED)
    assert not webhooks.remove(user=cast.administrator, webhook=webhook)
    delivery = WebhookDelivery.objects.select_related("webhook__laboratory").get()
    with pytest.raises(WebhookRefused):
        webhooks.try_again(user=cast.administrator, delivery=delivery)


def test_only_who_manages_the_laboratory_changes_webhooks(cast: Any, webhook: Webhook) -> None:
    with pytest.raises(PermissionDenied):
        webhooks.create(user=cast.hematologist, url=f"{URL}/2", events=EVENTS)
    with pytest.raises(PermissionDenied):
        webhooks.remove(user=cast.technician, webhook=webhook)
    with pytest.raises(Http404):
        webhooks.remove(user=cast.outsider, webhook=webhook)
