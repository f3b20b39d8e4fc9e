"""The nucleus mask: it finds violet nuclei under any stain and lamp, and nothing where there are none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ml.drawing import draw_field
from ml.imaging.nuclei import WORKING_SIZE, nucleus_mask

BACKGROUND = (238, 236, 242)
CENTRES = ((50, 50), (150, 60), (60, 160), (170, 170))
RADIUS = 14
# Nuclei and red cells of five Romanowsky stains, as they look in the public sets.
STAINS = {
    "blue violet": ((92, 70, 200), (150, 165, 195)),
    "pale pink": ((225, 160, 228), (175, 180, 200)),
    "dark": ((60, 30, 110), (215, 165, 165)),
    "deep blue": ((45, 45, 165), (140, 160, 185)),
    "purple on salmon": ((120, 60, 150), (225, 160, 150)),
}


def field(nucleus, red_cell, *, lamp=1.0, leukocytes=True):
    """A field of red cells with four nuclei at known places, and the truth."""
    pixels = np.full((WORKING_SIZE, WORKING_SIZE, 3), BACKGROUND, np.uint8)
    truth = np.zeros((WORKING_SIZE, WORKING_SIZE), np.uint8)
    rng = np.random.default_rng(1)
    for x, y in rng.integers(8, WORKING_SIZE - 8, (60, 2)).tolist():
        cv2.circle(pixels, (x, y), 9, red_cell, -1)
    for centre in CENTRES if leukocytes else ():
        cv2.circle(pixels, centre, RADIUS, nucleus, -1)
        cv2.circle(truth, centre, RADIUS, 1, -1)
    noisy = pixels * lamp + rng.normal(0, 2, pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), truth.astype(bool)


def overlap(one, other):
    """Intersection over union."""
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("stain", STAINS)
def test_it_finds_the_nuclei_of_any_stain(stain):
    pixels, truth = field(*STAINS[stain])
    assert overlap(nucleus_mask(pixels), truth) > 0.8


@pytest.mark.parametrize("lamp", [0.7, 0.85, 1.0])
def test_the_lamps_strength_does_not_matter(lamp):
    pixels, truth = field(*STAINS["blue violet"], lamp=lamp)
    assert overlap(nucleus_mask(pixels), truth) > 0.8


@pytest.mark.parametrize("stain", STAINS)
def test_a_field_of_red_cells_alone_has_none(stain):
    pixels, _ = field(*STAINS[stain], leukocytes=False)
    assert nucleus_mask(pixels).mean() < 0.002


def test_specks_are_no_nuclei():
    pixels, truth = field(*STAINS["dark"])
    for x in range(10, 220, 15):
        cv2.circle(pixels, (x, 110), 2, STAINS["dark"][0], -1)
    assert overlap(nucleus_mask(pixels), truth) > 0.8


def test_it_comes_at_the_working_size_whatever_the_picture():
    small = nucleus_mask(draw_field(np.random.default_rng(0), width=640, height=480))
    assert small.shape == (WORKING_SIZE, WORKING_SIZE)
    assert 0.005 < small.mean() < 0.3


@pytest.mark.parametrize(
    "pixels", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)]
)
def test_it_refuses_what_is_no_picture(pixels):
    with pytest.raises(ValueError, match="expected"):
        nucleus_mask(pixels)


def test_one_colour_all_over_has_no_nuclei():
    assert not nucleus_mask(np.full((64, 64, 3), 200, np.uint8)).any()
