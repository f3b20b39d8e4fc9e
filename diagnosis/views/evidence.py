"""The evidence of a bundle as tables: its figures by split, confusion matrices, plots and the card.

Written for any `metrics.json`: whatever carries a name, a value, n and its split is a figure and is shown, so
that evidence is never left out because this page did not know of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnosis import wording

METRIC_WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision_weighted": "precision, weighted",
    "precision_macro": "precision, macro",
    "recall_weighted": "recall (sensitivity), weighted",
    "recall_macro": "recall (sensitivity), macro",
    "specificity_weighted": "specificity, weighted",
    "specificity_macro": "specificity, macro",
    "f1_weighted": "F1, weighted",
    "f1_macro": "F1, macro",
    "auroc_macro": "AUROC, one against the rest, macro",
    "auroc_malignant": "AUROC, malignant against benign",
    "sensitivity_malignant": "sensitivity for malignant",
    "specificity_malignant": "specificity for malignant",
    "log_loss": "log loss",
    "ece": "calibration error (ECE)",
    "ece_before": "calibration error (ECE) before calibration",
    "brier": "Brier score",
    "coverage": "coverage: share given a class",
    "risk": "risk: share wrong of those",
    "balanced_accuracy_kept": "balanced accuracy of those given a class",
    "sensitivity_malignant_kept": "sensitivity for malignant of those given a class",
    "malignant_not_called": "malignant given a benign class",
}
PER_CLASS = {
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "f1": "F1",
    "auroc": "AUROC",
}
HEADLINES = ("balanced_accuracy", "auroc_malignant", "ece", "coverage")
LARGEST_JSON = 8 * 2**20


@dataclass(frozen=True)
class FigureRow:
    """One number with the split it was measured on, n and its 95 % interval."""

    name: str
    word: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    split: str


@dataclass
class SplitTable:
    """The figures of one split of one model, in the order of the evidence."""

    title: str
    split: str
    rows: list[FigureRow] = field(default_factory=list)


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: rows are labels, columns the classes given."""

    title: str
    classes: list[str]
    rows: list[tuple[str, list[tuple[int, bool]]]]


@dataclass(frozen=True)
class Evidence:
    """What the evidence folder of a bundle holds."""

    tables: list[SplitTable]
    matrices: list[Matrix]
    plots: list[tuple[str, str]]
    files: list[str]
    card: str
    problem: str = ""

    @property
    def headlines(self) -> list[FigureRow]:
        """The first figure of each kind that a reader asks for first."""
        found: dict[str, FigureRow] = {}
        for table in self.tables:
            for row in table.rows:
                found.setdefault(row.name, row)
        return [found[name] for name in HEADLINES if name in found]


def metric_word(name: str) -> str:
    """The name of a metric for people; one we have no word for is shown as the evidence names it."""
    kind, slash, label = name.partition("/")
    if slash and kind in PER_CLASS:
        return f"{PER_CLASS[kind]}, {wording.class_word(label)}"
    return METRIC_WORDS.get(name, name.replace("_", " "))


def read_evidence(folder: Path) -> Evidence:
    """Read the bundle in `folder`; what is missing is empty, and what can't be read is named in `problem`."""
    place = folder / "evidence"
    names = sorted(p.name for p in place.iterdir() if p.is_file()) if place.is_dir() else []
    problem = ""
    metrics: Any = {}
    try:
        metrics = _json(place / "metrics.json")
    except (OSError, ValueError):
        problem = "The figures of this bundle can't be read (evidence/metrics.json)."
    tables: dict[tuple[str, str], SplitTable] = {}
    for path, row in _figures(metrics, ()):
        figure = _row(row)
        title = _title(path)
        tables.setdefault((title, figure.split), SplitTable(title, figure.split)).rows.append(figure)
    return Evidence(
        tables=list(tables.values()),
        matrices=[_matrix(_title(path), found) for path, found in _matrices(metrics, ())],
        plots=[(name, _plot_word(name)) for name in names if name.endswith(".svg")],
        files=[name for name in names if not name.endswith(".svg")],
        card=_card(folder / "card.md"),
        problem=problem,
    )


def _json(path: Path) -> Any:
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError("too large")
    return json.loads(path.read_text(encoding="utf-8"))


def _figures(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every mapping that is a figure, with the keys that lead to it."""
    if isinstance(node, dict):
        if {"name", "value", "n", "split"} <= node.keys():
            yield path, node
            return
        for key, child in node.items():
            yield from _figures(child, (*path, str(key)))
    elif isinstance(node, list):
        for child in node:
            yield from _figures(child, path)


def _matrices(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every mapping of classes and a square matrix, with the keys that lead to it."""
    if isinstance(node, dict):
        matrix, classes = node.get("matrix"), node.get("classes")
        if isinstance(matrix, list) and isinstance(classes, list) and len(matrix) == len(classes):
            yield path, node
            return
        for key, child in node.items():
            yield from _matrices(child, (*path, str(key)))
    elif isinstance(node, list):
        for child in node:
            yield from _matrices(child, path)


def _row(row: dict[str, Any]) -> FigureRow:
    name = str(row["name"])
    return FigureRow(
        name=name,
        word=metric_word(name),
        value=row["value"],
        low=row.get("low"),
        high=row.get("high"),
        n=int(row["n"]),
        split=str(row["split"]),
    )


def _matrix(title: str, found: dict[str, Any]) -> Matrix:
    words = [wording.class_word(str(label)) for label in found["classes"]]
    rows = [
        (word, [(int(count), column == index) for column, count in enumerate(line)])
        for index, (word, line) in enumerate(zip(words, found["matrix"], strict=True))
    ]
    return Matrix(title, words, rows)


_STRUCTURE = {"figures", "metrics", "confusion", "splits", "tests", "confusion_matrix"}


def _title(path: tuple[str, ...]) -> str:
    """What the keys that lead to a figure say about it, without those that are mere structure."""
    return ", ".join(part.replace("_", " ") for part in path if part not in _STRUCTURE)


def _plot_word(name: str) -> str:
    return name.removesuffix(".svg").replace("_", " ").replace("-", " ").capitalize().replace("Roc", "ROC")


def _card(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
