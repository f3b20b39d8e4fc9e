"""A brake on guessing passwords, counted per account and address in Django's cache."""

from __future__ import annotations

import hashlib
import math
import time

from django.core.cache import cache
from django.db import transaction

from diagnosis.models import User
from diagnosis.services import audit

MOST_FAILURES = 10
WINDOW_SECONDS = 600


def seconds_to_wait(*, username: str, address: str) -> int:
    """How long this address may not log in to this account; 0 when it may try now.

    Only the pair is held back: nobody can lock a colleague out from another machine.
    """
    failures = _recent(_key(username, address))
    if len(failures) < MOST_FAILURES:
        return 0
    return max(1, math.ceil(failures[-MOST_FAILURES] + WINDOW_SECONDS - time.time()))


@transaction.atomic
def record_failure(*, username: str, address: str, action: str = "login_failed") -> None:
    """Count a failed login, or another try of the password that failed, and add its audit event.

    A name without an account is not kept: people type their password there by mistake.
    """
    key = _key(username, address)
    cache.set(key, [*_recent(key), time.time()][-MOST_FAILURES:], WINDOW_SECONDS)
    user = User.objects.select_related("laboratory").filter(username=username).first()
    audit.record(
        action=action,
        actor=None,
        laboratory=user.laboratory if user else None,
        obj=user,
        detail={"address": address},
    )


def forget_failures(*, username: str, address: str) -> None:
    """Begin anew, after a login that succeeded."""
    cache.delete(_key(username, address))


def _key(username: str, address: str) -> str:
    pair = f"{username.casefold()}\x00{address}"
    return f"login-failures-{hashlib.sha256(pair.encode()).hexdigest()}"


def _recent(key: str) -> list[float]:
    """Times of the failures within the window, oldest first."""
    since = time.time() - WINDOW_SECONDS
    return [at for at in cache.get(key, []) if at > since]
