"""`manage.py runtime`: says which device and runtime judge images here."""

from __future__ import annotations

import json
from time import perf_counter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from diagnosis.management.bundle_arguments import add_bundle, add_runtime
from diagnosis.services import predictors


class Command(BaseCommand):
    help = (
        "Load the active model as the worker does, and say with which runtime and on which device it serves, "
        "what else is installed, and how long loading took."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
        add_bundle(parser)
        add_runtime(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        from ml.runtimes import describe_runtimes

        wanted = options["runtime"] or settings.LEUKOSCOPE_RUNTIME
        facts: dict[str, Any] = {"wanted": wanted, **describe_runtimes()}
        try:
            folder = predictors.folder_to_serve(options["bundle"])
            began = perf_counter()
            predictor = predictors.load(folder, runtime=wanted)
        except predictors.ModelUnavailable as problem:
            raise CommandError(str(problem)) from problem
        facts |= {
            "model_version": predictor.bundle.name,
            "runtime": predictor.runtime,
            "device": predictor.device,
            "loading_ms": round((perf_counter() - began) * 1000),
        }
        self.stdout.write(json.dumps(facts) if options["json"] else _lines(facts))


def _lines(facts: dict[str, Any]) -> str:
    installed = ", ".join(
        f"{name} {version or 'not installed'}" for name, version in facts["versions"].items()
    )
    return "\n".join(
        [
            f"Model     {facts['model_version']} (loaded in {facts['loading_ms']} ms)",
            f"Runtime   {facts['runtime']} (asked for: {facts['wanted']})",
            f"Device    {facts['device']}",
            f"Here      {installed}; GPU: {'yes' if facts['gpu'] else 'no'}; CPUs: {facts['cpus']}",
        ]
    )
