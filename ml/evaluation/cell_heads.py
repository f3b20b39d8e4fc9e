"""Linear heads on pooled features of cells: one softmax over all classes, or a blast head beside a type head.

Logistic regressions on features scaled by the training cells, with the strength of the ridge chosen on held-out
patients of the training side. They stand for what a frozen network holds, and are no bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ml.tasks import CELL

FloatArray = NDArray[np.float64]
Features = NDArray[np.float32]
Codes = NDArray[np.int64]

HEADS: Final = ("one", "two")
RIDGES: Final = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse strengths C that are tried, of features with deviation 1."""

ITERATIONS: Final = 300
WEIGHT_POWER: Final = 0.5
"""A cell counts with its class's frequency to the power of minus this, as in the training of networks."""

TINY: Final = 1e-12

_MALIGNANT: Final = np.asarray([name in CELL.malignant for name in CELL.classes])


@dataclass(frozen=True)
class Head:
    """A fitted head.

    Attributes:
        mean, deviation: (d,) of the features it learnt from. parts: name -> fitted regression.
        ridge: the C that was chosen.
    """

    mean: Features
    deviation: Features
    parts: dict[str, Any]
    ridge: float

    def probabilities(self, features: Features) -> FloatArray:
        """(n, d) features -> (n, 16) probabilities of the task's classes; 0 for a class it never saw."""
        scaled = (features - self.mean) / self.deviation
        if "all" in self.parts:
            return _spread(self.parts["all"], scaled)
        found = _spread(self.parts["other"], scaled)
        blast = self.parts["blast"].predict_proba(scaled)[:, 1:]
        return np.asarray(found * (1.0 - blast) + _spread(self.parts["malignant"], scaled) * blast)


def fit_head(features: Features, codes: Codes, *, kind: str, ridge: float) -> Head:
    """Fit a head to cells of one class each.

    Args:
        features: (n, d). codes: (n,) positions in the task's classes.
        kind: `one` softmax over all classes, or `two`: blast or not, and the type given either (which are fitted to
            the malignant and to the other cells alone, so that types of normal cells learn nothing from blasts).
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation > 1e-6, deviation, np.float32(np.inf)).astype(np.float32)
    scaled = (features - mean) / deviation
    malignant = _MALIGNANT[codes]
    if kind == "one":
        parts = {"all": _fitted(scaled, codes, ridge)}
    else:
        parts = {
            "blast": _fitted(scaled, malignant.astype(np.int64), ridge),
            "other": _fitted(scaled[~malignant], codes[~malignant], ridge),
            "malignant": _fitted(scaled[malignant], codes[malignant], ridge),
        }
    return Head(mean, deviation, parts, ridge)


def choose_ridge(
    features: Features,
    codes: Codes,
    learn: NDArray[np.bool_],
    held: NDArray[np.bool_],
    *,
    kind: str,
    ridges: Sequence[float] = RIDGES,
) -> float:
    """The C of the least log loss on held-out cells, the stronger ridge among equals.

    Args:
        learn, held: (n,) disjoint, by patient; of the training side both.
        ridges: those to choose from, weakest C first; of one alone nothing is fitted.
    """
    if len(ridges) == 1:
        return ridges[0]
    losses = []
    for ridge in ridges:
        chances = fit_head(features[learn], codes[learn], kind=kind, ridge=ridge).probabilities(
            features[held]
        )
        of_label = chances[np.arange(len(chances)), codes[held]]
        losses.append(float(-np.log(np.maximum(of_label, TINY)).mean()))
    return ridges[int(np.argmin(losses))]


def cross_fitted(
    features: Features,
    codes: Codes,
    fold: Codes,
    *,
    kind: str,
    folds: int,
    may_learn: NDArray[np.bool_],
    ridges: Sequence[float] = RIDGES,
) -> tuple[FloatArray, list[Head]]:
    """(n, 16) probabilities of every cell by a head that saw none of its fold, and each fold's head.

    The ridge is chosen on the following fold, and the head then fitted to all folds but the one it judges.

    Args:
        codes: (n,); of a cell that may not be learnt from any number. fold: (n,), -1 is learnt from nowhere.
        may_learn: (n,) cells of one known class; the others are judged all the same.
    """
    chances = np.full((len(features), len(CELL.classes)), np.nan)
    heads = []
    for number in range(folds):
        following = (number + 1) % folds
        side = may_learn & (fold >= 0) & (fold != number)
        ridge = choose_ridge(
            features,
            codes,
            side & (fold != following),
            side & (fold == following),
            kind=kind,
            ridges=ridges,
        )
        head = fit_head(features[side], codes[side], kind=kind, ridge=ridge)
        judged = fold == number
        chances[judged] = head.probabilities(features[judged])
        heads.append(head)
    return chances, heads


def source_told(
    features: Features, other: NDArray[np.bool_], codes: Codes, fold: Codes, folds: int
) -> FloatArray:
    """(n,) how much each cell looks like the second source's, by heads fitted to the other folds' cells.

    Given cells of types that both sources have, it tells how far hospital and type can be confused: 0.5 of area
    would be a picture without a hospital.
    """
    scores = np.zeros(len(features))
    for number in range(folds):
        side, judged = (fold >= 0) & (fold != number), fold == number
        mean, deviation = features[side].mean(axis=0), np.maximum(features[side].std(axis=0), 1e-6)
        # Each source counts as much of each type, else the mixture of types would tell.
        cells = codes[side] * 2 + other[side]
        fitted = _fitted((features[side] - mean) / deviation, other[side].astype(np.int64), RIDGES[1], cells)
        scores[judged] = fitted.decision_function((features[judged] - mean) / deviation)
    return scores


def _fitted(scaled: Features, codes: Codes, ridge: float, cells: Codes | None = None) -> Any:
    """A multinomial regression, or a constant where there is one class alone."""
    names = np.unique(codes)
    if len(names) < 2:
        return _Constant(names)
    counted = codes if cells is None else cells
    power = WEIGHT_POWER if cells is None else 1.0
    _, place, counts = np.unique(counted, return_inverse=True, return_counts=True)
    weights = counts[place].astype(np.float64) ** -power
    model = LogisticRegression(C=ridge, max_iter=ITERATIONS)
    return model.fit(scaled, codes, sample_weight=weights / weights.mean())


class _Constant:
    """What is learnt from cells of one class: that class."""

    def __init__(self, names: Sequence[int] | Codes) -> None:
        self.classes_ = np.asarray(names)

    def predict_proba(self, scaled: Features) -> FloatArray:
        return np.ones((len(scaled), len(self.classes_)))


def _spread(model: Any, scaled: Features) -> FloatArray:
    """(n, 16) a regression's probabilities, each in the column of its class."""
    chances = np.zeros((len(scaled), len(CELL.classes)))
    chances[:, model.classes_] = model.predict_proba(scaled)
    return chances
