"""What the gate asks of a bundle's evidence: that all of it is there, and that it is about these very weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ml.bundle import Bundle
from ml.evaluation.evidence import Evidence, Section, read_evidence
from ml.evaluation.intervals import Figure
from ml.evaluation.predictions import EvaluationError, Row, read_predictions_csv
from ml.evaluation.words import plain_method
from ml.saliency import DEFAULT_METHOD, METHOD_WORDS

RANDOMISED = "saliency_randomised_correlation"

REPORTED_ALWAYS = (
    "accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "specificity_macro", "f1_weighted", "f1_macro",
    "auroc_macro", "auroc_malignant", "sensitivity_malignant", "specificity_malignant", "log_loss", "ece",
    "ece_before_scaling", "coverage", "risk",
)  # fmt: skip
"""Figures of the bundle's own test part; with the confusion matrix, what a bundle's section must hold."""
PLOTS = ("roc", "precision-recall", "confusion", "reliability", "risk-coverage")
LEAST_AGREEMENT = 0.99
"""Of the classes in `predictions.csv` and those given now: another runtime may class a tie differently."""


def saliency_figure(bundle: Bundle, name: str = RANDOMISED) -> Figure | None:
    """A figure about the saliency from the bundle's evidence; None where it is not there or cannot be read."""
    try:
        data = json.loads((bundle.path / "evidence" / "metrics.json").read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = data.get("saliency", [])
        return next((Figure.from_dict(row) for row in rows if row.get("name") == name), None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def saliency_method(bundle: Bundle) -> str:
    """In words, the method whose maps the bundle's evidence is about first: older evidence knew Grad-CAM++ alone."""
    try:
        data = json.loads((bundle.path / "evidence" / "metrics.json").read_text(encoding="utf-8"))
        return METHOD_WORDS[plain_method([str(row["name"]) for row in data.get("saliency", [])])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return METHOD_WORDS[DEFAULT_METHOD]


def evidence_gaps(bundle: Bundle, rows: Sequence[Row] = ()) -> list[str]:
    """What is missing of a bundle's evidence, a few words each; empty when it is complete.

    Args:
        rows: what the bundle says of images now; those that `predictions.csv` holds too must agree with it.
    """
    return list(_gaps(bundle, rows))


def _gaps(bundle: Bundle, rows: Sequence[Row]) -> Iterator[str]:
    folder = bundle.path / "evidence"
    try:
        evidence = read_evidence(folder / "metrics.json")
    except FileNotFoundError:
        yield "no metrics.json"
        return
    except (EvaluationError, OSError) as error:
        yield str(error).rstrip(".")
        return
    section = evidence.sections[0] if evidence.sections else None
    yield from _section_gaps(section)
    yield from _other_gaps(evidence, bundle)
    plots = [name for name in PLOTS if not (folder / f"{name}.svg").is_file()]
    if plots:
        yield f"no plot of {', '.join(plots)}"
    if not (bundle.path / "card.md").is_file():
        yield "no model card"
    yield from _prediction_gaps(bundle, rows, section)


def _section_gaps(section: Section | None) -> Iterator[str]:
    if section is None:
        yield "nothing measured on a test part"
        return
    lacking = [name for name in REPORTED_ALWAYS if name not in section or not section[name].defined]
    if lacking:
        yield f"no {', '.join(lacking)}"
    if not section.confusion:
        yield "no confusion matrix"


def _other_gaps(evidence: Evidence, bundle: Bundle) -> Iterator[str]:
    if not evidence.baselines:
        yield "no baseline on the same split"
    if saliency_figure(bundle) is None:
        yield "no measurement of the saliency"


def _prediction_gaps(bundle: Bundle, rows: Sequence[Row], section: Section | None) -> Iterator[str]:
    """`predictions.csv` must hold the images of the section, none of them learnt, and say what is said now."""
    try:
        stored, classes = read_predictions_csv(bundle.path / "evidence" / "predictions.csv")
    except FileNotFoundError:
        yield "no predictions.csv"
        return
    except (EvaluationError, OSError, ValueError, KeyError, TypeError):
        yield "predictions.csv cannot be read"
        return
    if classes != bundle.classes:
        yield "predictions.csv is of other classes"
        return
    if section is not None and len(stored) != section.n:
        yield f"predictions.csv holds {len(stored)} images and the metrics are of {section.n}"
    data = bundle.manifest["data"]
    learnt = {*data.get("train_sha256", ()), *data.get("validation_sha256", ())}
    if any(row.sha256 in learnt for row in stored):
        yield "predictions.csv holds images of the training"
    said = {row.sha256: row.predicted for row in stored}
    shared = [row for row in rows if row.sha256 in said]
    same = sum(row.predicted == said[row.sha256] for row in shared)
    if shared and same < LEAST_AGREEMENT * len(shared):
        yield f"it is of another network: {len(shared) - same} of {len(shared)} images are classed otherwise now"
