"""Cells for screenshots: found in the fields by the real finder, their classes made up."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from django.core.files.base import ContentFile
from PIL import Image

from diagnosis.models import Analysis, Case, Cell, CellAnalysis, SmearImage, User
from diagnosis.services import analyze, cell_readings, intake
from diagnosis.services.tallies import tallied
from diagnosis.storage import content_name, smear_storage
from ml.cells.cell import Kind
from ml.cells.counting import Counted, index_of_suspicion
from ml.cells.detection import detect
from tests.browser.scenes import Shipped, Told, fields
from tests.diagnosis.told_cells import add_cells, beside, cell, without_class

TILE_UM, TILE_PIXELS = 24.0, 96
MALIGNANT = (
    ["blast"] * 9 + ["lymphocyte"] * 3 + ["segmented_neutrophil", "monocyte", "erythroblast", "smudge_cell"]
)
HEALTHY = ["segmented_neutrophil"] * 6 + ["lymphocyte"] * 3 + ["monocyte", "eosinophil"]


def find_cells(image: SmearImage, pool: list[str], rng: np.random.Generator) -> int:
    """Find the cells of an image and tell their classes at random from `pool`; returns how many there are."""
    with image.file.open("rb") as file:
        pixels = np.asarray(Image.open(file).convert("RGB"))
    found = detect(pixels)
    rows, tiles = [], []
    for number, one in enumerate(found.cells):
        told = _told(one, number, pool, rng)
        x, y, width, height = one.box
        rows.append(told | {"x": x, "y": y, "width": width, "height": height})
        tiles.append(_tile(pixels, one.box, found.um_per_pixel))
    name, columns = _sheet(tiles) if tiles else ("", 0)
    seen = [Counted(row["label"] or None, row["kind"] == "leukocyte", row["touches_border"],
                    row["blast_probability"]) for row in rows]  # fmt: skip
    stored = CellAnalysis.objects.create(
        analysis=image.newest_analysis, um_per_pixel=found.um_per_pixel, scale_is_measured=found.scale.measured,
        problems=list(found.problems), suspicion=index_of_suspicion(seen), counted=len(found.leukocytes),
        **tallied(seen), sprite=name, sprite_columns=columns, tile_pixels=TILE_PIXELS, tile_um=TILE_UM,
    )  # fmt: skip
    Cell.objects.bulk_create(Cell(cell_analysis=stored, **row) for row in rows)
    return len(rows)


def _told(one: Any, number: int, pool: list[str], rng: np.random.Generator) -> dict[str, Any]:
    if one.kind is not Kind.LEUKOCYTE:
        told = beside(one.kind.value, number)
    elif rng.random() < 0.08:
        told = without_class(number)
    else:
        told = cell(str(rng.choice(pool)), number)
    measured = {"area_um2": one.area_um2, "nucleus_um2": one.nucleus_um2, "confidence": one.confidence}
    return told | measured | {"touches_border": one.touches_border}


def _tile(pixels: Any, box: tuple[int, int, int, int], um_per_pixel: float) -> Image.Image:
    x, y, width, height = box
    half = TILE_UM / um_per_pixel / 2
    middle_x, middle_y = x + width / 2, y + height / 2
    # What lies beyond the picture's edge is drawn as its last pixels.
    wide = math.ceil(half)
    padded = np.pad(pixels, ((wide, wide), (wide, wide), (0, 0)), "edge")
    left, top = round(middle_x - half) + wide, round(middle_y - half) + wide
    crop = Image.fromarray(padded).crop((left, top, left + 2 * wide, top + 2 * wide))
    return crop.resize((TILE_PIXELS, TILE_PIXELS))


def _sheet(tiles: list[Image.Image]) -> tuple[str, int]:
    columns = math.ceil(math.sqrt(len(tiles)))
    sheet = Image.new("RGB", (columns * TILE_PIXELS, math.ceil(len(tiles) / columns) * TILE_PIXELS), "white")
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(tile, (column * TILE_PIXELS, row * TILE_PIXELS))
    sheet.save(buffer := io.BytesIO(), "JPEG", quality=90)
    name = content_name("sprites", hashlib.sha256(buffer.getvalue()).hexdigest(), ".jpg")
    return smear_storage().save(name, ContentFile(buffer.getvalue())), columns


def cells_at_work(
    cast: dict[str, User], model: Told | Shipped, main: Case, folder: Path | None
) -> dict[str, Case]:
    """Cases whose cells were looked for: full, few, with lost tiles, with none found, without a cell model."""
    rng = np.random.default_rng(4)
    for image in main.images.select_related("newest_analysis")[:5]:  # finding takes a second each
        if image.newest_analysis.state == Analysis.State.DONE and image.newest_analysis.maps:
            find_cells(
                image, MALIGNANT if image.newest_analysis.label in ("early", "pre", "pro") else HEALTHY, rng
            )
    some = Cell.objects.filter(cell_analysis__analysis__image__case=main, label="blast").values_list(
        "pk", flat=True
    )
    cell_readings.re_class(user=cast["hedy"], cells=list(some[:7]), label="lymphocyte")
    data = fields(folder, 1)[0][1]

    def opened(number: str, *problems: str, labels: list[Any] | None = None) -> Case:
        made = intake.create_case(user=cast["tina"], accession_number=number, patient_code=f"P-{number[-3:]}")
        image = intake.add_image(user=cast["tina"], case=made, name="field 1.jpg", stream=io.BytesIO(data))
        model.tell("early")
        analyze.run(analysis_id=image.newest_analysis_id, predictors=model)  # type: ignore[arg-type]
        image.refresh_from_db()
        if labels is not None:
            add_cells(image, labels, problems=list(problems))
        return made

    many = [str(label) for label in rng.choice(MALIGNANT + HEALTHY, 2000)]
    cases = {
        "few": opened(
            "26-12001", labels=["blast", "lymphocyte", "lymphocyte", without_class(3), beside("platelet", 4)]
        ),
        "lost": opened("26-12002", labels=["blast"] * 8 + ["lymphocyte"] * 20),
        "none": opened("26-12003", "No leukocyte was found.", labels=[]),
        "no-model": opened("26-12004"),
        "many": opened("26-12005", labels=many),
    }
    sprite = CellAnalysis.objects.get(analysis__image__case=cases["lost"]).sprite
    sprite.storage.delete(sprite.name)
    return cases
