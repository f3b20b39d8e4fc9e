"""From a trained network to a bundle that can serve: export, calibrate, draw the domain's limit, seal.

Everything is measured on the exported files themselves through the runtime that will serve them. Calibration,
thresholds and the gate see the validation part alone. Imports TensorFlow (for the export).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ml.bundle import SHIPPED, Bundle, seal
from ml.calibration import MINIMUM_BIN_SIZE, ConfidenceBins, apply_temperature, fit_temperature
from ml.data.manifest import Item, Manifest
from ml.data.splits import Split
from ml.domain import appearance, fit_domain, pooled_features
from ml.export import export_network
from ml.imaging.preprocessing import Preprocessing, normalise, squash
from ml.imaging.reading import read_image
from ml.runtimes import OpenVinoRuntime, Runtime

SUSPICION_SENSITIVITY = 0.98
"""Share of malignant validation images at or above the threshold of suspicion (DESIGN, Words)."""

DOMAIN_KEEP = 0.97
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
        logits: (n, k). features: (n, c) pooled. appearance: (n, d). labels: (n,) class numbers.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32]
    appearance: NDArray[np.float32]
    labels: NDArray[np.int64]


def measure(
    runtime: Runtime,
    preprocessing: Preprocessing,
    items: Sequence[Item],
    classes: Sequence[str],
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Measured:
    """Run a bundle's graph over labelled images, one by one, as serving does."""
    logits, features, seen = [], [], []
    for done, item in enumerate(items, start=1):
        squashed = squash(read_image(item.path).pixels, preprocessing.size)
        image = normalise(preprocessing.contrast(preprocessing.correct_squashed(squashed)))
        feature_maps, scores = runtime.run(image[None])
        logits.append(scores[0])
        features.append(pooled_features(feature_maps[0]))
        seen.append(appearance(squashed))
        progress(done)
    labels = np.array([classes.index(item.label) for item in items], dtype=np.int64)
    return Measured(np.stack(logits), np.stack(features), np.stack(seen), labels)


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
    preprocessing: Preprocessing,
    training: Mapping[str, Any],
) -> Bundle:
    """Write a sealed bundle (still without evidence) into an empty or new folder.

    Args:
        training: how the network came about (plan, history, start weights), kept in `bundle.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[Any]] = dict(export_network(model, folder))
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
    }
    train_items, held_items = ([manifest.items[i] for i in part] for part in (split.train, split.validation))
    runtime = _exported_runtime(folder, preprocessing, name)
    trained = measure(runtime, preprocessing, train_items, classes)
    held = measure(runtime, preprocessing, held_items, classes)

    temperature = fit_temperature(held.logits, held.labels)
    probabilities = apply_temperature(held.logits, temperature)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == held.labels
    bins = ConfidenceBins.fit(confidence, correct) if len(correct) >= MINIMUM_BIN_SIZE else None
    domain = fit_domain(
        training=(trained.features, trained.appearance),
        held_out=(held.features, held.appearance),
        keep=DOMAIN_KEEP,
    )
    arrays.update(domain.arrays())
    np.savez(folder / "serving.npz", allow_pickle=False, **arrays)
    is_malignant = np.isin(np.array(classes)[held.labels], malignant)
    score = probabilities[:, [list(classes).index(name) for name in malignant]].sum(axis=1)
    counts = np.bincount(held.labels, minlength=len(classes))
    facts.update(
        temperature=temperature,
        confidence_bins=bins.to_dict() if bins else None,
        thresholds={
            "suspected": float(np.quantile(score[is_malignant], 1 - SUSPICION_SENSITIVITY, method="lower")),
            "domain": domain.threshold,
            "domain_keep": DOMAIN_KEEP,
        },
        prevalence={label: float(n / counts.sum()) for label, n in zip(classes, counts, strict=True)},
    )
    return seal(folder, facts)


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


def _exported_runtime(folder: Path, preprocessing: Preprocessing, name: str) -> Runtime:
    """The runtime on files that no manifest vouches for yet."""
    unsealed = Bundle(folder, {"name": name, "preprocessing": preprocessing.as_dict()}, sha256="")
    return OpenVinoRuntime(unsealed)
