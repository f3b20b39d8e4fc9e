"""What a comparison of models is made on: labelled pictures, decoded and measured once, and their folds.

Whole fields are corrected as our own network's are. Cells that were cut out onto black (C-NMC) have no scale bar,
no empty glass and no aspect to speak of: the middle of the picture is shown at one scale, and nothing else is done.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ml.cache import cache_dir
from ml.clocks import CLOCKS, Clock, ClockName
from ml.data.augmentation import Augmentation
from ml.data.folds import Folds, folds_for
from ml.data.manifest import Item, Manifest
from ml.evaluation.repaint import six_colour_numbers
from ml.evaluation.texture import DARKEST_SEEN, TEXTURE_VERSION, measure_texture
from ml.imaging.preprocessing import Preprocessing
from ml.imaging.reading import UnreadableImage, read_image
from ml.tasks import FIELD

Pixels = NDArray[np.uint8]
FloatArray = NDArray[np.float64]
Report = Callable[[float, str], None]
"""Told the share of a row's work that is done, 0..1, and how it stands in words."""
Track = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Draws progress over (things, how many, words) while handing the things on."""

MALIGNANT_LABELS: Final = frozenset({*FIELD.malignant, "all", "blast", "malignant", "leukemia"})
"""Labels that mean leukemia unless one is told otherwise; `all` is acute lymphoblastic leukemia."""

CELL_SHARE: Final = 0.72
"""Of the side of a C-NMC picture (450 pixels), the middle that is shown: 324 pixels hold 19 of 20 cells whole."""


class BenchmarkProblem(ValueError):
    """The comparison cannot be made; the text says what to mend."""


@dataclass(frozen=True)
class Request:
    """What to compare, and how long each row may take.

    Attributes:
        minutes: by the clock, for all folds of a row together, its building and tracing included.
        size: side in pixels of the pictures that networks and texture measurements see.
        pictures: whole fields, cells cut out onto black, or told by looking at some.
        weights: ImageNet weights of DenseNet-121 without top, or "imagenet" (Keras downloads them), or None.
        malignant: labels that mean leukemia; None for those known.
    """

    manifest: Manifest
    out: Path
    minutes: float = 20.0
    size: int = 128
    pictures: Literal["auto", "fields", "cells"] = "auto"
    weights: Path | str | None = None
    seed: int = 20
    malignant: tuple[str, ...] | None = None
    threads: int = 2
    clock: ClockName = "wall"


@dataclass(frozen=True)
class Bench:
    """The pictures and folds that every row is measured on.

    Attributes:
        images: (n, size, size, 3) uint8 corrected, one an item, in the manifest's order.
    """

    request: Request
    folds: Folds
    cells: bool
    images: Pixels
    classes: tuple[str, ...]
    malignant: tuple[str, ...]
    key: str = field(repr=False)

    @property
    def items(self) -> tuple[Item, ...]:
        return self.request.manifest.items

    @property
    def clock(self) -> Clock:
        return CLOCKS[self.request.clock]

    @property
    def preprocessing(self) -> Preprocessing:
        return preprocessing_for(self.request.size, cells=self.cells)

    @property
    def augmentation(self) -> Augmentation:
        """For cells turned any way and stained a little otherwise; for fields as our own network is trained."""
        if not self.cells:
            return Augmentation()
        return Augmentation(
            density_gain=0.1, stain_gain=0.05, stain_shift=0.01, hue=0.03, saturation=0.2, grey_probability=0.0,
            rotation=180.0, zoom=0.1, shift=0.05,
        )  # fmt: skip

    @cached_property
    def labels(self) -> tuple[str, ...]:
        return tuple(item.label for item in self.items)

    @property
    def labelled_sha256(self) -> str:
        """Of all images, labels and groups in the manifest's order."""
        rows = [f"{item.sha256} {item.label} {item.group}" for item in self.items]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    @cached_property
    def weights_sha256(self) -> str:
        """Of the file of ImageNet weights; the word itself where Keras fetches them, nothing where there are none."""
        weights = self.request.weights
        if weights is None or weights == "imagenet":
            return weights or ""
        with open(weights, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What rows must share to stand in one table."""
        return {
            "data": self.request.manifest.name,
            "labelled_sha256": self.labelled_sha256,
            "split": self.folds.name,
            "pictures": "cells" if self.cells else "fields",
            "size": self.request.size,
            "minutes": self.request.minutes,
            "clock": self.request.clock,
            "cores": os.cpu_count() or 1,
            "seed": self.request.seed,
            "classes": list(self.classes),
            "malignant": list(self.malignant),
        }


def preprocessing_for(size: int, *, cells: bool) -> Preprocessing:
    """Fields as everywhere; a cell on black has no scale bar, no empty glass to divide by and no noise to speak of."""
    if not cells:
        return Preprocessing(size=size)
    return Preprocessing(size=size, scale_bar=(0.0, 0.0), denoise_sigma=0.0, white=0, clahe_clip=0.0)


def open_bench(request: Request, *, track: Track = lambda things, total, words: things) -> Bench:
    """Check the data, make the split and decode every picture once (kept under the cache folder).

    Raises:
        BenchmarkProblem: labels that are unknown, minutes or size out of range, a folder that cannot be written.
        DataProblem: the data have too few labels or groups, or pictures that cannot be read.
    """
    if not (math.isfinite(request.minutes) and request.minutes > 0):
        raise BenchmarkProblem("A row needs a budget of more than no minutes, and an end to it.")
    if not 64 <= request.size <= 512:
        raise BenchmarkProblem(f"Pictures of 64 to 512 pixels can be compared, not of {request.size}.")
    manifest = request.manifest
    classes = FIELD.classes if set(manifest.labels) <= set(FIELD.classes) else manifest.labels
    malignant = (
        tuple(name for name in classes if name.casefold() in MALIGNANT_LABELS)
        if request.malignant is None
        else request.malignant
    )
    if set(malignant) - set(classes):
        unknown = ", ".join(sorted(set(malignant) - set(classes)))
        raise BenchmarkProblem(f"No image is labelled {unknown}; the labels are {', '.join(classes)}.")
    request.out.mkdir(parents=True, exist_ok=True)
    folds = folds_for(manifest, seed=request.seed)
    cells = request.pictures == "cells" or (request.pictures == "auto" and shows_cells(manifest))
    key = hashlib.sha256("".join(item.sha256 for item in manifest).encode()).hexdigest()
    images = _pictures(request, cells=cells, key=key, track=track)
    return Bench(request, folds, cells, images, tuple(classes), malignant, key)


def shows_cells(manifest: Manifest, *, looked_at: int = 24) -> bool:
    """Whether these are cells cut out onto black: most of some pictures are black in much and on their rim."""
    step = max(1, len(manifest) // looked_at)
    dark = []
    for item in manifest.items[::step]:
        black = _read(item).max(axis=2) <= DARKEST_SEEN
        rim = np.concatenate([black[0], black[-1], black[:, 0], black[:, -1]])
        dark.append(black.mean() > 0.4 and rim.mean() > 0.9)
    return bool(np.mean(dark) > 0.5)


def measured(bench: Bench, measure: str, report: Report) -> tuple[FloatArray, float]:
    """(n, d) measurements of all pictures and the seconds they took, kept under the cache folder for other rows."""
    cells = "cells" if bench.cells else "fields"
    version = TEXTURE_VERSION if measure == "texture" else 1
    facts = [bench.key[:20], cells, str(bench.request.size), measure, str(version), bench.request.clock]
    if measure == "densenet":
        facts.append(bench.weights_sha256[:20])
    place = _cache() / f"{'-'.join(facts)}.npz"
    if place.exists():
        with np.load(place) as kept:
            return np.asarray(kept["vectors"]), float(kept["seconds"])
    began = bench.clock()
    if measure == "densenet":
        from ml.rivals import pooled_features

        assert bench.request.weights is not None, "run_row asks for the weights first"
        vectors = pooled_features(
            np.asarray(bench.images), weights=bench.request.weights, preprocessing=bench.preprocessing
        )
    else:
        one: Callable[[Any], FloatArray] = measure_texture
        if measure == "six":
            one = partial(_six_colours, cells=bench.cells)
        rows: list[FloatArray] = []
        with ThreadPoolExecutor(bench.request.threads) as pool:
            for vector in pool.map(one, bench.items if measure == "six" else bench.images):
                rows.append(vector)
                report(len(rows) / len(bench.items), f"measuring picture {len(rows)} of {len(bench.items)}")
        vectors = np.stack(rows)
    seconds = bench.clock() - began
    write_whole(place, partial(np.savez, vectors=vectors, seconds=seconds))
    return vectors, seconds


def _six_colours(item: Item, *, cells: bool) -> FloatArray:
    """The six colour numbers of a field, or of the pixels of a cell alone, without its black surroundings."""
    pixels = _read(item)
    if not cells:
        return six_colour_numbers(pixels)
    seen = pixels[pixels.max(axis=2) > DARKEST_SEEN]
    return six_colour_numbers(seen.reshape(-1, 1, 3)) if len(seen) else np.zeros(6)


def _pictures(request: Request, *, cells: bool, key: str, track: Track) -> Pixels:
    """(n, size, size, 3) uint8, decoded and corrected once and kept under the cache folder."""
    preprocessing = preprocessing_for(request.size, cells=cells)
    facts = json.dumps([key, preprocessing.as_dict(), CELL_SHARE if cells else 1.0], sort_keys=True)
    place = _cache() / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.npy"
    if not place.exists():

        def one(item: Item) -> Pixels:
            pixels = _read(item)
            return preprocessing.correct(middle(pixels, CELL_SHARE) if cells else pixels)

        with ThreadPoolExecutor(request.threads) as pool:
            found = pool.map(one, request.manifest.items)
            images = np.stack(list(track(found, len(request.manifest), "decoding")))
        write_whole(place, partial(_save, images=images))
    kept: Pixels = np.load(place, mmap_mode="r")
    return kept


def middle(pixels: Pixels, share: float) -> Pixels:
    """The middle of a picture, (H, W, 3) uint8, `share` (0..1] of each side: scale is kept, so size still tells."""
    height, width = pixels.shape[:2]
    top, left = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    return np.ascontiguousarray(pixels[top : height - top, left : width - left])


def _read(item: Item) -> Pixels:
    try:
        return read_image(item.path).pixels
    except UnreadableImage as error:
        raise BenchmarkProblem(f"{item.name} cannot be read: {error}") from error


def _cache() -> Path:
    return cache_dir() / "benchmark"


def _save(handle: Any, *, images: Pixels) -> None:
    np.save(handle, images)


def write_whole(place: Path, write: Callable[[Any], None]) -> None:
    """Let `write` fill a file that appears whole or not at all.

    Raises:
        BenchmarkProblem: the folder cannot be written, or its disk is full.
    """
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as handle:
            write(handle)
        os.replace(part, place)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BenchmarkProblem(
            f"{place.parent} could not be written: {error.strerror}. Finished rows are kept."
        ) from error
