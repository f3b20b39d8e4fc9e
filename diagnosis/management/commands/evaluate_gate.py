"""`manage.py evaluate_gate`: the shares of images of any kind that a bundle's gate keeps and turns away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from diagnosis import wording
from diagnosis.management.bundle_arguments import add_bundle, add_runtime, add_task
from diagnosis.management.commands.evaluate import report_console
from diagnosis.management.progress import progress_bar
from diagnosis.services import predictors
from ml.evaluation import plots, report
from ml.evaluation.cell_strangers import drawn_cells, photographs_for
from ml.evaluation.evidence import Evidence
from ml.evaluation.gates import (
    GateResult,
    Source,
    all_rows,
    drawn_source,
    folder_source,
    judge_gate,
)
from ml.evaluation.predictions import EvaluationError
from ml.evaluation.run import SEED
from ml.tasks import CELL, FIELD


class Command(BaseCommand):
    help = (
        "Show images of any kind to a bundle and print which shares it gives a class and turns away, with "
        "Wilson's 95 % intervals and the reasons. Labels are not asked for. Images the bundle was trained or "
        "validated on are left out by SHA-256, exact copies count once."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folders", nargs="*", metavar="NAME=DIR", help="images below a folder, under a name for the table"
        )
        add_bundle(parser)
        add_task(parser)
        parser.add_argument(
            "--drawn",
            metavar="N",
            type=int,
            default=0,
            help="also N drawn fields, or cells for a bundle of cells",
        )
        parser.add_argument(
            "--photographs", metavar="N", type=int, default=0, help="also N crops of everyday photographs"
        )
        parser.add_argument(
            "--limit", metavar="N", type=int, help="at most N images of each folder, at random"
        )
        parser.add_argument(
            "--by-size", action="store_true", help="also a line for each image size, where a folder holds few"
        )
        parser.add_argument(
            "--include-seen", action="store_true", help="count images of the bundle's training too"
        )
        add_runtime(parser)
        parser.add_argument("--seed", type=int, default=SEED, help="of all draws (default %(default)s)")
        parser.add_argument(
            "--json", metavar="FILE", help="write everything as JSON ('-' for standard output)"
        )
        parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the domain scores as SVG")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            folder = predictors.folder_to_serve(options["bundle"], task=options["task"])
            predictor = predictors.load(folder, runtime=options["runtime"])
            data = predictor.bundle.manifest["data"]
            seen = {*data["train_sha256"], *data["validation_sha256"]}
            sources = sources_of(
                options, set() if options["include_seen"] else seen, task=predictor.bundle.task
            )
            with progress_bar() as bar:
                results = [
                    judge_gate(
                        source,
                        predictor,
                        track=lambda things, total, text: bar.track(things, total=total, description=text),
                    )
                    for source in sources
                ]
        except (EvaluationError, predictors.ModelUnavailable) as problem:
            raise CommandError(str(problem)) from problem
        rows = all_rows(results, by_size=options["by_size"])
        bundle = predictor.bundle
        evidence = Evidence(
            bundle={"name": bundle.name, "sha256": bundle.sha256, "temperature": bundle.temperature},
            seed=options["seed"],
            gate=rows,
        )
        if options["plot"]:
            scores = {result.name: [one.domain_score for one in result.answers] for result in results}
            threshold = float(bundle.thresholds["domain"])
            plots.write_svg(plots.domain_plot(scores, threshold), options["plot"], "Domain scores")
        if options["json"]:
            text = json.dumps(as_json(evidence, results, predictor), indent=1, allow_nan=False)
            if options["json"] == "-":
                self.stdout.write(text)
                return
            Path(options["json"]).write_text(text + "\n", encoding="utf-8")
        console = report_console(self.stdout)
        console.print(report.gate_table(rows))
        for line in remarks(results):
            console.print(line, markup=False)
        console.print(
            f"{bundle.name} ({bundle.sha256[:12]}) on {predictor.runtime}, {predictor.device}; "
            f"seed {options['seed']}.\n{wording.RESEARCH_NOTICE}",
            markup=False,
        )


def sources_of(options: dict[str, Any], seen: set[str], *, task: str = FIELD.name) -> list[Source]:
    """Return the sources that were asked for; CommandError where there are none."""
    found = []
    for text in options["folders"]:
        name, sign, place = text.partition("=")
        folder = Path(place if sign else text)
        source = folder_source(
            name if sign else folder.name, folder, seen=seen, limit=options["limit"], seed=options["seed"]
        )
        found.append(source)
    if options["drawn"] > 0:
        drawn = drawn_cells if task == CELL.name else drawn_source
        found.append(drawn(options["drawn"], seed=options["seed"]))
    if options["photographs"] > 0:
        found.append(photographs_for(task, options["photographs"], seed=options["seed"]))
    if not found:
        raise CommandError("Name at least one folder (NAME=DIR), or ask for --drawn or --photographs.")
    return found


def remarks(results: list[GateResult]) -> list[str]:
    """What did not count, a sentence each."""
    lines = []
    for result in results:
        if result.left_out:
            lines.append(
                f"{result.name}: {result.left_out} images seen in training or exact copies left out."
            )
        lines += [f"{result.name}: {count} not read: {why}" for why, count in result.unreadable.items()]
    return lines


def as_json(evidence: Evidence, results: list[GateResult], predictor: Any) -> dict[str, Any]:
    """The schema of `ml.evaluation.evidence`, and what did not count."""
    return {
        **evidence.to_dict(),
        "evaluated": {
            "runtime": predictor.runtime,
            "device": predictor.device,
            "sources": [
                {"name": result.name, "left_out": result.left_out, "unreadable": result.unreadable}
                for result in results
            ],
        },
    }
