"""Webhooks: who is told of what, and the deliveries that are written in the transaction of what they tell of.

Nothing here opens a connection: the upkeep worker delivers (webhook_delivery), and a target that is down costs no
page and no analysis anything.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from diagnosis import permissions
from diagnosis.models import Analysis, Case, Laboratory, SmearImage, User, Webhook, WebhookDelivery
from diagnosis.services import audit
from diagnosis.services.webhook_sending import TargetRefused, checked_url

ANALYSED = "case.analysed"
SIGNED_OUT = "case.signed_out"
AMENDED = "case.amended"
TEST = "test"
EVENTS: dict[str, str] = {
    ANALYSED: "every image of a case is analysed",
    SIGNED_OUT: "a case is signed out",
    AMENDED: "a signed report is amended",
}
"""What can be told of, in words."""

MOST_WEBHOOKS = 20
SECRET_START = "whsec_"
REMOVED = "The webhook was removed before this was delivered."


class WebhookRefused(Exception):
    """A webhook that isn't made; the text is the one sentence to show."""


def create(*, user: User, url: str, events: Iterable[str]) -> tuple[Webhook, str]:
    """Have an address told of events; returns the webhook, and the secret that signs, which is shown once.

    Raises WebhookRefused, and PermissionDenied for an account that may not.
    """
    permissions.require(user, permissions.MANAGE_LABORATORY)
    url, wanted = url.strip(), sorted(set(events))
    if not url:
        raise WebhookRefused("Enter the address that is to be told.")
    if len(url) > 500:
        raise WebhookRefused("Keep the address under 501 characters.")
    try:
        checked_url(url)
    except TargetRefused as refusal:
        raise WebhookRefused(str(refusal)) from refusal
    if not wanted:
        raise WebhookRefused("Choose at least one event.")
    if unknown := [event for event in wanted if event not in EVENTS]:
        raise WebhookRefused(f"There is no event {unknown[0]}.")
    secret = SECRET_START + secrets.token_urlsafe(32)
    with transaction.atomic():
        active = Webhook.objects.filter(laboratory=user.laboratory, is_active=True)
        if active.filter(url=url).exists():
            raise WebhookRefused("This address is told already: remove it first to change its events.")
        if active.count() >= MOST_WEBHOOKS:
            raise WebhookRefused(f"A laboratory has {MOST_WEBHOOKS} webhooks at most: remove one first.")
        webhook = Webhook.objects.create(
            laboratory=user.laboratory, url=url, secret=secret, events=wanted, created_by=user
        )
        audit.record(
            action="create_webhook",
            actor=user,
            laboratory=user.laboratory,
            obj=webhook,
            detail={"url": url, "events": wanted},
        )
    return webhook, secret


def remove(*, user: User, webhook: Webhook) -> bool:
    """Tell an address nothing more; what still waits for it is given up. False when it was removed already."""
    permissions.require(user, permissions.MANAGE_LABORATORY, webhook)
    with transaction.atomic():
        if not Webhook.objects.filter(pk=webhook.pk, is_active=True).update(is_active=False):
            return False
        WebhookDelivery.objects.filter(webhook=webhook, state=WebhookDelivery.State.WAITING).update(
            state=WebhookDelivery.State.GIVEN_UP, last_problem=REMOVED
        )
        audit.record(
            action="remove_webhook",
            actor=user,
            laboratory=webhook.laboratory,
            obj=webhook,
            detail={"url": webhook.url},
        )
    return True


def send_test(*, user: User, webhook: Webhook) -> WebhookDelivery:
    """Queue a delivery that says nothing but that it is a test."""
    permissions.require(user, permissions.MANAGE_LABORATORY, webhook)
    if not webhook.is_active:
        raise WebhookRefused("This webhook was removed.")
    with transaction.atomic():
        delivery = WebhookDelivery.objects.create(
            webhook=webhook, event=TEST, payload={"message": "This is a test of the webhook."}
        )
        audit.record(action="test_webhook", actor=user, laboratory=webhook.laboratory, obj=webhook, detail={})
    return delivery


def try_again(*, user: User, delivery: WebhookDelivery) -> bool:
    """Have a delivery that was given up, or waits for its next turn, sent with the next round; False for one that
    was delivered.
    """
    permissions.require(user, permissions.MANAGE_LABORATORY, delivery.webhook)
    if not delivery.webhook.is_active:
        raise WebhookRefused("This webhook was removed: nothing more is sent there.")
    with transaction.atomic():
        again = WebhookDelivery.objects.filter(pk=delivery.pk).exclude(state=WebhookDelivery.State.DELIVERED)
        if not again.update(state=WebhookDelivery.State.WAITING, attempts=0, next_attempt_at=timezone.now()):
            return False
        audit.record(
            action="retry_webhook_delivery",
            actor=user,
            laboratory=delivery.webhook.laboratory,
            obj=delivery,
            detail={"event": delivery.event, "url": delivery.webhook.url},
        )
    return True


def listeners(*, laboratory: Laboratory, event: str) -> list[Webhook]:
    """The webhooks of a laboratory that are told of an event; one query."""
    active = Webhook.objects.filter(laboratory=laboratory, is_active=True)
    return [webhook for webhook in active if event in webhook.events]


def enqueue(*, laboratory: Laboratory, event: str, payload: dict[str, Any]) -> int:
    """Write a delivery for every webhook that is told of `event`; returns how many.

    Call it in the transaction of what it tells of: both stand or fall together. `payload` must be JSON, and names
    things by id and accession number: whoever is told asks the API for the rest, with a token.
    """
    told = listeners(laboratory=laboratory, event=event)
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(webhook=webhook, event=event, payload=payload) for webhook in told
    )
    return len(told)


def case_payload(case: Case, **more: Any) -> dict[str, Any]:
    """What every event of a case holds."""
    return {"case": case.pk, "accession_number": case.accession_number, "status": case.status, **more}


def note_analysis_ended(*, analysis: Analysis) -> None:
    """Tell of a case whose last unfinished analysis has just ended, in the transaction that ends it.

    Call it before anything but the analysis is written: it locks the case, which everybody locks before the rows of
    images and the audit's head.
    """
    case = analysis.image.case
    if not listeners(laboratory=case.laboratory, event=ANALYSED):
        return
    # Two images that end at once would each see the other still run, and nobody would be told.
    locked = Case.objects.select_for_update().get(pk=case.pk)
    counts = SmearImage.objects.filter(case=case).aggregate(
        images=Count("pk"),
        unfinished=Count("pk", filter=Q(newest_analysis__state__in=Analysis.UNFINISHED)),
        failed=Count("pk", filter=Q(newest_analysis__state=Analysis.State.FAILED)),
        indeterminate=Count("pk", filter=Q(newest_analysis__outcome=Analysis.Outcome.INDETERMINATE)),
        suspected=Count("pk", filter=Q(newest_analysis__suspected=True)),
    )
    if counts.pop("unfinished"):
        return
    enqueue(laboratory=case.laboratory, event=ANALYSED, payload=case_payload(locked, **counts))


def note_sign_out(*, case: Case, number: int, content_sha256: str) -> None:
    """Tell of a signature, in its transaction: the first is the sign-out, each later one an amendment."""
    enqueue(
        laboratory=case.laboratory,
        event=SIGNED_OUT if number == 1 else AMENDED,
        payload=case_payload(case, number=number, content_sha256=content_sha256),
    )


def body_of(delivery: WebhookDelivery) -> bytes:
    """What is sent: the same bytes with every attempt."""
    told = {
        "id": str(delivery.pk),
        "event": delivery.event,
        "created_at": delivery.created_at.isoformat(),
        "laboratory": delivery.webhook.laboratory.slug,
        "data": delivery.payload,
    }
    return json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
