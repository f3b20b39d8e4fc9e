"""The limits of the quality checks hold on real fields: they pass, and the same fields spoiled don't."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ml.imaging.quality import assess_quality
from ml.imaging.reading import read_image

DATA = Path(os.environ.get("LEUKOSCOPE_DATA", "/nonexistent"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason="LEUKOSCOPE_DATA names no folder of smear data"),
]


@pytest.fixture(scope="module")
def fields() -> list[np.ndarray]:
    """Every fifth field of the public set."""
    paths = sorted((DATA / "taleqani-all").glob("*/*.jpg"))[::5]
    assert len(paths) >= 500
    return [read_image(path).pixels for path in paths]


def test_real_fields_pass(fields: list[np.ndarray]) -> None:
    passed = np.mean([assess_quality(pixels).acceptable for pixels in fields])
    assert passed >= 0.99


def test_full_size_fields_pass() -> None:
    paths = sorted((DATA / "demo-fields").glob("*/*.jpg"))
    assert len(paths) == 13
    reasons = {path.name: assess_quality(read_image(path).pixels).reasons for path in paths}
    assert not any(reasons.values()), reasons


@pytest.mark.parametrize(
    ("check", "least", "spoil"),
    [
        ("focus", 0.99, lambda field: cv2.GaussianBlur(field, (0, 0), 2.5)),
        ("exposure", 0.99, lambda field: (field * 0.6).astype(np.uint8)),
        ("exposure", 0.98, lambda field: np.clip(field * 1.6, 0, 255).astype(np.uint8)),
        ("exposure", 0.98, lambda field: (field * 0.15 + 255 * 0.80).astype(np.uint8)),
        (
            "stain",
            1.00,
            lambda field: np.repeat(cv2.cvtColor(field, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
        ),
    ],
    ids=["blurred", "darkened", "overexposed", "washed out", "grey"],
)
def test_spoiled_fields_fail(
    fields: list[np.ndarray], check: str, least: float, spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    reports = [assess_quality(spoil(pixels)) for pixels in fields[::3]]
    caught = np.mean([not {item.name: item.ok for item in report.checks}[check] for report in reports])
    assert caught >= least
