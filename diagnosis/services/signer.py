"""That who signs is who is logged in: the password once more, and the second factor of those who have one."""

from __future__ import annotations

import math
from typing import Final

from allauth.mfa.models import Authenticator

from diagnosis.models import User
from diagnosis.services import accounts, guessing, one_time_codes

WRONG_PASSWORD: Final = "The password is not right; type it again."
WRONG_CODE: Final = "The one-time code is not right, or was used already; type the next one."
NO_SECRET: Final = (
    "A signature asks for your password or a one-time code, and your account has neither here: "
    "set up an authenticator app on the page of your account."
)
REFUSED_ACTION: Final = "signature_failed"

_CODES: Final = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)


class IdentityRefused(Exception):
    """Who signs could not be told; `field` is the one to type again, `wait` the seconds until a try is let through."""

    def __init__(self, sentence: str, *, field: str = "password", wait: int = 0) -> None:
        super().__init__(sentence)
        self.field = field
        self.wait = wait


def needs_password(user: User) -> bool:
    """Whether a password is asked for: people of single sign-on may have none here, and sign with a code alone."""
    return user.has_usable_password()


def needs_code(user: User) -> bool:
    """Whether a one-time code is asked for: of those who have an authenticator app."""
    return Authenticator.Type.TOTP in accounts.second_factors(user=user)


def confirm(*, user: User, password: str, code: str = "", address: str) -> None:
    """Return if `password`, and `code` where one is needed, are this user's. Raises IdentityRefused.

    A wrong one is counted with failed logins, so that nobody guesses here what she may not guess there.
    """
    wait = guessing.seconds_to_wait(username=user.get_username(), address=address)
    if wait:
        minutes = math.ceil(wait / 60)
        raise IdentityRefused(
            f"Too many wrong passwords: try again in {minutes} minute{'s' if minutes > 1 else ''}.", wait=wait
        )
    has_app = needs_code(user)
    if not needs_password(user) and not has_app:
        raise IdentityRefused(NO_SECRET)
    if needs_password(user) and not user.check_password(password):
        _count(user, address)
        raise IdentityRefused(WRONG_PASSWORD)
    if has_app and not _is_code_of(user, code.strip()):
        _count(user, address)
        raise IdentityRefused(WRONG_CODE, field="code")
    guessing.forget_failures(username=user.get_username(), address=address)


def _count(user: User, address: str) -> None:
    guessing.record_failure(username=user.get_username(), address=address, action=REFUSED_ACTION)


def _is_code_of(user: User, code: str) -> bool:
    """Whether it is a code of the user's app, or one of her recovery codes, never given before; it is used up by it."""
    if not code or one_time_codes.was_taken(user=user, code=code):
        return False
    for authenticator in Authenticator.objects.filter(user=user, type__in=_CODES):
        if authenticator.wrap().validate_code(code):
            if not one_time_codes.take(user=user, code=code):
                return False
            authenticator.record_usage()
            return True
    return False
