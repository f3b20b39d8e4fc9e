"""For the administrator whose own telephone is lost: everybody else's go in the admin site."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from diagnosis.management.actors import add_actor_argument, named_actor
from diagnosis.models import User
from diagnosis.services import accounts


class Command(BaseCommand):
    help = (
        "Take all second factors and recovery codes from an account, as of a lost telephone, and log it out "
        "everywhere. The password stays; where a second factor is compulsory, the next login asks for a new one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="the account")
        add_actor_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.select_related("laboratory").filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no account called {options['username']}.")
        count = accounts.remove_second_factors(user=user, actor=named_actor(options))
        self.stdout.write(
            f"{user.username} has no second factor any more." if count else f"{user.username} had none."
        )
