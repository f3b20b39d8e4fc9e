"""The evidence as tables for a terminal. Every table says which images it was measured on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table

from ml.evaluation.evidence import GateRow, RuntimeRow, Section
from ml.evaluation.intervals import Figure
from ml.evaluation.words import ABSTAINING_METRICS, CLASS_METRICS, PER_CLASS

NOT_DEFINED = "not defined"
NO_INTERVAL = "no interval"

SUMMARY = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auroc_malignant": "AUROC malignant",
    "ece": "ECE",
    "coverage": "coverage",
    "risk": "risk",
}


def figure_words(figure: Figure) -> str:
    """Return `0.987 (0.971 to 0.996)`, with a mark where the interval is Wilson's."""
    if not figure.defined:
        return NOT_DEFINED
    if not math.isfinite(figure.low):
        return f"{figure.value:.4f} ({NO_INTERVAL})"
    mark = " w" if figure.method == "wilson" else ""
    return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f}){mark}"


def section_words(section: Section) -> str:
    """Return which images a section was measured on, in one line."""
    return f"{section.data}; {section.split}; {section.n} images in {section.groups} groups"


def metrics_table(section: Section) -> Table:
    """Every image's class, the gate ignored, and below what the abstaining model does."""
    table = _table(section.name, section_words(section))
    table.add_column("metric")
    table.add_column("value (95 % interval)", no_wrap=True)
    for name, words in CLASS_METRICS.items():
        if name in section:
            table.add_row(words, figure_words(section[name]))
    if "coverage" in section:
        table.add_section()
        table.add_row("with the gate (the abstaining model):", "", style="dim")
        for name, words in ABSTAINING_METRICS.items():
            if name in section:
                table.add_row(words, figure_words(section[name]))
    return table


def per_class_table(section: Section) -> Table:
    """Precision, recall, specificity, F1 and area of each class, each on two lines: value and interval."""
    table = _table("By class, the gate ignored", section_words(section))
    table.add_column("class")
    table.add_column("n", justify="right")
    for words in PER_CLASS.values():
        table.add_column(words, no_wrap=True)
    for index, label in enumerate(section.classes):
        cells = [_two_lines(section[f"{name}/{label}"]) for name in PER_CLASS]
        table.add_row(label, str(sum(section.confusion[index])), *cells)
    return table


def confusion_table(section: Section) -> Table:
    """Counts of images: labels in rows, classes given in columns."""
    table = _table("Confusion matrix, the gate ignored", "rows: label; columns: class given")
    table.add_column("label")
    for label in section.classes:
        table.add_column(label, justify="right")
    for row, label in enumerate(section.classes):
        cells = [
            f"[bold]{count}[/bold]" if column == row else str(count)
            for column, count in enumerate(section.confusion[row])
        ]
        table.add_row(label, *cells)
    return table


def comparison_table(title: str, sections: Sequence[Section]) -> Table:
    """The main figures of several sections side by side: one line each (sites, baselines, ablations)."""
    splits = {(section.data, section.split) for section in sections}
    table = _table(title, "; ".join(splits.pop()) if len(splits) == 1 else None)
    table.add_column("")
    table.add_column("images\ngroups", justify="right")
    names = [name for name in SUMMARY if any(name in section for section in sections)]
    for name in names:
        table.add_column(SUMMARY[name], no_wrap=True)
    for section in sections:
        words = section.name if not splits else f"{section.name}\n[dim]{section.data}; {section.split}[/dim]"
        cells = [_compact(section[name]) if name in section else "" for name in names]
        table.add_row(words, f"{section.n}\n{section.groups}", *cells)
    return table


def gate_table(rows: Sequence[GateRow]) -> Table:
    """What the gate kept and turned away, by kind of image, with Wilson's intervals."""
    table = _table("The gate", "intervals are Wilson's; an image can have several reasons")
    for words in ("images of", "n", "given a class", "turned away", "by the domain alone", "median score"):
        table.add_column(words, justify="right" if words in ("n", "median score") else "left")
    table.add_column("reasons", ratio=1)
    for row in rows:
        reasons = "\n".join(f"{count} x {reason}" for reason, count in row.reasons.items())
        table.add_row(
            row.name,
            str(row.n),
            _percent(row.kept_share),
            _percent(row.turned_away),
            f"{row.outside_domain.value:.1%}",
            f"{row.median_score:.2f}",
            reasons,
        )
    return table


def runtime_table(rows: Sequence[RuntimeRow]) -> Table:
    """Whether runtimes give the same classes on the same images."""
    table = _table("Runtimes", None)
    for words in (
        "runtime",
        "device",
        "compared with",
        "classes equal",
        "largest difference of a probability",
    ):
        table.add_column(words)
    for row in rows:
        equal = f"{row.classes_equal} of {row.n}"
        table.add_row(row.runtime, row.device, row.against, equal, f"{row.largest_difference:.2g}")
    return table


def _table(title: str, caption: str | None) -> Table:
    return Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )


def _two_lines(figure: Figure) -> str:
    return figure_words(figure).replace(" (", "\n(")


def _compact(figure: Figure) -> str:
    """Value over interval with three digits, where many figures stand beside each other."""
    if not math.isfinite(figure.low):
        return _two_lines(figure)
    mark = " w" if figure.method == "wilson" else ""
    return f"{figure.value:.3f}\n[dim]{figure.low:.3f} to {figure.high:.3f}{mark}[/dim]"


def _percent(figure: Figure) -> str:
    if not figure.defined:
        return NOT_DEFINED
    return f"{figure.value:.1%} ({figure.low:.1%} to {figure.high:.1%})"
