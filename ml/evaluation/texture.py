"""What traditional machine learning measures of a smear: colour, texture and the shape of nuclei, no network.

Colour moments in RGB, HSV and CIELAB (Stricker and Orengo 1995); grey-level co-occurrence matrices (Haralick
1973); histograms of uniform local binary patterns (Ojala 2002); and the size and shape of what an Otsu
threshold (1979) of violet parts from the rest, which is mostly nuclei. A picture's black surroundings, where
a cell was cut out, are not measured. About 15 ms a picture of 128 pixels, on one core.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import feature

Pixels = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

_FEATURE: Final[Any] = feature
"""scikit-image has types of its own, which leave these functions out."""

TEXTURE_VERSION: Final = 1
"""Raised whenever the same pixels would give other numbers: kept measurements of another version do not count."""

DARKEST_SEEN: Final = 10
"""Grey level up to which a pixel is the black that a cell was cut out onto; smears have nothing as dark."""

LEVELS: Final = 32
DISTANCES: Final = (1, 2, 4)
ANGLES: Final = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
HARALICK: Final = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")
PATTERNS: Final = ((8, 1.0), (16, 2.0))
"""Neighbours and radius in pixels of the local binary patterns."""

LEAST_NUCLEUS: Final = 0.001
"""Share of the picture below which a violet spot is a platelet or noise."""

_MOMENTS: Final = ("mean", "deviation", "skewness")
_CHANNELS: Final = tuple(f"{space} {name}" for space in ("RGB", "HSV", "Lab") for name in space)
_SHAPES: Final = ("area", "roundness", "solidity", "elongation", "extent")


def measure_texture(pixels: Pixels) -> FloatArray:
    """Return (d,) float64 measurements of an (H, W, 3) uint8 RGB picture, named in `TEXTURE_NAMES`, all finite.

    Raises:
        ValueError: for another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"expected (H, W, 3) uint8 pixels, got {pixels.shape} {pixels.dtype}")
    seen = pixels.max(axis=2) > DARKEST_SEEN
    if not seen.any():
        return np.zeros(len(TEXTURE_NAMES))
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.concatenate(
        [_colours(pixels, seen), _cooccurrence(grey, seen), _patterns(grey, seen), _nuclei(pixels, seen)]
    )


def _colours(pixels: Pixels, seen: NDArray[np.bool_]) -> FloatArray:
    """(27,): mean, deviation and skewness of the nine channels, each scaled to 0..1."""
    spaces = (pixels, cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB))
    values = np.concatenate([space[seen] for space in spaces], axis=1) / 255.0
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    third = ((values - mean) ** 3).mean(axis=0)
    return np.concatenate([mean, deviation, np.cbrt(third)])


def _cooccurrence(grey: Pixels, seen: NDArray[np.bool_]) -> FloatArray:
    """(36,): Haralick's properties and entropy at each distance: mean over the angles, and their range.

    The mean does not change when a cell lies turned by a right angle; the range says how directed a texture is.
    """
    quantised = np.where(seen, 1 + grey.astype(np.uint16) * LEVELS // 256, 0).astype(np.uint8)
    counts = _FEATURE.graycomatrix(quantised, DISTANCES, ANGLES, levels=LEVELS + 1, symmetric=True)
    matrices = np.asarray(counts, np.float64)
    # Pairs with a pixel outside the cell say how large the cell is, nothing of its texture.
    matrices[0], matrices[:, 0] = 0.0, 0.0
    found = [np.nan_to_num(_FEATURE.graycoprops(matrices, name)) for name in HARALICK]
    shares = matrices / np.maximum(matrices.sum(axis=(0, 1)), 1.0)
    found.append(-(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=(0, 1)))
    stacked = np.stack(found)
    return np.concatenate([stacked.mean(axis=2).ravel(), np.ptp(stacked, axis=2).ravel()])


def _patterns(grey: Pixels, seen: NDArray[np.bool_]) -> FloatArray:
    """(28,): shares of each uniform pattern, the same whichever way the cell is turned."""
    found = []
    for neighbours, radius in PATTERNS:
        codes = _FEATURE.local_binary_pattern(grey, neighbours, radius, method="uniform")[seen].astype(
            np.intp
        )
        found.append(np.bincount(codes, minlength=neighbours + 2) / len(codes))
    return np.concatenate(found)


def _nuclei(pixels: Pixels, seen: NDArray[np.bool_]) -> FloatArray:
    """(16,): number, share and mean colour of violet spots, then mean, deviation and largest of each shape."""
    mask = violet_mask(pixels, seen)
    count, labels, table, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept = [i for i in range(1, count) if table[i, cv2.CC_STAT_AREA] >= LEAST_NUCLEUS * mask.size]
    if not kept:
        return np.zeros(len(_NUCLEUS_NAMES))
    colour = pixels[mask].mean(axis=0) / 255.0
    places = np.asarray(labels, np.int32)
    shapes = np.asarray([_shape(places, np.asarray(table[i], np.int32), i) for i in kept])
    areas = shapes[:, 0]
    return np.concatenate(
        [
            [len(kept), areas.sum()],
            colour,
            np.average(shapes, axis=0, weights=areas),
            shapes.std(axis=0),
            [areas.max()],
        ]
    )


def violet_mask(pixels: Pixels, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W): where an (H, W, 3) uint8 RGB picture is violet, by Otsu's threshold among the pixels `seen`.

    Violet is the density of green over that of red and blue: azure and eosin together, as nuclei take them up.
    """
    density = -np.log((cv2.GaussianBlur(pixels, (0, 0), 0.8).astype(np.float32) + 1.0) / 256.0)
    violet = density[..., 1] - (density[..., 0] + density[..., 2]) / 2
    levels = np.clip(np.rint(violet * 200.0), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels[seen].reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    spots = ((levels > threshold) & seen).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(spots, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), dtype=bool)


def _shape(labels: NDArray[np.int32], row: NDArray[np.int32], number: int) -> tuple[float, ...]:
    """Area as a share of the picture, roundness 4 pi A / P^2, solidity, elongation and extent of one spot, 0..1."""
    left, top, width, height, area = (int(value) for value in row)
    spot = (labels[top : top + height, left : left + width] == number).astype(np.uint8)
    contours, _ = cv2.findContours(spot, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len)
    hull = cv2.contourArea(cv2.convexHull(outline))
    inside = cv2.contourArea(outline)
    perimeter = cv2.arcLength(outline, closed=True)
    centred = np.cov(np.stack(np.nonzero(spot)))
    short, long = np.sqrt(np.maximum(np.linalg.eigvalsh(np.atleast_2d(centred)), 0.0))
    return (
        area / labels.size,
        min(1.0, 4 * np.pi * inside / perimeter**2) if perimeter > 0 else 0.0,
        inside / hull if hull > 0 else 0.0,
        1.0 - short / long if long > 0 else 0.0,
        area / (width * height),
    )


_NUCLEUS_NAMES: Final = (
    "nuclei", "nuclear share", *(f"nuclear {name}" for name in "RGB"),
    *(f"nuclear {shape}, mean" for shape in _SHAPES), *(f"nuclear {shape}, deviation" for shape in _SHAPES),
    "largest nucleus",
)  # fmt: skip
TEXTURE_NAMES: Final = (
    *(f"{channel}, {moment}" for moment in _MOMENTS for channel in _CHANNELS),
    *(
        f"GLCM {name} at {distance} px, {statistic}"
        for statistic in ("mean", "range")
        for name in (*HARALICK, "entropy")
        for distance in DISTANCES
    ),
    *(f"LBP {neighbours}: {code}" for neighbours, _ in PATTERNS for code in range(neighbours + 2)),
    *_NUCLEUS_NAMES,
)
"""What each number of `measure_texture` is, in order."""
