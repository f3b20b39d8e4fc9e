"""Models compared on one split with the same minutes each, row by row.

Every finished row is a JSON file with its predictions, so that a benchmark that was stopped goes on with the
next one, and its table can be drawn anew at any time (`ml.evaluation.benchmark_report`). TensorFlow is imported
by the rows that need it, when they run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ml.benchmark_data import Bench, BenchmarkProblem, FloatArray, Report, measured, write_whole
from ml.cache import cache_dir
from ml.clocks import Clock
from ml.data.folds import Fold
from ml.evaluation.baselines import (
    Setting,
    chances_of,
    choose_setting,
    forest_settings,
    neighbour_settings,
    plain_neighbours,
    vector_machine_settings,
)

FORMAT: Final = 1


@dataclass(frozen=True)
class RowPlan:
    """One row of the table.

    Attributes:
        start: where its weights come from: ImageNet, scratch, or "" for models without a network.
        measure: what is measured of a picture, for rows that fit a classifier on measurements.
        settings: the classifier's, from a seed; chosen on validation images where there are several.
    """

    key: str
    words: str
    start: Literal["ImageNet", "scratch", ""]
    measure: str | None = None
    settings: Callable[[int], Sequence[Setting]] = lambda seed: ()

    @property
    def needs_weights(self) -> bool:
        return self.start == "ImageNet"


ROWS: Final[tuple[RowPlan, ...]] = (
    RowPlan("six-colours", "six colour numbers, k-NN", "", "six", lambda seed: plain_neighbours()),
    RowPlan("texture-svm", "colour, GLCM, LBP, shape; SVM", "", "texture", lambda seed: vector_machine_settings()),
    RowPlan("texture-forest", "colour, GLCM, LBP, shape; random forest", "", "texture", forest_settings),
    RowPlan("texture-knn", "colour, GLCM, LBP, shape; k-NN", "", "texture", lambda seed: neighbour_settings()),
    RowPlan("densenet-svm", "DenseNet-121 features; SVM", "ImageNet", "densenet",
            lambda seed: vector_machine_settings()),
    RowPlan("densenet-imagenet", "DenseNet-121, fine-tuned", "ImageNet"),
    RowPlan("densenet", "DenseNet-121", "scratch"),
    RowPlan("resnet50", "ResNet50", "scratch"),
    RowPlan("vgg16", "VGG16", "scratch"),
    RowPlan("mobilenetv2", "MobileNetV2", "scratch"),
    RowPlan("efficientnetb0", "EfficientNetB0", "scratch"),
    RowPlan("alexnet", "AlexNet (own definition)", "scratch"),
)  # fmt: skip


def rows_named(keys: Sequence[str]) -> list[RowPlan]:
    """The rows of these keys in the table's order, all of them for none. Raises BenchmarkProblem for an unknown key."""
    unknown = sorted(set(keys) - {row.key for row in ROWS})
    if unknown:
        raise BenchmarkProblem(
            f"There is no row called {', '.join(unknown)}; there are {', '.join(row.key for row in ROWS)}."
        )
    return [row for row in ROWS if not keys or row.key in keys]


def default_folder(name: str) -> Path:
    """Where the rows on data of this name lie unless told otherwise: under the cache folder."""
    return cache_dir() / "benchmark" / "rows" / name


def run_row(bench: Bench, row: RowPlan, *, report: Report = lambda share, words: None) -> dict[str, Any]:
    """Fit one row on every fold and return what its JSON file holds: how it was made, and every test image's answer.

    Raises:
        BenchmarkProblem: the row needs ImageNet weights and there are none.
    """
    if row.needs_weights and bench.request.weights is None:
        raise BenchmarkProblem(f"{row.words}: its ImageNet weights are not at hand.")
    fit = _fit_measured if row.measure else _fit_network
    began = time.monotonic()
    probabilities, made = fit(bench, row, report)
    elapsed = time.monotonic() - began
    predictions = [
        {
            "name": bench.items[i].name,
            "sha256": bench.items[i].sha256,
            "group": bench.items[i].group,
            "label": bench.items[i].label,
            "fold": fold.name,
            "probabilities": [round(float(value), 9) for value in probabilities[i]],
        }
        for fold in bench.folds.folds
        for i in fold.test
    ]
    return {
        "format": FORMAT,
        "key": row.key,
        "words": row.words,
        "start": row.start,
        "benchmark": bench.fingerprint,
        **({"weights_sha256": bench.weights_sha256} if row.needs_weights else {}),
        **made,
        "wall_seconds": elapsed,
        "predictions": predictions,
    }


def write_row(out: Path, found: Mapping[str, Any]) -> Path:
    """Write a row's JSON file into the folder; a reader never sees half of it."""
    path = out / f"{found['key']}.json"
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    write_whole(path, lambda handle: handle.write(text.encode()))
    return path


def read_row(bench: Bench, row: RowPlan) -> dict[str, Any] | None:
    """A row finished before, or None.

    Raises:
        BenchmarkProblem: it is damaged, or of another benchmark (data, split, size, minutes, seed or weights differ).
    """
    path = bench.request.out / f"{row.key}.json"
    if not path.exists():
        return None
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        theirs = found["benchmark"]
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkProblem(
            f"{path} is no row of a benchmark; remove it or choose another folder."
        ) from error
    differs = [name for name, value in bench.fingerprint.items() if theirs.get(name) != value]
    # A table can be drawn anew without the weights; with them, they have to be the ones.
    if row.needs_weights and bench.weights_sha256:
        differs += ["weights"] * (found.get("weights_sha256", bench.weights_sha256) != bench.weights_sha256)
    if found.get("format") != FORMAT or differs:
        raise BenchmarkProblem(
            f"{path} belongs to another benchmark ({', '.join(differs) or 'format'} differ): choose another folder."
        )
    return found


def _fit_measured(bench: Bench, row: RowPlan, report: Report) -> tuple[FloatArray, dict[str, Any]]:
    """Measure, choose a setting on validation images, fit it on the whole learning side, judge the test images."""
    report(0.0, "measuring")
    vectors, measuring = measured(bench, str(row.measure), report)
    settings = row.settings(bench.request.seed)
    limit = (bench.request.minutes * 60 - measuring) / len(bench.folds.folds)
    probabilities = np.zeros((len(bench.items), len(bench.classes)))
    choosing = fitting = 0.0
    chosen = []
    for number, fold in enumerate(bench.folds.folds):
        report(number / len(bench.folds.folds), f"{fold.name}: choosing among {len(settings)} settings")
        began = bench.clock()
        choice = choose_setting(
            settings,
            _part(bench, vectors, fold.inner),
            _part(bench, vectors, fold.validation),
            classes=bench.classes,
            enough=partial(_is_late, bench.clock, began + limit),
        )
        choosing += bench.clock() - began
        began = bench.clock()
        classifier = choice.setting.make()
        classifier.fit(*_part(bench, vectors, fold.learn))
        fitting += bench.clock() - began
        probabilities[list(fold.test)] = chances_of(classifier, vectors[list(fold.test)], bench.classes)
        chosen.append({"fold": fold.name, "setting": choice.setting.words, "tried": choice.tried,
                       "balanced_accuracy_validation": choice.balanced_accuracy})  # fmt: skip
    seconds = {"measuring": measuring, "choosing": choosing, "fitting": fitting}
    return probabilities, {"seconds": seconds, "measurements": int(vectors.shape[1]), "chosen": chosen}


def _fit_network(bench: Bench, row: RowPlan, report: Report) -> tuple[FloatArray, dict[str, Any]]:
    """Build and trace once, then train for an even share of the remaining minutes on each fold."""
    from ml.batches import Examples
    from ml.rivals import RIVALS, Contender

    report(0.0, "building and tracing")
    contender = Contender(
        RIVALS[row.key],
        classes=len(bench.classes),
        preprocessing=bench.preprocessing,
        augmentation=bench.augmentation,
        weights=bench.request.weights,
        seed=bench.request.seed,
        clock=bench.clock,
    )
    total = bench.request.minutes * 60
    share = max(0.0, total - contender.tracing_seconds) / len(bench.folds.folds)
    codes = np.asarray([bench.classes.index(label) for label in bench.labels], np.int64)
    probabilities = np.zeros((len(bench.items), len(bench.classes)))
    efforts: list[dict[str, Any]] = []
    for number, fold in enumerate(bench.folds.folds):
        learn, spent = list(fold.learn), contender.tracing_seconds + number * share

        def tell(done: float, words: str, fold: Fold = fold, spent: float = spent) -> None:
            report(min(1.0, (spent + done * share) / total), f"{fold.name}: {words}")

        effort = contender.train(Examples(bench.images[learn], codes[learn]), seconds=share, report=tell)
        probabilities[list(fold.test)] = contender.probabilities(bench.images[list(fold.test)])
        efforts.append({"fold": fold.name, "seconds": effort.seconds, "steps": effort.steps,
                        "images": effort.images, "epochs": effort.images / len(learn)})  # fmt: skip
    seconds = {"tracing": contender.tracing_seconds, "training": sum(one["seconds"] for one in efforts)}
    made = {"seconds": seconds, "parameters": contender.parameters, "device": contender.device, "trained": efforts,
            "learning_rate": contender.rival.learning_rate}  # fmt: skip
    return probabilities, made


def _part(bench: Bench, vectors: FloatArray, positions: Sequence[int]) -> tuple[FloatArray, list[str]]:
    return vectors[list(positions)], [bench.labels[i] for i in positions]


def _is_late(clock: Clock, deadline: float) -> bool:
    return clock() > deadline
