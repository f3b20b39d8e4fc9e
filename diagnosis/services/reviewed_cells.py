"""Reviewed cells as labelled data: single-cell pictures cut out of the stored images, for the next training.

A picture is a natural crop at the image's own pixels, so that a training finds, cuts out and normalises the cell as it
does with an analyser's picture, whatever the preprocessing of the day.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from diagnosis.models import Cell, Laboratory, Site, SmearImage
from ml.cache import cache_dir
from ml.data.manifest import MICROMETRES, DataProblem, Item
from ml.imaging.reading import UnreadableImage, read_image
from ml.saving import saved_whole
from ml.tasks import CELL

Pixels = NDArray[np.uint8]

SIDE_UM: Final = 37.0
"""Of a picture: as wide as an analyser's single-cell picture, so that there are red cells and glass around the cell."""

FOLDER: Final = "reviewed-cells"
"""In the cache folder; what is removed there is cut out again."""

_OF_IMAGE = "cell_analysis__analysis__image"


@dataclass(frozen=True)
class _Reviewed:
    """What is needed of a cell with a standing class; `box` is x, y, width, height in pixels of the stored image."""

    image: Any
    number: int
    box: tuple[int, int, int, int]
    um_per_pixel: float
    label: str
    read_at: datetime.datetime

    @property
    def centre(self) -> tuple[float, float]:
        x, y, width, height = self.box
        return x + width / 2, y + height / 2

    def holds(self, point: tuple[float, float]) -> bool:
        x, y, width, height = self.box
        return x <= point[0] < x + width and y <= point[1] < y + height


def cell_items(
    *,
    laboratory: Laboratory | None,
    site: Site | None,
    source: str,
    group_of: Mapping[tuple[int, str], int],
) -> list[Item]:
    """Pictures of the cells that a reader gave a class, labelled with it, in the order of their cases.

    Left out are cells that touch the border, those of drawn samples, and classes that were taken back. An image may
    have been analysed again: of two analyses that found the same cell, the newer one's class counts.

    Args:
        source: what the items' names and their column `source` begin with.
        group_of: (laboratory, patient code) -> number of the patient's group.

    Raises:
        DataProblem: a stored image cannot be read.
    """
    found = []
    for image_key, cells in groupby(_standing(laboratory, site), key=lambda one: one.image):
        image = SmearImage.objects.select_related("case", "site").get(pk=image_key)
        some = list(cells)
        for one, path in zip(some, _pictures(image, some), strict=True):
            found.append(
                Item(
                    path=path,
                    name=f"{source}/case-{image.case_id}/{image.pk}-{one.number}",
                    label=one.label,
                    group=f"case-{group_of[image.case.laboratory_id, image.case.patient_code]}",
                    columns={
                        "site": image.site.name if image.site else "",
                        "source": source,
                        MICROMETRES: repr(one.um_per_pixel),
                    },
                )
            )
    return found


def count_since(*, laboratory: Laboratory | None, since: datetime.datetime | None) -> int:
    """How many cells `cell_items` gives that were last read after `since` (None: ever)."""
    return sum(since is None or one.read_at > since for one in _standing(laboratory, None))


def _standing(laboratory: Laboratory | None, site: Site | None) -> Iterator[_Reviewed]:
    """The reviewed cells, by case and image, in the order of their numbers."""
    cells = Cell.objects.filter(
        newest_reading__label__in=CELL.classes,
        touches_border=False,
        cell_analysis__um_per_pixel__gt=0,
        **{f"{_OF_IMAGE}__is_drawn": False},
    )
    if laboratory is not None:
        cells = cells.filter(**{f"{_OF_IMAGE}__case__laboratory": laboratory})
    if site is not None:
        cells = cells.filter(**{f"{_OF_IMAGE}__site": site})
    # The newest analysis first, so that its reading of a cell is the one that counts.
    rows = cells.order_by(
        f"{_OF_IMAGE}__case", f"{_OF_IMAGE}__position", "-cell_analysis_id", "number"
    ).values_list(
        f"{_OF_IMAGE}_id", "number", "x", "y", "width", "height", "cell_analysis__um_per_pixel",
        "newest_reading__label", "newest_reading__created_at", "cell_analysis_id",
    )  # fmt: skip
    for _, of_image in groupby(rows.iterator(), key=lambda row: row[0]):
        taken: list[_Reviewed] = []
        for _, of_analysis in groupby(of_image, key=lambda row: row[-1]):
            some = [_Reviewed(r[0], r[1], (r[2], r[3], r[4], r[5]), *r[6:9]) for r in of_analysis]
            taken += [one for one in some if not any(newer.holds(one.centre) for newer in taken)]
        yield from taken


def _pictures(image: SmearImage, cells: list[_Reviewed]) -> Iterator[Path]:
    """The files of an image's cells, cut out where they are not there yet."""
    pixels: Pixels | None = None
    for one in cells:
        path = _place(image, one)
        if not path.is_file():
            if pixels is None:
                try:
                    pixels = read_image(Path(image.file.path)).pixels
                except (UnreadableImage, OSError) as error:
                    raise DataProblem(
                        f"The stored image of {len(cells)} reviewed cells can't be read (case {image.case_id}, image "
                        f"{image.position + 1}): {str(error).rstrip('.')}."
                    ) from error
            _write(path, around(pixels, one.box, one.um_per_pixel))
        yield path


def _place(image: SmearImage, one: _Reviewed) -> Path:
    """By the image's bytes and the place in it, which decide what is to be seen."""
    sha256 = image.stored_sha256
    name = "-".join(str(number) for number in (*one.box, round(SIDE_UM / one.um_per_pixel)))
    return cache_dir() / FOLDER / sha256[:2] / f"{sha256}-{name}.png"


def around(pixels: Pixels, box: tuple[int, int, int, int], um_per_pixel: float) -> Pixels:
    """What lies around the middle of a box, `SIDE_UM` wide.

    What the picture's edge cuts off on one side is left away on the other too: a single-cell picture has its cell in
    the middle, and nothing is painted that no microscope saw.
    """
    height, width = pixels.shape[:2]
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    half = SIDE_UM / um_per_pixel / 2
    across, down = min(half, x, width - x), min(half, y, height - y)
    rows = slice(max(0, round(y - down)), round(y + down))
    columns = slice(max(0, round(x - across)), round(x + across))
    return np.ascontiguousarray(pixels[rows, columns])


def _write(path: Path, pixels: Pixels) -> None:
    """Lossless, whole or not at all. Raises TrainingProblem where there is no room."""
    written, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    assert written
    path.parent.mkdir(parents=True, exist_ok=True)
    with saved_whole(path) as part:
        Path(os.fspath(part)).write_bytes(data.tobytes())
