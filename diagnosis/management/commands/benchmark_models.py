"""`manage.py benchmark-models`: rivals and baselines on one split, with the same minutes each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from diagnosis import wording
from diagnosis.management.commands.evaluate import report_console
from ml import benchmarking
from ml.benchmark_data import MALIGNANT_LABELS, Bench, BenchmarkProblem, Request, open_bench
from ml.data.manifest import DataProblem, load_manifest
from ml.evaluation import benchmark_report
from ml.evaluation.intervals import RESAMPLES
from ml.evaluation.plots import write_svg

WEIGHTS_NAME = "densenet121_imagenet_notop.weights.h5"
KEYS = ", ".join(row.key for row in benchmarking.ROWS)


class Command(BaseCommand):
    help = (
        "Compare models on labelled images, each with the same minutes of the clock: six colour numbers; colour, "
        "texture and shape with classical classifiers; DenseNet features with a support vector machine; DenseNet-121 "
        "fine-tuned from ImageNet; and DenseNet-121, ResNet50, VGG16, MobileNetV2, EfficientNetB0 and AlexNet from "
        "random weights. No group (block, patient, subject) is on both sides: the standing split where every class "
        "has five groups or more, else three folds over subjects, each judged when held out. Every finished row is "
        "one JSON file with its predictions in --out, and is not run again: a benchmark that was stopped goes on "
        "with the same command line. At the end --out holds table.md, comparison.svg and results.json of all rows "
        "there. Expect (number of rows) x --budget minutes at most, and a minute for predictions."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--data",
            metavar="DIR_OR_MANIFEST",
            required=True,
            type=Path,
            help="labelled images, as for evaluate",
        )
        parser.add_argument(
            "--budget",
            metavar="MINUTES",
            type=float,
            default=20.0,
            help="for each row, building and tracing its network included; folds share it evenly (default %(default)g)",
        )
        parser.add_argument(
            "--clock",
            choices=("wall", "processor"),
            default="wall",
            help="how minutes are counted: by the wall's clock, or as processor time over the number of cores, which "
            "is as fair on a machine that others use meanwhile, and takes longer there (default %(default)s)",
        )
        parser.add_argument(
            "--rows", metavar="KEY", nargs="+", default=[], help=f"only these rows, of {KEYS} (default: all)"
        )
        parser.add_argument(
            "--weights",
            metavar="FILE",
            help=f"ImageNet weights of DenseNet-121 without top, or 'imagenet' to let Keras download them (default: "
            f"{WEIGHTS_NAME} in the folder LEUKOSCOPE_WEIGHTS); without any, rows that need them are left out",
        )
        parser.add_argument(
            "--out",
            metavar="FOLDER",
            type=Path,
            help="rows, table, plot and JSON (default: LEUKOSCOPE_CACHE/benchmark/rows/NAME_OF_DATA)",
        )
        parser.add_argument(
            "--size",
            type=int,
            default=128,
            help="side of the pictures in pixels, 64 to 512 (default %(default)s)",
        )
        parser.add_argument(
            "--pictures",
            choices=("auto", "fields", "cells"),
            default="auto",
            help="whole fields, or cells cut out onto black as in C-NMC (default: told by looking at some)",
        )
        parser.add_argument(
            "--malignant",
            metavar="LABEL",
            nargs="*",
            help=f"labels that mean leukemia (default: those of {', '.join(sorted(MALIGNANT_LABELS))})",
        )
        parser.add_argument(
            "--seed", type=int, default=20, help="of folds, weights and bootstrap (default %(default)s)"
        )
        parser.add_argument(
            "--resamples", type=int, default=RESAMPLES, help="of the bootstrap (default %(default)s)"
        )
        parser.add_argument(
            "--json",
            metavar="FILE",
            help="write results.json here as well ('-' for standard output, without table)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        if options["resamples"] < 1:
            raise CommandError("--resamples must be at least 1.")
        # Rows take minutes each: what their results cannot be written to is said before.
        if (
            (file := options["json"])
            and file != "-"
            and (Path(file).is_dir() or not Path(file).parent.is_dir())
        ):
            raise CommandError(f"--json: {file} cannot be written: name a file in a folder that there is.")
        try:
            plans = benchmarking.rows_named(options["rows"])
            request = request_from(options)
            with bars() as bar:
                bench = open_bench(
                    request,
                    track=lambda things, total, words: bar.track(things, total=total, description=words),
                )
                left_out = run_all(bench, plans, bar)
            found = [
                (plan, row)
                for plan in benchmarking.ROWS
                if (row := benchmarking.read_row(bench, plan)) is not None
            ]
            if not found:
                raise CommandError(f"No row was run. {' '.join(left_out)}")
            self.write_results([row for _, row in found], left_out, request.out, options)
        except (DataProblem, BenchmarkProblem) as problem:
            raise CommandError(str(problem)) from problem
        except OSError as problem:
            place = problem.filename or options["out"] or "the folder of rows"
            raise CommandError(
                f"{place} cannot be read or written: {problem.strerror}. Finished rows are kept."
            ) from problem
        except KeyboardInterrupt as stop:
            raise CommandError(
                "Stopped. Finished rows are kept; the same command line goes on with the next one.",
                returncode=130,
            ) from stop

    def write_results(
        self, rows: list[dict[str, Any]], left_out: list[str], out: Path, options: dict[str, Any]
    ) -> None:
        """Write table, plot and JSON of all rows in the folder, and print the table."""
        sections = [benchmark_report.row_section(row, resamples=options["resamples"]) for row in rows]
        text = (
            json.dumps(benchmark_report.as_json(rows, sections, left_out), indent=1, allow_nan=False) + "\n"
        )
        (out / "results.json").write_text(text, encoding="utf-8")
        (out / "table.md").write_text(
            benchmark_report.markdown_table(rows, sections, left_out), encoding="utf-8"
        )
        write_svg(benchmark_report.benchmark_plot(rows, sections), out / "comparison.svg", "Models compared")
        if options["json"] == "-":
            self.stdout.write(text)
            return
        if options["json"]:
            Path(options["json"]).write_text(text, encoding="utf-8")
        console = report_console(self.stdout)
        console.print(benchmark_report.rich_table(rows, sections, left_out))
        console.print(
            f"\nIn {out}: table.md, comparison.svg, results.json, and a JSON file a row.", markup=False
        )
        console.print(wording.RESEARCH_NOTICE, markup=False)


def run_all(bench: Bench, plans: list[benchmarking.RowPlan], bar: Progress) -> list[str]:
    """Run the rows that are not finished yet, and return why others were left out."""
    left_out = []
    whole = bar.add_task("rows", total=len(plans))
    now = bar.add_task("", total=1.0)
    for plan in plans:
        if benchmarking.read_row(bench, plan) is not None:
            bar.console.print(f"{plan.words}: finished before.", markup=False, soft_wrap=True)
        elif plan.needs_weights and bench.request.weights is None:
            left_out.append(f"{plan.words}, because no ImageNet weights are at hand (--weights).")
            bar.console.print(f"Left out: {left_out[-1]}", markup=False, soft_wrap=True)
        else:
            bar.reset(now, total=1.0, description=plan.words)
            row = benchmarking.run_row(
                bench,
                plan,
                report=lambda share, words, plan=plan: bar.update(  # type: ignore[misc]
                    now, completed=share, description=f"{plan.words}: {words}"
                ),
            )
            benchmarking.write_row(bench.request.out, row)
            used, whole_minutes = sum(row["seconds"].values()) / 60, row["wall_seconds"] / 60
            bar.console.print(
                f"{plan.words}: finished, {used:.1f} minutes of its budget used; {whole_minutes:.1f} minutes by the "
                "wall's clock with its predictions.",
                markup=False,
                soft_wrap=True,
            )
        bar.advance(whole)
    return left_out


def request_from(options: dict[str, Any]) -> Request:
    """Read the options. CommandError for weights that are not there."""
    manifest = load_manifest(options["data"])
    weights = options["weights"]
    if weights is None:
        usual = Path(os.environ.get("LEUKOSCOPE_WEIGHTS") or ".") / WEIGHTS_NAME
        weights = usual if usual.is_file() else None
    elif weights != "imagenet":
        weights = Path(weights)
        if not weights.is_file():
            raise CommandError(f"There is no weights file at {weights}.")
    return Request(
        manifest=manifest,
        out=options["out"] or benchmarking.default_folder(manifest.name),
        minutes=options["budget"],
        size=options["size"],
        pictures=options["pictures"],
        weights=weights,
        seed=options["seed"],
        clock=options["clock"],
        malignant=None if options["malignant"] is None else tuple(options["malignant"]),
    )


def bars() -> Progress:
    """Bars on standard error: the rows, and how much of the present one's minutes is spent."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
