"""`manage.py quality`: counts what the quality page shows, for days that the clock counts no longer or not yet."""

from __future__ import annotations

import argparse
import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from diagnosis.models import Laboratory
from diagnosis.services import quality


def day(text: str) -> datetime.date:
    """A day as YYYY-MM-DD."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: write it as 2026-03-31.") from None


class Command(BaseCommand):
    help = (
        "Count what the quality page shows: agreement, drift, abstention, turnaround and the queue, day by day. The "
        "clock does so every hour for the last days; this goes further back. A day that is counted again gets the "
        "same figures, or those that its later readings and signatures make of it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since", type=day, metavar="DAY",
            help=f"first day, YYYY-MM-DD (default: {quality.RECENT_DAYS} days ago; `--all` goes back to the first)",
        )  # fmt: skip
        parser.add_argument("--until", type=day, metavar="DAY", help="last day (default: today)")
        parser.add_argument("--all", action="store_true", help="count every day there is")
        parser.add_argument("--laboratory", metavar="SLUG", help="one laboratory (default: all)")

    def handle(self, *args: Any, **options: Any) -> None:
        until = options["until"] or timezone.localdate()
        since = options["since"] or until - datetime.timedelta(days=quality.RECENT_DAYS - 1)
        if options["all"] and options["since"]:
            raise CommandError("Give --since or --all, not both.")
        if since > until:
            raise CommandError(f"--since {since} lies behind --until {until}.")
        laboratory = None
        if options["laboratory"]:
            laboratory = Laboratory.objects.filter(slug=options["laboratory"]).first()
            if laboratory is None:
                known = ", ".join(Laboratory.objects.values_list("slug", flat=True)) or "none"
                raise CommandError(f"There is no laboratory {options['laboratory']!r}; there are: {known}.")
        written = quality.compute(since=None if options["all"] else since, until=until, laboratory=laboratory)
        self.stdout.write(f"{written} day{'' if written == 1 else 's'} counted.")
