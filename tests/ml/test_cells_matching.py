"""Matching is one to one, and its figures are the shares they say."""

from __future__ import annotations

import numpy as np
import pytest

from ml.cells.cell import Cell, Kind
from ml.evaluation.detection_matching import Counted, match_boxes, match_marks, overlap, recall_and_precision


def cell(x: int, y: int, side: int = 10) -> Cell:
    mask = np.ones((side, side), bool)
    return Cell((x, y, side, side), mask, mask, 1.0, 1.0, 1.0, Kind.LEUKOCYTE, False)


def test_overlap_is_intersection_over_union() -> None:
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 10, 10), (20, 0, 10, 10)) == 0.0
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1.0


def test_a_box_is_matched_once() -> None:
    pairs = match_boxes([(0, 0, 10, 10), (1, 0, 10, 10)], [(0, 0, 10, 10)])
    assert pairs == [(0, 0)]


def test_a_cell_over_two_marks_finds_neither() -> None:
    assert match_marks([cell(0, 0, 20)], [(3, 3), (15, 15)]) == []
    assert match_marks([cell(0, 0), cell(10, 10)], [(3, 3), (15, 15)]) == [(0, 0), (1, 1)]


def test_a_mark_finds_one_cell() -> None:
    assert match_marks([cell(0, 0), cell(2, 2)], [(5, 5)]) == [(0, 0)]


def test_figures_are_shares_over_all_pictures() -> None:
    pictures = [Counted(there=4, found=4, given=5, right=4), Counted(there=2, found=1, given=1, right=1)] * 20
    recall, precision = recall_and_precision(pictures, split="drawn")
    assert recall.value == pytest.approx(5 / 6)
    assert precision.value == pytest.approx(5 / 6)
    assert recall.low < recall.value < recall.high
    assert (recall.n, recall.groups, recall.method) == (120, 40, "bootstrap")


def test_without_any_error_the_interval_is_wilsons() -> None:
    recall, precision = recall_and_precision([Counted(3, 3, 3, 3)] * 5, split="drawn")
    assert (recall.value, recall.high, recall.method) == (1.0, pytest.approx(1.0), "wilson")
    assert 0.7 < precision.low < 1.0


def test_nothing_there_defines_no_recall() -> None:
    recall, precision = recall_and_precision([Counted(0, 0, 1, 0)], split="drawn")
    assert not recall.defined
    assert precision.value == 0.0
