"""Tokens of the API: making one, taking it back, and finding out whose a key is."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from diagnosis import permissions
from diagnosis.models import ApiToken, User
from diagnosis.services import audit

SCOPES: dict[str, str] = {
    "cases:read": "read cases and their status",
    "cases:write": "open cases",
    "images:write": "upload smear images",
    "results:read": "read outcomes, cells and differentials",
    "reports:read": "read reports and sign-outs",
}
"""What a token may be allowed, in words."""

KEY_START = "lk_"
KEY_BYTES = 32
SHOWN = 10
"""Letters of a key that are kept, so that people tell one from the other: seven random ones, of 43."""
USE_NOTED_EVERY = timedelta(minutes=1)
LONGEST_DAYS = 3650


class TokenRefused(Exception):
    """A token that isn't made; the text is the one sentence to show."""


class KeyRefused(Exception):
    """A key that lets nobody in; the text says why, to whoever holds it."""


def digest_of(key: str) -> str:
    """SHA-256 of a key. It is random and long: nothing slower is needed to keep it from being guessed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def create(
    *,
    actor: User | None,
    user: User,
    name: str,
    scopes: Iterable[str],
    days: int | None = None,
) -> tuple[ApiToken, str]:
    """Make a token that acts in the name of `user`, valid for `days` (for ever without); returns it with its key.

    The key is stored nowhere: it can be shown now and never again. `actor` None is whoever runs commands on this
    machine. Raises TokenRefused, and PermissionDenied for an actor who may not, or who could do less than `user`.
    """
    wanted = sorted(set(scopes))
    name = " ".join(name.split())
    if actor is not None:
        permissions.require(actor, permissions.MANAGE_LABORATORY, user)
        if not permissions.ACTIONS.get(user.role, frozenset()) <= permissions.ACTIONS.get(
            actor.role, frozenset()
        ):
            raise TokenRefused(
                f"{user.display_name} may do more than you: an administrator has to make this token."
            )
    if not user.is_active:
        raise TokenRefused(f"The account of {user.display_name} is not active.")
    if not name or len(name) > 80 or not name.isprintable():
        raise TokenRefused("Give the token a name of up to 80 characters, as that of the scanner.")
    if not wanted:
        raise TokenRefused("Choose at least one thing that the token may do.")
    if unknown := [scope for scope in wanted if scope not in SCOPES]:
        raise TokenRefused(f"There is no scope {unknown[0]}: choose from {', '.join(SCOPES)}.")
    if days is not None and not 1 <= days <= LONGEST_DAYS:
        raise TokenRefused(f"A token expires after 1 to {LONGEST_DAYS} days.")
    key = KEY_START + secrets.token_urlsafe(KEY_BYTES)
    try:
        with transaction.atomic():
            token = ApiToken.objects.create(
                laboratory=user.laboratory,
                user=user,
                name=name,
                prefix=key[:SHOWN],
                digest=digest_of(key),
                scopes=wanted,
                created_by=actor or user,
                expires_at=None if days is None else timezone.now() + timedelta(days=days),
            )
            audit.record(
                action="create_api_token",
                actor=actor,
                laboratory=user.laboratory,
                obj=token,
                detail={
                    "name": name,
                    "user": user.username,
                    "scopes": wanted,
                    "expires_at": token.expires_at.isoformat() if token.expires_at else None,
                },
            )
    except IntegrityError as error:
        raise TokenRefused(f"There is a token called {name} already: choose another name.") from error
    return token, key


def revoke(*, actor: User | None, token: ApiToken) -> bool:
    """Take a token back, for ever; False when it was already. Raises what `permissions.require` raises."""
    if actor is not None:
        permissions.require(actor, permissions.MANAGE_LABORATORY, token)
    with transaction.atomic():
        now = timezone.now()
        if not ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=now):
            return False
        token.revoked_at = now
        audit.record(
            action="revoke_api_token",
            actor=actor,
            laboratory=token.laboratory,
            obj=token,
            detail={"name": token.name},
        )
    return True


def authenticate(*, key: str) -> ApiToken:
    """The token of a key, with its user and laboratory; notes that it is used.

    Raises KeyRefused for a key that is unknown, taken back or expired, or whose account no longer works here.
    """
    digest = digest_of(key)
    token = ApiToken.objects.select_related("user__laboratory", "laboratory").filter(digest=digest).first()
    # The database has compared what it was given; whether it found just that is asked in constant time.
    if token is None or not hmac.compare_digest(token.digest, digest):
        raise KeyRefused("This token is unknown: check that it was copied whole.")
    now = timezone.now()
    if token.revoked_at is not None:
        raise KeyRefused("This token was taken back.")
    if token.expires_at is not None and token.expires_at <= now:
        raise KeyRefused("This token has expired.")
    if not token.user.is_active or token.user.laboratory_id != token.laboratory_id:
        raise KeyRefused("The account that this token acts for no longer works here.")
    _note_use(token, now)
    return token


def _note_use(token: ApiToken, now: datetime) -> None:
    """Once a minute at most: a scanner that polls must not write with every request."""
    before = now - USE_NOTED_EVERY
    if token.last_used_at is None or token.last_used_at < before:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=before)
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
