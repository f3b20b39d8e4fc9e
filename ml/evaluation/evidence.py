"""The evidence about a model: what `metrics.json` of a bundle holds and `manage.py evaluate` prints.

Schema (format 1), every list possibly empty:

    format       1
    bundle       {name, sha256 or null, temperature}
    seed         of the bootstrap and of repainting        resamples, level   of the intervals
    sections     [section]   the bundle itself, one for each set of data and split
    baselines    [section]   simple models on the same split
    ablations    [section]   other trainings of the same network
    repainted    [section]   the bundle on images repainted with the stain of another class
    sites        [section]   the bundle by site
    gate         [{name, n, kept, turned_away: figure, inside_domain, outside_domain: figure, median_score,
                  reasons: {words: count}}]
    runtimes     [{runtime, device, against, n, classes_equal, largest_difference}]
    saliency     [figure]    is it true? names as in `ml.evaluation.words.SALIENCY_METRICS`; absent before it was
                             measured

    section      {name, model, data, split, n, groups, classes, missing_classes, figures: [figure],
                  confusion: [[int]] (rows are labels), notes: [words]}
    figure       {name, value, low, high, n, groups, split, method}: null where not defined; `name` as in
                 `ml.evaluation.metrics`, with those of `abstaining_metrics` and, where the temperature is
                 known, ece_before_scaling and log_loss_before_scaling
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ml.calibration import remove_temperature
from ml.evaluation.intervals import LEVEL, RESAMPLES, Figure, all_figures, figures, share_figure
from ml.evaluation.metrics import FloatArray, Judged, Values, class_metrics, confusion_matrix
from ml.evaluation.predictions import EvaluationError, Row

FORMAT = 1


@dataclass(frozen=True)
class Section:
    """All figures of one model on one set of images."""

    name: str
    model: str
    data: str
    split: str
    n: int
    groups: int
    classes: tuple[str, ...]
    missing_classes: tuple[str, ...]
    figures: tuple[Figure, ...]
    confusion: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Figure:
        """Return a figure by its name; KeyError where the section has none."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(figure.name == name for figure in self.figures)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Section:
        """Read a section as JSON holds it."""
        return cls(
            **{key: row[key] for key in ("name", "model", "data", "split", "n", "groups")},
            classes=tuple(row["classes"]),
            missing_classes=tuple(row["missing_classes"]),
            figures=tuple(Figure.from_dict(one) for one in row["figures"]),
            confusion=tuple(tuple(line) for line in row["confusion"]),
            notes=tuple(row["notes"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the section for JSON."""
        return {**asdict(self), "figures": [figure.to_dict() for figure in self.figures]}


@dataclass(frozen=True)
class GateRow:
    """What the gate did with images of one kind. `kept` of `n` were given a class."""

    name: str
    n: int
    kept: int
    inside_domain: int
    median_score: float
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def turned_away(self) -> Figure:
        """Share not given a class, with Wilson's interval."""
        return share_figure("turned_away", self.n - self.kept, self.n, split=self.name)

    @property
    def outside_domain(self) -> Figure:
        """Share outside the domain, whatever else was wrong with it: what the gate does without other checks."""
        return share_figure("outside_domain", self.n - self.inside_domain, self.n, split=self.name)

    @property
    def kept_share(self) -> Figure:
        """Share given a class, with Wilson's interval."""
        return share_figure("kept", self.kept, self.n, split=self.name)

    def to_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        shares = {"turned_away": self.turned_away.to_dict(), "outside_domain": self.outside_domain.to_dict()}
        return {**asdict(self), **shares}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> GateRow:
        """Read a row as JSON holds it."""
        return cls(
            **{key: value for key, value in row.items() if key not in ("turned_away", "outside_domain")}
        )


@dataclass(frozen=True)
class RuntimeRow:
    """How the answers of one runtime compare with those of another, `against`, on the same n images."""

    runtime: str
    device: str
    against: str
    n: int
    classes_equal: int
    largest_difference: float


@dataclass(frozen=True)
class Evidence:
    """Everything measured about a bundle; see the module's text for the schema."""

    bundle: dict[str, Any]
    seed: int
    sections: tuple[Section, ...] = ()
    baselines: tuple[Section, ...] = ()
    ablations: tuple[Section, ...] = ()
    repainted: tuple[Section, ...] = ()
    sites: tuple[Section, ...] = ()
    gate: tuple[GateRow, ...] = ()
    runtimes: tuple[RuntimeRow, ...] = ()
    saliency: tuple[Figure, ...] = ()
    resamples: int = RESAMPLES

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence for JSON."""
        return {
            "format": FORMAT,
            "bundle": self.bundle,
            "seed": self.seed,
            "resamples": self.resamples,
            "level": LEVEL,
            **{key: [one.to_dict() for one in getattr(self, key)] for key in _SECTIONS},
            "gate": [row.to_dict() for row in self.gate],
            "runtimes": [asdict(row) for row in self.runtimes],
            "saliency": [figure.to_dict() for figure in self.saliency],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evidence:
        """Read what `to_dict` wrote. Raises `EvaluationError` for another format or a damaged one."""
        if data.get("format") != FORMAT:
            raise EvaluationError(
                f"This evidence has format {data.get('format')}, and {FORMAT} is what is known."
            )
        try:
            return cls(
                bundle=dict(data["bundle"]),
                seed=data["seed"],
                resamples=data["resamples"],
                **{key: tuple(Section.from_dict(one) for one in data[key]) for key in _SECTIONS},
                gate=tuple(GateRow.from_dict(row) for row in data["gate"]),
                runtimes=tuple(RuntimeRow(**row) for row in data["runtimes"]),
                saliency=tuple(Figure.from_dict(row) for row in data.get("saliency", ())),
            )
        except (KeyError, TypeError) as error:
            raise EvaluationError(f"The evidence is damaged: {error}.") from error


_SECTIONS = ("sections", "baselines", "ablations", "repainted", "sites")


def make_section(
    judged: Judged,
    *,
    name: str,
    model: str,
    data: str,
    split: str,
    seed: int,
    temperature: float | None = None,
    before: Judged | None = None,
    resamples: int = RESAMPLES,
    abstains: bool = True,
    notes: Sequence[str] = (),
) -> Section:
    """Measure everything about one model on one set of images.

    `temperature` is the bundle's, and adds the calibration error and log loss as they were before scaling; where
    probabilities of classes were summed, scaling cannot be undone, and `before` holds what was said before it.
    `abstains=False` leaves out the metrics of the gate, for models that have none. The same seed gives the same
    section.
    """
    rng = np.random.default_rng(seed)
    found = (
        all_figures(judged, split=split, rng=rng, resamples=resamples)
        if abstains
        else figures(judged, split=split, rng=rng, resamples=resamples)
    )
    if temperature is not None and before is None:
        before = Judged(
            classes=judged.classes,
            malignant=judged.malignant,
            labels=judged.labels,
            probabilities=remove_temperature(judged.probabilities, temperature),
            groups=judged.groups,
            kept=judged.kept,
        )
    if before is not None:
        found += figures(before, split=split, rng=rng, metric=_before_scaling, resamples=resamples)
    missing = judged.missing_classes
    said = list(notes)
    if missing:
        said.append(
            f"No image is labelled {' or '.join(missing)}: averages run over the other classes, "
            "and figures that need images of these are not defined"
        )
    return Section(
        name=name,
        model=model,
        data=data,
        split=split,
        n=len(judged),
        groups=judged.group_count,
        classes=judged.classes,
        missing_classes=missing,
        figures=tuple(found),
        confusion=tuple(tuple(int(cell) for cell in row) for row in confusion_matrix(judged)),
        notes=tuple(said),
    )


class GateAnswer(Protocol):
    """What is read of an answer of the gate (`Row` and `ml.evaluation.gates.Answer` have it)."""

    @property
    def kept(self) -> bool: ...
    @property
    def inside_domain(self) -> bool: ...
    @property
    def domain_score(self) -> float: ...
    @property
    def reasons(self) -> tuple[str, ...]: ...


def gate_row(name: str, rows: Sequence[GateAnswer]) -> GateRow:
    """Count what the gate did with the images of one kind. Raises `EvaluationError` for none."""
    if not rows:
        raise EvaluationError(f"There are no images of {name}.")
    reasons = Counter(reason for row in rows if not row.kept for reason in row.reasons)
    return GateRow(
        name=name,
        n=len(rows),
        kept=sum(row.kept for row in rows),
        inside_domain=sum(row.inside_domain for row in rows),
        median_score=float(np.median([row.domain_score for row in rows])),
        reasons=dict(reasons.most_common()),
    )


def compare_runtimes(
    first: Sequence[Row], second: Sequence[Row], *, runtime: str, device: str, against: str
) -> RuntimeRow:
    """Compare the answers of `runtime` (`second`) with those of `against` (`first`) on the same images.

    Raises:
        EvaluationError: the rows are not of the same images in the same order.
    """
    if not first or [row.sha256 for row in first] != [row.sha256 for row in second]:
        raise EvaluationError("Two runtimes can be compared on the same images alone.")
    differences = np.abs(
        np.asarray([row.probabilities for row in first]) - np.asarray([row.probabilities for row in second])
    )
    return RuntimeRow(
        runtime=runtime,
        device=device,
        against=against,
        n=len(first),
        classes_equal=sum(one.predicted == other.predicted for one, other in zip(first, second, strict=True)),
        largest_difference=float(differences.max()),
    )


def write_evidence(path: Path, evidence: Evidence) -> None:
    """Write `metrics.json`: no nan (null instead), stable order; a reader never sees half a file."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(evidence.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def read_evidence(path: Path) -> Evidence:
    """Read `metrics.json`. Raises `EvaluationError` where it is damaged or of another format."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvaluationError(f"{path.name} is not JSON.") from error
    if not isinstance(data, dict):
        raise EvaluationError(f"{path.name} holds no evidence.")
    return Evidence.from_dict(data)


def _before_scaling(judged: Judged, weights: FloatArray | None = None) -> dict[str, Values]:
    found = class_metrics(judged, weights)
    return {f"{name}_before_scaling": found[name] for name in ("ece", "log_loss")}
