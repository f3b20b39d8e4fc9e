"""What the network sees does not depend on the lamp, the scale bar or the camera's resolution."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from ml.drawing import draw_field
from ml.imaging.preprocessing import (
    Preprocessing,
    UnknownPreprocessing,
    background_colour,
    is_field_shaped,
    normalise,
    squash,
)


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return draw_field(np.random.default_rng(3), width=1024, height=768)


def test_it_gives_the_working_size_whatever_comes_in(field):
    for shape in ((768, 1024), (224, 224), (1920, 2560), (100, 90)):
        prepared = Preprocessing().prepare(cv2.resize(field, shape[::-1]))
        assert prepared.shape == (224, 224, 3)
        assert prepared.dtype == np.uint8


def test_it_prepares_a_field_and_its_squashed_twin_alike(field):
    twin = squash(field, 224)
    assert np.array_equal(Preprocessing().prepare(field), Preprocessing().prepare(twin))


def test_it_hides_the_scale_bar(field):
    with_bar = field.copy()
    cv2.rectangle(with_bar, (900, 690), (1015, 760), (200, 0, 0), -1)
    assert np.array_equal(Preprocessing().prepare(with_bar), Preprocessing().prepare(field))


def test_it_takes_the_lamps_colour_out(field):
    yellow = (field * np.array([1.0, 0.95, 0.8])).astype(np.uint8)
    plain, tinted = (Preprocessing().correct(picture).astype(int) for picture in (field, yellow))
    assert np.abs(plain - tinted).mean() < 3
    assert np.abs(squash(field, 224).astype(int) - squash(yellow, 224)).mean() > 10


def test_background_is_the_empty_glass():
    picture = np.full((60, 80, 3), (240, 235, 220), np.uint8)
    picture[:40, :60] = (90, 40, 140)
    assert background_colour(picture, (0.16, 0.15)).tolist() == [240, 235, 220]


def test_contrast_leaves_colour_alone(field):
    small = squash(field, 224)
    before, after = (
        cv2.cvtColor(p, cv2.COLOR_RGB2LAB).astype(int) for p in (small, Preprocessing().contrast(small))
    )
    assert after[..., 0].std() > before[..., 0].std()
    assert np.abs(after[..., 1:] - before[..., 1:]).mean() < 2


def test_each_step_can_be_switched_off(field):
    small = squash(field, 224)
    idle = Preprocessing(scale_bar=(0.0, 0.0), denoise_sigma=0, white=0, clahe_clip=0)
    assert np.array_equal(idle.prepare(small), small)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(768, 1024, True), (1920, 2560, True), (224, 224, True), (256, 256, False), (1024, 768, False), (700, 1000, False),
     (730, 1000, True), (1080, 1920, False)],
)  # fmt: skip
def test_only_fields_of_four_to_three_have_the_shape_of_a_field(height, width, expected):
    assert is_field_shaped(np.zeros((height, width, 3), np.uint8), 224) is expected


def test_normalise_uses_the_pretrainings_statistics():
    grey = normalise(np.full((1, 2, 2, 3), 255, np.uint8))
    assert grey.dtype == np.float32
    assert grey[0, 0, 0].tolist() == pytest.approx(
        [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    )


def test_parameters_survive_json():
    odd = Preprocessing(size=96, denoise_sigma=3.0, clahe_tiles=2)
    assert Preprocessing.from_dict(json.loads(json.dumps(odd.as_dict()))) == odd


@pytest.mark.parametrize("change", [{"version": 99}, {"sharpen": 1}])
def test_it_refuses_parameters_it_does_not_know(change):
    with pytest.raises(UnknownPreprocessing):
        Preprocessing.from_dict({**Preprocessing().as_dict(), **change})
