"""Crops of everyday photographs: enough of them, shaped like fields, and the same from the same seed."""

from __future__ import annotations

import numpy as np

from ml.evaluation.photographs import (
    PHOTOGRAPHS,
    SHORTEST_SIDE,
    everyday_photograph_crops,
    everyday_photographs,
)
from ml.imaging.quality import assess_quality


def test_the_photographs_come_with_the_packages() -> None:
    shapes = [pixels.shape for pixels in everyday_photographs()]
    assert len(shapes) == len(PHOTOGRAPHS) == 14
    assert all(min(shape[0], shape[1] * 3 // 4) >= SHORTEST_SIDE for shape in shapes)


def test_at_least_200_crops_shaped_like_fields() -> None:
    crops = list(everyday_photograph_crops(np.random.default_rng(1)))
    assert len(crops) >= 200
    assert all(abs(crop.shape[1] / crop.shape[0] * 3 / 4 - 1) < 0.01 for crop in crops)
    assert all(assess_quality(crop).checks[0].ok for crop in crops), "none is refused for its size alone"
    assert len({crop.tobytes() for crop in crops}) == len(crops)


def test_the_same_seed_gives_the_same_crops() -> None:
    first, again = (list(everyday_photograph_crops(np.random.default_rng(2), count=16)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
