"""A labelled data set of drawn fields in a folder, as an administrator has one: index.csv with blocks."""

from __future__ import annotations

import csv
from pathlib import Path

from ml.drawing import DRAWN_CLASSES
from ml.tasks import FIELD
from tests.drawn_bundle import draw_manifest

FIELDS_A_BLOCK = 5
LABELS = dict(zip(DRAWN_CLASSES, FIELD.classes, strict=True))
"""A drawn class plays each class of the task."""


def draw_data_set(folder: Path, *, fields: int = 25) -> Path:
    """`fields` drawn fields of each class in blocks of five: enough for the standing split; returns the folder."""
    manifest = draw_manifest(folder, fields=fields)
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["path", "label", "block"])
        for item in manifest:
            number = int(item.path.stem)
            writer.writerow([item.name, LABELS[item.label], f"{item.label}-{number // FIELDS_A_BLOCK}"])
    return folder
