"""Who a command acts for: the account that is named, or whoever runs commands on this machine."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from diagnosis.models import User


def add_actor_argument(parser: CommandParser) -> None:
    """Add `--by USERNAME`."""
    parser.add_argument(
        "--by",
        metavar="USERNAME",
        help="the account this is done for, with its rights; the audit log names it "
        "(default: none, the machine's operator)",
    )


def named_actor(options: dict[str, Any]) -> User | None:
    """The account named by `--by`; CommandError where there is no such active one."""
    name = options["by"]
    if name is None:
        return None
    user = User.objects.select_related("laboratory").filter(username=name, is_active=True).first()
    if user is None:
        raise CommandError(f"There is no active account called {name}.")
    return user
