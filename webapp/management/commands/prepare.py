"""`manage.py prepare`: everything that must be so before the first page is served."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection

from diagnosis.services import audit_chain, registry
from webapp import static_state


class Command(BaseCommand):
    help = (
        "Make this installation ready to serve: check its folders, wait for the database, migrate it, "
        "collect static files when they changed, register the shipped bundles and create the first account. "
        "Safe to run at every start."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--wait",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="patience with the database (default: 60)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for folder in (settings.VAR_DIR, settings.MEDIA_ROOT, settings.STATIC_ROOT):
            require_writable(Path(folder))
        wait_for_database(options["wait"])
        call_command("migrate", interactive=False, verbosity=0)
        audit_chain.ensure_begun()
        if not static_state.is_collected():
            call_command("collectstatic", interactive=False, clear=True, verbosity=0)
            static_state.mark_collected()
        registry.register_shipped_bundles()
        problem = registry.bundle_problem()
        if problem:
            self.stderr.write(f"Models: {problem}")
        call_command("ensure_first_account", stdout=self.stdout)


def require_writable(folder: Path) -> None:
    """Make ``folder``; raise CommandError with a sentence when files cannot be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(
            f"The folder {folder} is not writable for this user: change its owner or its rights."
        )


def wait_for_database(patience: float) -> None:
    """Return when the database answers; raise CommandError when it has not within ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.ensure_connection()
            return
        except OperationalError as error:
            if time.monotonic() > deadline:
                raise CommandError(f"The database does not answer: {str(error).strip()}") from error
            time.sleep(0.5)
