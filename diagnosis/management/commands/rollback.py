"""`manage.py rollback`: makes the version before the active one active again."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.http import Http404

from diagnosis.management.actors import add_actor_argument, named_actor
from diagnosis.models import Laboratory, ModelVersion
from diagnosis.services import promotion
from diagnosis.services.version_change import PromotionImpossible, find_version


class Command(BaseCommand):
    help = (
        "Make the version that was active before the present one active again, at once and without judging; once "
        "more goes one further back. Workers take it with the next image; analyses already made keep the version "
        "that made them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--why", metavar="TEXT", required=True, help="the reason, kept and shown with the rollback"
        )
        parser.add_argument(
            "--task", choices=ModelVersion.Task.values, default=ModelVersion.Task.FIELD, help="default: field"
        )
        parser.add_argument(
            "--laboratory", metavar="SLUG", help="roll this laboratory's own version back, not the shared one"
        )
        parser.add_argument("--to", metavar="VERSION", help="an earlier active version, not the one before")
        add_actor_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        laboratory = None
        if options["laboratory"]:
            laboratory = Laboratory.objects.filter(slug=options["laboratory"]).first()
            if laboratory is None:
                raise CommandError(f"There is no laboratory {options['laboratory']}.")
        try:
            done = promotion.rollback(
                task=options["task"],
                laboratory=laboratory,
                actor=named_actor(options),
                why=options["why"],
                to=find_version(options["to"], task=options["task"]) if options["to"] else None,
            )
        except (PromotionImpossible, PermissionDenied, Http404) as problem:
            raise CommandError(str(problem)) from problem
        left = done.instead_of.name if done.instead_of else "none"
        self.stdout.write(f"{done.version.name} is active again instead of {left}.")
