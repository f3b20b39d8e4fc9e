"""Which regions influenced the score: Grad-CAM, Grad-CAM++ and LayerCAM in closed form, and their picture.

Our networks end in F (the last ReLU's feature map, h x w x c) -> global average pooling -> dropout (idle when
serving) -> dense with linear logits, so the score of class n is

    S = b_n + sum_k w_k * (1 / hw) * sum_ij F_ijk        and        dS/dF_ijk = w_k / hw = g_k,

the same at every position. All three methods are functions of F and g, so no backward pass is needed:

* Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2) weights channel k with the mean
  gradient g_k and rectifies: relu(sum_k w_k F_k) / hw.
* LayerCAM (Jiang et al. 2021, doi 10.1109/TIP.2021.3089943, equation 5) weights every position with its own
  rectified gradient, here relu(g_k): sum_k relu(w_k) F_k / hw, already positive since F >= 0.
* Grad-CAM++ (Chattopadhay et al. 2018, arXiv 1710.11063, equations 10 and 19) takes exp(S) as the score. Its
  derivatives are exp(S) g, exp(S) g^2 and exp(S) g^3, and alpha_k = 1 / (2 + g_k sum_ij F_ijk) has no
  position in it. The authors' code and tf-keras-vis normalise alpha to sum to one over positions, which
  leaves 1 / hw, whatever its value: the weight is exp(S) relu(g_k), and the map is LayerCAM's up to the
  factor exp(S).

Min-max scaling removes the factors, so Grad-CAM++ and LayerCAM agree for such a network. The identity needs
exactly this head: a hidden layer, another pooling, or a softmax or sigmoid inside the score breaks it (tests
hold it to tf-keras-vis).
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

METHOD_WORDS: Final = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "layercam": "LayerCAM"}
METHODS: Final = tuple(METHOD_WORDS)
DEFAULT_METHOD: Final = METHODS[0]
"""Shown first and judged before a promotion. Of these methods Grad-CAM alone lets negative weights speak, so that
its map depends on what the head learnt; the others' hardly do (`ml.evaluation.faithfulness` measures it)."""

FloatMap = npt.NDArray[np.float32]


def saliency_map(feature_map: npt.ArrayLike, class_weights: npt.ArrayLike, method: str) -> FloatMap:
    """Saliency of one class over the positions of the last feature map.

    Args:
        feature_map: (h, w, c) output of the last ReLU, >= 0.
        class_weights: (c,) the class's column of the dense layer.
        method: one of `METHODS`.

    Returns:
        (h, w) float32, min-max scaled to 0..1. A map without any contrast (all zero, or the same everywhere)
        is all zero.

    Raises:
        ValueError: for an unknown method, shapes that don't fit, or values that are not finite.
    """
    if method not in METHODS:
        raise ValueError(f"unknown saliency method {method!r}, expected one of {', '.join(METHODS)}")
    features = np.asarray(feature_map, dtype=np.float32)
    weights = np.asarray(class_weights, dtype=np.float32)
    if features.ndim != 3 or weights.shape != features.shape[2:]:
        raise ValueError(
            f"expected (h, w, c) features and (c,) weights, got {features.shape} and {weights.shape}"
        )
    if not (np.isfinite(features).all() and np.isfinite(weights).all()):
        raise ValueError("features and weights must be finite")
    # float64: thousands of terms of both signs cancel in Grad-CAM
    if method == "gradcam":
        raw = np.maximum(features.astype(np.float64) @ weights.astype(np.float64), 0.0)
    else:
        raw = features.astype(np.float64) @ np.maximum(weights, 0.0).astype(np.float64)
    return min_max(raw)


def min_max(values: npt.ArrayLike) -> FloatMap:
    """Scale to 0..1 over all elements; values without contrast become all zero."""
    array = np.asarray(values, dtype=np.float64)
    low, high = float(array.min()), float(array.max())
    span = high - low
    # Differences at the limit of the arithmetic are no contrast, and dividing by them would draw noise.
    if span <= 1e-9 * max(abs(high), abs(low)) or span < np.finfo(np.float32).tiny:
        return np.zeros(array.shape, np.float32)
    return ((array - low) / span).astype(np.float32)


def upsample(saliency: npt.ArrayLike, size: tuple[int, int]) -> FloatMap:
    """Enlarge a map to (height, width), bilinear with the corners of both grids on each other.

    This is what tf-keras-vis does (`scipy.ndimage.zoom(order=1)`), and the one way used everywhere:
    `cv2.resize` aligns pixel edges instead, and its maps differ by up to 0.4. SciPy itself loses the last row
    or column at some sizes to rounding (7 -> 768 ends in zeros); this doesn't. Maps in 0..1 stay in 0..1.
    """
    array = np.asarray(saliency, dtype=np.float32)
    height, width = size
    rows = _interpolation(array.shape[0], height)
    columns = _interpolation(array.shape[1], width)
    enlarged: FloatMap = np.clip(rows @ array @ columns.T, array.min(), array.max(), dtype=np.float32)
    return enlarged


@lru_cache(maxsize=64)
def _interpolation(small: int, large: int) -> FloatMap:
    """(large, small) matrix that interpolates linearly between `small` samples; its rows sum to one."""
    positions = np.arange(large) * ((small - 1) / (large - 1)) if large > 1 else np.zeros(1)
    left = np.minimum(positions.astype(int), max(small - 2, 0))
    right = np.minimum(left + 1, small - 1)
    share = np.clip(positions - left, 0.0, 1.0)
    matrix = np.zeros((large, small), np.float64)
    matrix[np.arange(large), left] += 1.0 - share
    matrix[np.arange(large), right] += share
    return matrix.astype(np.float32)


def overlay_png(saliency: npt.ArrayLike, size: tuple[int, int]) -> bytes:
    """Picture of a map to lay over a bright-field image.

    Pale yellow to amber in even perceptual steps, with opacity that grows with the value, so that nuclei stay
    readable beneath it under normal or multiply blending. Red is left out: on our pages it means suspected
    leukemia.

    Args:
        saliency: (h, w) values in 0..1.
        size: (width, height) of the picture, as Pillow counts.

    Returns:
        An RGBA PNG file.
    """
    width, height = size
    values = upsample(saliency, (height, width))
    levels = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    buffer = BytesIO()
    # A palette with transparency is a quarter of the pixels' bytes and six times faster to write than RGBA.
    ramp = colour_ramp()
    picture = Image.fromarray(levels, mode="P")
    picture.putpalette(ramp[:, :3].tobytes(), "RGB")
    picture.save(buffer, "PNG", transparency=ramp[:, 3].tobytes(), compress_level=1)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def colour_ramp() -> npt.NDArray[np.uint8]:
    """(256, 4) RGBA of the overlay, from transparent pale yellow to amber.

    Straight in OKLCH (Ottosson 2020), hence even in perceived lightness, chroma and hue.
    """
    t = np.linspace(0.0, 1.0, 256)
    lightness, chroma, hue = 0.97 - 0.27 * t, 0.06 + 0.115 * t, np.deg2rad(100.0 - 38.0 * t)
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    lms = (
        np.stack(
            [
                lightness + 0.3963377774 * a + 0.2158037573 * b,
                lightness - 0.1055613458 * a - 0.0638541728 * b,
                lightness - 0.0894841775 * a - 1.2914855480 * b,
            ]
        )
        ** 3
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear @ lms, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    # Opacity rises fast out of nothing, then levels off: low values vanish, and the peak never hides the cell
    # below it.
    opacity = 0.80 * np.clip((t - 0.04) / 0.96, 0.0, 1.0) ** 0.8
    return np.rint(np.column_stack([srgb.T, opacity]) * 255.0).astype(np.uint8)
