"""One evaluation from start to end: a loaded bundle and labelled images in, evidence out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ml.data.labels import MALIGNANT, OR
from ml.data.manifest import Item, Manifest
from ml.evaluation import plots
from ml.evaluation.baselines import six_colour_baseline
from ml.evaluation.coarse import Grouping
from ml.evaluation.evidence import Evidence, RuntimeRow, Section, compare_runtimes, make_section
from ml.evaluation.intervals import RESAMPLES
from ml.evaluation.judging import (
    Part,
    PredictorLike,
    Repainter,
    Selection,
    judge,
    select,
    with_class_labels,
)
from ml.evaluation.metrics import FloatArray, Judged, confusion_matrix
from ml.evaluation.predictions import EvaluationError, Row, Unreadable, before_scaling, to_judged
from ml.imaging.reading import UnreadableImage, read_image

SEED = 20
"""Of the bootstrap and of repainting, unless another is given."""

Track = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Hands on what it is given, and may draw progress: (things, how many, description)."""


class BundleLike(Protocol):
    """What is read of a bundle (`ml.bundle.Bundle` has it)."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def malignant(self) -> tuple[str, ...]: ...
    @property
    def temperature(self) -> float: ...


class LoadedPredictor(PredictorLike, Protocol):
    """A predictor that knows its bundle and where it runs (`ml.serving.Predictor` does)."""

    @property
    def bundle(self) -> BundleLike: ...
    @property
    def runtime(self) -> str: ...
    @property
    def device(self) -> str: ...


@dataclass(frozen=True)
class Request:
    """What is asked of an evaluation; see `ml.evaluation.judging.select` for `part` and `include_seen`.

    `mapping` says what labels of the data mean: a class of the bundle, `malignant` or `drop`. `baselines` fits the
    baselines on those of the data's images that the bundle was trained on.
    """

    part: Part = "auto"
    include_seen: bool = False
    repaint: bool = False
    baselines: bool = False
    mapping: Mapping[str, str] = field(default_factory=dict)
    seed: int = SEED
    resamples: int = RESAMPLES


@dataclass(frozen=True)
class Evaluated:
    """The evidence, the rows it was computed from, and what did not count."""

    evidence: Evidence
    rows: tuple[Row, ...]
    selection: Selection
    unreadable: tuple[Unreadable, ...]
    other_labels: dict[str, int]
    data: str
    runtime: str
    device: str

    def to_dict(self) -> dict[str, Any]:
        """Return all of it but the rows for JSON: the schema of `ml.evaluation.evidence`, and `evaluated`."""
        return {
            **self.evidence.to_dict(),
            "evaluated": {
                "data": self.data,
                "split": self.selection.split,
                "n": len(self.rows),
                "groups": len({row.group for row in self.rows}),
                "left_out": self.selection.left_out,
                "other_labels": self.other_labels,
                "unreadable": [{"path": one.name, "reason": one.reason} for one in self.unreadable],
                "runtime": self.runtime,
                "device": self.device,
            },
        }


def evaluate(
    predictor: LoadedPredictor,
    manifest: Manifest,
    request: Request,
    *,
    other_runtime: LoadedPredictor | None = None,
    track: Track = lambda things, total, description: things,
) -> Evaluated:
    """Judge a manifest's images with a bundle and measure everything `request` asks for.

    Args:
        other_runtime: the same bundle in another runtime, to compare answers with.
        track: draws progress.

    Raises:
        EvaluationError: the data's labels or images leave nothing to judge.
    """
    bundle = predictor.bundle
    items, others = with_class_labels(manifest.items, bundle.classes, request.mapping, bundle.malignant)
    seen = bundle.manifest["data"]
    selection = select(items, seen, part=request.part, include_seen=request.include_seen)
    grouping = Grouping.of({item.label for item in selection.items}, bundle.classes, bundle.malignant)
    grouped = [replace(item, label=grouping.label(item.label)) for item in selection.items]

    def run(which: LoadedPredictor, description: str, **options: Any) -> list[Row | Unreadable]:
        answers = judge(selection.items, which, bundle.classes, **options)
        return list(track(answers, len(selection.items), description))

    def judged(rows: Sequence[Row]) -> Judged:
        return to_judged(rows, classes=bundle.classes, malignant=bundle.malignant)

    def measure(rows: Sequence[Row], name: str, notes: Sequence[str] = ()) -> Section:
        return make_section(
            judged(rows),
            name=name,
            model=f"{bundle.name} on {predictor.runtime}",
            data=manifest.name,
            split=selection.split,
            seed=request.seed,
            before=judged(before_scaling(rows, bundle.temperature)),
            resamples=request.resamples,
            notes=notes,
        )

    answers = run(predictor, "Judging images")
    rows = [one for one in answers if isinstance(one, Row)]
    notes = [*selection.notes, *filter(None, [grouping.note])]
    sections = [measure(rows, f"{bundle.name} on {manifest.name}", notes)]
    exact = [row for row in rows if row.label in bundle.classes]
    if (
        grouping.is_coarse
        and MALIGNANT in grouping.classes
        and {row.label for row in exact} & set(bundle.malignant)
    ):
        sections.append(measure(exact, f"{bundle.name} on images whose subtype is known"))
    sites = sorted({row.site for row in rows})
    by_site = [
        measure([row for row in rows if row.site == site], site or "site not stated")
        for site in (sites if len(sites) > 1 else ())
    ]
    repainted: tuple[Section, ...] = ()
    painter: Repainter | None = None
    if request.repaint:
        painter = Repainter(grouped, np.random.default_rng(request.seed))
        painted = [
            one for one in run(predictor, "Judging repainted images", alter=painter) if isinstance(one, Row)
        ]
        repainted = (measure(painted, f"{bundle.name}, stain repainted to that of another class"),)
    baselines: tuple[Section, ...] = ()
    if request.baselines:
        trained_on = set(seen["train_sha256"])
        training = [item for item in items if item.sha256 in trained_on]
        baselines = _baselines(training, selection, painter, bundle, manifest.name, request, track)
    runtimes: tuple[RuntimeRow, ...] = ()
    if other_runtime is not None:
        compared = [
            one for one in run(other_runtime, f"Judging on {other_runtime.runtime}") if isinstance(one, Row)
        ]
        runtimes = (
            compare_runtimes(
                rows,
                compared,
                runtime=other_runtime.runtime,
                device=other_runtime.device,
                against=predictor.runtime,
            ),
        )
    return Evaluated(
        evidence=Evidence(
            bundle={"name": bundle.name, "sha256": bundle.sha256, "temperature": bundle.temperature},
            seed=request.seed,
            resamples=request.resamples,
            sections=tuple(sections),
            sites=tuple(by_site),
            repainted=repainted,
            baselines=baselines,
            runtimes=runtimes,
        ),
        rows=tuple(rows),
        selection=selection,
        unreadable=tuple(one for one in answers if isinstance(one, Unreadable)),
        other_labels=dict(sorted(others.items())),
        data=manifest.name,
        runtime=predictor.runtime,
        device=predictor.device,
    )


def _baselines(
    training: Sequence[Item],
    selection: Selection,
    painter: Repainter | None,
    bundle: BundleLike,
    data: str,
    request: Request,
    track: Track,
) -> tuple[Section, ...]:
    """Fit the baselines on `training` and judge the selection with them, and its repainted images as well."""
    if not training:
        raise EvaluationError("The data hold none of the bundle's training images to fit the baselines on.")
    labels = {item.label for item in (*training, *selection.items)}
    grouping = Grouping.of(labels, bundle.classes, bundle.malignant)
    baseline = six_colour_baseline()
    images = track((read_image(item.path).pixels for item in training), len(training), "Fitting baselines")
    try:
        baseline.fit(images, [grouping.label(item.label) for item in training], classes=grouping.classes)
    except UnreadableImage as error:
        raise EvaluationError(f"An image of the bundle's training cannot be read: {error}") from error
    readable: list[Item] = []
    plain: list[FloatArray] = []
    painted: list[FloatArray] = []
    for item in track(selection.items, len(selection.items), "Judging with baselines"):
        try:
            pixels = read_image(item.path).pixels
        except UnreadableImage:
            continue
        readable.append(item)
        plain.append(baseline.predict_proba([pixels])[0])
        if painter is not None:
            painted.append(baseline.predict_proba([painter(item, pixels)])[0])
    sections = []
    for name, chances in ((baseline.name, plain), (f"{baseline.name}, stain repainted", painted)):
        if chances:
            judged = Judged.of(
                [grouping.label(item.label) for item in readable],
                np.stack(chances),
                classes=grouping.classes,
                malignant=grouping.malignant,
                groups=[item.group for item in readable],
            )
            section = make_section(
                judged,
                name=name,
                model=f"{baseline.name}, fitted on {len(training)} images of the bundle's training",
                data=data,
                split=selection.split,
                seed=request.seed,
                resamples=request.resamples,
                abstains=False,
            )
            sections.append(section)
    return tuple(sections)


def left_out_words(found: Evaluated) -> list[str]:
    """What did not count and what to know, a sentence each."""
    left_out = [f"{count} {reason}" for reason, count in found.selection.left_out.items()]
    lines = [f"Left out: {'; '.join(left_out)}." if left_out else "Left out: none."]
    others = {label: f"{label} ({count})" for label, count in found.other_labels.items()}
    coarse = [words for label, words in others.items() if OR in label]
    unknown = [words for label, words in others.items() if OR not in label]
    if unknown:
        lines.append(
            f"Not judged, because the bundle has no such class: {', '.join(unknown)}. --map LABEL=CLASS includes them."
        )
    if coarse:
        lines.append(
            f"Not judged, because these labels stand for several classes: {', '.join(coarse)}. Nearly all other images "
            "bear labels that tell them apart."
        )
    lines += [f"Not read: {one.name}: {one.reason}" for one in found.unreadable]
    lines += [f"{note}." for note in found.evidence.sections[0].notes]
    return lines


def evidence_plots(
    rows: Sequence[Row],
    *,
    classes: Sequence[str],
    malignant: Sequence[str],
    temperature: float,
    history: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, bytes]:
    """Draw one set of predictions: file name without suffix -> SVG, in the order of a report."""
    judged = to_judged(rows, classes=classes, malignant=malignant)
    unscaled = to_judged(before_scaling(rows, temperature), classes=classes, malignant=malignant)
    correct = judged.predicted == judged.labels
    kept = judged.kept
    gate = (float(kept.mean()), float(1 - correct[kept].mean())) if kept.any() else None
    certainty = {
        "confidence": judged.probabilities.max(axis=1),
        "nearness to the domain": np.asarray([-row.domain_score for row in rows]),
    }
    drawn = {
        "roc": (plots.roc_plot(judged), "ROC curves"),
        "precision-recall": (plots.precision_recall_plot(judged), "Precision over recall"),
        "confusion": (plots.confusion_plot(confusion_matrix(judged), judged.classes), "Confusion matrix"),
        "reliability": (plots.reliability_plot(judged, unscaled.probabilities), "Reliability"),
        "risk-coverage": (plots.risk_coverage_plot(correct, certainty, gate), "Risk over coverage"),
    }
    if history:
        drawn["history"] = (plots.history_plot(history), "Training history")
    return {name: plots.to_svg(plot, title) for name, (plot, title) in drawn.items()}


def write_plots(folder: Path, drawn: Mapping[str, bytes]) -> list[Path]:
    """Write plots as SVG into `folder` and return their paths; a reader never sees half a file."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, svg in drawn.items():
        written.append(folder / f"{name}.svg")
        part = folder / f"{name}.svg.part"
        part.write_bytes(svg)
        os.replace(part, written[-1])
    return written
