"""Colour, texture and shape measurements: what they must not depend on, and what they must tell apart."""

import cv2
import numpy as np
import pytest

from ml.drawing import draw_field
from ml.evaluation.texture import TEXTURE_NAMES, measure_texture, violet_mask


def named(pixels: np.ndarray) -> dict[str, float]:
    return dict(zip(TEXTURE_NAMES, measure_texture(pixels), strict=True))


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return draw_field(np.random.default_rng(3), width=128, height=128, leukocytes=3)


def spotted(axes: tuple[int, int]) -> np.ndarray:
    """One violet ellipse on a light ground."""
    return np.asarray(
        cv2.ellipse(np.full((128, 128, 3), 235, np.uint8), (64, 64), axes, 0, 0, 360, (110, 60, 150), -1)
    )


def test_each_measurement_has_a_name_of_its_own_and_is_finite(field):
    values = measure_texture(field)
    assert len(set(TEXTURE_NAMES)) == len(TEXTURE_NAMES) == len(values)
    assert np.isfinite(values).all()


def test_a_picture_without_a_pixel_or_of_one_grey_is_measured_too():
    assert np.isfinite(measure_texture(np.full((64, 64, 3), 200, np.uint8))).all()
    assert (measure_texture(np.zeros((64, 64, 3), np.uint8)) == 0).all()


def test_a_turned_picture_has_the_same_colour_and_texture(field):
    plain, turned = named(field), named(np.ascontiguousarray(np.rot90(field)))
    for name in TEXTURE_NAMES:
        if not name.startswith(("nuclear", "largest")):
            assert turned[name] == pytest.approx(plain[name], rel=1e-6, abs=1e-6), name


def test_black_around_a_cell_counts_for_nothing_but_shares_of_the_picture():
    rng = np.random.default_rng(0)
    inside = cv2.circle(np.zeros((90, 90, 1), np.uint8), (45, 45), 30, 1, -1).reshape(90, 90, 1)
    cell = (inside * rng.integers(60, 200, (90, 90, 3))).astype(np.uint8)
    wider = np.zeros((128, 128, 3), np.uint8)
    wider[19:109, 19:109] = cell
    one, other = named(cell), named(wider)
    for name in TEXTURE_NAMES:
        if not name.startswith(("nucle", "largest")):
            assert other[name] == pytest.approx(one[name], rel=1e-6, abs=1e-6), name


def test_it_finds_drawn_nuclei(field):
    empty = draw_field(np.random.default_rng(3), width=128, height=128, leukocytes=0)
    everything = np.ones((128, 128), bool)
    mask = violet_mask(field, everything)
    violet = field[mask].mean(axis=0)
    assert violet[1] < min(violet[0], violet[2])
    assert 0.005 < mask.mean() < 0.6
    assert named(field)["largest nucleus"] > named(empty)["largest nucleus"]


def test_shape_tells_a_disc_from_an_ellipse():
    disc, ellipse = named(spotted((20, 20))), named(spotted((40, 10)))
    assert disc["nuclei"] == ellipse["nuclei"] == 1
    assert disc["nuclear roundness, mean"] > 0.8 > ellipse["nuclear roundness, mean"]
    assert disc["nuclear elongation, mean"] < 0.05 < 0.6 < ellipse["nuclear elongation, mean"]
    assert disc["nuclear area, mean"] == pytest.approx(np.pi * 20**2 / 128**2, rel=0.08)


def test_it_refuses_what_is_no_picture():
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match="expected"):
            measure_texture(wrong)
