"""Drawn fields are the same from the same seed, look like a smear, and differ between classes in
morphology.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ml.drawing import DRAWN_CLASSES, KINDS, draw_field


def nuclei(pixels: np.ndarray) -> list[float]:
    """Areas of the stained nuclei in square micrometres, largest first; a field is 112 micrometres wide."""
    red, green, blue = (pixels[..., channel].astype(int) for channel in range(3))
    violet = ((green < 135) & (blue > red + 18) & (blue > green + 30)).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    closed = cv2.morphologyEx(cv2.morphologyEx(violet, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(closed)
    scale = (112.0 / pixels.shape[1]) ** 2
    areas = statistics[1:, cv2.CC_STAT_AREA] * scale
    return sorted((float(area) for area in areas if area > 8), reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_field(kind: str) -> None:
    first = draw_field(np.random.default_rng(5), width=320, height=240, kind=kind)
    again = draw_field(np.random.default_rng(5), width=320, height=240, kind=kind)
    other = draw_field(np.random.default_rng(6), width=320, height=240, kind=kind)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 3


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (224, 168), (33, 47), (100, 32)])
def test_any_size_can_be_drawn(width: int, height: int) -> None:
    pixels = draw_field(np.random.default_rng(1), width=width, height=height)
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8


def test_no_global_randomness_is_touched() -> None:
    state = np.random.get_state()[1].copy()
    draw_field(np.random.default_rng(1), width=64, height=48)
    np.testing.assert_array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize("wrong", [{"kind": "drawn_z"}, {"width": 8}, {"height": 31}])
def test_senseless_wishes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"kind|32x32"):
        draw_field(np.random.default_rng(1), **wrong)  # type: ignore[arg-type]


def test_a_field_is_a_bright_background_with_red_cells() -> None:
    pixels = draw_field(np.random.default_rng(3), leukocytes=0)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    assert np.percentile(grey, 95) > 230
    covered = (grey < np.percentile(grey, 95) - 18).mean()
    assert 0.2 < covered < 0.7
    assert not nuclei(pixels)


def test_red_cells_are_paler_in_the_middle() -> None:
    """Central pallor: the mean over round dark regions is lighter inside than in their ring."""
    grey = cv2.cvtColor(draw_field(np.random.default_rng(3), leukocytes=0), cv2.COLOR_RGB2GRAY)
    mask = (grey < np.percentile(grey, 95) - 12).astype(np.uint8)
    depth = cv2.distanceTransform(
        cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), cv2.DIST_L2, 5
    )
    ring, middle = grey[(depth > 5) & (depth < 15)], grey[(depth > 24) & (depth < 40)]
    assert middle.size > 1000
    assert middle.mean() > ring.mean() + 8


@pytest.mark.parametrize("count", [3, 8])
def test_as_many_leukocytes_as_wished(count: int) -> None:
    for seed in range(3):
        areas = nuclei(
            draw_field(np.random.default_rng(seed), width=512, height=384, kind="drawn_b", leukocytes=count)
        )
        assert 0.6 * count <= len(areas) <= count  # neighbours may touch


def test_classes_differ_in_count_and_size_of_nuclei() -> None:
    fields = {
        kind: [draw_field(np.random.default_rng(s), width=512, height=384, kind=kind) for s in range(5)]
        for kind in DRAWN_CLASSES
    }
    counts = {kind: np.mean([len(nuclei(one)) for one in some]) for kind, some in fields.items()}
    sizes = {kind: np.median([area for one in some for area in nuclei(one)]) for kind, some in fields.items()}
    assert counts["drawn_a"] > 1.4 * max(counts["drawn_b"], counts["drawn_c"])
    assert sizes["drawn_b"] > 1.8 * sizes["drawn_a"]
    assert sizes["drawn_b"] > 1.3 * sizes["drawn_c"]
    assert sizes["drawn_d"] < 0.8 * sizes["drawn_c"]


def test_the_stain_does_not_give_the_class_away() -> None:
    """The colour of background and red cells varies from field to field, and not between classes."""
    medians = {
        kind: np.array(
            [
                np.median(
                    draw_field(np.random.default_rng(97 * s + n), width=128, height=96, kind=kind),
                    axis=(0, 1),
                )
                for s in range(14)
            ]
        )
        for n, kind in enumerate(DRAWN_CLASSES)
    }
    within = np.mean([values.std(axis=0) for values in medians.values()], axis=0)
    between = np.std([values.mean(axis=0) for values in medians.values()], axis=0)
    assert (within > 2.0).all()
    assert (between < 1.0 * within).all()
