"""Rows of predictions: one a labelled image, with all that the metrics need.

They go to and from CSV without loss: `predictions.csv` of a bundle's evidence.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ml.calibration import remove_temperature
from ml.evaluation.coarse import Grouping
from ml.evaluation.metrics import Judged

# Nine digits give back every float32 and leave the order of close probabilities alone.
DIGITS = ".9g"
COLUMNS = (
    "path",
    "sha256",
    "label",
    "group",
    "site",
    "predicted",
    "outcome",
    "inside_domain",
    "domain_score",
    "reasons",
)


class EvaluationError(Exception):
    """The data cannot be evaluated with this bundle; the text says why."""


@dataclass(frozen=True)
class Row:
    """What a model said of one labelled image; `probabilities` in the order of its classes."""

    name: str
    sha256: str
    label: str
    group: str
    site: str
    predicted: str
    kept: bool
    inside_domain: bool
    domain_score: float
    reasons: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read, and why in words."""

    name: str
    reason: str


def to_judged(rows: Sequence[Row], *, classes: Sequence[str], malignant: Collection[str]) -> Judged:
    """Return the rows as arrays for the metrics; where a label is coarse, on summed probabilities."""
    if not rows:
        raise EvaluationError("No image could be read.")
    grouping = Grouping.of({row.label for row in rows}, classes, malignant)
    return Judged.of(
        [grouping.label(row.label) for row in rows],
        grouping.fold([row.probabilities for row in rows]),
        classes=grouping.classes,
        malignant=grouping.malignant,
        groups=[row.group for row in rows],
        kept=[row.kept for row in rows],
    )


def before_scaling(rows: Sequence[Row], temperature: float) -> list[Row]:
    """Return the rows with the probabilities that the network gave before temperature scaling."""
    chances = remove_temperature(np.asarray([row.probabilities for row in rows]), temperature)
    return [replace(row, probabilities=tuple(line)) for row, line in zip(rows, chances.tolist(), strict=True)]


def write_predictions_csv(path: Path, rows: Sequence[Row], classes: Sequence[str]) -> None:
    """Write one line an image, in the order given; a reader never sees half a file."""
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"p_{name}" for name in classes)])
        for row in rows:
            writer.writerow(
                [
                    row.name,
                    row.sha256,
                    row.label,
                    row.group,
                    row.site,
                    row.predicted,
                    "class" if row.kept else "indeterminate",
                    int(row.inside_domain),
                    format(row.domain_score, DIGITS),
                    "; ".join(row.reasons),
                    *(format(chance, DIGITS) for chance in row.probabilities),
                ]
            )
    os.replace(part, path)


def read_predictions_csv(path: Path) -> tuple[list[Row], tuple[str, ...]]:
    """Return the rows and the classes of a file that `write_predictions_csv` wrote.

    Raises:
        EvaluationError: it is another kind of file.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        header = reader.fieldnames or []
        classes = tuple(name.removeprefix("p_") for name in header[len(COLUMNS) :])
        if tuple(header[: len(COLUMNS)]) != COLUMNS or not classes:
            raise EvaluationError(f"{path.name} is no table of predictions.")
        rows = [
            Row(
                name=line["path"],
                sha256=line["sha256"],
                label=line["label"],
                group=line["group"],
                site=line["site"],
                predicted=line["predicted"],
                kept=line["outcome"] == "class",
                inside_domain=line["inside_domain"] == "1",
                domain_score=float(line["domain_score"]),
                reasons=tuple(reason for reason in line["reasons"].split("; ") if reason),
                probabilities=tuple(float(line[f"p_{name}"]) for name in classes),
            )
            for line in reader
        ]
    return rows, classes
