"""`manage.py evaluate`: the figures of a bundle on labelled images, each with its split, n and interval."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from diagnosis import wording
from diagnosis.management.bundle_arguments import add_bundle, add_runtime, add_task
from diagnosis.management.progress import progress_bar
from diagnosis.services import predictors
from ml.data.labelled import load_labelled
from ml.data.labels import LabelMap
from ml.data.manifest import DataProblem, Manifest
from ml.evaluation import report
from ml.evaluation.html_report import report_html
from ml.evaluation.intervals import RESAMPLES
from ml.evaluation.predictions import EvaluationError, write_predictions_csv
from ml.evaluation.run import SEED, Evaluated, Request, evaluate, evidence_plots, left_out_words, write_plots

# Tables are measured for this many columns where the output is no terminal.
PLAIN_WIDTH = 140


class Command(BaseCommand):
    help = (
        "Measure a bundle on labelled images: a folder with index.csv (columns path and label; patient, "
        "subject, block or group for images that belong together; site), such a CSV file, or one folder a "
        "class. Images the bundle was trained or validated on are left out by SHA-256, exact duplicates are "
        "counted once, and both are said. Class metrics count every image, the gate ignored; those of the "
        "abstaining model stand below. Every figure has a 95 % interval from 2,000 bootstrap resamples of "
        "whole groups; 'w' marks Wilson's interval over images, where the resamples agree."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_bundle(parser)
        add_task(parser)
        parser.add_argument(
            "--data", metavar="DIR_OR_MANIFEST", required=True, type=Path, help="labelled images"
        )
        parser.add_argument(
            "--json", metavar="FILE", help="write everything as JSON ('-' for standard output)"
        )
        parser.add_argument(
            "--split",
            choices=("auto", "test", "all"),
            default="auto",
            help="test: the bundle's own test images; all: every image it has not seen; auto (default): test "
            "where the data hold any of them, else all",
        )
        parser.add_argument(
            "--include-seen", action="store_true", help="also judge images of training (figures will flatter)"
        )
        parser.add_argument(
            "--map",
            metavar="LABEL=CLASS",
            action="append",
            default=[],
            help="the bundle's class for a label of the data; repeatable",
        )
        parser.add_argument(
            "--label-map",
            metavar="LABEL=CLASS,...",
            default="",
            help="the same for several labels at once, as retrain takes it: all=malignant,hem=benign. 'malignant' "
            "stands for all malignant classes, whose probabilities are then summed; 'drop' leaves images out",
        )
        parser.add_argument(
            "--repaint",
            action="store_true",
            help="also judge each image repainted with the stain of an image of another class",
        )
        parser.add_argument(
            "--baselines",
            action="store_true",
            help="also fit the baselines on the bundle's training images, which the data must hold, and "
            "judge the same images with them",
        )
        add_runtime(parser)
        parser.add_argument(
            "--compare-runtime",
            choices=("openvino", "tensorflow"),
            help="also judge with this runtime, and count equal classes",
        )
        parser.add_argument(
            "--seed", type=int, default=SEED, help="of bootstrap and repainting (default %(default)s)"
        )
        parser.add_argument(
            "--resamples", type=int, default=RESAMPLES, help="of the bootstrap (default %(default)s)"
        )
        parser.add_argument("--predictions", metavar="FILE", type=Path, help="write one line an image as CSV")
        parser.add_argument(
            "--plots", metavar="DIR", type=Path, help="write ROC, confusion and other plots as SVG"
        )
        parser.add_argument(
            "--html", metavar="FILE", type=Path, help="write all tables and plots as one self-contained page"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["resamples"] < 1:
            raise CommandError("--resamples must be at least 1.")
        # Judging takes minutes: what its results cannot be written to is said before.
        for option in ("json", "predictions", "html"):
            if options[option] and options[option] != "-" and not Path(options[option]).parent.is_dir():
                raise CommandError(
                    f"--{option}: {options[option]} cannot be written, for there is no such folder."
                )
        request = Request(
            part=options["split"],
            include_seen=options["include_seen"],
            repaint=options["repaint"],
            baselines=options["baselines"],
            mapping=parse_mapping(options["map"]),
            seed=options["seed"],
            resamples=options["resamples"],
        )
        try:
            folder = predictors.folder_to_serve(options["bundle"], task=options["task"])
            predictor = predictors.load(folder, runtime=options["runtime"])
            bundle = predictor.bundle
            manifest: Manifest = load_labelled(options["data"], task=bundle.task)
            labels = LabelMap.parse(options["label_map"], classes=bundle.classes, malignant=bundle.malignant)
            request = replace(request, mapping={**labels.targets, **request.mapping})
            other = predictors.load(folder, runtime=name) if (name := options["compare_runtime"]) else None
            with progress_bar() as bar:

                def track(things: Iterable[Any], total: int, description: str) -> Iterable[Any]:
                    return bar.track(things, total=total, description=description)

                found = evaluate(predictor, manifest, request, other_runtime=other, track=track)
        except (DataProblem, EvaluationError, predictors.ModelUnavailable) as problem:
            raise CommandError(str(problem)) from problem
        try:
            self.write_files(found, predictor.bundle, options)
        except OSError as problem:
            raise CommandError(f"{problem.filename} cannot be written: {problem.strerror}.") from problem
        if options["json"] == "-":
            self.stdout.write(json.dumps(found.to_dict(), indent=1, allow_nan=False))
        else:
            self.print_report(found)

    def write_files(self, found: Evaluated, bundle: Any, options: dict[str, Any]) -> None:
        """Write what was asked for as files."""
        if options["predictions"]:
            write_predictions_csv(options["predictions"], found.rows, bundle.classes)
        if options["plots"] or options["html"]:
            drawn = evidence_plots(
                found.rows,
                classes=bundle.classes,
                malignant=bundle.malignant,
                temperature=bundle.temperature,
                history=bundle.manifest.get("training", {}).get("history"),
            )
        if options["plots"]:
            write_plots(options["plots"], drawn)
        if options["html"]:
            page = report_html(bundle, found.evidence, drawn, remarks=remarks(found)[:-1])
            options["html"].write_text(page, encoding="utf-8")
        if options["json"] and options["json"] != "-":
            text = json.dumps(found.to_dict(), indent=1, allow_nan=False)
            Path(options["json"]).write_text(text + "\n", encoding="utf-8")

    def print_report(self, found: Evaluated) -> None:
        """Print the evidence as tables, then what did not count and what to know."""
        console = report_console(self.stdout)
        section = found.evidence.sections[0]
        tables = [
            report.metrics_table(section),
            report.per_class_table(section),
            report.confusion_table(section),
            *(report.metrics_table(one) for one in found.evidence.sections[1:]),
            *(report.metrics_table(one) for one in found.evidence.repainted),
        ]
        if found.evidence.baselines:
            same_split = [section, *found.evidence.repainted, *found.evidence.baselines]
            tables.append(report.comparison_table("Baselines on the same images", same_split))
        if found.evidence.sites:
            tables.append(report.comparison_table("By site", found.evidence.sites))
        if found.evidence.runtimes:
            tables.append(report.runtime_table(found.evidence.runtimes))
        for table in tables:
            console.print(table)
            console.print()
        for line in remarks(found):
            console.print(line, markup=False)


def report_console(stream: Any) -> Console:
    """A console on a command's standard output, wide enough for the tables where that is no terminal."""
    out = getattr(stream, "_out", stream)
    terminal = bool(getattr(out, "isatty", bool)())
    return Console(file=cast("IO[str]", out), width=None if terminal else PLAIN_WIDTH, highlight=False)


def remarks(found: Evaluated) -> list[str]:
    """What did not count and what to know, a sentence each."""
    lines = left_out_words(found)
    name, sha256 = found.evidence.bundle["name"], found.evidence.bundle["sha256"][:12]
    lines.append(f"{name} ({sha256}) on {found.runtime}, {found.device}; seed {found.evidence.seed}.")
    lines.append(wording.RESEARCH_NOTICE)
    return lines


def parse_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """Read LABEL=CLASS pairs."""
    mapping = {}
    for pair in pairs:
        label, sign, target = pair.partition("=")
        if not (sign and label and target):
            raise CommandError(f"--map needs LABEL=CLASS, not {pair}.")
        mapping[label] = target
    return mapping
