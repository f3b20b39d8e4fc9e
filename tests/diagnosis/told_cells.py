"""Cells of an image as a worker stores them, with a sprite of drawn leukocytes; for tests and screenshots of pages."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from django.core.files.base import ContentFile
from PIL import Image

from diagnosis.models import Cell, CellAnalysis, SmearImage
from diagnosis.services.tallies import tallied
from diagnosis.storage import content_name, smear_storage
from ml.cells.counting import BLASTS, Counted, index_of_suspicion
from ml.drawing import CELL_KINDS, draw_cell
from ml.tasks import CELL

TILE_PIXELS = 96
TILE_UM = 24.0
LOOKS = {
    "segmented_neutrophil": "neutrophil", "band_neutrophil": "neutrophil", "lymphocyte": "lymphocyte",
    "monocyte": "monocyte", "eosinophil": "eosinophil", "blast": "drawn_b", "promonocyte": "drawn_c",
}  # fmt: skip
"""How a class is drawn here; the others look like lymphocytes, and none of them is anybody's cell."""

_drawn: dict[tuple[str, int], Image.Image] = {}


def _tile(label: str, number: int) -> Image.Image:
    kind = LOOKS.get(label, "lymphocyte")
    assert kind in CELL_KINDS
    known = (kind, number % 6)
    if known not in _drawn:
        rng = np.random.default_rng([CELL_KINDS.index(kind), number % 6])
        pixels, _ = draw_cell(rng, kind=kind, size=TILE_PIXELS, micrometres=TILE_UM / TILE_PIXELS)
        _drawn[known] = Image.fromarray(pixels)
    return _drawn[known]


def sprite(labels: Sequence[str]) -> tuple[str, int]:
    """Store the tiles of cells of these classes; returns the storage name and how many lie in a row."""
    columns = max(1, math.ceil(math.sqrt(len(labels))))
    sheet = Image.new("RGB", (columns * TILE_PIXELS, math.ceil(len(labels) / columns) * TILE_PIXELS))
    for number, label in enumerate(labels):
        row, column = divmod(number, columns)
        sheet.paste(_tile(label, number), (column * TILE_PIXELS, row * TILE_PIXELS))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    name = content_name("cells", hashlib.sha256(buffer.getvalue()).hexdigest(), ".jpg")
    return smear_storage().save(name, ContentFile(buffer.getvalue())), columns


def cell(label: str, number: int, **more: Any) -> dict[str, Any]:
    """Fields of one whole leukocyte that the model is sure of, unless `more` says otherwise."""
    rng = np.random.default_rng([number, CELL.classes.index(label)])
    sure = float(rng.uniform(0.82, 0.99))
    runner_up = CELL.classes[(CELL.classes.index(label) + 1) % len(CELL.classes)]
    probabilities = dict.fromkeys(CELL.classes, 0.0) | {runner_up: 1 - sure, label: sure}
    area = float(rng.uniform(70, 160))
    return {
        "number": number, "kind": "leukocyte", "confidence": float(rng.uniform(0.9, 0.99)), "area_um2": area,
        "nucleus_um2": area * (0.8 if label in BLASTS else 0.5), "label": label, "top_label": label,
        "probabilities": probabilities, "blast_probability": sum(probabilities[name] for name in BLASTS),
        "domain_score": 0.4, "inside_domain": True,
        "saliency": np.round(np.outer(np.hanning(9)[1:-1], np.hanning(9)[1:-1]), 3).tolist(), **more,
    }  # fmt: skip


def without_class(number: int, **more: Any) -> dict[str, Any]:
    """A leukocyte that the model was not entitled to class."""
    return cell("lymphocyte", number) | {"label": "", "inside_domain": False} | more


def beside(kind: str, number: int, **more: Any) -> dict[str, Any]:
    """Something that is no leukocyte: the finder's kind, and no class."""
    nothing = {"label": "", "top_label": "", "probabilities": {}, "blast_probability": None, "saliency": []}
    return cell("lymphocyte", number) | nothing | {"kind": kind, "inside_domain": None} | more


def add_cells(
    image: SmearImage, labels: Sequence[str | dict[str, Any]], *, with_sprite: bool = True, **more: Any
) -> list[Cell]:
    """Store cells of these classes (or fields, as the functions above give them) for an image's newest analysis."""
    rows = [cell(one, n) if isinstance(one, str) else one | {"number": n} for n, one in enumerate(labels)]
    name, columns = sprite([row["top_label"] for row in rows]) if rows and with_sprite else ("", 0)
    seen = [
        Counted(row["label"] or None, row["kind"] == "leukocyte", row.get("touches_border", False),
                row["blast_probability"] if row["inside_domain"] else None)
        for row in rows
    ]  # fmt: skip
    analysis = image.newest_analysis
    assert analysis is not None
    found = CellAnalysis.objects.create(
        **{
            "analysis": analysis,
            "um_per_pixel": 0.16,
            "scale_is_measured": True,
            "suspicion": index_of_suspicion(seen),
            "counted": sum(one.is_leukocyte and not one.on_border for one in seen),
            **tallied(seen),
            "sprite": name,
            "sprite_columns": columns,
            "tile_pixels": TILE_PIXELS,
            "tile_um": TILE_UM,
            **more,
        }
    )
    return Cell.objects.bulk_create(
        Cell(cell_analysis=found, **(_box(image, n) | row)) for n, row in enumerate(rows)
    )


def _box(image: SmearImage, number: int) -> dict[str, int]:
    """A place for a box of 40 pixels: along rows, from top to bottom."""
    across = max(1, image.width // 48)
    row, column = divmod(number, across)
    x, y = 4 + 48 * column, 4 + 48 * row % max(1, image.height - 48)
    return {"x": x, "y": y, "width": 40, "height": 40}
