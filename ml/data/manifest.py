"""Labelled images as a manifest: a folder with `index.csv`, a CSV file, or one folder a class."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

GROUP_COLUMNS = ("patient", "subject", "block", "case", "group")
"""Columns that say which images belong together, the strongest first."""

MICROMETRES = "micrometres_per_pixel"
"""Column of a single-cell picture: how much of the slide a pixel of it shows."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})


class DataProblem(ValueError):
    """Data that cannot be learnt from or judged on as they are; the text is one sentence that says what to mend."""


class ManifestError(DataProblem):
    """The data cannot be read as a manifest."""


@dataclass(frozen=True)
class Item:
    """One labelled image. `group` holds together what must not be split (block, patient, ...)."""

    path: Path
    name: str
    label: str
    group: str
    columns: dict[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def sha256(self) -> str:
        """Of the file's bytes, in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Manifest:
    """A named, ordered set of labelled images."""

    name: str
    items: tuple[Item, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels, sorted."""
        return tuple(sorted({item.label for item in self.items}))

    @property
    def counts(self) -> dict[str, int]:
        """Images a label."""
        return dict(sorted(Counter(item.label for item in self.items).items()))

    def subset(self, items: Iterable[Item]) -> Manifest:
        return Manifest(self.name, tuple(items))


def load_manifest(source: Path | str) -> Manifest:
    """Read a folder with `index.csv`, a CSV manifest, or a folder of class-named folders.

    Raises:
        ManifestError: no such place, no `path` or `label` column, a file that is not there, or no image at all.
    """
    place = Path(source)
    if place.is_dir() and (place / "index.csv").is_file():
        return _from_csv(place / "index.csv", place.name)
    if place.is_dir():
        return _from_folders(place)
    if place.is_file():
        return _from_csv(place, place.parent.name if place.name == "index.csv" else place.stem)
    raise ManifestError(f"There is no folder or manifest at {place}.")


def _from_csv(path: Path, name: str) -> Manifest:
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path} is not a CSV file in UTF-8.") from error
    if not rows:
        raise ManifestError(f"{path} lists no image.")
    missing = {"path", "label"} - set(rows[0])
    if missing:
        raise ManifestError(f"{path} has no column named {' and '.join(sorted(missing))}.")
    grouping = next((column for column in GROUP_COLUMNS if column in rows[0]), None)
    items = []
    for number, row in enumerate(rows, start=2):
        if not row["path"] or not row["label"]:
            raise ManifestError(f"{path}, line {number}: path and label must both be given.")
        file = path.parent / row["path"]
        if not file.is_file():
            raise ManifestError(f"{path}, line {number}: there is no file {row['path']}.")
        group = (row[grouping] or row["path"]) if grouping else row["path"]
        items.append(Item(file, row["path"], row["label"], group, dict(row)))
    return Manifest(name, tuple(items))


def _from_folders(root: Path) -> Manifest:
    items = [
        Item(file, name := _printable(file.relative_to(root).as_posix()), _printable(folder.name), name)
        for folder in sorted(root.iterdir())
        if folder.is_dir()
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not items:
        raise ManifestError(f"{root} has neither index.csv nor class-named folders with images.")
    return Manifest(root.name, tuple(items))


def _printable(name: str) -> str:
    """A file's name as it can be written in UTF-8: bytes that are none (of an old archive, say) become \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
