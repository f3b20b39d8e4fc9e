"""Who is logged in, read with her laboratory: every page asks for both."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend

from diagnosis.models import User


class AccountBackend(ModelBackend):
    """Django's, with one query for the account and its laboratory."""

    def get_user(self, user_id: Any) -> User | None:
        user = User.objects.select_related("laboratory").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None
