"""Single tiles cut from the sheets of cells, small enough to travel within a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

from diagnosis.storage import smear_storage

QUALITY: Final = 85
MOST_PIXELS: Final = 5_000_000
"""Of the sheets that are opened for one page: some 25 ms of work."""


@dataclass(frozen=True)
class Place:
    """Where a tile lies: the storage name of a sheet of `columns` tiles a row, each `side` pixels wide and high, and
    the tile's number, from 0, in reading order.
    """

    sheet: str
    columns: int
    side: int
    number: int


def as_data_urls(places: Sequence[Place], *, most_pixels: int = MOST_PIXELS) -> list[str]:
    """The tiles at `places` as JPEG in `data:` addresses, in their order; each sheet is opened once.

    An address is empty where the sheet is lost or broken or does not hold the tile, and where opening it after the
    others would exceed `most_pixels`.
    """
    cut: dict[Place, str] = {}
    opened = 0
    for sheet in dict.fromkeys(place.sheet for place in places):
        try:
            with Image.open(smear_storage().path(sheet)) as picture:
                opened += picture.width * picture.height
                if opened > most_pixels:
                    break
                for place in places:
                    if place.sheet == sheet:
                        cut[place] = _cut(picture, place)
        except (OSError, Image.DecompressionBombError):
            continue  # the gallery's script says that it is lost
    return [cut.get(place, "") for place in places]


def _cut(picture: Image.Image, place: Place) -> str:
    row, column = divmod(place.number, place.columns)
    left, top = column * place.side, row * place.side
    if left + place.side > picture.width or top + place.side > picture.height:
        return ""
    buffer = io.BytesIO()
    picture.crop((left, top, left + place.side, top + place.side)).save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
