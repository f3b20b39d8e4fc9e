"""Stain normalisation of one cell: it reaches its reference, touches the cell alone, and leaves grey cells be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ml.cells.normalisation import (
    MACENKO_REFERENCE,
    MOST_GAIN,
    REINHARD_REFERENCE,
    macenko,
    measure_macenko,
    measure_reinhard,
    reinhard,
)
from ml.cells.single import find_cell
from ml.drawing import draw_cell

METHODS = {"reinhard": reinhard, "macenko": macenko}
SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))


@pytest.fixture(scope="module")
def cell():
    """A drawn cell and its mask."""
    pixels, _ = draw_cell(np.random.default_rng(8), kind="monocyte")
    return pixels, find_cell(pixels, 0.145).mask


def relit(pixels, gains):
    """The same slide with each channel's optical density times a gain."""
    density = -np.log10((pixels.astype(float) + 1) / 256) * np.asarray(gains)
    return np.clip(np.rint(256 * 10.0**-density - 1), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_pixels_outside_the_mask_stay_and_the_shape_too(method, data):
    shape = data.draw(SHAPES)
    pixels = data.draw(arrays(np.uint8, (*shape, 3)))
    mask = data.draw(arrays(np.bool_, shape))
    before = pixels.copy()
    found = METHODS[method](pixels, mask)
    assert found.shape == pixels.shape
    assert found.dtype == np.uint8
    assert (found[~mask] == pixels[~mask]).all()
    assert (pixels == before).all(), "what is given is not changed"
    assert (METHODS[method](pixels, mask) == found).all(), "deterministic"


def test_reinhard_reaches_the_references_statistics(cell):
    pixels, mask = cell
    found = measure_reinhard(reinhard(pixels, mask), mask)
    # The drawn stain is another, and what the screen cannot show is cut off.
    assert found.mean == pytest.approx(REINHARD_REFERENCE.mean, abs=2.5)
    assert found.deviation == pytest.approx(REINHARD_REFERENCE.deviation, rel=0.2)


def test_macenko_reaches_the_references_stains(cell):
    pixels, mask = cell
    found = measure_macenko(macenko(pixels, mask), mask)
    for own, wanted in zip(found.stains, MACENKO_REFERENCE.stains, strict=True):
        assert np.dot(own, wanted) > 0.98
    assert found.strengths == pytest.approx(MACENKO_REFERENCE.strengths, rel=0.15)


def test_reinhard_of_a_cell_to_itself_is_the_cell(cell):
    pixels, mask = cell
    found = reinhard(pixels, mask, measure_reinhard(pixels, mask))
    assert np.abs(found.astype(int) - pixels).max() <= 1


def test_macenko_of_a_cell_to_itself_is_nearly_the_cell(cell):
    pixels, mask = cell
    found = macenko(pixels, mask, measure_macenko(pixels, mask))
    # What lies off the plane of the two stains is lost.
    assert np.abs(found.astype(int) - pixels)[mask].mean() < 6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gains", [(1.25, 1.25, 1.25), (0.8, 0.8, 0.8), (1.15, 0.9, 1.1)])
def test_another_laboratorys_stain_comes_out_alike(cell, method, gains):
    pixels, mask = cell
    other = relit(pixels, gains)
    before = np.abs(other.astype(int) - pixels)[mask].mean()
    one, two = (METHODS[method](picture, mask) for picture in (pixels, other))
    assert np.abs(one.astype(int) - two)[mask].mean() < before / 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pixels_in_mask", [0, 1, 20])
def test_a_mask_too_small_to_measure_changes_nothing(cell, method, pixels_in_mask):
    pixels, _ = cell
    mask = np.zeros(pixels.shape[:2], bool)
    mask.ravel()[:pixels_in_mask] = True
    assert (METHODS[method](pixels, mask) == pixels).all()


@pytest.mark.parametrize("level", [0, 7, 128, 255])
def test_an_even_grey_cell_stays_finite(level):
    pixels = np.full((40, 40, 3), level, np.uint8)
    mask = np.ones((40, 40), bool)
    assert (macenko(pixels, mask) == pixels).all(), "there are no two stains in it"
    found = reinhard(pixels, mask)
    assert len(np.unique(found.reshape(-1, 3), axis=0)) == 1, "no noise is blown up"


def test_noise_on_grey_is_not_blown_up_beyond_the_greatest_gain():
    rng = np.random.default_rng(2)
    pixels = np.clip(128 + rng.normal(0, 1, (60, 60, 1)) + np.zeros(3), 0, 255).astype(np.uint8)
    mask = np.ones((60, 60), bool)
    own, found = measure_reinhard(pixels, mask), measure_reinhard(reinhard(pixels, mask), mask)
    assert found.deviation[0] <= own.deviation[0] * MOST_GAIN * 1.3


def test_the_reference_is_of_unit_stains_the_bluer_first():
    for stain in MACENKO_REFERENCE.stains:
        assert np.linalg.norm(stain) == pytest.approx(1, abs=1e-3)
    azure, eosin = MACENKO_REFERENCE.stains
    assert azure[0] > eosin[0]


def test_another_reference_can_be_given(cell):
    pixels, mask = cell
    lighter = replace(REINHARD_REFERENCE, mean=(70.0, 20.0, -15.0))
    assert measure_reinhard(reinhard(pixels, mask, lighter), mask).mean[0] == pytest.approx(70, abs=4)


@pytest.mark.parametrize("method", METHODS)
def test_other_arrays_are_refused(method):
    with pytest.raises(ValueError, match="expected"):
        METHODS[method](np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="mask"):
        METHODS[method](np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
