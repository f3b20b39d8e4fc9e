"""A bundle with a stand-in for its network: everything around the network is real, and no training is needed.

The bundle is sealed and verified like any other, its domain is fitted on drawn fields, and the Predictor is
the real one. Only the runtime is not: it answers with the logits it was told. Of a `cell` bundle the predictor is a
stand-in too (`tests.stand_in_cells`).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.bundle import Bundle, read_bundle, seal
from ml.calibration import ConfidenceBins
from ml.cells.preprocessing import CellPreprocessing
from ml.domain import appearance, fit_domain, pooled_features
from ml.drawing import draw_field
from ml.imaging.preprocessing import Preprocessing, normalise, squash
from ml.serving import Predictor
from ml.tasks import CELL
from tests.stand_in_cells import CellStandIn

CLASSES = ("benign", "early", "pre", "pro")
SIZE = 64
CHANNELS = 8
SECONDS = "LEUKOSCOPE_STAND_IN_SECONDS"
"""Environment: how long the network thinks about each image."""


class StandInRuntime:
    """Block means as the feature map, and the logits that it is told."""

    name = "stand-in"
    device = "none"

    def __init__(self, logits: tuple[float, ...] = (0.0, 4.0, 1.0, 0.0)) -> None:
        self.logits = np.array(logits, np.float32)

    def run(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        time.sleep(float(os.environ.get(SECONDS, "0")))
        grey = images.mean(axis=3)
        blocks = [cv2.resize(image, (7, 7), interpolation=cv2.INTER_AREA) for image in grey]
        maps = np.stack(
            [np.stack([np.maximum(b * (k + 1) - k / 4, 0) for k in range(CHANNELS)], -1) for b in blocks]
        )
        return maps.astype(np.float32), np.repeat(self.logits[None], len(images), axis=0)


def make_bundle(folder: Path, *, name: str = "field-test") -> Bundle:
    """Seal a bundle in `folder/name` whose domain holds drawn fields; its graphs are placeholders."""
    place = folder / name
    (place / "evidence").mkdir(parents=True)
    preprocessing = Preprocessing(size=SIZE)
    features, seen = [], []
    for seed in range(12):
        field = draw_field(np.random.default_rng(seed), width=400, height=300)
        feature_map, _ = StandInRuntime().run(normalise(preprocessing.prepare(field))[None])
        features.append(pooled_features(feature_map[0]))
        seen.append(appearance(squash(field, SIZE)))
    vectors = (np.stack(features), np.stack(seen))
    domain = fit_domain(training=vectors, held_out=vectors, keep=1.0)
    head = np.eye(CHANNELS, len(CLASSES), dtype=np.float32)
    np.savez(place / "serving.npz", head_kernel=head, head_bias=np.zeros(len(CLASSES)), **domain.arrays())
    (place / "model.keras").write_bytes(b"placeholder")
    (place / "model.onnx").write_bytes(b"placeholder")
    (place / "card.md").write_text("# A stand-in\n")
    (place / "evidence" / "metrics.json").write_text("{}\n")
    manifest: dict[str, Any] = {
        "task": "field",
        "name": name,
        "version": "test",
        "classes": list(CLASSES),
        "malignant": ["early", "pre", "pro"],
        "preprocessing": preprocessing.as_dict(),
        "temperature": 2.0,
        "thresholds": {"suspected": 0.9, "domain": 1.0},
        "prevalence": dict.fromkeys(CLASSES, 0.25),
        "confidence_bins": ConfidenceBins.fit(np.linspace(0.3, 1.0, 100), np.arange(100) % 10 != 0).to_dict(),
        "data": {
            "train_sha256": [f"{n:064x}" for n in range(500)],
            "validation_sha256": [],
            "test_sha256": [],
        },
        "code_version": "test",
        "libraries": {},
    }
    return seal(place, manifest)


def copy_bundle(source: Path, folder: Path, *, name: str, **changed: Any) -> Bundle:
    """The bundle `source` under another name in `folder/name`; much quicker than making one. `changed` are keys of
    its manifest."""
    place = folder / name
    shutil.copytree(source, place)
    manifest = json.loads((place / "bundle.json").read_text())
    return seal(
        place, {k: v for k, v in manifest.items() if k not in ("files", "format")} | {"name": name} | changed
    )


def make_cell_bundle(
    source: Path, folder: Path, *, name: str = "cell-test", suspicion: float = 0.5
) -> Bundle:
    """A bundle of the task `cell`, made of a field's: what it holds besides its manifest is a placeholder."""
    return copy_bundle(
        source, folder, name=name, task="cell", classes=list(CELL.classes), malignant=list(CELL.malignant),
        preprocessing=CellPreprocessing().as_dict(),
        thresholds={"suspected": 0.9, "suspicion": suspicion, "domain": 1.0},
        prevalence=dict.fromkeys(CELL.classes, 1 / len(CELL.classes)),
    )  # fmt: skip


def load_stand_in(
    path: Path | str,
    *,
    runtime: str = "auto",
    threads: int | None = None,
    logits: tuple[float, ...] | None = None,
) -> Predictor | CellStandIn:
    """`ml.serving.load_predictor` with the stand-in for a runtime; the bundle is verified all the same."""
    bundle = read_bundle(path)
    if bundle.task == "cell":
        return CellStandIn(bundle)
    return Predictor(bundle, StandInRuntime(logits) if logits else StandInRuntime())
