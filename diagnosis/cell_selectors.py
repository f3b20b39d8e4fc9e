"""Reads of the leukocytes of a case: the gallery, both counts, and how suspicious they are. Nothing here writes.

A case may hold thousands of cells, so rows are lean and no page's number of queries depends on how many there are.
Only the newest analysis of an image speaks for it. The label that counts is the newest reading's where a reader gave
one, else the model's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q, QuerySet

from diagnosis import permissions, veil
from diagnosis.models import Case, Cell, CellAnalysis, User
from diagnosis.nearest import nearest
from ml.cells.cell import Kind
from ml.cells.counting import BLASTS, NOT_LEUKOCYTES, Counted, Differential, differential, index_of_suspicion

MOST_COMPARED = 20_000
"""Reviewed cells that a cell is compared with, the newest: half a second's work."""
_A_BATCH = 1000

_GALLERY = (
    "pk", "number", "x", "y", "width", "height", "kind", "touches_border", "confidence", "area_um2",
    "label", "top_label", "blast_probability", "inside_domain", "cell_analysis_id",
    "newest_reading__label", "newest_reading__reader_id",
)  # fmt: skip
_SHEET = (
    "sprite", "sprite_columns", "tile_pixels", "tile_um", "um_per_pixel", "scale_is_measured", "problems", "failure",
    "suspicion", "counted",
)  # fmt: skip
_COUNTED = ("kind", "touches_border", "label", "blast_probability", "inside_domain", "newest_reading__label")
_IMAGE = "cell_analysis__analysis__image"
_SIMILAR = {
    "cell": "pk", "label": "newest_reading__label", "reader": "newest_reading__reader_id", "case": f"{_IMAGE}__case_id",
    "accession_number": f"{_IMAGE}__case__accession_number", "image": f"{_IMAGE}_id", "position": f"{_IMAGE}__position",
    "analysis": "cell_analysis_id", "number": "number", "columns": "cell_analysis__sprite_columns",
    "tile_pixels": "cell_analysis__tile_pixels",
}  # fmt: skip


@dataclass(frozen=True)
class CaseCells:
    """What the leukocytes of a case come to, by the model and by the reader.

    Attributes:
        model, reader: the counts; the reader's are the model's with every correction applied.
        suspicion: index over all judged whole leukocytes of the case, by the model. reader_suspicion: the same with a
            re-classed cell counting as 1 or 0. None where no cell was judged.
        highest: the largest index of any one image; None where no cell was judged. It is what the worklist sorts by.
        read: cells that a reader gave a class.
    """

    model: Differential
    reader: Differential
    suspicion: float | None
    reader_suspicion: float | None
    highest: float | None
    read: int


def newest_cells(*, case: Case) -> QuerySet[Cell]:
    """The cells of a case's newest analyses, by image and number."""
    return Cell.objects.filter(
        **{f"{_IMAGE}__case": case}, cell_analysis__analysis=F(f"{_IMAGE}__newest_analysis")
    ).order_by(f"{_IMAGE}__position", "number")


def newest_cell_analyses(*, case: Case) -> QuerySet[CellAnalysis]:
    """What was found in each image of a case by its newest analysis, in order of the images; an image that no cell
    model was asked about has none."""
    return (
        CellAnalysis.objects.filter(
            analysis__image__case=case, analysis=F("analysis__image__newest_analysis")
        )
        .select_related("analysis__image", "model_version")
        .order_by("analysis__image__position")
    )


def gallery_cells(*, case: Case) -> list[dict[str, Any]]:
    """Every cell of a case as the gallery and `case_cells` take it, by image and number; one query."""
    return list(newest_cells(case=case).values(*_GALLERY))


def gallery_rows(*, case: Case, cells: Iterable[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Every cell of a case as a lean dictionary of JSON values, by image and number; two queries whatever it holds, one
    where `cells`, its `gallery_cells`, are at hand.

    Keys: `id`, `analysis` (of the cells, a CellAnalysis), `number` (its place in the sprite), `box` (x, y, width,
    height), `kind`, `touches_border`, `confidence`, `area_um2`, `label` (the model's inside its domain, or empty),
    `top_label`, `reader_label` and `reader` (empty where nobody gave it a class), `blast_probability` and
    `inside_domain`. What else is known of a cell is asked of the one that is looked at: two thousand are sent at once.
    """
    readers = _readers(case.laboratory_id)
    return [_gallery_row(cell, readers) for cell in (gallery_cells(case=case) if cells is None else cells)]


def gallery_sheets(*, case: Case) -> list[dict[str, Any]]:
    """For every image of a case whose newest analysis looked for cells, where their tiles lie and what stood in the
    way, in order of the images; one query.

    Keys: `id` (the CellAnalysis, which `gallery_rows` names as `analysis`), `image`, `position`, `sprite` (its storage
    name, empty without one), `columns` and `tile_pixels` (of the sprite, 0 without one), `tile_um`, `um_per_pixel`,
    `scale_is_measured`, `problems`, `failure`, `suspicion` and `counted`.
    """
    return [
        {
            "id": one.pk,
            "image": str(one.analysis.image_id),
            "position": one.analysis.image.position,
            "sprite": one.sprite.name or "",
            "columns": one.sprite_columns,
            "tile_pixels": one.tile_pixels,
            "tile_um": one.tile_um,
            "um_per_pixel": one.um_per_pixel,
            "scale_is_measured": one.scale_is_measured,
            "problems": one.problems,
            "failure": one.failure,
            "suspicion": one.suspicion,
            "counted": one.counted,
        }
        for one in newest_cell_analyses(case=case)
        .select_related(None)
        .select_related("analysis__image")
        .only(*_SHEET, "analysis__image__position")
    ]


def _gallery_row(cell: Mapping[str, Any], readers: Mapping[int, str]) -> dict[str, Any]:
    reader_label = cell["newest_reading__label"] or ""
    return {
        "id": cell["pk"],
        "analysis": cell["cell_analysis_id"],
        "number": cell["number"],
        "box": [cell["x"], cell["y"], cell["width"], cell["height"]],
        "kind": cell["kind"],
        "touches_border": cell["touches_border"],
        "confidence": round(cell["confidence"], 3),
        "area_um2": round(cell["area_um2"], 1),
        "label": cell["label"],
        "top_label": cell["top_label"],
        "reader_label": reader_label,
        "reader": readers.get(cell["newest_reading__reader_id"], "") if reader_label else "",
        "blast_probability": cell["blast_probability"],
        "inside_domain": cell["inside_domain"],
    }


def _readers(laboratory_id: int) -> dict[int, str]:
    return {one.pk: one.display_name for one in User.objects.filter(laboratory_id=laboratory_id)}


def nc_ratio(*, area: float, nucleus: float) -> float | None:
    """Nuclear over cytoplasmic area, as `ml.cells.cell.Cell` defines it; None for a naked nucleus."""
    cytoplasm = area - nucleus
    return round(nucleus / cytoplasm, 2) if cytoplasm > 0 else None


def counted_by_model(row: Mapping[str, Any]) -> Counted:
    """A cell, as `_COUNTED` gives it, for the model's count."""
    return Counted(
        label=row["label"] or None,
        is_leukocyte=row["kind"] == Kind.LEUKOCYTE,
        on_border=row["touches_border"],
        blast_probability=row["blast_probability"] if row["inside_domain"] else None,
    )


def counted_by_reader(row: Mapping[str, Any]) -> Counted:
    """The same with the reader's correction, where there is one.

    What a reader calls a blast counts as 1 in the index, another leukocyte as 0. What a reader calls no leukocyte
    leaves the index: it is a mean over leukocytes, and a platelet taken out must not lower it.
    """
    label = row["newest_reading__label"]
    if not label:
        return counted_by_model(row)
    return Counted(
        label=label,
        is_leukocyte=True,
        on_border=row["touches_border"],
        blast_probability=None if label in NOT_LEUKOCYTES else float(label in BLASTS),
    )


def case_counts(*, case: Case) -> tuple[Differential, Differential]:
    """The model's differential of a case, and the reader's; one query."""
    rows = list(newest_cells(case=case).values(*_COUNTED))
    return differential(map(counted_by_model, rows)), differential(map(counted_by_reader, rows))


def case_cells(
    *,
    case: Case,
    indices: Iterable[float | None] | None = None,
    cells: Sequence[Mapping[str, Any]] | None = None,
) -> CaseCells:
    """What the leukocytes of a case come to; two queries, one less where `indices`, those of its images, are at hand,
    and one less with its `gallery_cells`.

    Two indices, for they answer different questions. Over all leukocytes of the case, as a hematologist counts: many
    fields make it steady. And the highest of any one image, by which the worklist sorts: fields of a thin or normal
    part, added to a case, must not push it down the list (indeterminate never lowers a case either).
    """
    rows: Sequence[Mapping[str, Any]] = (
        list(newest_cells(case=case).values(*_COUNTED)) if cells is None else cells
    )
    by_model, by_reader = [counted_by_model(row) for row in rows], [counted_by_reader(row) for row in rows]
    if indices is None:
        indices = newest_cell_analyses(case=case).values_list("suspicion", flat=True)
    return CaseCells(
        model=differential(by_model),
        reader=differential(by_reader),
        suspicion=index_of_suspicion(by_model),
        reader_suspicion=index_of_suspicion(by_reader),
        highest=max((value for value in indices if value is not None), default=None),
        read=sum(bool(row["newest_reading__label"]) for row in rows),
    )


def similar_cells(*, user: User, cell: Cell, limit: int = 12) -> list[dict[str, Any]]:
    """The reviewed cells of the laboratory that look most like a cell to the network, the nearest first.

    Only what the same model version saw can be compared, and what a reader gave a class says something. Of the cell's
    own image other analyses are left out: they show the cell itself. Three queries, and memory for `_A_BATCH` cells,
    whatever the archive holds.

    Keys: `cell`, `label` (a reader's), `reader`, `distance` (of the cosine, 0 to 2), `case`, `accession_number`,
    `image`, `position`, and for its tile `analysis`, `number`, `columns` and `tile_pixels`. Raises as
    `permissions.require`.
    """
    permissions.require(user, permissions.VIEW, cell)
    found = cell.cell_analysis
    if not cell.embedding or found.model_version_id is None:
        return []
    itself = Q(pk=cell.pk) | (Q(**{_IMAGE: found.analysis.image_id}) & ~Q(cell_analysis=found))
    told = veil.shown_to(user, f"{_IMAGE}__", f"{_IMAGE}__case__") if veil.reads_blind(user) else Q()
    reviewed = (
        Cell.objects.filter(
            told,
            newest_reading__label__gt="",
            cell_analysis__model_version=found.model_version_id,
            **{f"{_IMAGE}__case__laboratory": user.laboratory_id},
        )
        .exclude(itself)
        .order_by("-newest_reading_id")
        .values_list("pk", "embedding")[:MOST_COMPARED]
    )
    distances = nearest(cell.embedding, reviewed.iterator(chunk_size=_A_BATCH), limit)
    readers = _readers(user.laboratory_id)
    rows: list[dict[str, Any]] = []
    for values in Cell.objects.filter(pk__in=distances).values_list(*_SIMILAR.values()):
        row = dict(zip(_SIMILAR, values, strict=True))
        rows.append(
            {
                **row,
                "image": str(row["image"]),
                "reader": readers.get(row["reader"], ""),
                "distance": distances[row["cell"]],
            }
        )
    return sorted(rows, key=lambda row: (row["distance"], row["cell"]))
