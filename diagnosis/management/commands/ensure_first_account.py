"""`manage.py ensure_first_account`: gives an empty installation its administrator."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from diagnosis.services import accounts
from webapp.env import Env


class Command(BaseCommand):
    help = (
        "Create the first account, an administrator, when there is none, and print its password this once. "
        "Does nothing when an account exists. LEUKOSCOPE_FIRST_PASSWORD (or _FILE) sets the password instead "
        "of having one generated; it is then not printed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", default="admin", help="name of the account (default: admin)")

    def handle(self, *args: Any, **options: Any) -> None:
        given = Env().secret("LEUKOSCOPE_FIRST_PASSWORD") or None
        created = accounts.create_first_account(username=options["username"], password=given)
        if created is None:
            return
        user, password = created
        self.stdout.write("")
        self.stdout.write(f"  First account:  {user.username}")
        if given:
            self.stdout.write("  Password:       as set by LEUKOSCOPE_FIRST_PASSWORD")
        else:
            self.stdout.write(f"  Password:       {password}")
            self.stdout.write("  It is shown this once and kept nowhere in the clear: note it down now.")
        self.stdout.write("")
