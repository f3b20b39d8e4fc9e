"""The gate of cells: a cell beside the middle is not the one asked for, black leaves no rim, strangers pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ml.build_cell import RUNS, moved
from ml.cells.preprocessing import CellPreprocessing
from ml.cells.single import find_cell, offset_um, without_black
from ml.domain import fit_domain, fit_domain_for_strangers
from ml.evaluation import cell_evidence_table
from ml.evaluation.cell_evidence_table import BEGIN, END, markdown
from ml.evaluation.cell_strangers import _window
from ml.pictures import NO_CELL, picture_of
from tests.painted_cells import UM, paint_cell

RNG = np.random.default_rng(3)


def shifted(pixels: np.ndarray, by: int) -> np.ndarray:
    way = np.float32([[1, 0, by], [0, 1, 0]])
    size = (pixels.shape[1], pixels.shape[0])
    return np.asarray(cv2.warpAffine(pixels, way, size, borderValue=(238, 234, 240)), np.uint8)


@pytest.mark.parametrize(("by", "problem"), [(0, ""), (8, ""), (46, NO_CELL)])
def test_a_leukocyte_beside_the_middle_is_another_one(by: int, problem: str) -> None:
    picture = shifted(paint_cell(np.random.default_rng(1), 8), by)
    assert find_cell(picture, UM).found
    assert picture_of(CellPreprocessing(size=64), picture, UM).problem == problem


def test_the_offset_is_measured_from_the_middle_to_the_cell() -> None:
    picture = shifted(paint_cell(np.random.default_rng(1), 8), 46)
    cell = find_cell(picture, UM)
    nearest = np.flatnonzero(cell.mask.any(axis=0))[0] - (picture.shape[1] - 1) / 2
    assert offset_um(cell, picture.shape, UM) == pytest.approx(nearest * UM, rel=0.2)


def test_a_picture_without_violet_has_no_nucleus() -> None:
    picture = paint_cell(np.random.default_rng(1), 8)
    red = np.zeros_like(picture)
    red[:] = (238, 234, 240)
    cv2.circle(red, (64, 64), 13, (205, 160, 160), -1)
    assert find_cell(picture, UM).found
    assert not find_cell(red, UM).found


def test_a_window_over_the_edge_keeps_its_middle() -> None:
    field = RNG.integers(0, 255, (60, 80, 3)).astype(np.uint8)
    for middle in ((40.0, 30.0), (2.0, 3.0), (79.0, 59.0)):
        window = _window(field, middle, 48.0)
        assert window.shape == (48, 48, 3)
        x, y = (int(place) for place in middle)
        assert (window[23:26, 23:26] == field[y, x]).all(axis=2).any()


def test_no_black_is_left_in_what_is_shown_of_a_cell_on_black() -> None:
    picture = cv2.resize(paint_cell(np.random.default_rng(2), 9, on_black=True), None, fx=4, fy=4)
    shown = picture_of(CellPreprocessing(size=96), picture, UM / 4).prepared
    cell = find_cell(picture, UM / 4)
    darkest = (
        picture[cv2.erode(cell.mask.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0].max(axis=1).min()
    )
    assert shown.max(axis=2).min() > 0.8 * darkest
    assert without_black(picture)[cell.mask].max(axis=1).min() > 0.5 * darkest


def test_a_picture_with_its_glass_stays_as_it_is() -> None:
    picture = paint_cell(np.random.default_rng(2), 9)
    assert without_black(picture) is picture


def clouds(shift: float, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    return (
        RNG.normal(shift, 1, (n, 8)).astype(np.float32),
        RNG.normal(shift / 2, 1, (n, 4)).astype(np.float32),
    )


def joined(*parts: tuple[np.ndarray, np.ndarray]) -> Any:
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def test_a_source_held_out_sets_the_limits_and_nothing_inside_falls_out() -> None:
    near, far = clouds(0), clouds(4)
    training, held = joined(near, far), joined(clouds(0), clouds(4))
    names = ["a"] * 300 + ["b"] * 300
    codes = np.zeros(600, np.intp)
    narrow = fit_domain(training=training, held_out=held, keep=0.97)
    wide = fit_domain_for_strangers(
        training=training, held_out=held, labels=(codes, codes), sources=(names, names), keep=0.97,
        keep_strangers=0.95,
    )  # fmt: skip
    assert wide.features.limit > 1.5 * narrow.features.limit
    third = clouds(-3)
    passed = [float((one.score(*third) <= one.threshold).mean()) for one in (narrow, wide)]
    assert passed[1] > passed[0] + 0.2
    assert (wide.score(*held) <= narrow.score(*held) + 1e-5).all()
    assert (wide.score(*clouds(40)) > wide.threshold).all()


def test_one_source_alone_is_held_to_its_own_limits() -> None:
    training, held = clouds(0), clouds(0)
    codes, names = np.zeros(300, np.intp), ["a"] * 300
    alone = fit_domain_for_strangers(
        training=training, held_out=held, labels=(codes, codes), sources=(names, names), keep=0.97,
        keep_strangers=0.95,
    )  # fmt: skip
    assert alone.features.limit == fit_domain(training=training, held_out=held, keep=0.97).features.limit


def test_classes_that_the_others_lack_set_no_limit() -> None:
    training, held = joined(clouds(0), clouds(0)), joined(clouds(0), clouds(50))
    names = ["a"] * 300 + ["b"] * 300
    learnt = np.repeat([0, 0], 300).astype(np.intp)
    strange = np.repeat([0, 1], 300).astype(np.intp)
    domain = fit_domain_for_strangers(
        training=training, held_out=held, labels=(learnt, strange), sources=(names, names), keep=0.4,
        keep_strangers=0.95,
    )  # fmt: skip
    assert (domain.score(*clouds(50)) > domain.threshold).all()


def test_an_outline_moves_out_and_in_and_never_vanishes() -> None:
    mask = np.zeros((40, 40), bool)
    mask[15:25, 15:25] = True
    assert moved(mask, 2).sum() > mask.sum() > moved(mask, -2).sum() > 0
    speck = np.zeros((40, 40), bool)
    speck[5, 5] = True
    assert moved(speck, -2).any()
    assert moved(mask, 0) is mask


def test_the_run_that_ships_goes_on_from_one_that_there_is() -> None:
    assert RUNS["main"].start in RUNS
    assert {"none", "reinhard"} == set(RUNS["main"].stains)


FIGURE = {
    "value": 0.95,
    "low": 0.9,
    "high": 0.99,
    "n": 120,
    "groups": 6,
    "split": "test",
    "method": "bootstrap",
}
FOUND = {
    "hospitals": {"one": [{**FIGURE, "name": "auroc_blast"}, {**FIGURE, "name": "f1/blast"}]},
    "spoilt": {
        "as it is": [{**FIGURE, "name": "auroc_blast_or_promyelocyte"}, {**FIGURE, "name": "f1_macro"}],
        "blurred": [
            {**FIGURE, "name": "auroc_blast_or_promyelocyte", "value": 0.91},
            {**FIGURE, "name": "f1_macro", "value": None},
        ],
    },
    "gate": [{"name": "red cells", "n": 100, "kept": 2, "inside_domain": 10}],
    "fields": {"figures": [{**FIGURE, "name": "auroc/healthy", "low": None, "high": None}]},
}


def test_the_tables_tell_values_falls_and_shares() -> None:
    text = markdown(FOUND)
    assert "| one | AUROC, blast against other leukocytes | 0.950 (0.900 to 0.990) | 120 | 6 |" in text
    assert "| blurred | 0.910 (0.900 to 0.990) | 0.040 | not defined |" in text
    assert "| red cells | 100 | 0.020 (0.006 to 0.070) | 0.100 (0.055 to 0.174) |" in text
    assert "| leukemic against healthy | AUROC of the index | 0.950 | 120 |" in text


def test_the_tables_go_between_their_marks_of_a_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "cells.json").write_text(json.dumps(FOUND))
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr("sys.argv", ["x", str(tmp_path), "--readme", str(readme)])
    cell_evidence_table.main()
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    readme.write_text("no marks")
    with pytest.raises(SystemExit, match="lacks the marks"):
        cell_evidence_table.main()
