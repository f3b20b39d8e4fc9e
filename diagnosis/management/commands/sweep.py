"""`manage.py sweep`: brings back lost analyses by hand, and removes files no row points to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from diagnosis.services import upkeep


class Command(BaseCommand):
    help = (
        "Take back the analyses of workers that stopped and send again those the broker lost, as the clock "
        "does every ten seconds. With --orphans, also delete stored files that nothing points to."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--orphans", action="store_true", help="delete unreferenced files of the media folder"
        )
        parser.add_argument(
            "--older-than-hours",
            type=float,
            default=24.0,
            metavar="H",
            help="spare unreferenced files younger than this (default: 24)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        swept = upkeep.sweep()
        self.stdout.write(
            f"{swept.sent} sent again, {swept.requeued} taken back, "
            f"{swept.failed} given up after three attempts."
        )
        if options["orphans"]:
            age = timedelta(hours=options["older_than_hours"])
            self.stdout.write(f"{upkeep.remove_orphans(older_than=age)} unreferenced files deleted.")
