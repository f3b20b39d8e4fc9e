"""From the bytes of an image to what Leukoscope says of it: one way, for the worker and the command."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ml.imaging.reading import DecodedImage, read_image

if TYPE_CHECKING:
    from ml.cells.findings import CellFinding, FieldCells
    from ml.cells.serving import CellPredictor
    from ml.serving import Prediction, Predictor

logger = logging.getLogger(__name__)

NO_CELL = "no cell was found in the middle of the picture"
CELL_OUT_OF_DOMAIN = "the cell is unlike those the model was validated on"


@dataclass(frozen=True)
class Judged:
    """One image, read and judged.

    Attributes:
        cells: what was found of leukocytes; None where no cell model was asked, or it failed: then `cell_problem` says
            so. timings_ms: by step: `read`, those of the predictors, and `total`.
    """

    image: DecodedImage
    prediction: Prediction
    timings_ms: dict[str, float]
    cells: FieldCells | None = None
    cell_problem: str = ""


@dataclass(frozen=True)
class JudgedCell:
    """A picture of a single cell, read and judged."""

    finding: CellFinding
    timings_ms: dict[str, float]


def judge(
    *, source: bytes | os.PathLike[str], predictor: Predictor, cell_predictor: CellPredictor | None = None
) -> Judged:
    """Read an image and have its field judged, and its cells where a cell model is given.

    A cell model that fails costs the image its cells and nothing else.

    Raises:
        UnreadableImage: with the sentence for its owner.
    """
    began = perf_counter()
    image = read_image(source)
    read_ms = (perf_counter() - began) * 1000
    prediction = predictor.predict(image.pixels)
    timings = {"read": read_ms, **prediction.timings_ms}
    cells, problem = None, ""
    if cell_predictor is not None:
        try:
            cells = cell_predictor.read(image.pixels)
            timings.update(cell_timings(cells.timings_ms))
        except Exception as error:
            # The field's outcome stands whatever becomes of its cells, as in the worker.
            logger.exception("Looking for leukocytes failed")
            problem = f"Looking for leukocytes failed: {error}"
    timings["total"] = (perf_counter() - began) * 1000
    rounded = {step: round(ms, 1) for step, ms in timings.items()}
    return Judged(image, prediction, rounded, cells, problem)


def judge_cell(*, source: bytes | os.PathLike[str], predictor: CellPredictor) -> JudgedCell:
    """Read a picture of a single cell and have the cell in its middle judged. Raises as `judge`."""
    began = perf_counter()
    image = read_image(source)
    read = perf_counter()
    finding = predictor.classify(image.pixels)
    ended = perf_counter()
    steps = {"read": read - began, "classify": ended - read, "total": ended - began}
    return JudgedCell(finding, {step: round(1000 * seconds, 1) for step, seconds in steps.items()})


def cell_timings(timings_ms: Mapping[str, float]) -> dict[str, float]:
    """The steps of `FieldCells` as they stand among those of the whole analysis; `cells` is the finding of them."""
    return {"cells_find" if step == "cells" else f"cells_{step}": ms for step, ms in timings_ms.items()}


def as_record(*, path: str, judged: Judged, no_cells: str = "") -> dict[str, Any]:
    """What `manage.py analyze --json` prints for an image; `no_cells` says why no cell model was asked."""
    prediction, cells = judged.prediction, judged.cells
    why = [problem for problem in (no_cells, judged.cell_problem) if problem]
    return {
        "path": path,
        "outcome": prediction.outcome,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "confidence": prediction.confidence,
        "domain_score": prediction.domain_score,
        "reasons": list(prediction.reasons),
        "model_version": prediction.model_version,
        "cells": cells.record() if cells else None,
        "suspicion": cells.suspicion if cells else None,
        "cell_model_version": cells.model_version if cells else None,
        "cell_problems": list(cells.problems) if cells else why,
        "timings_ms": judged.timings_ms,
    }


def unreadable_record(*, path: str, reason: str, model_version: str) -> dict[str, Any]:
    """The same for a file that could not be read: indeterminate, and why."""
    return {
        "path": path,
        "outcome": "indeterminate",
        "label": None,
        "probabilities": {},
        "confidence": None,
        "domain_score": None,
        "reasons": [reason],
        "model_version": model_version,
        "cells": None,
        "suspicion": None,
        "cell_model_version": None,
        "cell_problems": [reason],
        "timings_ms": {},
    }


def as_cell_record(*, path: str, judged: JudgedCell, model_version: str) -> dict[str, Any]:
    """What `manage.py analyze --task cell --json` prints for a picture of a single cell."""
    finding = judged.finding
    return {
        "path": path,
        "outcome": "indeterminate" if finding.label is None else "class",
        "label": finding.label,
        "probabilities": dict(finding.probabilities),
        "confidence": None if finding.label is None else finding.probabilities[finding.label],
        "blast_probability": finding.blast_probability,
        "inside_domain": finding.inside_domain,
        "domain_score": finding.domain_score,
        "reasons": _why_no_class(finding),
        "model_version": model_version,
        "timings_ms": judged.timings_ms,
    }


def unreadable_cell_record(*, path: str, reason: str, model_version: str) -> dict[str, Any]:
    """The same for a file that could not be read."""
    return {
        "path": path,
        "outcome": "indeterminate",
        "label": None,
        "probabilities": {},
        "confidence": None,
        "blast_probability": None,
        "inside_domain": None,
        "domain_score": None,
        "reasons": [reason],
        "model_version": model_version,
        "timings_ms": {},
    }


def _why_no_class(finding: CellFinding) -> list[str]:
    if finding.label is not None:
        return []
    return [CELL_OUT_OF_DOMAIN if finding.probabilities else NO_CELL]
