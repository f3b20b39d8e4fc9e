"""The trainings behind a shipped `field` bundle, each resumable: `python -m ml.build_field RUN ...`.

`main` trains the network that ships, through all layers at full size, on the standing split. The others answer
one question each at reduced size: `reduced` is their yardstick, `reduced-no-colour` goes without colour
augmentation, `reduced-random` is trained and tested on a random split, as published work is.
`ml.assemble_field` then calibrates, exports and measures.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ml.cache import cache_dir
from ml.data.augmentation import Augmentation
from ml.data.manifest import Item, Manifest, load_manifest
from ml.data.preparing import corrected_images
from ml.data.signatures import duplicate_families
from ml.data.splits import Split, random_split, standing_split
from ml.imaging.preprocessing import Preprocessing
from ml.tasks import FIELD
from ml.training import Examples, Plan, Stage, train

RANDOM_SPLIT_SEED = 7
REDUCED = Plan(stages=(Stage(128, 8, 5e-4),))


@dataclass(frozen=True)
class Run:
    """One training: how, on which split, and the question it answers."""

    name: str
    plan: Plan
    split: str
    question: str


RUNS = {
    run.name: run
    for run in (
        Run("main", Plan(), "standing", "the network that ships"),
        Run("reduced", REDUCED, "standing", "the yardstick of the reduced runs"),
        Run(
            "reduced-no-colour",
            replace(REDUCED, augmentation=Augmentation(colour=False)),
            "standing",
            "how much colour augmentation matters",
        ),
        Run("reduced-random", REDUCED, "random", "what a random split would have claimed"),
        Run(
            "random",
            Plan(stages=(*REDUCED.stages, Stage(224, 4, 2e-4))),
            "random",
            "the same, a second attempt at full size",
        ),
    )
}


@dataclass(frozen=True)
class Study:
    """The labelled fields, their split and where the run keeps its work."""

    run: Run
    manifest: Manifest
    split: Split
    work: Path

    @property
    def weights_file(self) -> Path:
        return self.work / "network.weights.h5"

    @property
    def history_file(self) -> Path:
        return self.work / "history.json"

    def items(self, part: str) -> list[Item]:
        return [self.manifest.items[i] for i in getattr(self.split, part)]

    def labels(self, part: str) -> np.ndarray:
        """(n,) class numbers of a part's images."""
        return np.array([FIELD.classes.index(item.label) for item in self.items(part)], dtype=np.int64)


def open_study(name: str, data: Path, *, work: Path | None = None) -> Study:
    """The run's data and split; the work folder is `LEUKOSCOPE_CACHE/field-1/<run>` unless given."""
    run = RUNS[name]
    manifest = load_manifest(data)
    family = duplicate_families(manifest)
    split = (
        standing_split(manifest, family)
        if run.split == "standing"
        else random_split(manifest, family, seed=RANDOM_SPLIT_SEED)
    )
    return Study(run, manifest, split, work or cache_dir() / "field-1" / name)


def train_run(study: Study, *, weights: Path | str, preprocessing: Preprocessing) -> None:
    """Train and store the network's weights and history in the study's work folder; resumes what was begun."""
    parts = {
        part: Examples(corrected_images(study.items(part), preprocessing), study.labels(part))
        for part in ("train", "validation")
    }
    logging.info("%s: %s", study.run.name, json.dumps(study.split.summary(study.manifest)))
    model, history = train(
        parts["train"],
        parts["validation"],
        classes=FIELD.classes,
        plan=study.run.plan,
        preprocessing=preprocessing,
        start=weights,
        work=study.work,
    )
    model.save_weights(study.weights_file)
    study.history_file.write_text(json.dumps(history))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", choices=RUNS, nargs="+", help="the trainings, one after the other")
    parser.add_argument("--data", type=Path, required=True, help="folder of taleqani-all")
    parser.add_argument("--weights", required=True, help="DenseNet-121 weights file without top, or imagenet")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for name in arguments.run:
        train_run(open_study(name, arguments.data), weights=arguments.weights, preprocessing=Preprocessing())


if __name__ == "__main__":
    main()
