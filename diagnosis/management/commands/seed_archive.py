"""`manage.py seed_archive`: draws an archive as large as that of years, to measure on."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from diagnosis.management.progress import progress_bar
from diagnosis.services import archive
from diagnosis.services.archive import ArchiveRefused


class Command(BaseCommand):
    help = (
        "Add a laboratory with drawn cases, images, analyses, reviews and signatures, to measure pages and queries on: "
        "no patients, and nothing that a model ever saw. Numbers are alike for the same --seed. For a database that "
        "holds nothing else; on PostgreSQL its tables are locked meanwhile."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--cases", type=int, default=100_000, metavar="N", help="default: 100,000")
        parser.add_argument("--images-per-case", type=int, default=10, metavar="N", help="default: 10")
        parser.add_argument(
            "--seed", type=int, default=1, metavar="N", help="of the drawn numbers (default: 1)"
        )
        parser.add_argument("--yes", action="store_true", help="add it to a database that holds other cases")

    def handle(self, *args: Any, **options: Any) -> None:
        cases, images = options["cases"], options["images_per_case"]
        if cases < 1 or images < 0:
            raise CommandError("--cases must be at least 1, and --images-per-case at least 0.")
        with progress_bar() as bar:
            task = bar.add_task("Cases", total=cases)
            try:
                made = archive.seed(
                    cases=cases,
                    images_per_case=images,
                    seed=options["seed"],
                    beside_others=options["yes"],
                    told=lambda done: bar.update(task, completed=done),
                )
            except ArchiveRefused as refused:
                raise CommandError(str(refused)) from refused
        self.stdout.write(
            f"{made.laboratory}: {made.cases:,} cases, {made.images:,} images, {made.analyses:,} analyses, "
            f"{made.reviews:,} reviews."
        )
