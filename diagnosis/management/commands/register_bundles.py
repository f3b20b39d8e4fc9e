"""`manage.py register_bundles`: makes the bundles on disk known to the application."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from diagnosis.services import registry


class Command(BaseCommand):
    help = (
        "Register every model bundle in LEUKOSCOPE_BUNDLES. The first of a task becomes active where there "
        "is none; one that was replaced in place takes over. Damaged bundles are named and left alone."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        found = registry.register_shipped_bundles()
        for version in found.versions:
            self.stdout.write(f"{version.name}: {version.get_task_display()}, {version.status}")
        for problem in found.problems:
            self.stderr.write(problem)
        obstacle = registry.bundle_problem()
        if obstacle:
            raise CommandError(obstacle)
