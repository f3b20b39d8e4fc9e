"""`manage.py promote`: makes a model version the active one, if the evidence lets it through."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.http import Http404
from rich.table import Table

from diagnosis import wording
from diagnosis.management.actors import add_actor_argument, named_actor
from diagnosis.management.commands.evaluate import report_console
from diagnosis.management.progress import progress_bar
from diagnosis.models import Promotion
from diagnosis.services import promotion
from diagnosis.services.version_change import PromotionImpossible, find_version

_ANSWERS = {True: "passed", False: "not passed", None: "unproven"}


class Command(BaseCommand):
    help = (
        "Compare a model version with the active one on the same locked test images and make it active, unless the "
        "gate refuses it: the 95 % lower bounds of the paired differences in balanced accuracy and in sensitivity "
        "for malignant must be above -0.01, ECE at most 0.03, maps of the weight-randomised network correlate at "
        "most 0.3 with its own, the input contract be unchanged and the evidence complete, on at least 100 locked "
        "images. Exit status 1, with the reasons and nothing changed, where it refuses. Workers take the new "
        "version with the next image."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", metavar="VERSION", help="name of a version, or NAME@start-of-its-hash")
        parser.add_argument(
            "--data",
            metavar="DIR_OR_MANIFEST",
            type=Path,
            action="append",
            default=[],
            help="labelled images that hold the active version's test images; repeatable "
            "(default: LEUKOSCOPE_DATA, a data set or a folder of them)",
        )
        parser.add_argument("--force", action="store_true", help="promote past a refusal; needs --why")
        parser.add_argument(
            "--why", metavar="TEXT", default="", help="the reason, kept and shown with the promotion"
        )
        parser.add_argument("--json", action="store_true", help="print the verdict and what was done as JSON")
        add_actor_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        verdict: dict[str, Any] = {}
        done: Promotion | None = None
        refusal = ""
        try:
            version = find_version(options["version"])
            with progress_bar() as bar:

                def track(things: Iterable[Any], total: int, description: str) -> Iterable[Any]:
                    return bar.track(things, total=total, description=description)

                done = promotion.promote(
                    version=version,
                    actor=named_actor(options),
                    data=options["data"],
                    force=options["force"],
                    why=options["why"],
                    track=track,
                )
            verdict = done.verdict
        except promotion.PromotionRefused as problem:
            verdict, refusal = problem.verdict, str(problem)
        except (PromotionImpossible, PermissionDenied, Http404) as problem:
            raise CommandError(str(problem)) from problem
        if options["json"]:
            self.stdout.write(json.dumps(as_json(verdict, done), indent=1, allow_nan=False))
        else:
            console = report_console(self.stdout)
            console.print(verdict_table(verdict))
            if done is not None:
                console.print(sentence(done), markup=False)
            console.print(wording.RESEARCH_NOTICE, markup=False)
        if refusal:
            raise CommandError(refusal)


def as_json(verdict: dict[str, Any], done: Promotion | None) -> dict[str, Any]:
    """The verdict, and what became of it."""
    return {
        "promoted": done is not None,
        "forced": done is not None and done.forced,
        "version": verdict["candidate"]["name"],
        "instead_of": done.instead_of.name if done is not None and done.instead_of else None,
        "verdict": verdict,
    }


def sentence(done: Promotion) -> str:
    """What was done, in a sentence."""
    instead = f" instead of {done.instead_of.name}" if done.instead_of else ""
    forced = f", past the gate: {done.why}" if done.forced else ""
    return f"{done.version.name} is active now{instead}{forced}."


def verdict_table(verdict: dict[str, Any]) -> Table:
    """Every check with its answer, and the images it rests on."""
    against = verdict["active"]["name"] if verdict["active"] else "none active"
    table = Table(
        title=f"{verdict['candidate']['name']} against {against}: {verdict['n']} of {verdict['listed']} locked test "
        f"images, {verdict['groups']} groups; seed {verdict['seed']}",
        title_justify="left",
    )
    table.add_column("check")
    table.add_column("answer")
    table.add_column("in words", overflow="fold")
    for check in verdict["checks"]:
        table.add_row(check["name"].replace("_", " "), _ANSWERS[check["passed"]], check["words"])
    return table
