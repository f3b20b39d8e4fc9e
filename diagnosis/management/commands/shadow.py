"""`manage.py shadow`: has a model version judge every new image beside the active one, or ends that."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.http import Http404

from diagnosis.management.actors import add_actor_argument, named_actor
from diagnosis.services import shadow
from diagnosis.services.version_change import PromotionImpossible, find_version


class Command(BaseCommand):
    help = (
        "Have a model version judge every new image after the active one has. It changes no case; administrators "
        "alone see what it says. The worker of the queue `training` runs it. --retire ends it, or puts a candidate "
        "aside."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", metavar="VERSION", help="name of a version, or NAME@start-of-its-hash")
        parser.add_argument("--retire", action="store_true", help="end the shadow, or put a candidate aside")
        add_actor_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        change = shadow.retire if options["retire"] else shadow.set_shadow
        try:
            version = change(version=find_version(options["version"]), actor=named_actor(options))
        except (PromotionImpossible, PermissionDenied, Http404) as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(f"{version.name}: {version.get_status_display()}")
