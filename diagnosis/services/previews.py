"""Small pictures of a smear image, made by the worker: a thumbnail, and what the network saw."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from django.core.files.base import ContentFile
from PIL import Image

from diagnosis.models import SmearImage
from diagnosis.storage import content_name, smear_storage

if TYPE_CHECKING:
    from ml.imaging.preprocessing import Preprocessing

THUMBNAIL_SIZE = 256


def make(
    *, pixels: npt.NDArray[np.uint8], image: SmearImage, preprocessing: Preprocessing
) -> tuple[str, str]:
    """Store both pictures of (H, W, 3) RGB `pixels`; returns their storage names, the thumbnail first.

    Names follow from the content and the preprocessing version, so making them again replaces like by like.
    """
    storage = smear_storage()
    small = Image.fromarray(pixels)
    small.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BOX, reducing_gap=2.0)
    thumbnail = storage.save(
        content_name("thumbnails", image.stored_sha256, ".jpg"), _encoded(small, "JPEG", quality=85)
    )
    prepared = Image.fromarray(preprocessing.prepare(pixels))
    processed = storage.save(
        content_name("processed", image.stored_sha256, f"-{preprocessing.version}.png"),
        _encoded(prepared, "PNG", compress_level=3),
    )
    return thumbnail, processed


def _encoded(picture: Image.Image, kind: str, **options: int) -> ContentFile[bytes]:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return ContentFile(buffer.getvalue())
