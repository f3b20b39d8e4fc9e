"""Crops cover the same micrometres at the same size, and a cut-out shows nothing but its cell."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from ml.cells.cell import Cell, Kind
from ml.cells.cutout import BEYOND, GROUND, crop, cut_out, tile
from ml.cells.normalisation import REINHARD_REFERENCE, reinhard


def scene(zoom: int) -> tuple[np.ndarray, Cell, float]:
    """A violet disc of 10 um at 0.25 um a pixel over `zoom`, its cell and the scale."""
    side, radius = 160 * zoom, 20 * zoom
    pixels = np.full((side, side, 3), (230, 215, 220), np.uint8)
    cv2.circle(pixels, (side // 2, side // 2), radius, (120, 70, 160), -1)
    mask = cv2.circle(np.zeros((side, side), np.uint8), (side // 2, side // 2), radius, 1, -1) > 0
    start, end = side // 2 - radius, side // 2 + radius + 1
    window = mask[start:end, start:end]
    cell = Cell(
        (start, start, end - start, end - start), window, window, 78.5, 60.0, 0.9, Kind.LEUKOCYTE, False
    )
    return pixels, cell, 0.25 / zoom


@pytest.mark.parametrize("zoom", [1, 2, 5])
def test_a_crop_covers_the_same_micrometres_whatever_the_camera(zoom: int) -> None:
    pixels, cell, um = scene(zoom)
    taken = crop(pixels, cell, um, um=20.0, size=100)
    assert taken.shape == (100, 100, 3)
    dark = taken[..., 1] < 140
    assert dark.sum() == pytest.approx(np.pi * 25.0**2, rel=0.05)
    rows, columns = np.nonzero(dark)
    assert (rows.mean(), columns.mean()) == pytest.approx((49.5, 49.5), abs=0.8)


def test_a_cut_out_shows_the_cell_alone() -> None:
    pixels, cell, um = scene(2)
    taken = cut_out(pixels, cell, um, um=20.0, size=100)
    assert (taken[:10] == GROUND).all()
    assert (taken[50, 50] == (120, 70, 160)).all()
    shown = (taken != np.array(GROUND)).any(axis=-1)
    assert shown.sum() == pytest.approx(np.pi * 25.0**2, rel=0.05)


def test_a_cell_in_the_corner_is_still_whole_size() -> None:
    pixels, cell, um = scene(1)
    corner = Cell((0, 0, 41, 41), cell.mask, cell.nucleus, 78.5, 60.0, 0.9, Kind.LEUKOCYTE, True)
    assert crop(pixels, corner, um).shape == (128, 128, 3)


def test_a_tile_is_the_crop_and_grey_where_the_picture_has_ended() -> None:
    pixels, cell, um = scene(1)
    assert (tile(pixels, cell, um, um=20.0, size=100) == crop(pixels, cell, um, um=20.0, size=100)).all()
    corner = Cell((0, 120, 21, 40), cell.mask, cell.nucleus, 40.0, 30.0, 0.9, Kind.LEUKOCYTE, True)
    taken, shown = (see(pixels, corner, um, um=20.0, size=100) for see in (crop, tile))
    grey = (shown == BEYOND).all(axis=-1)
    # The square begins 30 pixels left of the picture and ends 20 below it: 0.8 of its pixels to one of the picture.
    assert grey[:, :37].all()
    assert grey[76:].all()
    assert not grey[:74, 38:].any()
    assert (shown[~grey] == taken[~grey]).all()


def test_normalised_cells_of_two_stains_look_alike() -> None:
    rng = np.random.default_rng(1)
    texture = rng.normal(0, 12, (60, 60, 1))
    inside = np.ones((60, 60), bool)
    violet, pink = (
        np.clip(np.array(colour) + texture * np.array(gain), 0, 255).astype(np.uint8)
        for colour, gain in (((110, 70, 165), (1.0, 1.2, 0.6)), ((200, 130, 205), (0.7, 0.9, 0.5)))
    )
    one, other = reinhard(violet, inside), reinhard(pink, inside)
    assert np.abs(one.astype(float) - other).mean() < 6
    assert np.abs(violet.astype(float) - pink).mean() > 40
    lab = cv2.cvtColor(one.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    np.testing.assert_allclose(lab[inside].mean(axis=0), REINHARD_REFERENCE.mean, atol=1.5)


def test_an_empty_mask_changes_nothing() -> None:
    pixels = np.full((8, 8, 3), 100, np.uint8)
    assert (reinhard(pixels, np.zeros((8, 8), bool)) == pixels).all()


@pytest.mark.parametrize("wrong", [{"um": 0.0}, {"size": 0}, {"um": -1.0}])
def test_impossible_sizes_are_refused(wrong: dict[str, Any]) -> None:
    pixels, cell, um = scene(1)
    with pytest.raises(ValueError, match="must be positive"):
        crop(pixels, cell, um, **wrong)
