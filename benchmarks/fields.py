"""Fields to measure with: drawn ones, and real ones where LEUKOSCOPE_DATA names the public data."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml.drawing import KINDS, draw_field
from ml.imaging.reading import read_image

RGB = npt.NDArray[np.uint8]


def drawn_fields(count: int, *, seed: int = 1) -> list[RGB]:
    """`count` drawn fields of 1024x768 pixels, of all kinds in turn."""
    return [draw_field(np.random.default_rng((seed, i)), kind=KINDS[i % len(KINDS)]) for i in range(count)]


def real_fields(count: int) -> list[RGB]:
    """The full-size fields and evenly chosen 224-pixel ones of the public data; empty without
    LEUKOSCOPE_DATA.
    """
    folder = Path(os.environ.get("LEUKOSCOPE_DATA") or "/nonexistent")
    paths = sorted((folder / "demo-fields").glob("*/*.jpg"))
    small = sorted((folder / "taleqani-all").glob("*/*.jpg"))
    wanted = max(count - len(paths), 0)
    if small and wanted:
        paths += [small[i] for i in np.linspace(0, len(small) - 1, wanted).astype(int)]
    return [read_image(path).pixels for path in paths[:count]]


def as_jpeg(pixels: RGB) -> bytes:
    """A JPEG file as a microscope's camera would write it."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
