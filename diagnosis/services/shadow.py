"""Shadow versions: they judge every image after the active one has, and change no case.

What they say is kept beside the analysis for administrators to compare, and for nobody else.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from diagnosis.models import Analysis, CellAnalysis, Laboratory, ModelVersion, ShadowAnalysis, User
from diagnosis.services import audit, pipeline, suspicion
from diagnosis.services.predictors import CACHE, ModelUnavailable, Predictors
from diagnosis.services.version_change import PromotionImpossible, require_manager, require_servable
from ml.imaging.reading import UnreadableImage, read_image

if TYPE_CHECKING:
    from ml.cells.serving import CellPredictor

logger = logging.getLogger(__name__)

Status = ModelVersion.Status

UNEXPECTED = "The shadow stopped with an error that was not foreseen; the worker's log has it."
NO_CELLS = "The active version looked for no leukocytes in this image, so there is nothing to compare with."
FILE_GONE = "The stored file of this image can't be read, or is no longer the one uploaded."


def set_shadow(*, version: ModelVersion, actor: User | None) -> ModelVersion:
    """Have a version judge every new image beside the active one, from now on.

    Raises PromotionImpossible where it is active or its files are damaged, and what
    `version_change.require_manager` raises.
    """
    return _set_status(version=version, actor=actor, status=Status.SHADOW, action="shadow_model")


def retire(*, version: ModelVersion, actor: User | None) -> ModelVersion:
    """End a shadow or put a candidate aside; it can be made a shadow, or promoted, later. Raises as `set_shadow`."""
    return _set_status(version=version, actor=actor, status=Status.RETIRED, action="retire_model")


@transaction.atomic
def _set_status(*, version: ModelVersion, actor: User | None, status: str, action: str) -> ModelVersion:
    require_manager(actor=actor, laboratory=version.laboratory)
    if status == Status.SHADOW:
        require_servable(version)
    # One conditional UPDATE: a promotion at the same moment either comes first and is left alone, or waits.
    changed = (
        ModelVersion.objects.filter(pk=version.pk)
        .exclude(status__in=[Status.ACTIVE, status])
        .update(status=status)
    )
    before = version.status
    version.refresh_from_db()
    if version.status == Status.ACTIVE:
        raise PromotionImpossible(f"{version.name} is active: promote another one, or roll back.")
    if changed:
        audit.record(
            action=action,
            actor=actor,
            laboratory=version.laboratory,
            obj=version,
            detail={"name": version.name},
            old={"status": before},
            new={"status": version.status},
        )
    return version


def shadow_versions(*, laboratory: Laboratory) -> QuerySet[ModelVersion]:
    """The shadows that judge images of a laboratory, of fields and of cells: its own and the shared ones."""
    return ModelVersion.objects.filter(
        Q(laboratory=laboratory) | Q(laboratory__isnull=True), status=Status.SHADOW
    ).order_by("pk")


def wanted(*, analysis: Analysis) -> bool:
    """Whether a shadow judges images of this analysis's laboratory; one query."""
    return shadow_versions(laboratory=analysis.image.case.laboratory).exists()


def run_shadows(*, analysis_id: uuid.UUID, predictors: Predictors = CACHE) -> int:
    """Have each shadow version judge the image of a finished analysis, once; returns how many rows were added.

    Safe when it arrives twice. What a shadow can't judge is kept with its reason; nothing is ever raised at the
    case or its analysis.
    """
    analysis = (
        Analysis.objects.select_related("image__case__laboratory")
        .filter(pk=analysis_id, state=Analysis.State.DONE)
        .first()
    )
    if analysis is None:
        return 0
    shadows = shadow_versions(laboratory=analysis.image.case.laboratory)
    return sum(
        _store(analysis, version, _judge(analysis, version, predictors))
        for version in shadows.exclude(shadow_analyses__analysis=analysis)
    )


def _store(analysis: Analysis, version: ModelVersion, values: dict[str, Any]) -> bool:
    try:
        with transaction.atomic():
            ShadowAnalysis.objects.create(analysis=analysis, model_version=version, **values)
    except IntegrityError:  # the same task on another worker was first
        return False
    return True


def _judge(analysis: Analysis, version: ModelVersion, predictors: Predictors) -> dict[str, Any]:
    """What a shadow says of the image, or why it says nothing."""
    try:
        predictor = predictors.get(version)
        with analysis.image.file.open("rb") as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != analysis.input_sha256:
            return {"failure": FILE_GONE}
        if version.task == ModelVersion.Task.CELL:
            return _judge_cells(analysis, version, predictor, data)
        judged = pipeline.judge(source=data, predictor=predictor)
    except (ModelUnavailable, UnreadableImage) as problem:
        return {"failure": str(problem)}
    except OSError:
        logger.exception("The file of image %s can't be read", analysis.image_id)
        return {"failure": FILE_GONE}
    except Exception:
        logger.exception("Shadow %s failed on analysis %s", version.name, analysis.pk)
        return {"failure": UNEXPECTED}
    prediction = judged.prediction
    return {
        "outcome": prediction.outcome,
        "label": prediction.label or "",
        "top_label": prediction.top_label,
        "suspected": suspicion.is_suspected(prediction, version),
        "probabilities": prediction.probabilities,
        "confidence": prediction.confidence,
        "domain_score": prediction.domain_score,
        "inside_domain": prediction.inside_domain,
        "reasons": list(prediction.reasons),
        "timings_ms": judged.timings_ms,
    }


def _judge_cells(
    analysis: Analysis, version: ModelVersion, predictor: CellPredictor, data: bytes
) -> dict[str, Any]:
    """What a shadow of cells says of those that the active version judged; the finder of cells is the same for both."""
    active = (
        CellAnalysis.objects.select_related("model_version").filter(analysis=analysis, failure="").first()
    )
    if active is None:
        return {"failure": NO_CELLS}
    found = predictor.read(read_image(data).pixels)
    said = {one.cell.box: one.label or "" for one in found.findings if one.top_label}
    theirs = {
        (x, y, width, height): label
        for x, y, width, height, label in active.cells.exclude(top_label="").values_list(
            "x", "y", "width", "height", "label"
        )
    }
    both = said.keys() & theirs.keys()
    return {
        "suspicion": found.suspicion,
        "suspected": suspicion.cells_are_suspicious(index=found.suspicion, version=version),
        "active_suspected": suspicion.cells_are_suspicious(
            index=active.suspicion, version=active.model_version
        ),
        "cells": len(both),
        "cells_same": sum(said[box] == theirs[box] for box in both),
        "reasons": list(found.problems),
        "timings_ms": {step: round(ms, 1) for step, ms in found.timings_ms.items()},
    }
