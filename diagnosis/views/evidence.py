"""The evidence of a bundle as pages show it: figures in sections by split, the gate, plots and the card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diagnosis import wording
from ml.evaluation.words import ABSTAINING_METRICS, CLASS_METRICS, PER_CLASS, SALIENCY_METRICS

METRIC_WORDS = {**CLASS_METRICS, **ABSTAINING_METRICS, **SALIENCY_METRICS}
HEADLINES = ("balanced_accuracy", "auroc_malignant", "ece", "coverage")
SIDE_BY_SIDE = (
    "balanced_accuracy", "sensitivity_malignant", "specificity_malignant", "auroc_malignant", "ece", "coverage",
)  # fmt: skip
RANDOMISED = "saliency_randomised_correlation"
COMPARED = ("accuracy", "balanced_accuracy", "auroc_malignant", "ece")
SHORT_WORDS = {
    "auroc_malignant": "AUROC, malignant",
    "sensitivity_malignant": "sensitivity, malignant",
    "specificity_malignant": "specificity, malignant",
    "coverage": "coverage",
    "ece": "ECE",
    RANDOMISED: "map against random weights",
}


@dataclass(frozen=True)
class FigureRow:
    """One number with n and its 95 % interval; the section it stands in names its split."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    split: str

    @property
    def word(self) -> str:
        return metric_word(self.name)

    @property
    def short_word(self) -> str:
        """The name in the head of a table."""
        return SHORT_WORDS.get(self.name, self.word)


@dataclass(frozen=True)
class Section:
    """What one model did on one set of images."""

    name: str
    model: str
    data: str
    split: str
    n: int
    groups: int
    figures: list[FigureRow]
    classes: list[str]
    confusion: list[tuple[str, list[tuple[int, bool]]]]
    notes: list[str]

    def figure(self, name: str) -> FigureRow | None:
        """The figure of this name, if it was measured."""
        return next((row for row in self.figures if row.name == name), None)

    @property
    def compared(self) -> list[FigureRow | None]:
        """The figures that the table of all sections shows."""
        return [self.figure(name) for name in COMPARED]


@dataclass(frozen=True)
class GateRow:
    """How many images of one kind got no class, and why."""

    name: str
    turned_away: FigureRow
    reasons: list[tuple[str, int]]


@dataclass(frozen=True)
class PlotFile:
    """A plot of the evidence folder, with its size in points so that the page keeps its place."""

    name: str
    word: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        return self.width > 1.6 * self.height


@dataclass(frozen=True)
class Evidence:
    """What the evidence folder of a bundle holds."""

    sections: list[Section]
    gate: list[GateRow]
    saliency: list[FigureRow]
    runtimes: list[dict[str, Any]]
    plots: list[PlotFile]
    files: list[str]
    card: str
    problem: str = ""
    saliency_words: tuple[str, ...] = ()

    @property
    def headlines(self) -> list[FigureRow]:
        """The figures a reader asks for first, of the first section."""
        found = [self.sections[0].figure(name) for name in HEADLINES] if self.sections else []
        return [row for row in found if row is not None]

    @property
    def own(self) -> Section | None:
        """What the bundle says of itself first."""
        return self.sections[0] if self.sections else None

    @property
    def side_by_side(self) -> list[FigureRow | None]:
        """The figures that set this version beside others; None where one was not measured."""
        own = [self.own.figure(name) if self.own else None for name in SIDE_BY_SIDE]
        return [*own, next((row for row in self.saliency if row.name == RANDOMISED), None)]

    @property
    def compared(self) -> list[str]:
        """Headings of the table that sets the sections side by side."""
        return [FigureRow(name, None, None, None, 0, "").short_word for name in COMPARED]

    @property
    def is_empty(self) -> bool:
        return not (self.sections or self.gate or self.saliency or self.plots)


NO_EVIDENCE = Evidence([], [], [], [], [], [], "")


def side_by_side_words() -> list[str]:
    """Headings of the table that sets versions side by side."""
    return [FigureRow(name, None, None, None, 0, "").short_word for name in (*SIDE_BY_SIDE, RANDOMISED)]


def metric_word(name: str) -> str:
    """The name of a metric for people; one we have no word for is shown as the evidence names it."""
    kind, slash, label = name.partition("/")
    if slash and kind in PER_CLASS:
        return f"{PER_CLASS[kind]}, {wording.class_word(label)}"
    return METRIC_WORDS.get(name, name.replace("_", " "))
