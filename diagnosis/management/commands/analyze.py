"""`manage.py analyze`: the worker's pipeline on files, without a browser, a queue or a case.

Fields by default, with their leukocytes where there is a cell bundle; with `--task cell` pictures of single cells.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Column, Table

from diagnosis import wording
from diagnosis.management.bundle_arguments import add_bundle, add_runtime
from diagnosis.management.progress import progress_bar
from diagnosis.models import ModelVersion
from diagnosis.services import pipeline, predictors
from ml.imaging.reading import UnreadableImage

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
"""Which files of a folder are taken. A file named by itself is tried whatever it is called."""


FIELD, CELL = ModelVersion.Task.FIELD.value, ModelVersion.Task.CELL.value


@dataclass(frozen=True)
class Fields:
    """Judges fields. `cell_predictor` is None where there is no cell bundle; `no_cells` then says so."""

    predictor: Any
    cell_predictor: Any = None
    no_cells: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Leukocytes wholly in view with their suspicion have a column where they were looked for."""
        cells = ("leukocytes",) if self.cell_predictor is not None else ()
        return ("outcome", "confidence", "domain", *cells, "reasons", "ms")

    def judge(self, file: Path) -> dict[str, Any]:
        judged = pipeline.judge(source=file, predictor=self.predictor, cell_predictor=self.cell_predictor)
        return pipeline.as_record(path=str(file), judged=judged, no_cells=self.no_cells)

    def unreadable(self, file: Path, reason: str) -> dict[str, Any]:
        return pipeline.unreadable_record(
            path=str(file), reason=reason, model_version=self.predictor.bundle.name
        )

    def row(self, record: dict[str, Any]) -> tuple[str, ...]:
        """The cells of a record's line in the table, after the file's name."""
        outcome, confidence, domain, reasons, ms = _common(record)
        cells = (self._leukocytes(record),) if self.cell_predictor is not None else ()
        return (outcome, confidence, domain, *cells, reasons, ms)

    def _leukocytes(self, record: dict[str, Any]) -> str:
        found, suspicion = record["cells"], record["suspicion"]
        if found is None:
            return ""
        whole = sum(one["kind"] == "leukocyte" and not one["touches_border"] for one in found)
        return str(whole) if suspicion is None else f"{whole} ({suspicion:.2f})"

    @property
    def note(self) -> str:
        """What is said below the table of the cells."""
        if self.cell_predictor is None:
            return f"Leukocytes were not looked for. {self.no_cells}"
        return (
            f"Leukocytes by {self.cell_predictor.bundle.name}, with their suspicion of leukemia from 0 to 1 "
            f"({wording.SUSPICION_NOTICE})."
        )


@dataclass(frozen=True)
class SingleCells:
    """Judges pictures of single cells."""

    predictor: Any
    columns = ("outcome", "confidence", "domain", "blast", "reasons", "ms")
    note = ""

    def judge(self, file: Path) -> dict[str, Any]:
        judged = pipeline.judge_cell(source=file, predictor=self.predictor)
        return pipeline.as_cell_record(
            path=str(file), judged=judged, model_version=self.predictor.bundle.name
        )

    def unreadable(self, file: Path, reason: str) -> dict[str, Any]:
        return pipeline.unreadable_cell_record(
            path=str(file), reason=reason, model_version=self.predictor.bundle.name
        )

    def row(self, record: dict[str, Any]) -> tuple[str, ...]:
        """The cells of a record's line in the table, after the file's name."""
        outcome, confidence, domain, reasons, ms = _common(record)
        blast = record["blast_probability"]
        return outcome, confidence, domain, "" if blast is None else wording.percent(blast), reasons, ms


class Command(BaseCommand):
    help = (
        "Judge image files exactly as an upload is judged. Folders are searched recursively. A file that "
        "cannot be read is reported as indeterminate and does not stop the others. Exit status 1 when no "
        "file at all could be judged, or no model could be loaded; without a cell bundle fields are judged all "
        "the same."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", metavar="FILE_OR_DIR", type=Path)
        parser.add_argument(
            "--task",
            choices=(FIELD, CELL),
            default=FIELD,
            help="what the pictures show: fields (default), or one cell each, judged in the middle",
        )
        add_bundle(parser)
        parser.add_argument(
            "--cell-bundle", metavar="B", help="the same for leukocytes (default: the active one, if any)"
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object a line instead of a table"
        )
        add_runtime(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        files = list(find_files(options["paths"]))
        if not files:
            raise CommandError("There is no image file at the given paths.")
        try:
            judge = _single_cells(options) if options["task"] == CELL else _fields(options)
        except predictors.ModelUnavailable as problem:
            raise CommandError(str(problem)) from problem
        records = judge_all(files, judge)
        if options["json"]:
            judged = 0
            for record, was_judged in records:
                judged += was_judged
                self.stdout.write(json.dumps(record, ensure_ascii=False))
                self.stdout.flush()
        else:
            judged = self._table(records, files, judge)
        if not judged:
            raise CommandError("No file could be analysed.")

    def _table(
        self,
        records: Iterable[tuple[dict[str, Any], bool]],
        files: list[Path],
        judge: Fields | SingleCells,
    ) -> int:
        """Draw progress on stderr, then the table on stdout; returns how many files were judged."""
        total, predictor = len(files), judge.predictor
        common = os.path.commonpath([file.absolute().parent for file in files])
        table = Table(Column("file", overflow="fold"), *judge.columns, box=None, pad_edge=False)
        judged = 0
        with progress_bar() as bar:
            task = bar.add_task("Analysing", total=total)
            for record, was_judged in records:
                judged += was_judged
                name = os.path.relpath(record["path"], common)
                table.add_row(name, *judge.row(record))
                bar.advance(task)
        console = Console(file=cast("IO[str]", self.stdout._out))
        console.print(table)
        console.print(
            f"{judged} of {total} analysed by {predictor.bundle.name} "
            f"({predictor.runtime}, {predictor.device}). {wording.RESEARCH_NOTICE}",
            highlight=False,
        )
        if judge.note:
            console.print(judge.note, highlight=False, markup=False)
        return judged


def _fields(options: dict[str, Any]) -> Fields:
    """The judge of fields, and of their cells where a cell bundle serves: one that was asked for must."""
    predictor = _load(FIELD, options["bundle"], options["runtime"])
    try:
        cells = _load(CELL, options["cell_bundle"], options["runtime"])
    except predictors.ModelUnavailable as problem:
        if options["cell_bundle"]:
            raise
        return Fields(predictor, no_cells=str(problem))
    return Fields(predictor, cells)


def _single_cells(options: dict[str, Any]) -> SingleCells:
    return SingleCells(_load(CELL, options["cell_bundle"] or options["bundle"], options["runtime"]))


def _load(task: str, bundle: str | None, runtime: str | None) -> Any:
    """The predictor of a task. Raises ModelUnavailable, also for a bundle of another task."""
    predictor = predictors.load(predictors.folder_to_serve(bundle, task=task), runtime=runtime)
    if predictor.bundle.task != task:
        other, name = predictor.bundle.task, predictor.bundle.name
        raise predictors.ModelUnavailable(f"{name} is a bundle of the task {other}, not of {task}.")
    return predictor


def find_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Every file named, and every image file below every folder named, each once, in order."""
    seen: set[Path] = set()
    for path in paths:
        for file in _below(path) if path.is_dir() else [path]:
            if file not in seen:
                seen.add(file)
                yield file


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(place) / name


def judge_all(files: Iterable[Path], judge: Fields | SingleCells) -> Iterator[tuple[dict[str, Any], bool]]:
    """A record for each file, and whether the file could be judged."""
    for file in files:
        try:
            record = judge.judge(file)
        except UnreadableImage as error:
            reason = str(error)
        except Exception as error:
            logger.exception("The analysis of %s failed", file)
            reason = f"The analysis failed: {error}"
        else:
            yield record, True
            continue
        yield judge.unreadable(file, reason), False


def _common(record: dict[str, Any]) -> tuple[str, str, str, str, str]:
    """What lines of both tasks hold: outcome, confidence, domain, reasons and milliseconds."""
    is_class = record["outcome"] == "class"
    score = record["domain_score"]
    total = record["timings_ms"].get("total")
    return (
        wording.class_word(record["label"]) if is_class else "indeterminate",
        wording.percent(record["confidence"]) if is_class else "",
        "" if score is None else f"{score:.2f}",
        wording.join_reasons(record["reasons"]),
        "" if total is None else f"{total:.0f}",
    )
