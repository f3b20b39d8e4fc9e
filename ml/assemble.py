"""From a trained network to a bundle that can serve: export, calibrate, draw the domain's limit, seal.

Everything is measured on the exported files themselves through the runtime that will serve them. Calibration,
thresholds and the gate see the validation part alone. Imports TensorFlow (for the export).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ml.bundle import SHIPPED, Bundle, seal
from ml.calibration import (
    MINIMUM_BIN_SIZE,
    TEMPERATURE_BOUNDS,
    ConfidenceBins,
    apply_temperature,
    fit_temperature,
)
from ml.cells.counting import SUSPICIOUS
from ml.data.manifest import Item, Manifest
from ml.data.splits import Split
from ml.domain import fit_domain_for_strangers, pooled_features
from ml.export import export_network
from ml.imaging.preprocessing import normalise
from ml.imaging.reading import read_image
from ml.pictures import Preparation, picture_of, scale_stated
from ml.runtimes import OpenVinoRuntime, Runtime
from ml.saving import TrainingProblem, storage_problem
from ml.tasks import CELL

SUSPICION_SENSITIVITY = 0.98
"""Share of malignant validation images at or above the threshold of suspicion (DESIGN, Words)."""

DOMAIN_KEEP = 0.97
STRANGERS_KEEP = 0.95
"""Share of a source's cells that pass a gate which never saw it, where a bundle of cells learns from several."""

LIBRARIES = (
    "tensorflow",
    "keras",
    "openvino",
    "onnx",
    "tf2onnx",
    "numpy",
    "opencv-python-headless",
    "pillow",
)


@dataclass(frozen=True)
class Measured:
    """What the exported network and the domain's measurements say of n images.

    Attributes:
        logits: (n, k). features: (n, c) pooled. appearance: (n, d) what else the gate looks at.
        membership: (n, k) 1 where a label stands for a class.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32]
    appearance: NDArray[np.float32]
    membership: NDArray[np.float32]

    @property
    def exact(self) -> NDArray[np.bool_]:
        """(n,) whether a label is one class."""
        return np.asarray((self.membership > 0).sum(axis=1) == 1)


def measure(
    runtime: Runtime,
    preprocessing: Preparation,
    items: Sequence[Item],
    membership: NDArray[np.float32],
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Measured:
    """Run a bundle's graph over labelled images, one by one, as serving does."""
    logits, features, seen = [], [], []
    for done, item in enumerate(items, start=1):
        picture = picture_of(preprocessing, read_image(item.path).pixels, scale_stated(item))
        feature_maps, scores = runtime.run(normalise(picture.prepared)[None])
        logits.append(scores[0])
        features.append(pooled_features(feature_maps[0]))
        seen.append(picture.plain)
        progress(done)
    return Measured(np.stack(logits), np.stack(features), np.stack(seen), membership)


def one_hot(items: Sequence[Item], classes: Sequence[str]) -> NDArray[np.float32]:
    """(n, k) membership of images whose labels are classes."""
    place = {name: number for number, name in enumerate(classes)}
    return np.asarray(np.eye(len(classes), dtype=np.float32)[[place[item.label] for item in items]])


def assemble(
    model: keras.Model,
    folder: Path,
    *,
    task: str,
    name: str,
    version_text: str,
    classes: Sequence[str],
    malignant: Sequence[str],
    manifest: Manifest,
    split: Split,
    preprocessing: Preparation,
    training: Mapping[str, Any],
    membership: NDArray[np.float32] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bundle:
    """Write a sealed bundle (still without evidence) to `folder`, which appears whole or not at all.

    Args:
        folder: a bundle that lies there is replaced.
        training: how the network came about (plan, history, start weights), kept in `bundle.json`.
        membership: (n, k) what each of the manifest's labels stands for; None where every label is a class.
        progress: called with the images measured and their total.

    Raises:
        TrainingProblem: no room to save, or no malignant image to set the threshold of suspicion by.
    """
    if membership is None:
        membership = np.zeros((len(manifest), len(classes)), np.float32)
        used = [*split.train, *split.validation]
        membership[used] = one_hot([manifest.items[i] for i in used], classes)
    with _folder_whole(folder) as part:
        arrays: dict[str, NDArray[Any]] = dict(export_network(model, part))
        runtime = _exported_runtime(part, preprocessing, name)
        known = membership
        total = len(split.train) + len(split.validation)

        def measured(places: Sequence[int], before: int) -> Measured:
            items = [manifest.items[i] for i in places]

            def count(done: int) -> None:
                progress(before + done, total)

            return measure(runtime, preprocessing, items, known[list(places)], progress=count)

        trained, held = measured(split.train, 0), measured(split.validation, len(split.train))
        domain = fit_domain_for_strangers(
            training=(trained.features, trained.appearance),
            held_out=(held.features, held.appearance),
            labels=(trained.membership.argmax(axis=1), held.membership.argmax(axis=1)),
            sources=(_sources(manifest, split.train, task), _sources(manifest, split.validation, task)),
            keep=DOMAIN_KEEP,
            keep_strangers=STRANGERS_KEEP,
        )
        arrays.update(domain.arrays())
        np.savez(part / "serving.npz", allow_pickle=False, **arrays)
        facts: dict[str, Any] = {
            "task": task,
            "name": name,
            "version": version_text,
            "classes": list(classes),
            "malignant": list(malignant),
            "preprocessing": preprocessing.as_dict(),
            "input": {"shape": [preprocessing.size, preprocessing.size, 3], "normalisation": "imagenet"},
            "data": {"name": manifest.name, "split": split.summary(manifest), **split.hashes(manifest)},
            "training": dict(training),
            "code_version": code_version(),
            "libraries": {library: version(library) for library in LIBRARIES},
            **calibrated(held, classes, malignant, domain.threshold),
        }
        if task == CELL.name:
            facts["thresholds"]["suspicion"] = SUSPICIOUS
        sealed = seal(part, facts)
    return replace(sealed, path=folder)


def calibrated(
    held: Measured, classes: Sequence[str], malignant: Sequence[str], domain_threshold: float
) -> dict[str, Any]:
    """Temperature, confidence bins, thresholds and prevalence from the validation part, as `bundle.json` holds them.

    A coarse label counts by the sum of its classes' probabilities. Bins are of the images whose class is known.
    """
    temperature = fit_membership_temperature(held.logits, held.membership)
    probabilities = apply_temperature(held.logits, temperature)
    known = held.exact
    top = probabilities[known].argmax(axis=1)
    correct = held.membership[known, top] > 0
    bins = (
        ConfidenceBins.fit(probabilities[known].max(axis=1), correct)
        if len(correct) >= MINIMUM_BIN_SIZE
        else None
    )
    harmful = np.isin(np.array(classes), malignant)
    is_malignant = (held.membership[:, ~harmful].sum(axis=1) == 0) & (held.membership.sum(axis=1) > 0)
    if not is_malignant.any():
        raise TrainingProblem(
            "No validation image is malignant: the threshold of suspicion cannot be set without one."
        )
    score = probabilities[:, harmful].sum(axis=1)
    return {
        "temperature": temperature,
        "confidence_bins": bins.to_dict() if bins else None,
        "thresholds": {
            "suspected": float(np.quantile(score[is_malignant], 1 - SUSPICION_SENSITIVITY, method="lower")),
            "domain": domain_threshold,
            "domain_keep": DOMAIN_KEEP,
        },
        "prevalence": dict(zip(classes, prevalence(probabilities, held.membership), strict=True)),
    }


def fit_membership_temperature(logits: NDArray[np.float32], membership: NDArray[np.float32]) -> float:
    """The temperature that minimises the negative log likelihood of labels that may stand for several classes.

    For ordinary labels it is `fit_temperature`'s. A sum of classes is not convex in the temperature, so its least
    is looked for on a grid over the bounds first, then on a finer one about the best.
    """
    if ((membership > 0).sum(axis=1) == 1).all():
        return fit_temperature(logits, membership.argmax(axis=1))
    scores = np.asarray(logits, np.float64)

    def loss(logarithm: float) -> float:
        inside = (apply_temperature(scores, float(np.exp(logarithm))) * membership).sum(axis=1)
        return float(-np.log(np.maximum(inside, np.finfo(np.float64).tiny)).mean())

    coldest, hottest = (float(np.log(bound)) for bound in TEMPERATURE_BOUNDS)
    grid = np.linspace(coldest, hottest, 201)
    least = int(np.argmin([loss(value) for value in grid]))
    low, high = grid[max(0, least - 1)], grid[min(len(grid) - 1, least + 1)]
    finer = np.linspace(low, high, 201)
    return float(np.exp(finer[int(np.argmin([loss(value) for value in finer]))]))


def prevalence(probabilities: NDArray[np.float64], membership: NDArray[np.float32]) -> list[float]:
    """(k,) shares of the classes, summing to 1; a coarse label is shared out by its classes' probabilities."""
    shares = probabilities * membership
    shares = shares / shares.sum(axis=1, keepdims=True)
    return [float(value) for value in shares.sum(axis=0) / len(shares)]


def _sources(manifest: Manifest, places: Sequence[int], task: str) -> list[str]:
    """Where images of cells come from. Fields count as of one source: their stain is what their gate looks at."""
    return [manifest.items[i].columns.get("source", "") if task == CELL.name else "" for i in places]


@contextmanager
def _folder_whole(target: Path) -> Iterator[Path]:
    """A folder beside `target` to write to, moved into place afterwards; what an error leaves there is removed."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        if target.exists():
            old = target.with_name(f"{target.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
            part.rename(target)
            shutil.rmtree(old)
        else:
            part.rename(target)
    except (OSError, RuntimeError, ValueError) as error:
        shutil.rmtree(part, ignore_errors=True)
        if problem := storage_problem(error, target.parent):
            raise problem from error
        raise
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def code_version() -> str:
    """The commit that made a bundle, or "unknown" outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=SHIPPED.parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _exported_runtime(folder: Path, preprocessing: Preparation, name: str) -> Runtime:
    """The runtime on files that no manifest vouches for yet."""
    unsealed = Bundle(folder, {"name": name, "preprocessing": preprocessing.as_dict()}, sha256="")
    return OpenVinoRuntime(unsealed)
