"""How well the rule of the alert *possible APL* (`ml.cells.apl`) tells patients with APL from those with another AML.

python -m ml.evaluation.apl_rule --data DATA/deepapl-discovery --bundle ml/bundles/cell-1 --readme README.md

Twice: by the classes that the data set's reader gave the cells of every patient, which is what the rule could do at
best, and by the classes that the bundle gave the cells of the patients it was tested on. One patient is one case.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml.calibration import wilson_interval
from ml.cells.apl import (
    LEAST_LEUKOCYTES,
    LEAST_PROMYELOCYTES,
    LEAST_SHARE_OF_BLOOD,
    LEAST_SHARE_OF_MARROW,
    PROMYELOCYTE,
    is_possible_apl,
)
from ml.cells.counting import Counted, Differential, differential
from ml.data.cells import DEEPAPL
from ml.evaluation.predictions import read_predictions_csv
from ml.evaluation.readme_marks import show_or_write

BEGIN: Final = "<!-- apl: begin (written by `python -m ml.evaluation.apl_rule`) -->"
END: Final = "<!-- apl: end -->"

APL: Final = "APL"
LIMITS: Final = (0.02, LEAST_SHARE_OF_BLOOD, 0.1, 0.2)
"""Shares that the interval's lower end must exceed: the rule's own among others, for comparison."""
SEED: Final = 20
RESAMPLES: Final = 2000


@dataclass(frozen=True)
class Patient:
    """One patient with the count of her cells. `has_apl`: her diagnosis, as the data set states it."""

    name: str
    has_apl: bool
    count: Differential

    @property
    def share(self) -> float:
        return self.count.share(PROMYELOCYTE)


@dataclass(frozen=True)
class Found:
    """What the rule says of patients: how many with APL and how many others there are, and how many it points out."""

    apl: int
    apl_pointed_out: int
    others: int
    others_pointed_out: int


def by_reader(data: Path) -> list[Patient]:
    """Every patient of the set, by the reader's classes."""
    rows = _index(data)
    return _patients(((row["patient"], _meaning(row["label"])) for row in rows), _diagnoses(rows))


def by_model(data: Path, predictions: Path) -> list[Patient]:
    """The patients that a bundle was tested on, by the classes it gave; a cell outside its domain has none."""
    before = f"{DEEPAPL.name}/"
    rows = [row for row in read_predictions_csv(predictions)[0] if row.group.startswith(before)]
    return _patients(
        ((row.group.removeprefix(before), row.predicted if row.inside_domain else None) for row in rows),
        _diagnoses(_index(data)),
    )


def pointed_out(patients: Sequence[Patient], rule: Callable[[Patient], bool]) -> Found:
    """Count what a rule says."""
    apl = [rule(one) for one in patients if one.has_apl]
    others = [rule(one) for one in patients if not one.has_apl]
    return Found(len(apl), sum(apl), len(others), sum(others))


def the_rule(patient: Patient) -> bool:
    """The rule of the pages."""
    return is_possible_apl(patient.count.promyelocytes, patient.count.total)


def rule_at(limit: float) -> Callable[[Patient], bool]:
    """The rule with another share."""

    def rule(patient: Patient) -> bool:
        interval = patient.count.interval(PROMYELOCYTE)
        enough = (
            patient.count.promyelocytes >= LEAST_PROMYELOCYTES and patient.count.total >= LEAST_LEUKOCYTES
        )
        return enough and interval is not None and interval[0] > limit

    return rule


def area(
    patients: Sequence[Patient], *, seed: int = SEED, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Area under the ROC curve of the promyelocytes' share alone, with a 95 % bootstrap interval over patients.

    nan where there are not both kinds of patients.
    """
    shares = np.array([one.share for one in patients])
    truth = np.array([one.has_apl for one in patients])
    if truth.all() or not truth.any():
        return math.nan, math.nan, math.nan
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(patients), size=(resamples, len(patients)))
    areas = [_area(shares[draw], truth[draw]) for draw in draws]
    low, high = np.nanquantile(areas, [0.025, 0.975])
    return _area(shares, truth), float(low), float(high)


def _area(shares: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """How often a patient with APL has the larger share than one without, ties counting half; nan in a draw that lacks
    either."""
    with_it, without = shares[truth][:, None], shares[~truth][None, :]
    if not with_it.size or not without.size:
        return math.nan
    return float(np.mean((with_it > without) + 0.5 * (with_it == without)))


def markdown(reader: Sequence[Patient], model: Sequence[Patient], *, bundle: str, most: int) -> str:
    """The tables of the README; `most` is how many cells of one class a patient of the set has at most."""
    without = sum(one.has_apl and one.count.promyelocytes < LEAST_PROMYELOCYTES for one in reader)
    apl = sum(one.has_apl for one in reader)
    parts = [
        f"The alert *possible APL*: at least {LEAST_PROMYELOCYTES} promyelocytes among at least {LEAST_LEUKOCYTES} "
        f"leukocytes, with the lower end of their share's 95 % interval above {LEAST_SHARE_OF_BLOOD:.2f} (in marrow "
        f"{LEAST_SHARE_OF_MARROW:.2f}, which nothing here measures). How many patients of `{DEEPAPL.name}` it points "
        f"out, {apl} of them with APL and {len(reader) - apl} with another acute myeloid leukemia; Wilson's intervals "
        "over patients:",
        _table(
            ("classes by", "patients", "sensitivity for APL", "specificity", "AUROC of the share alone"),
            [_row(words, some) for words, some in _both(reader, model, bundle)],
        ),
        "The same with other limits, for comparison:",
        _table(
            ("classes by", "limit", "sensitivity for APL", "specificity"),
            [
                (words, f"{limit:.2f}", _sensitivity(found), _specificity(found))
                for words, some in _both(reader, model, bundle)
                for limit in LIMITS
                for found in [pointed_out(some, rule_at(limit))]
            ],
        ),
        f"So the alert misses most patients with APL, even with this reader's own classes: {without} of the {apl} have "
        f"fewer than {LEAST_PROMYELOCYTES} promyelocytes by them, and no limit mends that. Its silence excludes "
        "nothing, and some patients with another leukemia raise it. What these figures can't say: the set keeps at "
        f"most {most} cells of a class and patient, so its shares are not those of a smear; all its patients have "
        "leukemia, so how often a left shift raises the alert is not measured; the limit comes from what a left shift "
        "reaches, but was set with these tables in view, which makes them no independent test.",
    ]
    return "\n\n".join(parts)


def _both(
    reader: Sequence[Patient], model: Sequence[Patient], bundle: str
) -> list[tuple[str, Sequence[Patient]]]:
    return [("the set's reader, all patients", reader), (f"{bundle}, patients of its test part", model)]


def _row(words: str, patients: Sequence[Patient]) -> tuple[str, ...]:
    found = pointed_out(patients, the_rule)
    value, low, high = area(patients)
    told = f"{value:.3f} ({low:.3f} to {high:.3f})" if math.isfinite(value) else "not defined"
    return (words, f"{found.apl} + {found.others}", _sensitivity(found), _specificity(found), told)


def _sensitivity(found: Found) -> str:
    return _share(found.apl_pointed_out, found.apl)


def _specificity(found: Found) -> str:
    return _share(found.others - found.others_pointed_out, found.others)


def _share(part: int, whole: int) -> str:
    if not whole:
        return "not defined"
    low, high = wilson_interval(part, whole)
    return f"{part} of {whole}: {part / whole:.3f} ({low:.3f} to {high:.3f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _index(data: Path) -> list[dict[str, str]]:
    with (data / "index.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _diagnoses(rows: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {row["patient"]: row["diagnosis"] for row in rows}


def _meaning(label: str) -> str | None:
    """The task's class of one of the set's labels; None for a label that is left out."""
    classes = DEEPAPL.meaning.get(label, ())
    return classes[0] if len(classes) == 1 else None


def _patients(cells: Iterable[tuple[str, str | None]], diagnoses: Mapping[str, str]) -> list[Patient]:
    found: dict[str, list[Counted]] = {}
    for patient, label in cells:
        found.setdefault(patient, []).append(Counted(label))
    return [Patient(name, diagnoses[name] == APL, differential(some)) for name, some in sorted(found.items())]


def most_of_a_class(data: Path) -> int:
    """How many cells of one label a patient of the set has at most."""
    counts: dict[tuple[str, str], int] = {}
    for row in _index(data):
        key = (row["patient"], row["label"])
        counts[key] = counts.get(key, 0) + 1
    return max(counts.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help=f"folder of {DEEPAPL.name}, with its index.csv"
    )
    parser.add_argument(
        "--bundle", type=Path, required=True, help="folder of a cell bundle, with its evidence"
    )
    parser.add_argument("--readme", type=Path, help="write the tables into this README, between their marks")
    arguments = parser.parse_args()
    text = markdown(
        by_reader(arguments.data),
        by_model(arguments.data, arguments.bundle / "evidence" / "predictions.csv"),
        bundle=arguments.bundle.name,
        most=most_of_a_class(arguments.data),
    )
    show_or_write(text, arguments.readme, begin=BEGIN, end=END)


if __name__ == "__main__":
    main()
