"""A drawn field passes; the same field spoiled in one way fails for that reason, in words."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ml.drawing import KINDS, draw_field
from ml.imaging.quality import QualityReport, assess_quality

NAMES = ("size", "focus", "exposure", "stain")


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return draw_field(np.random.default_rng(4))


def failed(pixels: np.ndarray) -> dict[str, str]:
    """Message by name of the checks that failed."""
    report = assess_quality(pixels)
    assert tuple(check.name for check in report.checks) == NAMES
    return {check.name: check.message for check in report.checks if not check.ok}


def brightened(pixels: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(pixels * factor, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_fields_pass(kind: str) -> None:
    for seed in range(3):
        report = assess_quality(draw_field(np.random.default_rng(seed), width=512, height=384, kind=kind))
        assert report.acceptable, report.reasons
        assert report.reasons == ()


def test_the_words_of_a_good_field(field: np.ndarray) -> None:
    messages = [check.message for check in assess_quality(field).checks]
    assert messages == ["large enough", "in focus", "well exposed", "stain visible"]
    assert all(check.detail and not check.advice for check in assess_quality(field).checks)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda field: cv2.GaussianBlur(field, (0, 0), 14), {"focus": "out of focus"}),
        (lambda field: brightened(field, 0.5), {"exposure": "too dark"}),
        (lambda field: brightened(field, 1.9), {"exposure": "too bright"}),
        (lambda field: (field * 0.12 + 255 * 0.75).astype(np.uint8), {"exposure": "washed out"}),
        (lambda field: np.repeat(field[..., 1:2], 3, axis=2), {"stain": "no stain colour"}),
        (lambda field: field[..., [0, 0, 1]], {"stain": "hardly any stained nuclei"}),
        (lambda field: cv2.resize(field, (240, 180), interpolation=cv2.INTER_AREA), {"size": "too small"}),
    ],
)
def test_each_fault_is_named(field: np.ndarray, spoil, expected: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    pixels = spoil(field)
    reasons = failed(pixels)
    assert expected.items() <= reasons.items()
    assert next(iter(expected.values())) in assess_quality(pixels).reasons
    assert not assess_quality(pixels).acceptable
    faulty = [check for check in assess_quality(pixels).checks if not check.ok]
    assert all(check.advice.endswith(".") for check in faulty)


def test_a_field_without_leukocytes_has_hardly_any_nuclei() -> None:
    """Platelets are as violet as nuclei, and must not pass for them."""
    for seed in range(6):
        field = draw_field(np.random.default_rng(seed), width=512, height=384, leukocytes=0)
        assert failed(field) == {"stain": "hardly any stained nuclei"}


def test_one_leukocyte_is_enough() -> None:
    for seed in range(6):
        field = draw_field(np.random.default_rng(seed), width=512, height=384, kind="drawn_a", leukocytes=1)
        assert failed(field) == {}


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_blank_image_fails(value: int) -> None:
    reasons = failed(np.full((300, 400, 3), value, np.uint8))
    assert reasons["focus"] == "out of focus"
    assert reasons["stain"] == "no stain colour"


def test_the_answer_does_not_depend_on_the_camera(field: np.ndarray) -> None:
    """The same field from cameras of 0.1 to 5 megapixels: same checks, nearly the same values."""
    reports = [
        assess_quality(
            cv2.resize(field, size, interpolation=cv2.INTER_AREA if size[0] < 1024 else cv2.INTER_CUBIC)
        )
        for size in ((400, 300), (1024, 768), (2592, 1944))
    ]
    for report in reports:
        assert report.acceptable
        for check, other in zip(report.checks[1:], reports[1].checks[1:], strict=True):
            assert check.value == pytest.approx(other.value, rel=0.12), check.name


def test_sharpness_falls_with_every_step_of_blur(field: np.ndarray) -> None:
    values = [
        assess_quality(cv2.GaussianBlur(field, (0, 0), sigma)).checks[1].value for sigma in (1, 4, 8, 12, 16)
    ]
    assert values == sorted(values, reverse=True)


def test_a_sharp_scale_bar_does_not_rescue_a_blurred_field(field: np.ndarray) -> None:
    blurred = cv2.GaussianBlur(field, (0, 0), 14)
    cv2.rectangle(blurred, (880, 700), (1010, 740), (255, 255, 255), -1)
    cv2.putText(blurred, "100 pixel", (886, 728), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 1)
    assert failed(blurred)["focus"] == "out of focus"


def test_sensor_noise_does_not_pass_for_focus(field: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(0, 8, field.shape)
    noisy = np.clip(cv2.GaussianBlur(field, (0, 0), 16) + noise, 0, 255).astype(np.uint8)
    assert failed(noisy)["focus"] == "out of focus"


def test_a_report_survives_json(field: np.ndarray) -> None:
    for pixels in (field, brightened(field, 0.4)):
        report = assess_quality(pixels)
        assert QualityReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


@pytest.mark.parametrize(
    "pixels", [np.zeros((300, 300), np.uint8), np.zeros((300, 300, 3)), np.zeros((0, 9, 3), np.uint8)]
)
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        assess_quality(pixels)


@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
@settings(deadline=None)
def test_every_image_gets_an_answer(pixels: np.ndarray) -> None:
    report = assess_quality(pixels)
    assert tuple(check.name for check in report.checks) == NAMES
    assert not report.checks[0].ok
    assert all(np.isfinite(check.value) for check in report.checks)
