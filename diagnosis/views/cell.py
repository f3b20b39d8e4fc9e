"""One cell: its panel in the gallery, and where the boxes of an image lie for the viewer."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from diagnosis import cell_selectors, permissions, veil, wording
from diagnosis.models import Cell
from diagnosis.views.access import from_script, signed_in
from diagnosis.views.cell_words import short_word
from diagnosis.views.images import saliency_url, sprite_url
from ml.cells.counting import BLASTS

KIND_WORDS = {
    "leukocyte": "leukocyte",
    "smudge": "smudge cell",
    "platelet": "platelet",
    "precipitate": "stain or debris",
    "clump": "clump of cells that could not be told apart",
}
SIMILAR = 8
"""Reviewed cells that the panel shows beside a cell."""

LEAST_SHOWN = 0.005
"""Probabilities below this are not listed one by one."""


@require_safe
@signed_in
def cell(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The panel of one cell for our script; anybody else is led to its place in the gallery."""
    found = permissions.get_cell_for(request.user, pk)
    image = found.cell_analysis.analysis.image
    veil.require_image(request.user, image)
    if not from_script(request):
        return HttpResponseRedirect(f"{reverse('diagnosis:cells', args=[image.case_id])}?cell={found.pk}")
    standing = found.newest_reading.label if found.newest_reading else ""
    context = {
        "cell": found,
        "image": image,
        "kind": KIND_WORDS.get(found.kind, found.kind),
        "reader_label": standing,
        "label": standing or found.label,
        "is_blast": (standing or found.label) in BLASTS,
        "nc_ratio": cell_selectors.nc_ratio(area=found.area_um2, nucleus=found.nucleus_um2),
        "probabilities": _probabilities(found),
        "readings": list(found.readings.select_related("reader")),
        "saliency": saliency_url(found) if found.saliency else "",
        "similar": _similar(request.user, found),
        "field": f"{reverse('diagnosis:case', args=[image.case_id])}?image={image.pk}&cell={found.pk}",
    }
    return render(request, "diagnosis/_cell.html", context)


def _similar(user: Any, found: Cell) -> list[dict[str, Any]]:
    """The reviewed cells of the archive that look most like it, with the address of each one's tile and place."""
    return [
        {
            **row,
            "short": short_word(row["label"]),
            "is_blast": row["label"] in BLASTS,
            "sprite": sprite_url(UUID(row["image"]), row["analysis"]) if row["columns"] else "",
            "href": reverse("diagnosis:cell", args=[row["cell"]]),
        }
        for row in cell_selectors.similar_cells(user=user, cell=found, limit=SIMILAR)
    ]


def _probabilities(found: Cell) -> list[dict[str, Any]]:
    """The model's classes, the likeliest first, without those that round to nothing."""
    ranked = sorted(found.probabilities.items(), key=lambda pair: -pair[1])
    return [
        {"word": wording.class_word(name), "value": value, "share": 100 * value, "is_top": n == 0}
        for n, (name, value) in enumerate(ranked)
        if value >= LEAST_SHOWN or n == 0
    ]


@require_safe
@signed_in
def image_cells(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Where the cells of an image lie and what they are, for the boxes over it; by its newest analysis."""
    image = permissions.get_image_for(request.user, pk)
    veil.require_image(request.user, image)
    found = Cell.objects.filter(cell_analysis__analysis=image.newest_analysis_id).order_by("number")
    rows = found.values_list(
        "pk", "x", "y", "width", "height", "kind", "touches_border", "label", "newest_reading__label"
    )
    return JsonResponse({"cells": [_box(*row) for row in rows]})


def _box(
    pk: int, x: int, y: int, width: int, height: int, kind: str, border: bool, label: str, read: str | None
) -> dict[str, Any]:
    standing = read or label
    none = "no class" if kind == "leukocyte" else KIND_WORDS.get(kind, kind)
    return {
        "id": pk,
        "box": [x, y, width, height],
        "word": short_word(standing) if standing else none,
        "blast": standing in BLASTS,
        "border": border,
    }
