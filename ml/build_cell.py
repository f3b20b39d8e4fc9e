"""The training behind a shipped `cell` bundle, resumable: `python -m ml.build_cell RUN --data DATA --weights FILE`.

All layers of a DenseNet-121, on the standing fold by patient of `deepapl-discovery` and `pbc-acevedo`: `normalised`
first, and then `main`, which goes on from it and ships. `ml.assemble_cell` then calibrates, exports and measures.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.cache import cache_dir
from ml.cells.preprocessing import CellPreprocessing, Stain
from ml.data.cells import CNMC, DEEPAPL, PBC, Cells, Source, load_cells
from ml.data.splits import Split
from ml.evaluation.cell_pictures import SEED, crops_of
from ml.plan import Plan, Stage, standing_plan
from ml.tasks import CELL

log = logging.getLogger(__name__)

EDGE_PIXELS: Final = (-1, 0, 0, 1, 2)
"""How far a training cell's outline is moved out, drawn for each cell: the finder of cells in fields draws it elsewhere
than that of single-cell pictures."""


@dataclass(frozen=True)
class CellRun:
    """One training: how, from which sources, and the question it answers."""

    name: str
    plan: Plan
    sources: tuple[Source, ...]
    question: str
    start: str | None = None
    """The run whose network this one goes on from; None for ImageNet's weights."""
    stains: tuple[Stain, ...] = ("reinhard",)
    """How training cells are shown, one of these drawn for each."""


PLAN: Final = standing_plan(CELL.name)

RUNS: Final = {
    run.name: run
    for run in (
        CellRun("normalised", PLAN, (DEEPAPL, PBC), "every cell's stain brought to one reference"),
        CellRun(
            "main",
            replace(PLAN, stages=(Stage(128, 2, 1.5e-4),)),
            (DEEPAPL, PBC),
            "the network that ships: of `normalised`, gone on with on cells in their own stain too",
            start="normalised",
            stains=("none", "reinhard"),
        ),
        CellRun("with-cnmc", PLAN, (DEEPAPL, PBC, CNMC), "whether a second hospital's blasts help elsewhere"),
    )
}


@dataclass(frozen=True)
class CellStudy:
    """The labelled cells, their split and where the run keeps its work."""

    run: CellRun
    cells: Cells
    split: Split
    work: Path

    @property
    def weights_file(self) -> Path:
        return self.work / "network.weights.h5"

    @property
    def start(self) -> Path | None:
        """Weights of the run that this one goes on from."""
        if self.run.start is None:
            return None
        return self.work.with_name(self.run.start) / self.weights_file.name

    @property
    def history_file(self) -> Path:
        return self.work / "history.json"

    def membership(self, part: str) -> NDArray[np.float32]:
        """(n, 16) of a part's cells."""
        return self.cells.membership[list(getattr(self.split, part))]

    def images(
        self,
        part: str,
        preprocessing: CellPreprocessing,
        *,
        varied: bool = False,
        spoilt: str = "",
        stains: Sequence[Stain] = (),
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> NDArray[np.uint8]:
        """(n, S, S, 3) what the network sees of a part's cells.

        Args:
            varied: move each outline a little, as `EDGE_PIXELS` says.
            spoilt: one of `cell_pictures.SPOILT`, done to the pictures first.
            stains: one of these drawn for each cell, instead of the preprocessing's.
        """
        items = [self.cells.manifest.items[i] for i in getattr(self.split, part)]
        crops = crops_of(
            items,
            size=preprocessing.size,
            cache=cache_dir() / "cells",
            spoilt=spoilt,
            seed=SEED,
            progress=progress,
        )
        rng = np.random.default_rng(SEED)
        edges = rng.choice(EDGE_PIXELS, size=len(items)) if varied else np.zeros(len(items), int)
        ways = [replace(preprocessing, stain=stain) for stain in stains] or [preprocessing]
        drawn = rng.integers(len(ways), size=len(items))
        shown = [
            ways[way].finish(pixels, moved(mask, int(edge)))
            for pixels, mask, edge, way in zip(crops.pixels, crops.masks, edges, drawn.tolist(), strict=True)
        ]
        return np.stack(shown)


def moved(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The mask grown by so many pixels all round, or shrunk where that is negative, unless nothing would be left."""
    if pixels == 0:
        return mask
    side = 2 * abs(pixels) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    way = cv2.dilate if pixels > 0 else cv2.erode
    found = np.asarray(way(mask.astype(np.uint8), disc)) > 0
    return found if found.any() else mask


def open_study(name: str, data: Path, *, work: Path | None = None) -> CellStudy:
    """The run's cells and split; the work folder is `LEUKOSCOPE_CACHE/cell-1/<run>` unless given."""
    run = RUNS[name]
    cells = load_cells(data, run.sources)
    return CellStudy(run, cells, cells.standing_split(), work or cache_dir() / "cell-1" / name)


def train_run(study: CellStudy, *, weights: Path | str, preprocessing: CellPreprocessing) -> None:
    """Train and store the network's weights and history in the study's work folder; resumes what was begun."""
    from ml.training import Examples, train

    log.info("%s: %s", study.run.name, json.dumps(study.split.summary(study.cells.manifest)))
    parts = {
        part: Examples(
            study.images(
                part,
                preprocessing,
                varied=part == "train",
                stains=study.run.stains if part == "train" else (),
            ),
            membership=study.membership(part),
        )
        for part in ("train", "validation")
    }
    model, history = train(
        parts["train"],
        parts["validation"],
        classes=CELL.classes,
        plan=study.run.plan,
        preprocessing=preprocessing,
        start=_whole(study) or weights,
        work=study.work,
    )
    model.save_weights(study.weights_file)
    study.history_file.write_text(json.dumps(history))


def _whole(study: CellStudy) -> Path | None:
    """The network that a run goes on from, with its head, as `ml.network.start_network` takes it."""
    if study.start is None:
        return None
    from ml.network import build_network

    model = build_network(len(CELL.classes), size=study.run.plan.size)
    model.load_weights(study.start)
    whole = study.work / "start.keras"
    study.work.mkdir(parents=True, exist_ok=True)
    model.save(whole)
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", choices=RUNS, nargs="+", help="the trainings, one after the other")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the public sets of cells")
    parser.add_argument("--weights", required=True, help="DenseNet-121 weights file without top, or imagenet")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for name in arguments.run:
        study = open_study(name, arguments.data)
        train_run(study, weights=arguments.weights, preprocessing=CellPreprocessing())


if __name__ == "__main__":
    main()
