"""Simulated sites: the same image always gives the same picture, and another look."""

from __future__ import annotations

import numpy as np
import pytest

from ml.drawing import draw_field
from ml.evaluation.repaint import six_colour_numbers
from ml.evaluation.simulated_sites import SIMULATED_SITES, simulate


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return draw_field(np.random.default_rng(0), width=320, height=240)


@pytest.mark.parametrize("name", SIMULATED_SITES)
def test_a_site_changes_the_look_and_nothing_about_the_picture_itself(field, name):
    before = field.copy()
    there = simulate(field, name)
    assert (there.shape, there.dtype) == (field.shape, np.uint8)
    assert np.array_equal(there, simulate(field, SIMULATED_SITES[name]))
    assert np.array_equal(field, before)
    assert np.abs(six_colour_numbers(there) - six_colour_numbers(field)).max() > 8


def test_another_stain_leaves_bright_glass_and_structure_alone(field):
    there = simulate(field, "another stain")
    glass = (field > 225).all(axis=2)
    assert glass.mean() > 0.1
    assert np.abs(there[glass].astype(int) - field[glass]).mean() < 8
    assert np.corrcoef(there[..., 1].ravel(), field[..., 1].ravel())[0, 1] > 0.9


def test_images_of_a_site_vary_a_little_about_its_settings(field):
    other = field.copy()
    other[0, 0] ^= 1
    shown = simulate(field, "another stain").astype(int), simulate(other, "another stain").astype(int)
    difference = np.abs(shown[0] - shown[1]).mean()
    assert 0.05 < difference < 20


def test_a_site_must_be_known(field):
    with pytest.raises(KeyError):
        simulate(field, "the moon")
