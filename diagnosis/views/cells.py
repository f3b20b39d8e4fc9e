"""The gallery of a case's leukocytes: its page, its rows for the script, and readers' classes given and undone."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from diagnosis import cell_selectors, permissions, veil
from diagnosis.models import Case, CellReading, SmearImage
from diagnosis.services import cell_readings
from diagnosis.services.cell_readings import ReadingRefused
from diagnosis.services.signed import CLOSED, is_open_for_reading
from diagnosis.views.access import from_script, refused, signed_in
from diagnosis.views.cell_counts import Counts, counts_of
from diagnosis.views.cell_words import CLASSES, TAKE_BACK_KEY
from diagnosis.views.first_tiles import SIZE_COOKIE, SIZES, first_tiles, tile_size
from diagnosis.views.images import sprite_url

FIELDS = (
    "id", "image", "number", "box", "kind", "border", "confidence", "area", "label", "top", "read", "reader",
    "blast", "inside",
)  # fmt: skip
"""What a row of the gallery holds, in this order: names are sent once and not two thousand times."""

UNREADABLE = "This request could not be understood: reload the page."


def _images_of(case: Case) -> list[SmearImage]:
    """What the counts and the filter ask of the case's images, and nothing else."""
    return list(
        SmearImage.objects.filter(case=case)
        .select_related("newest_analysis")
        .only("position", "newest_analysis__state")
        .order_by("position")
    )


def differential_html(request: HttpRequest, counts: Counts) -> str:
    """The table of both counts, as the page has it and as a script puts it in its place."""
    may_read = permissions.can(request.user, permissions.REVIEW)
    return render_to_string(
        "diagnosis/_differential.html", {"counts": counts, "may_read": may_read}, request=request
    )


@require_safe
@signed_in
def cells(request: HttpRequest, pk: int) -> HttpResponse:
    """The gallery, with all its cells for the script: two thousand in some 240 KB, which a request of their own would
    bring later. Without a script it is the table of counts with the first tiles.
    """
    case = permissions.get_case_for(request.user, pk)
    veil.require_case(request.user, case)
    images = _images_of(case)
    found = cell_selectors.gallery_cells(case=case)
    counts = counts_of(case, images, found)
    may_read, is_open = permissions.can(request.user, permissions.REVIEW), is_open_for_reading(case)
    context = {
        "section": "worklist",
        "case": case,
        "images": images,
        "counts": counts,
        "may_read": may_read and is_open,
        "closed": CLOSED if may_read and not is_open else "",
        "classes": CLASSES,
        "take_back_key": TAKE_BACK_KEY,
        "size_cookie": SIZE_COOKIE,
        "sizes": SIZES,
        "tile_size": tile_size(request),
    }
    if counts.has_cells:
        rows = cell_selectors.gallery_rows(case=case, cells=found)
        places = {sheet["id"]: n for n, sheet in enumerate(counts.sheets)}
        # An analysis that ended between the two queries is there at the next look.
        rows = [{**row, "place": places[row["analysis"]]} for row in rows if row["analysis"] in places]
        context["gallery"] = {
            "classes": [one.__dict__ for one in CLASSES],
            "images": [_place(case, sheet) for sheet in counts.sheets],
            "fields": FIELDS,
            "cells": [_row(row) for row in rows],
        }
        # Another order or a filter begins with others, of which only the script knows.
        context["first"] = None if request.GET else first_tiles(rows, counts.sheets)
    return render(request, "diagnosis/cells.html", context)


def _place(case: Case, sheet: dict[str, Any]) -> dict[str, Any]:
    image = UUID(sheet["image"])
    return {
        "id": sheet["image"],
        "position": sheet["position"],
        "sprite": sprite_url(image, sheet["id"]) if sheet["columns"] else "",
        "columns": sheet["columns"],
        "tileUm": sheet["tile_um"],
        "url": f"{reverse('diagnosis:case', args=[case.pk])}?image={image}",
    }


def _row(row: dict[str, Any]) -> list[Any]:
    blast = row["blast_probability"]
    return [
        row["id"], row["place"], row["number"], row["box"], row["kind"], row["touches_border"], row["confidence"],
        row["area_um2"], row["label"], row["top_label"], row["reader_label"], row["reader"],
        None if blast is None else round(blast, 4), row["inside_domain"],
    ]  # fmt: skip


@require_POST
@signed_in
def cells_read(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Give cells of the case a class (`cells`, keys with commas between; `label`, empty to take it back)."""
    case = permissions.get_case_for(request.user, pk, permissions.REVIEW)
    veil.require_case(request.user, case)
    try:
        keys = [int(key) for key in request.POST.get("cells", "").split(",") if key]
    except ValueError:
        return refused(UNREADABLE, status=400)
    try:
        _of_this_case(case, keys)
        batch = cell_readings.re_class(user=request.user, cells=keys, label=request.POST.get("label", ""))
    except ReadingRefused as refusal:
        return refused(str(refusal))
    return _answer(request, case, batch)


def _of_this_case(case: Case, keys: list[int]) -> None:
    """The answer tells of this case: cells of another one are a page's mistake."""
    known = set(cell_selectors.newest_cells(case=case).values_list("pk", flat=True)) if keys else set()
    if not known.issuperset(keys):
        raise ReadingRefused(cell_readings.OUTDATED)


@require_POST
@signed_in
def cells_undo(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Take the classes of one action back (`batch`)."""
    case = permissions.get_case_for(request.user, pk, permissions.REVIEW)
    veil.require_case(request.user, case)
    try:
        batch = UUID(request.POST.get("batch", ""))
    except ValueError:
        return refused(UNREADABLE, status=400)
    try:
        return _answer(request, case, cell_readings.undo(user=request.user, batch=batch))
    except ReadingRefused as refusal:
        return refused(str(refusal))


def _answer(request: HttpRequest, case: Case, batch: UUID) -> HttpResponseBase:
    """What the script shows from now on: the cells of the batch as they stand, and both counts."""
    if not from_script(request):
        return HttpResponseRedirect(reverse("diagnosis:cells", args=[case.pk]))
    readings = CellReading.objects.filter(batch=batch).order_by()
    name = request.user.display_name  # type: ignore[union-attr]  # signed in
    counts = counts_of(case, _images_of(case))
    return JsonResponse(
        {
            "batch": str(batch),
            "cells": [
                [cell, label, name if label else ""]
                for cell, label in readings.values_list("cell_id", "label")
            ],
            "differential": differential_html(request, counts),
        }
    )
