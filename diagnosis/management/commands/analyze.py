"""`manage.py analyze`: the worker's pipeline on files, without a browser, a queue or a case."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Column, Table

from diagnosis import wording
from diagnosis.management.progress import progress_bar
from diagnosis.services import pipeline, predictors
from ml.imaging.reading import UnreadableImage

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
"""Which files of a folder are taken. A file named by itself is tried whatever it is called."""


class Command(BaseCommand):
    help = (
        "Judge image files exactly as an upload is judged. Folders are searched recursively. A file that "
        "cannot be read is reported as indeterminate and does not stop the others. Exit status 1 when no "
        "file at all could be judged, or no model could be loaded."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", metavar="FILE_OR_DIR", type=Path)
        parser.add_argument(
            "--bundle", metavar="B", help="bundle folder, or its name (default: the active one)"
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object a line instead of a table"
        )
        parser.add_argument(
            "--runtime", choices=("auto", "openvino", "tensorflow"), help="instead of the settings'"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        files = list(find_files(options["paths"]))
        if not files:
            raise CommandError("There is no image file at the given paths.")
        try:
            folder = predictors.folder_to_serve(options["bundle"])
            predictor = predictors.load(folder, runtime=options["runtime"])
        except predictors.ModelUnavailable as problem:
            raise CommandError(str(problem)) from problem
        records = judge_all(files, predictor)
        if options["json"]:
            judged = 0
            for record, was_judged in records:
                judged += was_judged
                self.stdout.write(json.dumps(record, ensure_ascii=False))
                self.stdout.flush()
        else:
            judged = self._table(records, files, predictor)
        if not judged:
            raise CommandError("No file could be analysed.")

    def _table(
        self, records: Iterable[tuple[dict[str, Any], bool]], files: list[Path], predictor: Any
    ) -> int:
        """Draw progress on stderr, then the table on stdout; returns how many files were judged."""
        total = len(files)
        common = os.path.commonpath([file.absolute().parent for file in files])
        table = Table(
            Column("file", overflow="fold"),
            "outcome",
            "confidence",
            "domain",
            "reasons",
            "ms",
            box=None,
            pad_edge=False,
        )
        judged = 0
        with progress_bar() as bar:
            task = bar.add_task("Analysing", total=total)
            for record, was_judged in records:
                judged += was_judged
                name = os.path.relpath(record["path"], common)
                table.add_row(name, *row(record))
                bar.advance(task)
        console = Console(file=cast("IO[str]", self.stdout._out))
        console.print(table)
        console.print(
            f"{judged} of {total} analysed by {predictor.bundle.name} "
            f"({predictor.runtime}, {predictor.device}). {wording.RESEARCH_NOTICE}",
            highlight=False,
        )
        return judged


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


def judge_all(files: Iterable[Path], predictor: Any) -> Iterator[tuple[dict[str, Any], bool]]:
    """A record for each file, and whether the file could be judged."""
    for file in files:
        try:
            judged = pipeline.judge(source=file, predictor=predictor)
        except UnreadableImage as error:
            reason = str(error)
        except Exception as error:
            logger.exception("The analysis of %s failed", file)
            reason = f"The analysis failed: {error}"
        else:
            yield pipeline.as_record(path=str(file), judged=judged), True
            continue
        yield (
            pipeline.unreadable_record(path=str(file), reason=reason, model_version=predictor.bundle.name),
            False,
        )


def row(record: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a record's line in the table, after the file's name."""
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
