"""Training on this machine: what the input pipeline costs beside the network's steps, how soon a second trial starts,
how many trials of the head a minute holds, and the memory of it all for the public data's 2,775 fields.

A DenseNet-121 with random weights does the same work as a trained one. The decoded fields come from a mapped file of
2,775, as a retraining's do; a few hundred distinct ones fill it. Steps at both sizes and the search have a process
each, as a retraining's refit and search have.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import psutil

from benchmarks.fields import drawn_fields, real_fields
from benchmarks.measuring import Figure, Report, at_least, at_most
from ml.apart import run_apart
from ml.memory import give_back

FIELDS = 2775
DISTINCT = 96
HELD = 600
SIZES = (128, 224)
BATCH = 32
ROUNDS = 5
STEPS = {128: 6, 224: 3}
FEATURE_FIELDS = 96
TRIALS = 60
CLASSES = ("benign", "early", "pre", "pro")


def run(options: argparse.Namespace) -> Report:
    """The benchmark as the command line asks for it; its figures do not depend on `--bundle` and `--repeats`."""
    report = Report("Training (DenseNet-121)")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        file = _fields(place / "fields.npy", report)
        for part, words in ((_steps, "the refit's"), (_search, "the search's")):
            figures, peak = run_apart(part, file)
            report.figures.extend(figures)
            # The process that waits for this one is there all the while.
            report.figures.append(
                at_most(f"memory at its highest, {words} steps", [peak + _now()], "MB", 6000)
            )
    return report


def _steps(file: Path, **_: object) -> tuple[list[Figure], float]:
    """All layers at one size after the other, and the memory of it at its highest, MB."""
    import keras

    images = np.load(file, mmap_mode="r")
    figures = []
    for size in SIZES:
        figures += _measure_pipeline(images, size)
        keras.backend.clear_session()  # as a training does between its stages
        give_back()
    return figures, _peak()


def _search(file: Path, **_: object) -> tuple[list[Figure], float]:
    with tempfile.TemporaryDirectory() as scratch:
        return _measure_search(np.load(file, mmap_mode="r"), Path(scratch)), _peak()


def _fields(file: Path, report: Report) -> Path:
    """A file of 2,775 corrected fields of 224 pixels."""
    from ml.imaging.preprocessing import Preprocessing
    from ml.saving import new_array

    distinct = real_fields(DISTINCT)
    report.notes.append(
        f"{FIELDS} fields in a mapped file, {DISTINCT} of them distinct "
        f"({'real' if distinct else 'drawn'}); {BATCH} a batch."
    )
    corrected = [Preprocessing().correct(pixels) for pixels in distinct or drawn_fields(DISTINCT)]
    array = new_array(file, np.uint8, (FIELDS, 224, 224, 3))
    for position in range(FIELDS):
        array[position] = corrected[position % len(corrected)]
    array.flush()
    return file


@dataclass
class _Fit:
    """A compiled network and how fast it goes through batches, by Keras' own `fit` as in `ml.training.train`."""

    model: Any
    parts: int

    def images_a_second(self, data: Any, steps: int) -> tuple[float, float]:
        """By the wall's clock, and by the processor time that all cores have in a second."""
        began, worked = perf_counter(), process_time()
        self.model.fit(data, epochs=1, steps_per_epoch=steps * self.parts, verbose=0)
        cores = psutil.cpu_count() or 1
        images = steps * BATCH
        return images / (perf_counter() - began), images * cores / (process_time() - worked)


def _measure_pipeline(images: Any, size: int) -> list[Figure]:
    import tensorflow as tf

    from ml.batches import Examples, batches
    from ml.imaging.preprocessing import Preprocessing
    from ml.losses import MembershipLoss, accuracy
    from ml.network import build_network
    from ml.plan import Plan
    from ml.training import make_optimiser

    plan = Plan(batch_size=BATCH)
    parts = plan.parts(size)
    model = build_network(len(CLASSES), size=size)
    model.compile(
        optimizer=make_optimiser(plan, 1e-4, parts),
        loss=MembershipLoss(plan.label_smoothing),
        metrics=[accuracy],
    )
    examples = Examples(images, np.arange(len(images)) % len(CLASSES))
    fed = batches(
        examples,
        classes=len(CLASSES),
        size=size,
        preprocessing=Preprocessing(),
        batch_size=BATCH // parts,
        plan=plan,
    )
    one = next(iter(fed))
    bare = tf.data.Dataset.from_tensors(one).repeat()
    fit = _Fit(model, parts)
    fit.images_a_second(bare, 2)  # traces
    alone, together = [], []
    for _ in range(ROUNDS):  # in turn, so that other work on the machine disturbs both alike
        alone.append(fit.images_a_second(bare, STEPS[size]))
        together.append(fit.images_a_second(fed, STEPS[size]))
    wall = [(bare[0], fed[0]) for bare, fed in zip(alone, together, strict=True)]
    work = [(bare[1], fed[1]) for bare, fed in zip(alone, together, strict=True)]
    shares = [100 * fed / bare for bare, fed in wall]
    return [
        at_least(f"all layers at {size} px, the same batch again", [pair[0] for pair in wall], "images/s"),
        at_least("  through the input pipeline", [pair[1] for pair in wall], "images/s"),
        at_least("  of the bare steps", shares, "%", 90),
        # What other work on the machine leaves alone: the share if all cores were this process's.
        at_least("  of the bare steps, by processor time", [100 * fed / bare for bare, fed in work], "%"),
    ]


def _measure_search(images: Any, place: Path) -> list[Figure]:
    from ml.batches import Examples
    from ml.features import Features
    from ml.imaging.preprocessing import Preprocessing
    from ml.search import make_study
    from ml.tuning import Workbench, run_trial

    class Stretched(Workbench):
        """Features of a few fields stand in for those of all: a step's work is the same, computing them is not."""

        def features(self, part: str, setting: Any, **others: Any) -> Features:
            found = super().features(part, setting, **others)
            wanted = len(labels) - HELD if part == "train" else HELD
            rows = np.arange(wanted) % len(found)
            return Features(found.pool4, np.asarray(found.pooled)[:, rows])

        @property
        def membership(self) -> Any:
            return np.eye(len(CLASSES), dtype=np.float32)[labels[HELD:]]

        @property
        def held(self) -> Any:
            return np.eye(len(CLASSES), dtype=np.float32)[labels[:HELD]]

    labels = np.arange(len(images)) % len(CLASSES)
    common: dict[str, Any] = {
        "classes": CLASSES, "malignant": CLASSES[1:], "preprocessing": Preprocessing(), "start": None,
    }  # fmt: skip
    whole = Workbench(
        Examples(images[HELD:], labels[HELD:]), Examples(images[:HELD], labels[:HELD]),
        cache=place / "whole", depths=("all",), sizes=(128,), **common,
    )  # fmt: skip
    study = make_study("whole", storage=f"sqlite:///{place}/whole.sqlite3")
    starts = [_until_first_step(study, whole, run_trial) for _ in range(3)]
    figures = [
        at_most("first trial of a process, until its first step is done", starts[:1], "s"),
        at_most("  a later one", starts[1:], "s", 5),
    ]

    few = slice(0, FEATURE_FIELDS)
    heads = Stretched(
        Examples(images[few], labels[few]), Examples(images[few], labels[few]),
        cache=place / "heads", depths=("head",), sizes=(128,), **common,
    )  # fmt: skip
    study = make_study("heads", storage=f"sqlite:///{place}/heads.sqlite3")
    rates: list[float] = []
    computing = _Clock(rates)
    study.optimize(lambda trial: run_trial(trial, heads, report=computing), n_trials=12)
    if rates:
        figures.append(at_least("frozen features at 128 px, augmented", rates, "images/s"))
    began = perf_counter()
    study.optimize(lambda trial: run_trial(trial, heads), n_trials=TRIALS)
    each = (perf_counter() - began) / TRIALS
    return [*figures, Figure("trials of the head on cached features, a minute", 60 / each, n=TRIALS)]


class _Clock:
    """Reads the speed of computing features off a trial's reports."""

    def __init__(self, rates: list[float]) -> None:
        self._rates = rates
        self._last: tuple[float, int] | None = None

    def __call__(self, values: dict[str, Any]) -> None:
        now, done = perf_counter(), values["trial_done"]
        if values["trial_phase"] != "computing features" or (self._last and done <= self._last[1]):
            self._last = None
        elif self._last:
            self._rates.append((done - self._last[1]) / (now - self._last[0]))
        if values["trial_phase"] == "computing features":
            self._last = (now, done)


def _until_first_step(study: Any, bench: Any, run_trial: Callable[..., float]) -> float:
    """Seconds from a trial's beginning to the end of its first step, where it is given up."""

    import optuna

    def give_up(values: dict[str, Any]) -> None:
        raise optuna.TrialPruned

    began = perf_counter()
    study.optimize(lambda trial: run_trial(trial, bench, report=give_up), n_trials=1)
    return perf_counter() - began


def _now() -> float:
    """Resident memory of this process, MB."""
    return float(psutil.Process().memory_info().rss / 2**20)


def _peak() -> float:
    """Highest resident memory of this process so far, MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return _now()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
