"""`manage.py api_token`: makes a token of the API, or takes one back."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.http import Http404

from diagnosis.management.actors import add_actor_argument, named_actor
from diagnosis.models import ApiToken, User
from diagnosis.services import api_tokens
from diagnosis.services.api_tokens import SCOPES, TokenRefused


class Command(BaseCommand):
    help = (
        "Make a token with which a scanner or the LIS uses the API, and print its key, which is shown this once. "
        "What is done with it is done in the name of --user, and never more than that account may. With --revoke "
        "the token of that name is taken back. Scopes: "
        + "; ".join(f"{name} ({what})" for name, what in SCOPES.items())
        + "."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="what uses it, as the scanner's name")
        parser.add_argument("--user", required=True, metavar="USERNAME", help="the account it acts for")
        parser.add_argument(
            "--scope",
            action="append",
            default=[],
            metavar="SCOPE",
            help="what it may do; may be given several times",
        )
        parser.add_argument("--days", type=int, metavar="N", help="it expires after N days (default: never)")
        parser.add_argument("--revoke", action="store_true", help="take the token of this name back")
        add_actor_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        user = (
            User.objects.select_related("laboratory").filter(username=options["user"], is_active=True).first()
        )
        if user is None:
            raise CommandError(f"There is no active account called {options['user']}.")
        try:
            if options["revoke"]:
                self._revoke(user, options)
                return
            token, key = api_tokens.create(
                actor=named_actor(options),
                user=user,
                name=options["name"],
                scopes=options["scope"],
                days=options["days"],
            )
        except (TokenRefused, PermissionDenied, Http404) as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(f"{token.name} may, in the name of {user.display_name}: {', '.join(token.scopes)}.")
        self.stdout.write("Its key, which is not shown again:")
        self.stdout.write(key)

    def _revoke(self, user: User, options: dict[str, Any]) -> None:
        token = ApiToken.objects.filter(laboratory=user.laboratory, name=options["name"]).first()
        if token is None:
            raise CommandError(f"There is no token called {options['name']} in {user.laboratory.name}.")
        done = api_tokens.revoke(actor=named_actor(options), token=token)
        self.stdout.write(f"{token.name} is taken back." if done else f"{token.name} was taken back before.")
