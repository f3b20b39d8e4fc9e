"""Labelled data as a task means them: a public set of single cells by its name, anything else as it is written.

The public sets have labels of their own ("hem", "ig"), no column of their scale, and patients whose names another
set bears too. Whoever trains a network of cells or judges one with these sets need not know any of that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ml.data.cells import SOURCES, meant
from ml.data.manifest import DataProblem, Manifest, load_manifest
from ml.tasks import CELL

JOINED: Final = " + "
"""Between the names of data that a bundle was made from."""


def load_labelled(place: Path | str, *, task: str) -> Manifest:
    """Read labelled images for a task, as `ml.data.manifest.load_manifest` does; a folder that bears the name of a
    public set of cells gets that set's meaning of its labels, its scale and its patients.

    Raises:
        DataProblem: it cannot be read, or a public set has a label that means no class.
    """
    manifest = load_manifest(place)
    source = SOURCES.get(manifest.name) if task == CELL.name else None
    if source is None:
        return manifest
    items, _, dropped = meant(manifest, source)
    if not items:
        raise DataProblem(f"{manifest.name} has no image with a class: {', '.join(dropped)} are left out.")
    return manifest.subset(items)
