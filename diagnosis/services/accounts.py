"""Accounts: the first one of a new installation."""

from __future__ import annotations

import secrets

from django.db import transaction

from diagnosis.models import User
from diagnosis.services import audit


@transaction.atomic
def create_first_account(*, username: str = "admin", password: str | None = None) -> tuple[User, str] | None:
    """Create the administrator of an empty installation and return it with its password.

    The password is generated unless one is given; it is stored hashed and can't be asked for again. Returns
    None, and changes nothing, when there is an account already.
    """
    if User.objects.exists():
        return None
    password = password or secrets.token_urlsafe(12)
    user = User.objects.create_superuser(username, password=password)
    audit.record(action="create_account", actor=None, laboratory=user.laboratory, obj=user)
    return user, password
