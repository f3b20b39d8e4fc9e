"""Reads what a bundle's evidence folder holds into what pages show.

Written for any `metrics.json`: every mapping with a name and figures is shown as a section, so that evidence is
never left out because this page did not know of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any

from diagnosis import wording
from diagnosis.views.evidence import Evidence, FigureRow, GateRow, PlotFile, Section
from ml.evaluation.intervals import Figure
from ml.evaluation.saliency_words import methods_words, why_first

PLOT_WORDS = {
    "roc": "ROC",
    "confusion": "Confusion matrix",
    "history": "Training history",
    "precision recall": "Precision and recall",
    "risk coverage": "Risk and coverage",
}
LARGEST_JSON = 8 * 2**20
_VIEW_BOX = re.compile(rb'viewBox="0 0 ([0-9.]+) ([0-9.]+)"')


def read_evidence(folder: Path) -> Evidence:
    """Read the bundle in `folder`; what is missing is empty, and what can't be read is named in `problem`."""
    place = folder / "evidence"
    names = sorted(p.name for p in place.iterdir() if p.is_file()) if place.is_dir() else []
    problem = ""
    sections: list[Section] = []
    gate: list[GateRow] = []
    saliency: list[FigureRow] = []
    saliency_words: tuple[str, ...] = ()
    runtimes: list[dict[str, Any]] = []
    try:
        metrics = _json(place / "metrics.json")
        sections = _own_first([read_section(node) for node in _mappings(metrics, {"name", "figures"})])
        gate = [_gate(node) for node in _mappings(metrics, {"name", "turned_away"})]
        saliency = [read_figure(row) for row in _list(metrics, "saliency")]
        saliency_words = _saliency_words(saliency)
        runtimes = list(
            _mappings(metrics, {"runtime", "against", "n", "classes_equal", "largest_difference"})
        )
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        problem = "The figures of this bundle can't be read (evidence/metrics.json)."
    return Evidence(
        sections=sections,
        gate=gate,
        saliency=saliency,
        runtimes=runtimes,
        plots=[_plot(place / name) for name in names if name.endswith(".svg")],
        files=[name for name in names if not name.endswith(".svg")],
        card=_card(folder / "card.md"),
        problem=problem,
        saliency_words=saliency_words,
    )


def _json(path: Path) -> Any:
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError("too large")
    return json.loads(path.read_text(encoding="utf-8"))


def _list(metrics: Any, name: str) -> list[Any]:
    """A list of the evidence that older bundles lack."""
    return list(metrics.get(name) or []) if isinstance(metrics, dict) else []


def _mappings(node: Any, keys: set[str]) -> Iterator[dict[str, Any]]:
    """Every mapping below `node` that has all of `keys`, in the order of the file."""
    if isinstance(node, dict):
        if keys <= node.keys():
            yield node
            return
        for child in node.values():
            yield from _mappings(child, keys)
    elif isinstance(node, list):
        for child in node:
            yield from _mappings(child, keys)


def read_section(node: dict[str, Any]) -> Section:
    """A section as JSON holds it, for a table; raises KeyError, TypeError or ValueError where it is none."""
    classes = [wording.class_word(str(label)) for label in node.get("classes", [])]
    confusion = [
        (word, [(int(count), column == index) for column, count in enumerate(line)])
        for index, (word, line) in enumerate(zip(classes, node.get("confusion", []), strict=False))
    ]
    return Section(
        name=str(node["name"]),
        model=str(node.get("model", "")),
        data=str(node.get("data", "")),
        split=str(node.get("split", "")),
        n=int(node.get("n", 0)),
        groups=int(node.get("groups", 0)),
        figures=[read_figure(row) for row in node["figures"]],
        classes=classes,
        confusion=confusion,
        notes=[str(note) for note in node.get("notes", [])],
    )


def _own_first(sections: list[Section]) -> list[Section]:
    """What is said of the model itself, before what it is compared with."""
    return sorted(sections, key=lambda section: section.model != sections[0].model)


def read_figure(row: dict[str, Any]) -> FigureRow:
    """A figure as JSON holds it; raises KeyError, TypeError or ValueError where it is none."""
    return FigureRow(
        name=str(row["name"]),
        value=None if row["value"] is None else float(row["value"]),
        low=None if row.get("low") is None else float(row["low"]),
        high=None if row.get("high") is None else float(row["high"]),
        n=int(row["n"]),
        split=str(row["split"]),
    )


def _saliency_words(rows: list[FigureRow]) -> tuple[str, ...]:
    """Whose maps were measured, and why one method's are shown first."""
    if not rows:
        return ()
    figures = [
        Figure(
            row.name,
            _number(row.value),
            _number(row.low),
            _number(row.high),
            row.n,
            groups=0,
            split=row.split,
        )
        for row in rows
    ]
    why = why_first(figures)
    return (f"{methods_words(figures)}.", *([why] if why else []))


def _number(value: float | None) -> float:
    return nan if value is None else value


def _gate(node: dict[str, Any]) -> GateRow:
    reasons = sorted(node.get("reasons", {}).items(), key=lambda reason: -reason[1])
    return GateRow(
        str(node["name"]), read_figure(node["turned_away"]), [(str(word), int(n)) for word, n in reasons]
    )


def _plot(path: Path) -> PlotFile:
    word = path.stem.replace("_", " ").replace("-", " ")
    with path.open("rb") as file:
        found = _VIEW_BOX.search(file.read(4096))
    width, height = (round(float(side)) for side in found.groups()) if found else (450, 396)
    return PlotFile(path.name, PLOT_WORDS.get(word, word.capitalize()), width, height)


def _card(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
