"""A cell's stain brought to a reference, by Reinhard's or by Macenko's method, over the cell alone.

Both look at the pixels of the mask and change no other: what surrounds a cell differs between hospitals as its stain
does, and would be measured with it. Both are deterministic and need no second picture, for their reference is numbers.

Where a mask is too small to measure, or the cell has no colour to speak of, the pixels come back as they were: a stain
that cannot be measured cannot be moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

LEAST_PIXELS: Final = 30
"""Of a mask; fewer give no statistics."""

MOST_GAIN: Final = 5.0
"""Factor by which a channel's spread, or a stain's strength, may be stretched or shrunk at most. A grey or an even cell
would otherwise have its noise blown up into colour."""

LEAST_SHARE: Final = 0.2
LEAST_DENSITY: Final = 0.05
"""A pixel counts as stained from this share of the cell's densest pixels' optical density on (decadic, length over the
channels; its 99th percentile), and from the second in any case. Macenko et al. 2009 ask for 0.15 in every channel; but
azure hardly absorbs blue, so that would leave all but the darkest nuclei out, and a paler stain would change which."""

ANGLE_PERCENTILE: Final = 1.0
"""The stains' directions are this percentile of the pixels' angles, and 100 less it (alpha in Macenko et al. 2009)."""

STRENGTH_PERCENTILE: Final = 99.0
"""Of a stain's amount over the pixels: its strength, robust against single dark pixels."""

LEAST_ANGLE: Final = 0.05
"""Radians between the two stains' directions; less is one stain, and cannot be parted."""

WHITE: Final = 255.0
"""Level without any stain. One level for all, as a cell that was cut out has no glass left to measure."""


@dataclass(frozen=True)
class ReinhardReference:
    """Mean and standard deviation of a cell in CIELAB (L 0..100, a and b about -128..127)."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


@dataclass(frozen=True)
class MacenkoReference:
    """Two stains as unit vectors of optical density (red, green, blue), and their strengths.

    The first is the bluer one (azure: it absorbs more red), the second the redder (eosin).
    """

    stains: tuple[tuple[float, float, float], tuple[float, float, float]]
    strengths: tuple[float, float]


REINHARD_REFERENCE: Final = ReinhardReference((45.4, 31.3, -27.9), (17.4, 10.7, 16.6))
MACENKO_REFERENCE: Final = MacenkoReference(
    ((0.6341, 0.7438, 0.2114), (0.4486, 0.8772, 0.1708)), (0.576, 1.117)
)
"""Each number is the median over 400 cells of `pbc-acevedo` (50 of each of its eight labels, drawn with Python's
`random.Random(0).sample` in the order of the index) of what `measure_reinhard` and `measure_macenko` find in a crop of
28 micrometres and 128 pixels, over the mask of `ml.cells.single`. May Grünwald-Giemsa, as CellaVision shows it; the
cells of `deepapl-discovery` come out within a tenth of it, those of `cnmc2019-fold1` are far darker (L 18 of 100)."""


def reinhard(pixels: Pixels, mask: Mask, reference: ReinhardReference = REINHARD_REFERENCE) -> Pixels:
    """Shift and stretch each channel of CIELAB until its mean and deviation over the mask are the reference's.

    After Reinhard et al. 2001 (IEEE Computer Graphics and Applications 21, 34), who work in the space l-alpha-beta;
    CIELAB is as decorrelated for stains and has a scale that is known.

    Args:
        pixels: (H, W, 3) uint8 RGB. mask: (H, W) bool, the cell.

    Returns:
        (H, W, 3) uint8 RGB; unchanged outside the mask, and altogether where the mask holds too little.
    """
    _check(pixels, mask)
    if mask.sum() < LEAST_PIXELS:
        return pixels.copy()
    lab = _lab(pixels[mask])
    gain = np.asarray(reference.deviation) / np.maximum(lab.std(axis=0), 1e-6)
    gain = np.clip(gain, 1 / MOST_GAIN, MOST_GAIN)
    moved = (lab - lab.mean(axis=0)) * gain + np.asarray(reference.mean)
    result = pixels.copy()
    result[mask] = _rgb(moved)
    return result


def macenko(pixels: Pixels, mask: Mask, reference: MacenkoReference = MACENKO_REFERENCE) -> Pixels:
    """Part the mask's pixels into two stains and lay these amounts along the reference's.

    After Macenko et al. 2009 (ISBI, 1107): the plane of the two greatest singular vectors of the stained pixels'
    optical densities, in it the extreme directions, the amounts by least squares, and these scaled to the reference's
    strengths. What lies off the plane (less than a twentieth of the density in most cells) is lost.

    Args, returns: as `reinhard`. A cell with one stain alone, or none, comes back as it was.
    """
    _check(pixels, mask)
    found = measure_macenko(pixels, mask)
    if found is None:
        return pixels.copy()
    own = np.asarray(found.stains)
    amounts = np.linalg.lstsq(own.T, _density(pixels[mask]).T, rcond=None)[0]
    gain = np.asarray(reference.strengths) / np.maximum(np.asarray(found.strengths), 1e-6)
    amounts *= np.clip(gain, 1 / MOST_GAIN, MOST_GAIN)[:, None]
    density = np.asarray(reference.stains).T @ amounts
    result = pixels.copy()
    result[mask] = np.clip(np.rint((WHITE + 1) * 10.0**-density.T - 1), 0, 255).astype(np.uint8)
    return result


def measure_reinhard(pixels: Pixels, mask: Mask) -> ReinhardReference | None:
    """A cell's own mean and deviation in CIELAB; None where the mask holds too little."""
    _check(pixels, mask)
    if mask.sum() < LEAST_PIXELS:
        return None
    lab = _lab(pixels[mask])
    return ReinhardReference(_three(lab.mean(axis=0)), _three(lab.std(axis=0)))


def measure_macenko(pixels: Pixels, mask: Mask) -> MacenkoReference | None:
    """A cell's own stains and their strengths; None where there are not two stains to be told apart."""
    _check(pixels, mask)
    density = _density(pixels[mask])
    if len(density) < LEAST_PIXELS:
        return None
    length = np.linalg.norm(density, axis=1)
    least = LEAST_SHARE * float(np.percentile(length, STRENGTH_PERCENTILE))
    stained = density[length > max(least, LEAST_DENSITY)]
    if len(stained) < LEAST_PIXELS:
        return None
    _, vectors = np.linalg.eigh(np.cov(stained.T))
    plane = vectors[:, :0:-1]  # of the greatest spread, then of the second
    # Signs of eigenvectors are a library's whim: the first points to where densities are positive.
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    projected = stained @ plane
    angles = np.arctan2(projected[:, 1], projected[:, 0])
    low, high = np.percentile(angles, [ANGLE_PERCENTILE, 100 - ANGLE_PERCENTILE])
    if high - low < LEAST_ANGLE:
        return None
    stains = np.stack([plane @ np.array([np.cos(angle), np.sin(angle)]) for angle in (low, high)])
    stains = np.maximum(stains, 0.0)
    lengths = np.linalg.norm(stains, axis=1)
    if lengths.min() < 1e-6:
        return None
    stains /= lengths[:, None]
    if stains[1, 0] > stains[0, 0]:
        stains = stains[::-1]
    amounts = np.linalg.lstsq(stains.T, density.T, rcond=None)[0]
    strengths = np.percentile(amounts, STRENGTH_PERCENTILE, axis=1)
    if strengths.min() <= 1e-3:
        return None
    return MacenkoReference(
        (_three(stains[0]), _three(stains[1])), (float(strengths[0]), float(strengths[1]))
    )


def _check(pixels: Pixels, mask: Mask) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8 pixels, got {pixels.shape} {pixels.dtype}")
    if mask.shape != pixels.shape[:2] or mask.dtype != np.bool_:
        raise ValueError(f"expected a mask of {pixels.shape[:2]} bool, got {mask.shape} {mask.dtype}")


def _lab(colours: Pixels) -> FloatArray:
    """(n, 3) uint8 RGB -> (n, 3) CIELAB."""
    unit = (colours.astype(np.float32) / np.float32(255.0))[None]
    return np.asarray(cv2.cvtColor(unit, cv2.COLOR_RGB2LAB)[0], np.float64)


def _rgb(lab: FloatArray) -> Pixels:
    """(n, 3) CIELAB -> (n, 3) uint8 RGB; colours that no screen shows are cut to the nearest level."""
    lab = np.clip(lab, (0.0, -127.0, -127.0), (100.0, 127.0, 127.0))
    unit = np.asarray(cv2.cvtColor(lab.astype(np.float32)[None], cv2.COLOR_LAB2RGB)[0], np.float32)
    levels: Pixels = np.clip(np.rint(unit * 255.0), 0, 255).astype(np.uint8)
    return levels


def _density(colours: Pixels) -> FloatArray:
    """(n, 3) uint8 RGB -> (n, 3) decadic optical densities; the added level keeps black finite."""
    return np.asarray(-np.log10((colours.astype(np.float64) + 1.0) / (WHITE + 1.0)))


def _three(values: FloatArray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
