"""The tiles that a gallery begins with, drawn by its page before any script has come.

They are those that `celldata.js` puts first when nothing is filtered: the counted leukocytes, the most suspicious
ahead. The script takes them over, pictures and all.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest

from diagnosis.services import tile_pictures
from diagnosis.services.tile_pictures import Place
from diagnosis.views.cell_words import CLASSES, CellClass

FIRST_TILES: Final = 12
"""Two rows of them on a desktop, four on a telephone."""

SIZE_COOKIE: Final = "tile_size"
SIZES: Final = (56, 192)
"""Pixels of a tile's side, the smallest and the largest that a reader may choose."""

_COUNTED: Final[Mapping[str, CellClass]] = {one.name: one for one in CLASSES if one.counts}


@dataclass(frozen=True)
class FirstTile:
    """A counted leukocyte, by its key: the class that stands, whether a reader gave it, and its picture's address."""

    cell: int
    cell_class: CellClass
    read: bool
    picture: str


@dataclass(frozen=True)
class FirstTiles:
    """What the gallery begins with: `tiles` of the `counted` leukocytes."""

    tiles: Sequence[FirstTile]
    counted: int


def tile_size(request: HttpRequest) -> int | None:
    """The side of a tile that the reader last chose, in pixels; None where she never did."""
    said = request.COOKIES.get(SIZE_COOKIE, "")
    least, most = SIZES
    known = said.isascii() and said.isdecimal() and len(said) <= 3 and least <= int(said) <= most
    return int(said) if known else None


def first_tiles(rows: Sequence[Mapping[str, Any]], sheets: Sequence[Mapping[str, Any]]) -> FirstTiles:
    """The first tiles of `rows`, cells as `cell_selectors.gallery_rows` gives them with `place`, the number of its
    sheet in `sheets`, which are as `cell_selectors.gallery_sheets` gives them.

    They end before the first whose picture is not to be had: after a gap they would stand in others' places.
    """
    counted = [row for row in rows if _standing(row) in _COUNTED and not row["touches_border"]]
    first = heapq.nsmallest(FIRST_TILES, counted, key=_rank)
    pictures = tile_pictures.as_data_urls([_place(row, sheets[row["place"]]) for row in first])
    if "" in pictures:
        del first[pictures.index("") :]
    tiles = [
        FirstTile(row["id"], _COUNTED[_standing(row)], bool(row["reader_label"]), picture)
        for row, picture in zip(first, pictures, strict=False)
    ]
    return FirstTiles(tiles=tiles, counted=len(counted))


def _standing(row: Mapping[str, Any]) -> str:
    return str(row["reader_label"] or row["label"])


def _rank(row: Mapping[str, Any]) -> tuple[float, int, int]:
    blast = row["blast_probability"]
    return -(-1.0 if blast is None else round(blast, 4)), row["place"], row["number"]


def _place(row: Mapping[str, Any], sheet: Mapping[str, Any]) -> Place:
    return Place(sheet["sprite"], sheet["columns"], sheet["tile_pixels"], row["number"])
