"""Accounts: the first one, those of people who come by single sign-on, one's own, and lost second factors."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from diagnosis.models import Laboratory, User
from diagnosis.services import audit

KINDS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
"""What counts as a second factor; recovery codes only stand in for one."""


class AccountRefused(Exception):
    """An account that can't be made or found, in a sentence."""


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


@transaction.atomic
def change_person(*, user: User, title: str, first_name: str, last_name: str) -> None:
    """Change what a person is called; signatures of today keep the name of today."""
    held = User.objects.select_for_update().select_related("laboratory").get(pk=user.pk)
    new = {"title": title.strip(), "first_name": first_name.strip(), "last_name": last_name.strip()}
    old = {name: getattr(held, name) for name in new}
    if old == new:
        return
    for name, value in new.items():
        setattr(held, name, value)
    held.save(update_fields=list(new))
    audit.record(action="change_person", actor=user, laboratory=held.laboratory, obj=held, old=old, new=new)


# --- second factors -----------------------------------------------------------------------------------------


def second_factors(*, user: User) -> set[str]:
    """Kinds of second factor that an account has: `totp`, `webauthn`."""
    return set(Authenticator.objects.filter(user=user, type__in=KINDS).values_list("type", flat=True))


def is_last_second_factor(*, authenticator: Authenticator) -> bool:
    """Whether an account would be left without one."""
    others = Authenticator.objects.filter(user_id=authenticator.user_id, type__in=KINDS)
    return authenticator.type in KINDS and not others.exclude(pk=authenticator.pk).exists()


@transaction.atomic
def remove_second_factors(*, user: User, actor: User | None) -> int:
    """Take all second factors and recovery codes from an account, as of a lost telephone; its sessions end.

    Returns how many there were. `actor` is None for the shell.
    """
    held = Authenticator.objects.select_for_update().filter(user=user)
    kinds = sorted(held.values_list("type", flat=True))
    held.delete()
    end_sessions(sessions=UserSession.objects.filter(user=user))
    audit.record(
        action="remove_second_factors",
        actor=actor,
        laboratory=user.laboratory,
        obj=user,
        detail={"kinds": kinds},
    )
    return len(kinds)


def sessions(*, user: User) -> list[UserSession]:
    """The sessions that an account has open, the newest first."""
    found = list(UserSession.objects.filter(user=user).order_by("-created_at"))
    alive = set(
        Session.objects.filter(
            session_key__in=[session.session_key for session in found], expire_date__gt=timezone.now()
        ).values_list("session_key", flat=True)
    )
    return [session for session in found if session.session_key in alive]


@transaction.atomic
def end_other_sessions(*, user: User, current: str | None) -> int:
    """Log an account out everywhere but in the session with the key `current`; returns in how many."""
    others = [session for session in sessions(user=user) if session.session_key != current]
    end_sessions(sessions=UserSession.objects.filter(user=user).exclude(session_key=current))
    audit.record(
        action="end_sessions",
        actor=user,
        laboratory=user.laboratory,
        obj=user,
        detail={"sessions": len(others)},
    )
    return len(others)


def end_sessions(*, sessions: Iterable[UserSession]) -> None:
    """Log out whoever has one of these sessions."""
    for session in sessions:
        session.end()


# --- single sign-on -----------------------------------------------------------------------------------------


def find_by_verified_email(*, email: str) -> User | None:
    """The one active account with this address; None where there is none, or more than one."""
    found = list(User.objects.select_related("laboratory").filter(email__iexact=email, is_active=True)[:2])
    return found[0] if email and len(found) == 1 else None


@transaction.atomic
def create_from_single_sign_on(
    *, laboratory: str, role: str, username: str, first_name: str, last_name: str, email: str, provider: str
) -> User:
    """Make an account without a password for someone whom the hospital's own log-in vouches for.

    Raises:
        AccountRefused: there is no such laboratory, or the name can't be used.
    """
    home = Laboratory.objects.filter(slug=laboratory).first()
    if home is None:
        raise AccountRefused(f"There is no laboratory {laboratory!r} to take in new accounts.")
    if role == User.Role.ADMINISTRATOR or role not in User.Role.values:
        raise AccountRefused(f"An account may not be made as {role!r}.")
    user = User(
        username=_free_username(username or email.partition("@")[0]),
        first_name=first_name[:150],
        last_name=last_name[:150],
        email=email[:254],
        role=role,
        laboratory=home,
    )
    user.set_unusable_password()
    user.save()
    audit.record(
        action="create_account", actor=None, laboratory=home, obj=user, detail={"by": provider, "role": role}
    )
    return user


def _free_username(wanted: str) -> str:
    """The name wanted, or the name with the next free number behind it."""
    validator = User.username_validator
    name = wanted.strip()[:140]
    try:
        validator(name)
    except ValidationError:
        name = ""
    if not name:
        raise AccountRefused("The provider names nobody whom an account could be called after.")
    taken = set(User.objects.filter(username__istartswith=name).values_list("username", flat=True))
    lowered = {other.lower() for other in taken}
    if name.lower() not in lowered:
        return name
    return next(
        f"{name}-{number}"
        for number in range(2, len(lowered) + 3)
        if f"{name}-{number}".lower() not in lowered
    )
