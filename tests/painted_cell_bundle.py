"""A `cell` bundle whose domain holds painted cells, without a training: its graphs are placeholders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.bundle import seal
from ml.cells.preprocessing import CellPreprocessing
from ml.domain import fit_domain, pooled_features
from ml.imaging.preprocessing import normalise
from ml.pictures import picture_of
from ml.tasks import CELL
from tests.painted_cells import UM, paint_cell
from tests.stand_in import CHANNELS, StandInRuntime, make_bundle

SIZE = 64


def painted(seed: int, number: int = 6) -> NDArray[np.uint8]:
    return paint_cell(np.random.default_rng(seed), number)


def logits(**told: float) -> tuple[float, ...]:
    """The network's answer: 0 for every class but those told."""
    return tuple(told.get(name, 0.0) for name in CELL.classes)


def make_cell_bundle(home: Path) -> Path:
    """Seal the bundle below `home`; returns its folder."""
    place = make_bundle(home, name="cell-test").path
    preprocessing, runtime = CellPreprocessing(size=SIZE), StandInRuntime(logits())

    def measured(seeds):
        seen = [
            picture_of(preprocessing, painted(seed, number), UM) for seed in seeds for number in (2, 6, 12)
        ]
        maps = [runtime.run(normalise(one.prepared)[None])[0][0] for one in seen]
        return np.stack([pooled_features(one) for one in maps]), np.stack([one.plain for one in seen])

    domain = fit_domain(training=measured(range(100, 120)), held_out=measured(range(200, 230)), keep=1.0)
    head = np.eye(CHANNELS, len(CELL.classes), dtype=np.float32)
    np.savez(
        place / "serving.npz", head_kernel=head, head_bias=np.zeros(len(CELL.classes)), **domain.arrays()
    )
    facts = json.loads((place / "bundle.json").read_text())
    facts |= {
        "task": "cell", "classes": list(CELL.classes), "malignant": list(CELL.malignant), "temperature": 1.0,
        "preprocessing": preprocessing.as_dict(), "prevalence": dict.fromkeys(CELL.classes, 1 / len(CELL.classes)),
    }  # fmt: skip
    seal(place, {key: value for key, value in facts.items() if key not in ("format", "files")})
    return place
