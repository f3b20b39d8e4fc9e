"""The leukocytes of an analysis: found by the active `cell` version beside the field's judgement, stored with it.

Whatever becomes of the cells, the field's analysis ends as it would without them: what stood in the way is kept as one
sentence. One version judges all cells of an analysis: it is looked up once.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from django.core.files.base import ContentFile
from django.db import DatabaseError
from django.db.models import Q
from PIL import Image

from diagnosis.models import Analysis, Cell, CellAnalysis, Laboratory, ModelVersion, SmearImage
from diagnosis.services import pipeline, registry, tallies
from diagnosis.services.predictors import ModelUnavailable, Predictors
from diagnosis.storage import content_name, smear_storage

if TYPE_CHECKING:
    from ml.cells.findings import CellFinding, FieldCells

logger = logging.getLogger(__name__)

CELL = ModelVersion.Task.CELL
SPRITES = "sprites"
SPRITE_QUALITY = 90

NO_MODEL = (
    "No cell model is active, so leukocytes were not looked for: an administrator can promote one, after which "
    "the image can be analysed again."
)
NOT_LOADED = (
    "The cell model can't be loaded now, so leukocytes were not looked for: administrators see why on the models "
    "page, and the image can be analysed again when it is back."
)
UNEXPECTED = (
    "Looking for leukocytes stopped with an error that was not foreseen: analyse the image again, or tell an "
    "administrator."
)


@dataclass(frozen=True)
class CellWork:
    """What the worker knows of an image's cells before anything is stored.

    Attributes:
        version: that judged them; None where there is none. values: of the CellAnalysis. cells: rows to be stored.
        timings_ms: steps for the analysis's own timings.
    """

    version: ModelVersion | None = None
    values: dict[str, Any] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def suspicion(self) -> float | None:
        value: float | None = self.values.get("suspicion")
        return value


def find(*, image: SmearImage, pixels: npt.NDArray[np.uint8], predictors: Predictors) -> CellWork | None:
    """Find and judge the leukocytes of an image's (H, W, 3) RGB `pixels`, and store their tiles.

    None where the laboratory never had a cell model: then there is nothing to say of cells. Anything else that stands
    in the way becomes the `failure` of what is returned; only DatabaseError is raised.
    """
    laboratory = image.case.laboratory
    version = registry.active_version(task=CELL, laboratory=laboratory)
    if version is None:
        return CellWork(values={"failure": NO_MODEL}) if _had_a_model(laboratory) else None
    try:
        predictor = predictors.get(version)
        registry.record_problem(version=version, problem="")
        return _described(image, version, predictor.read(pixels))
    except ModelUnavailable as problem:
        registry.record_problem(
            version=version, problem="" if registry.file_problem(version) else str(problem)
        )
        logger.error("The cells of image %s are not looked for: %s", image.pk, problem)
        return CellWork(version, {"failure": NOT_LOADED})
    except DatabaseError:
        raise
    except Exception:
        logger.exception("Looking for the cells of image %s failed", image.pk)
        return CellWork(version, {"failure": UNEXPECTED})


def store(*, analysis: Analysis, work: CellWork | None) -> CellAnalysis | None:
    """Add what was found of an analysis's cells, in the caller's transaction."""
    if work is None:
        return None
    found = CellAnalysis.objects.create(analysis=analysis, model_version=work.version, **work.values)
    for cell in work.cells:
        cell.cell_analysis = found
    Cell.objects.bulk_create(work.cells)
    return found


def _had_a_model(laboratory: Laboratory) -> bool:
    return ModelVersion.objects.filter(
        Q(laboratory=laboratory) | Q(laboratory__isnull=True), task=CELL
    ).exists()


def _described(image: SmearImage, version: ModelVersion, found: FieldCells) -> CellWork:
    """What is stored of the cells. Raises ValueError for a number that is none: no database takes it as JSON."""
    began = perf_counter()
    sprite, columns = _store_sprite(found.tiles, image)
    timings = {**found.timings_ms, "sprite": (perf_counter() - began) * 1000}
    timings = {step: round(ms, 1) for step, ms in timings.items()}
    values = {
        "um_per_pixel": _number(found.scale.um_per_pixel),
        "scale_is_measured": bool(found.scale.measured),
        "problems": list(found.problems),
        "suspicion": _number(found.suspicion),
        "counted": sum(one.cell.counted for one in found.findings),
        **tallies.tallied(one.counted for one in found.findings),
        "sprite": sprite,
        "sprite_columns": columns,
        "tile_pixels": int(found.tiles.shape[1]) if len(found.tiles) else 0,
        "tile_um": _number(found.tile_um),
        "timings_ms": timings,
    }
    cells = tuple(_row(number, one) for number, one in enumerate(found.findings))
    return CellWork(version, values, cells, pipeline.cell_timings(timings))


def _row(number: int, one: CellFinding) -> Cell:
    x, y, width, height = (int(value) for value in one.cell.box)
    embedding = b"" if one.embedding is None else np.asarray(one.embedding, "<f2").tobytes()
    return Cell(
        number=number,
        x=x,
        y=y,
        width=width,
        height=height,
        kind=one.cell.kind.value,
        touches_border=bool(one.cell.touches_border),
        confidence=_sure(one.cell.confidence),
        area_um2=_sure(one.cell.area_um2),
        nucleus_um2=_sure(one.cell.nucleus_um2),
        label=one.label or "",
        top_label=one.top_label,
        probabilities={name: round(_sure(p), 5) for name, p in one.probabilities.items()},
        blast_probability=_number(one.blast_probability),
        domain_score=_number(one.domain_score),
        inside_domain=None if one.inside_domain is None else bool(one.inside_domain),
        saliency=[] if one.saliency is None else _rows_of(one.saliency),
        embedding=embedding,
    )


def _rows_of(values: npt.NDArray[np.float32]) -> Sequence[list[float]]:
    """A map as lists for JSON; three digits are finer than the 256 steps it is drawn in."""
    return [[round(_sure(value), 3) for value in row] for row in values.tolist()]


def _number(value: float | None) -> float | None:
    return None if value is None else _sure(value)


def _sure(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("The cell model gave a value that is no number.")
    return float(value)


def _store_sprite(tiles: npt.NDArray[np.uint8], image: SmearImage) -> tuple[str, int]:
    """Store (n, S, S, 3) RGB tiles as one sheet, about square; returns its name and columns.

    The name begins with the image's hash, which keeps it from being taken for an orphan, and ends with that of the
    sheet: a later version, or another finder of cells, must not write over the tiles of an earlier analysis.
    """
    if not len(tiles):
        return "", 0
    count, side = tiles.shape[:2]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * columns, side, side, 3), 255, np.uint8)
    sheet[:count] = tiles
    sheet = sheet.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=SPRITE_QUALITY)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    name = content_name(SPRITES, image.stored_sha256, f"-{digest}.jpg")
    return smear_storage().save(name, ContentFile(buffer.getvalue())), columns
