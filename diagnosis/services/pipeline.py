"""From the bytes of an image to what Leukoscope says of it: one way, for the worker and the command."""

from __future__ import annotations

import os
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ml.imaging.reading import DecodedImage, read_image

if TYPE_CHECKING:
    from ml.serving import Prediction, Predictor


@dataclass(frozen=True)
class Judged:
    """One image, read and judged. `timings_ms` is by step: `read`, those of the predictor, and `total`."""

    image: DecodedImage
    prediction: Prediction
    timings_ms: dict[str, float]


def judge(*, source: bytes | os.PathLike[str], predictor: Predictor) -> Judged:
    """Read an image and have it judged.

    Raises:
        UnreadableImage: with the sentence for its owner.
    """
    began = perf_counter()
    image = read_image(source)
    read_ms = (perf_counter() - began) * 1000
    prediction = predictor.predict(image.pixels)
    total = (perf_counter() - began) * 1000
    timings = {"read": read_ms, **prediction.timings_ms, "total": total}
    return Judged(image, prediction, {step: round(ms, 1) for step, ms in timings.items()})


def as_record(*, path: str, judged: Judged) -> dict[str, Any]:
    """What `manage.py analyze --json` prints for an image."""
    prediction = judged.prediction
    return {
        "path": path,
        "outcome": prediction.outcome,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "confidence": prediction.confidence,
        "domain_score": prediction.domain_score,
        "reasons": list(prediction.reasons),
        "model_version": prediction.model_version,
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
        "timings_ms": {},
    }
