"""Delivering webhooks: a round in the upkeep worker takes what is due, sends it side by side, and writes down how it
went. A round never lasts much longer than one request may: sweeps wait behind it.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from diagnosis.models import WebhookDelivery
from diagnosis.services import webhooks
from diagnosis.services.webhook_sending import LONGEST_SECONDS, Sent, send

logger = logging.getLogger(__name__)

State = WebhookDelivery.State
WAITING, DELIVERED, GIVEN_UP = State.WAITING, State.DELIVERED, State.GIVEN_UP

FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=2)
MOST_ATTEMPTS = 20
"""With the delays above the last one comes 24 hours after the first."""
JITTER = 0.2
SIDE_BY_SIDE = 8
"""Deliveries of a batch, all sent at once: none may have to wait for another that hangs."""
OF_ONE_TARGET = 4
ROUND_SECONDS = 4.0
"""No batch begins later than that; the sweep that brings lost analyses back waits behind a round."""
CLAIM = timedelta(minutes=2)
"""How long a delivery is nobody else's; a worker that dies while sending gives it up to the next by then."""
REST = timedelta(minutes=1)
"""A target that failed is left alone for so long, whatever else waits for it."""
KEPT_FOR = timedelta(days=90)
NO_ANSWER = "The target did not answer in time."


@dataclass(frozen=True)
class Round:
    """How many deliveries a round sent, put off, and gave up."""

    delivered: int = 0
    put_off: int = 0
    given_up: int = 0


def delay_after(attempts: int, *, rng: random.Random) -> timedelta:
    """How long to wait after so many failed attempts: twice as long each time up to `LONGEST_DELAY`, give or take
    `JITTER`, so that not all come back at once.
    """
    doubled = min(FIRST_DELAY * (1 << min(attempts - 1, 16)), LONGEST_DELAY)
    return doubled * rng.uniform(1 - JITTER, 1 + JITTER)


def deliver(*, rng: random.Random | None = None) -> Round:
    """Send what is due, batch after batch until nothing is, or the round has lasted long enough.

    Safe at any time and twice at once: a conditional UPDATE says whose a delivery is.
    """
    rng = rng or random.Random()
    ends = time.monotonic() + ROUND_SECONDS
    counts: Counter[str] = Counter()
    while claimed := [delivery for delivery in _due() if _claim(delivery)]:
        outcomes = _send_all(claimed)
        for delivery in claimed:
            counts[_note(delivery, outcomes[delivery.pk], rng)] += 1
        _let_rest({one.webhook_id for one in claimed if not outcomes[one.pk].arrived})
        if time.monotonic() > ends:
            break
    if counts:
        logger.info("Webhooks: %s", ", ".join(f"{count} {what}" for what, count in counts.items()))
    return Round(counts[DELIVERED], counts[WAITING], counts[GIVEN_UP])


def _note(delivery: WebhookDelivery, sent: Sent, rng: random.Random) -> str:
    """Write down how an attempt went; returns the state that the delivery is in now."""
    now = timezone.now()
    if sent.arrived:
        _end(delivery, sent=sent, state=DELIVERED, delivered_at=now)
        return str(DELIVERED)
    if delivery.attempts >= MOST_ATTEMPTS:
        _end(delivery, sent=sent, state=GIVEN_UP)
        return str(GIVEN_UP)
    _end(delivery, sent=sent, next_attempt_at=now + delay_after(delivery.attempts, rng=rng))
    return str(WAITING)


def _due() -> list[WebhookDelivery]:
    """The deliveries whose turn it is, the oldest first, few of any one target."""
    due = WebhookDelivery.objects.filter(
        state=WAITING, next_attempt_at__lte=timezone.now(), webhook__is_active=True
    ).select_related("webhook__laboratory")
    taken: dict[int, int] = {}
    chosen: list[WebhookDelivery] = []
    for delivery in due.order_by("next_attempt_at")[: 20 * SIDE_BY_SIDE]:
        count = taken.get(delivery.webhook_id, 0)
        if count < OF_ONE_TARGET and len(chosen) < SIDE_BY_SIDE:
            taken[delivery.webhook_id] = count + 1
            chosen.append(delivery)
    return chosen


def _claim(delivery: WebhookDelivery) -> bool:
    until = timezone.now() + CLAIM
    mine = WebhookDelivery.objects.filter(
        pk=delivery.pk, state=WAITING, attempts=delivery.attempts, next_attempt_at=delivery.next_attempt_at
    ).update(attempts=F("attempts") + 1, next_attempt_at=until)
    delivery.attempts, delivery.next_attempt_at = delivery.attempts + 1, until
    return bool(mine)


def _send_all(deliveries: list[WebhookDelivery]) -> dict[UUID, Sent]:
    """Send side by side. Threads touch no database; one that hangs (in a name server, say) is left behind."""
    pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="webhook")
    running: dict[UUID, Future[Sent]] = {
        one.pk: pool.submit(
            send,
            url=one.webhook.url,
            secret=one.webhook.secret,
            event=one.event,
            delivery=str(one.pk),
            body=webhooks.body_of(one),
        )
        for one in deliveries
    }
    wait(running.values(), timeout=LONGEST_SECONDS + 1)
    pool.shutdown(wait=False, cancel_futures=True)
    return {key: _outcome(future) for key, future in running.items()}


def _outcome(future: Future[Sent]) -> Sent:
    if not future.done() or future.cancelled():
        return Sent(None, NO_ANSWER)
    error = future.exception()
    if error is not None:
        logger.error("A webhook could not be sent", exc_info=error)
        return Sent(None, "The request could not be made.")
    return future.result()


def _end(delivery: WebhookDelivery, *, sent: Sent, **values: Any) -> None:
    """Write the outcome of an attempt, unless somebody asked for another or removed the webhook meanwhile."""
    WebhookDelivery.objects.filter(
        pk=delivery.pk, state=WAITING, attempts=delivery.attempts, next_attempt_at=delivery.next_attempt_at
    ).update(last_status=sent.status, last_problem=sent.problem[:300], **values)


def _let_rest(webhook_ids: set[int]) -> None:
    until = timezone.now() + REST
    if webhook_ids:
        WebhookDelivery.objects.filter(
            webhook_id__in=webhook_ids, state=WAITING, next_attempt_at__lt=until, attempts=0
        ).update(next_attempt_at=until)


def forget_old() -> int:
    """Forget what was delivered long ago; what was given up stays. Returns how many."""
    before = timezone.now() - KEPT_FOR
    return WebhookDelivery.objects.filter(state=DELIVERED, delivered_at__lt=before).delete()[0]
