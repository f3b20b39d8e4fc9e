"""The closed forms are what the published methods give, and their pictures lie where they should."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from ml.saliency import DEFAULT_METHOD, METHODS, colour_ramp, min_max, overlay_png, saliency_map, upsample

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))
features = shapes.flatmap(
    lambda shape: npst.arrays(np.float32, shape, elements=st.floats(0, 1000, width=32, allow_subnormal=False))
)
methods = st.sampled_from(METHODS)


def weights_for(feature_map: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, feature_map.shape[2]).astype(np.float32)


def gradient_maps(feature_map: np.ndarray, weights: np.ndarray, bias: float) -> dict[str, np.ndarray]:
    """The methods by their own definitions, from the gradient of score = mean(F) . w + b at every
    position.
    """
    f = feature_map.astype(np.float64)
    gradient = np.broadcast_to(weights / (f.shape[0] * f.shape[1]), f.shape)
    score = np.exp((f * gradient).sum() + bias)
    first, second, third = score * gradient, score * gradient**2, score * gradient**3
    denominator = 2 * second + third * f.sum(axis=(0, 1))
    alpha = np.where(denominator == 0, 0.0, second / np.where(denominator == 0, 1.0, denominator))
    total = alpha.sum(axis=(0, 1))
    alpha = alpha / np.where(total == 0, 1.0, total)
    return {
        "gradcam": np.maximum((f * gradient.mean(axis=(0, 1))).sum(axis=2), 0),
        "gradcam++": np.maximum((f * (np.maximum(first, 0) * alpha).sum(axis=(0, 1))).sum(axis=2), 0),
        "layercam": np.maximum((f * np.maximum(gradient, 0)).sum(axis=2), 0),
    }


def test_the_method_shown_first_is_the_only_one_that_negative_weights_move():
    features = np.random.default_rng(3).random((7, 7, 4)).astype(np.float32)
    weights, other = np.array([1.0, 0.5, -1.0, -0.2]), np.array([1.0, 0.5, -0.1, -2.0])
    moved = [
        m for m in METHODS if (saliency_map(features, weights, m) != saliency_map(features, other, m)).any()
    ]
    assert moved == [DEFAULT_METHOD]


@pytest.mark.parametrize("method", METHODS)
def test_the_closed_form_is_the_definition(method: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        feature_map = np.maximum(rng.normal(0.2, 1, (7, 7, 96)), 0).astype(np.float32)
        weights = rng.normal(0, 0.3, 96).astype(np.float32)
        expected = min_max(gradient_maps(feature_map, weights, bias=0.3)[method])
        np.testing.assert_allclose(saliency_map(feature_map, weights, method), expected, atol=1e-5)


@given(features, st.integers(0, 99), methods)
@settings(deadline=None)
def test_maps_run_from_0_to_1(feature_map: np.ndarray, seed: int, method: str) -> None:
    result = saliency_map(feature_map, weights_for(feature_map, seed), method)
    assert result.shape == feature_map.shape[:2]
    assert result.dtype == np.float32
    assert result.min() == 0
    assert result.max() in (0, 1)


@given(features, st.integers(0, 99), methods, st.floats(0.125, 64))
@settings(deadline=None)
def test_the_scale_of_the_weights_does_not_matter(
    feature_map: np.ndarray, seed: int, method: str, scale: float
) -> None:
    weights = weights_for(feature_map, seed)
    first = saliency_map(feature_map, weights, method)
    second = saliency_map(feature_map, weights * np.float32(scale), method)
    assume(np.ptp(feature_map) > 1e-3)
    np.testing.assert_allclose(first, second, atol=1e-3)


@given(features, st.integers(0, 99), methods)
@settings(deadline=None)
def test_turning_the_field_turns_the_map(feature_map: np.ndarray, seed: int, method: str) -> None:
    weights = weights_for(feature_map, seed)
    turned = saliency_map(np.rot90(feature_map), weights, method)
    np.testing.assert_allclose(turned, np.rot90(saliency_map(feature_map, weights, method)), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_position_that_speaks_for_the_class_is_brightest(method: str) -> None:
    feature_map = np.zeros((7, 7, 2), np.float32)
    feature_map[2, 5, 0] = 3.0  # for the class
    feature_map[6, 1, 1] = 9.0  # against it
    result = saliency_map(feature_map, np.array([1.0, -1.0]), method)
    assert np.unravel_index(result.argmax(), result.shape) == (2, 5)
    assert result[6, 1] == 0


def test_only_grad_cam_counts_what_speaks_against_the_class() -> None:
    feature_map = np.array([[[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]])
    weights = np.array([1.0, -2.0])
    assert saliency_map(feature_map, weights, "gradcam").tolist() == [[0.0, 1.0, 0.0]]
    assert saliency_map(feature_map, weights, "layercam").tolist() == [[1.0, 1.0, 0.0]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_map_without_contrast_is_empty(method: str, value: float) -> None:
    result = saliency_map(np.full((4, 5, 3), value, np.float32), np.array([0.3, 0.1, 0.7]), method)
    assert result.shape == (4, 5)
    assert not result.any()


@pytest.mark.parametrize(
    ("feature_map", "weights", "method"),
    [
        (np.zeros((7, 7, 3)), np.zeros(3), "scorecam"),
        (np.zeros((7, 7, 3)), np.zeros(4), "gradcam"),
        (np.zeros((7, 7)), np.zeros(7), "gradcam"),
        (np.full((7, 7, 3), np.nan), np.zeros(3), "gradcam"),
        (np.zeros((7, 7, 3)), np.full(3, np.inf), "gradcam++"),
    ],
)
def test_senseless_input_is_refused(feature_map: np.ndarray, weights: np.ndarray, method: str) -> None:
    with pytest.raises(ValueError, match=r"method|expected|finite"):
        saliency_map(feature_map, weights, method)


@given(
    npst.arrays(
        np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(0, 1, width=32)
    ),
    st.integers(1, 90),
    st.integers(1, 90),
)
@settings(deadline=None)
def test_enlarging_equals_scipy_zoom(small: np.ndarray, height: int, width: int) -> None:
    zoom = pytest.importorskip("scipy.ndimage").zoom
    # mode="nearest" changes the border alone, where SciPy's default loses a last row or column to rounding.
    factors = (height / small.shape[0], width / small.shape[1])
    expected = zoom(small.astype(np.float64), factors, order=1, mode="nearest")
    assert expected.shape == (height, width)
    np.testing.assert_allclose(upsample(small, (height, width)), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(224, 224), (768, 1024), (1944, 2592)])
def test_enlarging_equals_scipy_zoom_at_the_sizes_of_fields(size: tuple[int, int]) -> None:
    zoom = pytest.importorskip("scipy.ndimage").zoom
    small = np.random.default_rng(5).random((7, 7)).astype(np.float32)
    expected = zoom(small.astype(np.float64), (size[0] / 7, size[1] / 7), order=1, mode="nearest")
    np.testing.assert_allclose(upsample(small, size), expected, atol=1e-6)


@given(
    npst.arrays(
        np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 1, width=32)
    ),
    st.integers(1, 60),
    st.integers(1, 60),
)
@settings(deadline=None)
def test_enlarging_never_leaves_the_range(small: np.ndarray, height: int, width: int) -> None:
    large = upsample(small, (height, width))
    assert large.shape == (height, width)
    assert large.dtype == np.float32
    assert large.min() >= small.min()
    assert large.max() <= small.max()


def test_corners_stay_in_their_corners() -> None:
    small = np.zeros((7, 7), np.float32)
    small[0, -1] = 1.0
    large = upsample(small, (768, 1024))
    assert large[0, -1] == 1.0
    assert np.argwhere(large > 0.5).min(axis=0).tolist() == [0, 938]


def test_the_overlay_is_transparent_where_nothing_influenced() -> None:
    small = np.zeros((7, 7), np.float32)
    small[3, 3] = 1.0
    picture = Image.open(BytesIO(overlay_png(small, (320, 240))))
    assert picture.format == "PNG"
    assert picture.size == (320, 240)
    rgba = np.asarray(picture.convert("RGBA"))
    assert rgba[0, 0, 3] == 0
    assert rgba[120, 160, 3] > 190
    assert np.unravel_index(rgba[..., 3].argmax(), rgba.shape[:2]) == (119, 159)


def test_an_empty_map_gives_an_invisible_overlay() -> None:
    rgba = np.asarray(Image.open(BytesIO(overlay_png(np.zeros((7, 7)), (64, 48)))).convert("RGBA"))
    assert not rgba[..., 3].any()


def test_the_ramp_darkens_and_covers_steadily_and_avoids_red() -> None:
    ramp = colour_ramp().astype(int)
    assert ramp.shape == (256, 4)
    luminance = ramp[:, :3] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) <= 0.5).all()
    assert (np.diff(ramp[:, 3]) >= 0).all()
    assert ramp[0, 3] == 0
    assert ramp[-1, 3] < 255, "the cell below the peak must stay visible"
    shown = ramp[ramp[:, 3] > 60]
    assert (shown[:, 1] > 0.5 * shown[:, 0]).all(), "amber, never the red of suspected leukemia"
