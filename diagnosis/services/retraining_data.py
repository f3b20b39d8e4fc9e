"""What a training learns from and starts from: checked, split once, and kept in its work folder.

`prepare` does everything that can refuse a training, before any of its hours is spent. What it decided (the images
with their hashes, the split) is written down, so that `--resume` and the workers of a shared search use the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnosis.models import Laboratory, Site
from diagnosis.services.retraining_request import RetrainProblem, RetrainRequest
from diagnosis.services.retraining_start import (
    Start,
    already_split,
    preprocessing_of,
    start_of,
)
from ml.bundle import preparation_from
from ml.cache import cache_dir
from ml.data.gathering import Gathered, describe, gather, split_for
from ml.data.labelled import load_labelled
from ml.data.manifest import Item, Manifest
from ml.data.splits import Split
from ml.pictures import Preparation
from ml.tasks import CELL, Task, UnknownTask, task_named

if TYPE_CHECKING:
    from ml.batches import Examples

IMAGES = "images.json"
PARTS = ("train", "validation", "test", "left_out")
SITE_IMAGES = 200
"""Up to so many images of a site adapt a version, which deals them itself; more are a training of their own."""

SMALLEST_DISK = 1_500_000_000
"""Bytes that checkpoints, cached features and a bundle of a DenseNet-121 take, beside the images."""

Progress = Callable[[int, int], None]
"""Told how many images of how many were read."""


@dataclass(frozen=True)
class Prepared:
    """Checked images, their split, and where the network starts."""

    task: Task
    gathered: Gathered
    split: Split
    start: Start
    preprocessing: Preparation
    laboratory: Laboratory | None
    site: Site | None

    @property
    def manifest(self) -> Manifest:
        return self.gathered.manifest

    @property
    def adapts(self) -> bool:
        """Whether there are too few images to train on, but a site to adapt to."""
        return not self.split.validation

    def items(self, part: str) -> list[Item]:
        return [self.manifest.items[i] for i in getattr(self.split, part)]

    def examples(self, part: str, *, progress: Progress = lambda done, total: None) -> Examples:
        """A part's images, decoded and corrected, from a cache that all trainings share. Imports TensorFlow."""
        from ml.batches import Examples
        from ml.data.preparing import cached_corrected

        images = cached_corrected(
            self.items(part), self.preprocessing, cache=cache_dir() / "images", progress=progress
        )
        return Examples(images, membership=self.gathered.membership[list(getattr(self.split, part))])

    def describe(self) -> dict[str, Any]:
        """Counts, groups, duplicates, leaks and notes as JSON; no paths."""
        return describe(self.gathered, self.split)


def prepare(request: RetrainRequest, *, progress: Progress) -> Prepared:
    """Check everything a training needs.

    Raises:
        RetrainProblem, DataProblem, ManifestError: with one sentence.
    """
    task = known_task(request.task)
    laboratory, site = place_of(request)
    start = start_of(request, task, laboratory)
    preprocessing = preprocessing_of(request, start)
    sources = [load_labelled(place, task=task.name) for place in request.data]
    if request.reviewed:
        sources.append(_reviewed(task, laboratory, site))
    if not sources:
        raise RetrainProblem("Name images to learn from: --data FOLDER, or --reviewed.")
    total = sum(len(source) for source in sources)
    gathered = gather(
        sources,
        classes=task.classes,
        malignant=task.malignant,
        label_map=request.label_map,
        progress=lambda done: progress(done, total),
    )
    if request.site and len(gathered.manifest) <= SITE_IMAGES:
        split = Split("images of one site", tuple(range(len(gathered.manifest))), (), (), ())
        return Prepared(task, gathered, split, start, preprocessing, laboratory, site)
    split = split_for(
        gathered,
        seed=request.seed,
        previous=_of_these(gathered, already_split(start, task, laboratory)),
        classes=task.classes,
    )
    return Prepared(task, gathered, split, start, preprocessing, laboratory, site)


def _of_these(gathered: Gathered, previous: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """An earlier split, if it holds any of these images; else what the data themselves state of a split counts."""
    if previous is None:
        return None
    seen = {sha for part in PARTS for sha in previous.get(f"{part}_sha256", ())}
    here = {sha for item in gathered.manifest for sha in (item.sha256, item.columns.get("uploaded_sha256"))}
    return previous if seen & here else None


def known_task(name: str) -> Task:
    """Raises RetrainProblem for a task that has no classes here."""
    try:
        return task_named(name)
    except UnknownTask as error:
        raise RetrainProblem(str(error)) from error


def place_of(request: RetrainRequest) -> tuple[Laboratory | None, Site | None]:
    """The laboratory and site that were asked for; a model for all laboratories has neither, and a new site no row."""
    if not (request.reviewed or request.site or request.laboratory):
        return None, None
    if request.laboratory:
        laboratory = Laboratory.objects.filter(slug=request.laboratory).first()
        if laboratory is None:
            raise RetrainProblem(f"There is no laboratory {request.laboratory}: {_slugs()}.")
    else:
        found = list(Laboratory.objects.all()[:2])
        if len(found) != 1:
            raise RetrainProblem(f"Say whose images and site are meant, with --laboratory: {_slugs()}.")
        laboratory = found[0]
    if not request.site:
        return laboratory, None
    return laboratory, Site.objects.filter(laboratory=laboratory, name=request.site.strip()).first()


def _slugs() -> str:
    return "there are " + (", ".join(Laboratory.objects.values_list("slug", flat=True)) or "none yet")


def _reviewed(task: Task, laboratory: Laboratory | None, site: Site | None) -> Manifest:
    from diagnosis.services import reviewed

    if laboratory is None:
        raise RetrainProblem("Reviewed images belong to a laboratory: name it with --laboratory.")
    items = reviewed.reviewed_items(laboratory=laboratory, task=task.name, site=site)
    things = "cell" if task is CELL else "image"
    if not items:
        raise RetrainProblem(f"No {things} has a standing review with a class to learn from.")
    return Manifest(f"reviewed {things}s", tuple(items))


def check_room(place: Path, images: int, size: int) -> None:
    """Raise RetrainProblem when the folder can't be written to, or its disk lacks room for the training."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe = place / ".probe"
        probe.write_bytes(b"x")
        probe.unlink()
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise RetrainProblem(f"The folder {place} can't be written to: {error.strerror}.") from error
    needed = SMALLEST_DISK + 3 * images * size * size
    if free < needed:
        raise RetrainProblem(
            f"The disk of {place} has {free / 1e9:.1f} GB free; this training needs {needed / 1e9:.1f} GB."
        )


def store(prepared: Prepared, work: Path) -> None:
    """Write the images with their hashes and the split into the work folder, atomically."""
    manifest, gathered, split = prepared.manifest, prepared.gathered, prepared.split
    facts = {
        "name": manifest.name,
        "start": prepared.start.words,
        "preprocessing": prepared.preprocessing.as_dict(),
        "items": [
            {
                "path": str(item.path.resolve()), "name": item.name, "label": item.label, "group": item.group,
                "columns": item.columns, "sha256": item.sha256,
            }
            for item in manifest
        ],
        "gathered": {
            "membership": gathered.membership.astype(int).tolist(),
            "family": gathered.family.tolist(),
            "notes": list(gathered.notes),
            "coarse": gathered.coarse,
            "sources": list(gathered.sources),
            "copies": gathered.copies,
            "dropped": gathered.dropped,
        },
        "split": {
            **{part: list(getattr(split, part)) for part in PARTS},
            "name": split.name, "seed": split.seed, "notes": list(split.notes),
        },
    }  # fmt: skip
    part = work / f"{IMAGES}.part"
    part.write_text(json.dumps(facts))
    part.replace(work / IMAGES)


def restore(request: RetrainRequest, work: Path) -> Prepared:
    """The images and split of a training that began earlier, every file compared with its hash.

    Raises:
        RetrainProblem: the work folder is gone, or an image is, or has changed.
    """
    import numpy as np

    try:
        facts = json.loads((work / IMAGES).read_text())
    except (OSError, ValueError) as error:
        raise RetrainProblem(
            f"The work folder {work} is gone or damaged: start anew without --resume."
        ) from error
    items = []
    for row in facts["items"]:
        item = Item(Path(row["path"]), row["name"], row["label"], row["group"], row["columns"])
        try:
            same = item.sha256 == row["sha256"]
        except OSError:
            same = False
        if not same:
            raise RetrainProblem(
                f"The image {item.name} is gone or has changed since the training began: put it back, or start anew."
            )
        items.append(item)
    kept = facts["gathered"]
    gathered = Gathered(
        Manifest(facts["name"], tuple(items)),
        np.asarray(kept["membership"], np.float32),
        np.asarray(kept["family"], np.int64),
        tuple(kept["notes"]),
        kept["coarse"],
        tuple(kept["sources"]),
        copies=kept["copies"],
        dropped=kept["dropped"],
    )
    parts = facts["split"]
    split = Split(
        **{part: tuple(parts[part]) for part in PARTS},
        name=parts["name"],
        seed=parts["seed"],
        notes=tuple(parts["notes"]),
    )
    task = known_task(request.task)
    laboratory, site = place_of(request)
    start = replace(start_of(request, task, laboratory), words=facts["start"])
    preprocessing = preparation_from(facts["preprocessing"])
    return Prepared(task, gathered, split, start, preprocessing, laboratory, site)
