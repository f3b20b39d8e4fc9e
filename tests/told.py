"""Bundles whose predictions are told: whole evidence on disk, without a network or a picture.

What a bundle says of an image is written where `ml.evaluation.remembered` keeps it, so judging finds it there and
runs nothing. Everything after the network is real: hashes, locked images, evidence, the gate.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ml.bundle import Bundle, seal
from ml.data.manifest import Item, Manifest, load_manifest
from ml.evaluation.evidence import Evidence, make_section, write_evidence
from ml.evaluation.intervals import Figure
from ml.evaluation.predictions import Row, to_judged, write_predictions_csv
from ml.evaluation.remembered import FORMAT, line_of
from ml.promotion_evidence import PLOTS, RANDOMISED

CLASSES = ("benign", "early", "pre", "pro")
MALIGNANT = ("early", "pre", "pro")
SURE = 0.99

Says = Callable[[Item], str]
"""The class a bundle gives an image."""


def rightly(item: Item) -> str:
    """A bundle that is never wrong."""
    return item.label


def wrong_on(names: Sequence[str], said: str) -> Says:
    """A bundle that gives the images of these names another class, and is right elsewhere."""
    return lambda item: said if item.name in names else item.label


def write_data(folder: Path, *, each: int = 40, groups: int = 5) -> Manifest:
    """`each` images a class in `groups` blocks a class, listed in an index.csv; the files are no pictures."""
    folder.mkdir(parents=True)
    with (folder / "index.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "block"])
        for label in CLASSES:
            for number in range(each):
                name = f"{label}-{number}.png"
                (folder / name).write_text(f"{folder.name}/{name}")
                table.writerow([name, label, f"{label}-{number * groups // each}"])
    return load_manifest(folder)


def row(item: Item, said: str, *, sure: float = SURE, classes: Sequence[str] = CLASSES) -> Row:
    """What a bundle says of an image: `said`, with the probability `sure`."""
    rest = (1 - sure) / (len(classes) - 1)
    return Row(
        name=item.name,
        sha256=item.sha256,
        label=item.label,
        group=item.group,
        site="",
        predicted=said,
        kept=True,
        inside_domain=True,
        domain_score=0.5,
        reasons=(),
        probabilities=tuple(sure if name == said else rest for name in classes),
    )


def rows(items: Sequence[Item], says: Says = rightly, *, sure: float = SURE) -> list[Row]:
    """What a bundle says of each image."""
    return [row(item, says(item), sure=sure) for item in items]


def figure(value: float, name: str = RANDOMISED) -> Figure:
    return Figure(name, value, value - 0.05, value + 0.05, 60, 16, "test part")


def write_whole_evidence(place: Path, said: Sequence[Row], *, correlation: float | None = 0.1) -> None:
    """All the evidence the gate asks for; `correlation` None leaves the saliency unmeasured."""
    folder = place / "evidence"
    folder.mkdir(parents=True, exist_ok=True)
    told = to_judged(said, classes=CLASSES, malignant=MALIGNANT)
    section = make_section(
        told, name="own", model="told", data="data", split="test part", seed=1, temperature=1.0, resamples=20
    )
    evidence = Evidence(
        bundle={"name": place.name, "sha256": None, "temperature": 1.0},
        seed=1,
        sections=(section,),
        baselines=(replace(section, name="six colour numbers"),),
        saliency=() if correlation is None else (figure(correlation),),
    )
    write_evidence(folder / "metrics.json", evidence)
    write_predictions_csv(folder / "predictions.csv", said, CLASSES)
    for name in PLOTS:
        (folder / f"{name}.svg").write_text("<svg/>")
    (place / "card.md").write_text("# Told\n")


def told_bundle(
    source: Path,
    folder: Path,
    *,
    name: str,
    data: Manifest,
    memory: Path,
    says: Says = rightly,
    sure: float = SURE,
    correlation: float | None = 0.1,
    learnt: Sequence[str] = (),
    **changed: Any,
) -> Bundle:
    """A sealed copy of the stand-in bundle `source` that says what `says` says of the images of `data`.

    `learnt` are hashes it was trained on; `changed` are keys of its manifest.
    """
    place = folder / name
    shutil.copytree(source, place)
    said = rows(data.items, says, sure=sure)
    write_whole_evidence(place, said, correlation=correlation)
    kept = {
        key: value
        for key, value in json.loads((place / "bundle.json").read_text()).items()
        if key not in ("files", "format")
    }
    hashes = {
        "name": data.name,
        "train_sha256": list(learnt),
        "validation_sha256": [],
        "test_sha256": [item.sha256 for item in data],
    }
    bundle = seal(place, {**kept, "name": name, "data": hashes, **changed})
    tell(bundle, said, memory)
    return bundle


def tell(bundle: Bundle, said: Sequence[Row], memory: Path, *, runtime: str = "stand-in") -> None:
    """Write what a bundle says where judging looks for it."""
    memory.mkdir(parents=True, exist_ok=True)
    (memory / f"{bundle.sha256}-{runtime}-{FORMAT}.jsonl").write_text("".join(line_of(one) for one in said))


def scatter(items: Sequence[Item], count: int, *, label: str | None = None, seed: int = 0) -> list[str]:
    """Names of `count` images drawn at random, of one label where one is given."""
    names = [item.name for item in items if label in (None, item.label)]
    return list(np.random.default_rng(seed).choice(names, count, replace=False))
