"""A code that was taken once is never taken again, for as long as it would be good.

allauth remembers a code for one period; with a tolerance for clocks that differ it is good for three.
"""

from __future__ import annotations

import hashlib
from typing import Any

from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa import app_settings
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms
from django.core.cache import cache


class OnceMixin:
    """For forms with a field `code` and an attribute `user`."""

    user: Any
    cleaned_data: dict[str, Any]

    def clean_code(self) -> str:
        typed = normalize_user_code(self.cleaned_data["code"])
        key = f"second-factor-{self.user.pk}-{hashlib.sha256(typed.encode()).hexdigest()}"
        if cache.get(key):
            raise get_adapter().validation_error("incorrect_code")
        code: str = super().clean_code()  # type: ignore[misc]
        cache.set(key, True, app_settings.TOTP_PERIOD * (2 * app_settings.TOTP_TOLERANCE + 1))
        return code


class AuthenticateForm(OnceMixin, forms.AuthenticateForm):
    pass


class ReauthenticateForm(OnceMixin, forms.ReauthenticateForm):
    pass
