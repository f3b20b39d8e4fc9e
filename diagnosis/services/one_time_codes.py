"""A one-time code that was taken is never taken again, at logging in or at signing, for as long as it would be good.

allauth remembers a code for one period; with a tolerance for clocks that differ it is good for three.
"""

from __future__ import annotations

import hashlib

from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa import app_settings
from django.core.cache import cache

from diagnosis.models import User


def was_taken(*, user: User, code: str) -> bool:
    """Whether this user has given this code already. Ask before it is validated, which may use it up."""
    return cache.get(_key(user, code)) is not None


def take(*, user: User, code: str) -> bool:
    """Keep that a code was given, once it was found right; False where somebody was faster with the same one."""
    seconds = app_settings.TOTP_PERIOD * (2 * app_settings.TOTP_TOLERANCE + 1)
    return bool(cache.add(_key(user, code), True, seconds))


def _key(user: User, code: str) -> str:
    typed = normalize_user_code(code)
    return f"second-factor-{user.pk}-{hashlib.sha256(typed.encode()).hexdigest()}"
