"""`manage.py keep_findings`: keeps what signed cases came to where that is missing, or all of it anew."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from diagnosis.services import findings


class Command(BaseCommand):
    help = (
        "The history narrows signed cases by what is kept of their images at the signature. Keep it for signed cases "
        "that lack it, which are found without, slowly; with --anew for all of them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--anew", action="store_true", help="of every signed case, whatever is kept")

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Kept for {findings.keep_all(anew=options['anew']):,} signed cases.")
