"""The small pictures of a report: every smear image, and beside it the regions that influenced its score."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from django.db.models.fields.files import FieldFile
from PIL import Image
from threadpoolctl import threadpool_limits

from diagnosis.models import Analysis, SmearImage
from diagnosis.services.report_schema import ImagePart
from ml.saliency import overlay_png

LONGER_SIDE: Final = 480
"""Pixels: 42 mm on paper at nearly 300 a inch."""

MOST_SLOW_PIXELS: Final = 24_000_000
"""What may be decoded of files other than JPEG, which a decoder can't read at a fraction of their size: about a second.
A case with more shows the worker's thumbnails of those."""

QUALITY: Final = 82
AT_ONCE: Final = 2


@dataclass(frozen=True)
class Pictures:
    """JPEG files of one image: as it is, and with its overlay (None without a map)."""

    plain: bytes
    overlay: bytes | None


@dataclass(frozen=True)
class _Source:
    file: FieldFile
    saliency: Sequence[Sequence[float]] | None


def pictures_of(*, case_id: int, images: Sequence[ImagePart]) -> dict[str, Pictures]:
    """Image id -> its pictures, as the analyses that the report tells of saw them; two queries.

    An image whose file is gone or can't be read has none.
    """
    rows = {
        str(row.pk): row
        for row in SmearImage.objects.filter(case_id=case_id, pk__in=[one["id"] for one in images])
    }
    maps = _maps(case_id, images)
    slow = sum(row.width * row.height for row in rows.values() if row.stored_format != "JPEG")
    sources = {}
    for key, row in rows.items():
        is_quick = row.stored_format == "JPEG" or slow <= MOST_SLOW_PIXELS
        sources[key] = _Source(row.file if is_quick or not row.thumbnail else row.thumbnail, maps.get(key))
    # Of maps this small, BLAS's threads make a fifty times longer wait for each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(AT_ONCE) as pool:
        made = dict(zip(sources, pool.map(_pictures, sources.values()), strict=True))
    return {key: one for key, one in made.items() if one is not None}


def _maps(case_id: int, images: Sequence[ImagePart]) -> dict[str, Any]:
    """Image id -> the saliency map that the report shows of it."""
    wanted = {one["outcome"]["analysis"]: one for one in images if one["saliency"]}
    found: Mapping[Any, dict[str, Any]] = dict(
        Analysis.objects.filter(image__case_id=case_id, pk__in=wanted).values_list("pk", "maps")
    )
    return {
        wanted[str(key)]["id"]: maps[wanted[str(key)]["saliency"]]
        for key, maps in found.items()
        if wanted[str(key)]["saliency"] in maps
    }


def _pictures(source: _Source) -> Pictures | None:
    try:
        with _opened(source.file) as file, Image.open(file) as picture:
            # A JPEG is decoded at an eighth, a quarter or half of its size where that is enough.
            picture.draft("RGB", (LONGER_SIDE, LONGER_SIDE))
            small = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError):  # Pillow's of a broken file
        return None
    small.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    overlay = None if source.saliency is None else _jpeg(_overlaid(small, source.saliency))
    return Pictures(_jpeg(small), overlay)


def _opened(file: FieldFile) -> BinaryIO:
    return cast(BinaryIO, file.storage.open(str(file.name), "rb"))


def _overlaid(picture: Image.Image, saliency: Sequence[Sequence[float]]) -> Image.Image:
    """The picture under its map, as the pages lay it over."""
    with Image.open(io.BytesIO(overlay_png(saliency, picture.size))) as overlay:
        shown = overlay.convert("RGBA")
    under = picture.copy()
    under.paste(shown, mask=shown)
    return under


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
