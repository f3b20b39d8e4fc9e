"""What an analysis finds in one image: read, judged, its leukocytes found, as the values that are stored of it."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import Any

from diagnosis import nearest
from diagnosis.models import Analysis, ModelVersion
from diagnosis.services import cells, pipeline, previews, suspicion
from diagnosis.services.predictors import Predictors
from ml.imaging.reading import UnreadableImage

logger = logging.getLogger(__name__)

FILE_GONE = "The stored file of this image can't be read: upload the image again."
FILE_CHANGED = "The stored file of this image is no longer the one uploaded: upload the image again."


class AnalysisFailed(Exception):
    """An analysis that can't succeed; the text is the sentence the page shows."""


def values_of(
    *, analysis: Analysis, version: ModelVersion, predictor: Any, predictors: Predictors
) -> dict[str, Any]:
    """The values of a finished analysis, its cells' among them. Raises AnalysisFailed."""
    image = analysis.image
    began = time.perf_counter()
    try:
        with image.file.open("rb") as file:
            data = file.read()
    except OSError as error:
        logger.exception("The file of image %s can't be read", image.pk)
        raise AnalysisFailed(FILE_GONE) from error
    if hashlib.sha256(data).hexdigest() != image.stored_sha256:
        logger.error("The file of image %s does not have the hash it was stored with", image.pk)
        raise AnalysisFailed(FILE_CHANGED)
    try:
        judged = pipeline.judge(source=data, predictor=predictor)
    except UnreadableImage as error:
        raise AnalysisFailed(str(error)) from error
    previews_began = time.perf_counter()
    thumbnail, processed = previews.make(
        pixels=judged.image.pixels, image=image, preprocessing=predictor.bundle.preprocessing
    )
    previews_ms = round((time.perf_counter() - previews_began) * 1000, 1)
    found = cells.find(image=image, pixels=judged.image.pixels, predictors=predictors)
    prediction = judged.prediction
    interval = prediction.confidence_interval or (None, None)
    return {
        "thumbnail": thumbnail,
        "processed": processed,
        "cells": found,
        "model_version": version,
        "outcome": prediction.outcome,
        "label": prediction.label or "",
        "top_label": prediction.top_label,
        "suspected": suspicion.is_suspected(prediction, version, cells=found),
        "probabilities": prediction.probabilities,
        "confidence": prediction.confidence,
        "confidence_low": interval[0],
        "confidence_high": interval[1],
        "domain_score": prediction.domain_score,
        "domain_threshold": prediction.domain_threshold,
        "domain_percentile": prediction.domain_percentile,
        "inside_domain": prediction.inside_domain,
        "reasons": list(prediction.reasons),
        "quality": prediction.quality.to_dict(),
        "maps": {method: _rounded(values) for method, values in prediction.maps.items()},
        "embedding": nearest.packed(prediction.embedding),
        "timings_ms": {
            **judged.timings_ms,
            "previews": previews_ms,
            **(found.timings_ms if found else {}),
            "total": round((time.perf_counter() - began) * 1000, 1),
        },
        "runtime": prediction.runtime,
        "device": prediction.device,
        "preprocessing_version": prediction.preprocessing_version,
        "input_sha256": image.stored_sha256,
    }


def _rounded(values: Any) -> list[list[float]]:
    """A saliency map as lists for JSON; four digits are finer than the 256 steps it is drawn in."""
    return [[round(float(value), 4) for value in row] for row in values]
