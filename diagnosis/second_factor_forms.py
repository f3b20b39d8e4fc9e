"""allauth's forms for a one-time code, which take none twice (`services.one_time_codes`)."""

from __future__ import annotations

from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms

from diagnosis.services import one_time_codes


class OnceMixin:
    """For forms with a field `code` and an attribute `user`."""

    user: Any
    cleaned_data: dict[str, Any]

    def clean_code(self) -> str:
        typed = self.cleaned_data["code"]
        if one_time_codes.was_taken(user=self.user, code=typed):
            raise get_adapter().validation_error("incorrect_code")
        code: str = super().clean_code()  # type: ignore[misc]
        if not one_time_codes.take(user=self.user, code=typed):
            raise get_adapter().validation_error("incorrect_code")
        return code


class AuthenticateForm(OnceMixin, forms.AuthenticateForm):
    pass


class ReauthenticateForm(OnceMixin, forms.ReauthenticateForm):
    pass
