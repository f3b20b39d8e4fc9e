"""Requests that were answered before: the same key gets the same answer, and never a second case or image."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from diagnosis.models import ApiToken, IdempotencyKey

KEPT_FOR = timedelta(hours=24)
GIVEN_UP_AFTER = timedelta(minutes=5)
"""A first request that has not ended by then died with its process: the server ends any after two minutes."""


class KeyTaken(Exception):
    """The key stands for another request; the text is one sentence."""


class FirstStillRuns(Exception):
    """The first request with this key has not been answered yet; the text is one sentence."""


@dataclass(frozen=True)
class Answer:
    """What the first request was told."""

    status: int
    body: Any


def begin(*, token: ApiToken, key: str, request_sha256: str) -> Answer | IdempotencyKey:
    """Take a key for a request that now runs, or give the answer that it had.

    Raises KeyTaken for a key that came with another request, and FirstStillRuns.
    """
    now = timezone.now()
    try:
        with transaction.atomic():
            return IdempotencyKey.objects.create(token=token, key=key, request_sha256=request_sha256)
    except IntegrityError:
        pass
    found = IdempotencyKey.objects.filter(token=token, key=key).first()
    if found is None:  # forgotten this moment, as the first request came to nothing
        raise FirstStillRuns("A request with this Idempotency-Key has just ended: send yours once more.")
    if _has_lapsed(found):
        # One of those who find it so takes it over: the condition lets the others fail.
        taken = IdempotencyKey.objects.filter(pk=found.pk, created_at=found.created_at).update(
            request_sha256=request_sha256, status=None, answer=None, created_at=now
        )
        if taken:
            found.refresh_from_db()
            return found
        raise FirstStillRuns(_STILL)
    if found.request_sha256 != request_sha256:
        raise KeyTaken("This Idempotency-Key came with another request before: use a new one for this.")
    if found.status is None:
        raise FirstStillRuns(_STILL)
    return Answer(found.status, found.answer)


_STILL = "The first request with this Idempotency-Key still runs: ask again in a moment."


def _has_lapsed(found: IdempotencyKey) -> bool:
    age = timezone.now() - found.created_at
    return age > KEPT_FOR or (found.status is None and age > GIVEN_UP_AFTER)


def remember(*, row: IdempotencyKey, status: int, body: Any) -> None:
    """Keep the answer, in the transaction of what was done if there is one."""
    IdempotencyKey.objects.filter(pk=row.pk, created_at=row.created_at).update(status=status, answer=body)


def forget(*, row: IdempotencyKey) -> None:
    """Free a key whose request came to nothing: whoever corrects it may send it again."""
    IdempotencyKey.objects.filter(pk=row.pk, created_at=row.created_at, status__isnull=True).delete()


def forget_old() -> int:
    """Forget answers older than `KEPT_FOR`; returns how many."""
    return IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).delete()[0]
