"""The tables of figures that a card and the README show, made from the evidence."""

from __future__ import annotations

from collections.abc import Sequence

from ml.evaluation.evidence import Evidence, GateRow, Section
from ml.evaluation.intervals import Figure
from ml.evaluation.saliency_words import methods_words, saliency_verdicts
from ml.evaluation.words import SALIENCY_METRICS

COLUMNS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "F1, macro",
    "auroc_malignant": "AUROC malignant",
    "ece": "ECE",
    "coverage": "coverage",
}
STANDING = "standing block split"
SUMMARY = {
    "coverage": "coverage (given a class)",
    "risk": "risk (wrong among those)",
    "sensitivity_malignant": "sensitivity for malignant, gate ignored",
    "specificity_malignant": "specificity for malignant, gate ignored",
    "malignant_not_called": "malignant images called benign, of all",
    "ece_before_scaling": "ECE before temperature scaling",
}


def evidence_markdown(evidence: Evidence) -> str:
    """The tables of figures, each with its split, n and 95 % interval."""
    if not evidence.sections:
        return "Nothing has been measured: the data held no test image."
    first = evidence.sections[0]
    parts = [
        _preface(first),
        _comparison([*evidence.sections, *evidence.repainted, *evidence.baselines, *evidence.ablations]),
    ]
    if evidence.sites:
        parts += ["By site:", _comparison(evidence.sites)]
    if "coverage" in first:
        parts += ["The model with its gate, on the same test images:", _named(first, SUMMARY)]
    if evidence.gate:
        parts += [
            "The gate, its limits set on none of these. *Turned away* is the share that gets no class; *outside the "
            "domain* counts the gate alone, without the checks of shape and quality:",
            _gate(evidence.gate),
        ]
    if any(row.name == "pbc-acevedo" for row in evidence.gate):
        parts.append(
            "How the gate came about: its two views, their neighbours and dimensions, and the share of validation "
            "fields to keep (0.97) were settled on an interim network, looking at `deepapl-discovery`, at zoomed, "
            "blurred, tiled and colour-swapped validation fields, and, in the same table, at the share kept of this "
            "test part. The limits come from the validation part of the shipped network alone."
        )
    if evidence.runtimes:
        parts.append(
            "Runtimes, on the shipped files: "
            + "; ".join(
                f"{row.runtime} gives the class of {row.against} on {row.classes_equal} of {row.n} test images, "
                f"probabilities within {row.largest_difference:.4f}"
                for row in evidence.runtimes
            )
            + "."
        )
    if evidence.saliency:
        parts += saliency_markdown(evidence.saliency)
    return "\n\n".join(parts)


def saliency_markdown(figures: Sequence[Figure]) -> list[str]:
    """Whether the saliency is true: what the measurements mean in sentences, then the measurements."""
    first = figures[0]
    lines = ["| | |", "|---|---|"]
    lines += [f"| {SALIENCY_METRICS.get(one.name, one.name)} | {_words(one)} |" for one in figures]
    return [
        f"Is the saliency true? {methods_words(figures)}; {first.split}, from {first.groups} groups. "
        + " ".join(saliency_verdicts(figures)),
        "\n".join(lines),
    ]


def _preface(first: Section) -> str:
    if first.split.startswith(STANDING):
        return (
            "Intervals are 95 %: bootstrap over whole blocks, or Wilson's (w) where every resample agrees: over images "
            "(for averages and areas those of the rarest class), which takes them as independent. Coverage is the "
            "share given a class; all other columns count every image, the gate ignored. "
            f"{first.data}; standing split: every fifth block of 37 consecutive file numbers of each class tests. "
            f"n = {first.n} test images in {first.groups} blocks (the random split has its own, stated)."
        )
    return (
        "Intervals are 95 %: bootstrap over whole groups, or Wilson's (w) where every resample agrees: over images "
        "(for averages and areas those of the rarest class), which takes them as independent. Coverage is the "
        f"share given a class; all other columns count every image, the gate ignored. {first.data}; {first.split}. "
        f"n = {first.n} images in {first.groups} groups."
    )


def _words(figure: Figure, digits: int = 3) -> str:
    if not figure.defined:
        return "not defined"
    mark = " w" if figure.method == "wilson" else ""
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f}){mark}"


def _comparison(sections: Sequence[Section]) -> str:
    lines = [f"| | split, n | {' | '.join(COLUMNS.values())} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for section in sections:
        cells = [_words(section[name]) if name in section else "" for name in COLUMNS]
        split = section.split.removesuffix(", test part")
        lines.append(f"| {section.name} | {split}, {section.n} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _named(section: Section, names: dict[str, str]) -> str:
    lines = ["| | |", "|---|---|"]
    lines += [f"| {words} | {_words(section[name])} |" for name, words in names.items() if name in section]
    return "\n".join(lines)


def _gate(rows: Sequence[GateRow]) -> str:
    lines = ["| images of | n | turned away | outside the domain |", "|---|---|---|---|"]
    for row in rows:
        outside = (row.n - row.inside_domain) / row.n
        lines.append(f"| {row.name} | {row.n} | {_words(row.turned_away)} | {outside:.3f} |")
    return "\n".join(lines)
