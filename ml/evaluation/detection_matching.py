"""Matches what a detector found to what is there, one to one, and makes figures of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml.calibration import wilson_interval
from ml.cells.cell import Cell
from ml.evaluation.intervals import LEVEL, RESAMPLES, Figure, group_weights

FloatArray = NDArray[np.float64]
Box = tuple[float, float, float, float]
"""x, y, width, height."""
Mark = tuple[float, float]

LEAST_OVERLAP: Final = 0.5
"""Intersection over union at which a box is found, as in PASCAL VOC (Everingham et al. 2010)."""


@dataclass(frozen=True)
class Counted:
    """One picture: how many things there are, how many of them were found, how many were given, how many rightly."""

    there: int
    found: int
    given: int
    right: int


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over the union of two boxes, 0..1."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    whole = one[2] * one[3] + other[2] * other[3] - shared
    return shared / whole if whole > 0 else 0.0


def match_boxes(
    given: Sequence[Box], there: Sequence[Box], least: float = LEAST_OVERLAP
) -> list[tuple[int, int]]:
    """Return pairs (index in given, index in there), each index once, the best overlaps first."""
    pairs = [(overlap(box, truth), i, j) for i, box in enumerate(given) for j, truth in enumerate(there)]
    matched: list[tuple[int, int]] = []
    for share, i, j in sorted(pairs, reverse=True):
        if share >= least and all(i != a and j != b for a, b in matched):
            matched.append((i, j))
    return matched


def match_marks(cells: Sequence[Cell], marks: Sequence[Mark]) -> list[tuple[int, int]]:
    """Return pairs (index of cell, index of mark): a mark inside the cell's outline, and no other mark in it.

    A cell that holds two marks has not told them apart, and finds neither. A mark in two outlines goes to the first.
    """
    held = [[j for j, mark in enumerate(marks) if holds(cell, mark)] for cell in cells]
    matched: list[tuple[int, int]] = []
    for i, inside in enumerate(held):
        if len(inside) == 1 and all(inside[0] != j for _, j in matched):
            matched.append((i, inside[0]))
    return matched


def holds(cell: Cell, mark: Mark) -> bool:
    """Whether a mark lies within a cell's outline."""
    column, row = int(mark[0]) - cell.box[0], int(mark[1]) - cell.box[1]
    return 0 <= column < cell.box[2] and 0 <= row < cell.box[3] and bool(cell.mask[row, column])


def recall_and_precision(
    pictures: Sequence[Counted], *, split: str, seed: int = 1, resamples: int = RESAMPLES
) -> tuple[Figure, Figure]:
    """Return recall and precision over all pictures, with 95 % intervals by bootstrap over whole pictures."""
    table = np.array([[one.found, one.there, one.right, one.given] for one in pictures], float).reshape(-1, 4)
    return (
        _share("recall", table[:, 0], table[:, 1], split, seed, resamples),
        _share("precision", table[:, 2], table[:, 3], split, seed, resamples),
    )


def _share(name: str, parts: FloatArray, wholes: FloatArray, split: str, seed: int, resamples: int) -> Figure:
    """Sum over sum; Wilson's interval where no picture errs, none where there are fewer than two pictures."""
    total, pictures = int(wholes.sum()), len(wholes)
    value, low, high, method = float("nan"), float("nan"), float("nan"), "none"
    if total:
        value = float(parts.sum() / total)
        if value in (0.0, 1.0):
            low, high = wilson_interval(int(parts.sum()), total)
            method = "wilson"
        elif pictures > 1:
            weights = group_weights(np.arange(pictures), np.random.default_rng(seed), resamples)
            sums = weights @ wholes
            drawn = (weights @ parts)[sums > 0] / sums[sums > 0]
            tail = (1 - LEVEL) / 2
            low, high = (float(bound) for bound in np.quantile(drawn, [tail, 1 - tail]))
            low, high, method = min(low, value), max(high, value), "bootstrap"
    return Figure(name, value, low, high, total, pictures, split, method)
