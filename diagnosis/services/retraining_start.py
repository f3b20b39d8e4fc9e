"""What network a training starts from, and what its bundle has already seen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from diagnosis.models import Laboratory
from diagnosis.services import registry
from diagnosis.services.retraining_request import RetrainProblem, RetrainRequest
from ml.bundle import Bundle, BundleError, preparation_from, read_bundle
from ml.cells.preprocessing import CellPreprocessing
from ml.imaging.preprocessing import Preprocessing
from ml.pictures import Preparation
from ml.plan import DENSENET_121
from ml.tasks import CELL, Task

IMAGENET_FILE = "densenet121_imagenet_notop.weights.h5"
KERAS_IMAGENET = Path.home() / ".keras/models/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"
WEIGHTS_VARIABLE = "LEUKOSCOPE_WEIGHTS"


@dataclass(frozen=True)
class Start:
    """The network that a training begins with.

    Attributes:
        words: for the card.
        weights: what `ml.training.train` starts from: a bundle's network, a weights file, or None (random).
        bundle: where it comes from one.
        blocks: layers of each dense block.
    """

    words: str
    weights: Path | None
    bundle: Bundle | None
    blocks: tuple[int, ...]


def start_of(request: RetrainRequest, task: Task, laboratory: Laboratory | None) -> Start:
    """The network to begin with, looked at before anything else is done."""
    if request.start == "imagenet":
        blocks = request.blocks or DENSENET_121
        if blocks != DENSENET_121:  # a smaller sister, which nobody trained on ImageNet
            return Start("random weights", None, None, blocks)
        return Start("DenseNet-121, ImageNet", imagenet_weights(request.weights), None, blocks)
    if request.start == "active":
        version = registry.active_version(task=task.name, laboratory=laboratory)
        if version is None:
            raise RetrainProblem(
                "No model is active to start from: start from ImageNet with --start imagenet."
            )
        return _from_bundle(registry.bundle_folder(version), task, f"{version.name}, the active version")
    place = Path(request.start)
    named = Path(settings.LEUKOSCOPE_BUNDLES) / request.start
    for folder in (place, place.parent, named):
        if (folder / "bundle.json").is_file() and (folder != place.parent or place.name == "model.keras"):
            return _from_bundle(folder, task, folder.name)
    if not place.is_file():
        raise RetrainProblem(f"There is no network to start from at {place}.")
    return Start(f"weights of {place.name}", place.resolve(), None, request.blocks or DENSENET_121)


def _from_bundle(folder: Path, task: Task, words: str) -> Start:
    try:
        bundle = read_bundle(folder)
    except BundleError as error:
        raise RetrainProblem(f"The training can't start from {folder.name}. {error}") from error
    if (bundle.task, bundle.classes) != (task.name, task.classes):
        raise RetrainProblem(f"{bundle.name} answers another task or other classes than {task.name}.")
    plan = bundle.manifest.get("training", {}).get("plan", {})
    blocks = tuple(int(n) for n in plan.get("blocks", DENSENET_121))
    return Start(words, (folder / "model.keras").resolve(), bundle, blocks)


def imagenet_weights(given: Path | None) -> Path:
    """The file of DenseNet-121's ImageNet weights without top: named, or in LEUKOSCOPE_WEIGHTS, or Keras' own."""
    named = given or (Path(os.environ[WEIGHTS_VARIABLE]) if os.environ.get(WEIGHTS_VARIABLE) else None)
    for place in (named, KERAS_IMAGENET):
        if place is not None:
            file = place / IMAGENET_FILE if place.is_dir() else place
            if file.is_file():
                return file.resolve()
            if place is named:
                raise RetrainProblem(f"There are no ImageNet weights at {file}.")
    raise RetrainProblem(
        f"The ImageNet weights of DenseNet-121 are not here: name their file with --weights or {WEIGHTS_VARIABLE}."
    )


def preprocessing_of(request: RetrainRequest, start: Start) -> Preparation:
    """That of the bundle started from, else of the active one: the gate wants the input to stay what it is."""
    base = start.bundle
    if base is None:
        version = registry.active_version(task=request.task)
        try:
            base = read_bundle(registry.bundle_folder(version), verify=False) if version else None
        except BundleError:
            base = None
    usual = CellPreprocessing() if request.task == CELL.name else Preprocessing()
    values = (base.preparation if base else usual).as_dict()
    return preparation_from({**values, "size": request.size} if request.size else values)


def already_split(start: Start, task: Task, laboratory: Laboratory | None) -> Mapping[str, Any] | None:
    """Which images an earlier bundle trained, validated and tested on, by hash.

    The bundle started from counts, since its network has seen its images. Test images of the active bundle stay
    test too, wherever the network starts: the gate compares on them.
    """
    version = registry.active_version(task=task.name, laboratory=laboratory)
    active: Mapping[str, Any] = {}
    if version is not None:
        try:
            active = read_bundle(registry.bundle_folder(version), verify=False).manifest["data"]
        except BundleError as error:
            raise RetrainProblem(
                f"The active model can't be read, whose test images must stay apart. {error}"
            ) from error
    if start.bundle is None:
        return active or None
    own = start.bundle.manifest["data"]
    seen = {*own.get("train_sha256", ()), *own.get("validation_sha256", ()), *own.get("test_sha256", ())}
    also = [sha for sha in active.get("test_sha256", ()) if sha not in seen]
    return {**own, "test_sha256": [*own.get("test_sha256", ()), *also]}
