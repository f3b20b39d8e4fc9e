"""A field's stain in numbers that do not know the lamp: optical density over the field's own empty glass.

By Beer and Lambert stains add up in optical density, and the lamp's colour and strength drop out. What is left differs
between laboratories, so a pixel is described together with what most stained pixels of its field are, the red cells.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

FEATURES: Final = 12
"""Numbers a pixel: density smoothed by 1 pixel, by 4 pixels, chroma of the first, and the red cells' density, each of
three channels."""

_NEAR, _WIDE = 1.0, 4.0
_LEVELS: Final = 200.0


def glass_colour(pixels: Pixels) -> Plane:
    """Return (3,) float32, 1..255: the colour of the empty glass of an (H, W, 3) uint8 RGB field.

    The median of the brightest tenth by green, where stains absorb most; burned-in bars of pure white are left out
    while there is anything else. Crowded fields have little more glass than that.
    """
    colours = pixels.reshape(-1, 3)[:: max(1, pixels.size // 600_000)]
    natural = colours[(colours < 253).any(axis=1)]
    if len(natural) >= 0.5 * len(colours):
        colours = natural
    bright = colours[colours[:, 1] >= np.percentile(colours[:, 1], 90)]
    return np.asarray(np.maximum(np.median(bright, axis=0), 1), np.float32)


def optical_density(pixels: Pixels, glass: Plane) -> Plane:
    """Return (H, W, 3) float32 natural optical density over the glass; below 0 is brighter than it."""
    table = -np.log((np.arange(256, dtype=np.float32)[:, None] + 1.0) / (glass + 1.0))
    return np.stack([table[:, channel][pixels[..., channel]] for channel in range(3)], axis=-1)


def stained(density: Plane) -> NDArray[np.bool_]:
    """Return (H, W): what is no empty glass, by Otsu's threshold (1979) on the densest of an (H, W, 3) density.

    Densities above 0.6 count as 0.6, so that leukocytes do not draw the threshold above the red cells.
    """
    levels = np.clip(np.rint(density.max(axis=-1) * _LEVELS), 0, 120).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return np.asarray(levels > max(0.8 * threshold, 8))


def pixel_features(pixels: Pixels) -> Plane:
    """Return (H, W, `FEATURES`) float32 of an (H, W, 3) uint8 RGB field at the working scale."""
    density = optical_density(pixels, glass_colour(pixels))
    near = np.asarray(cv2.GaussianBlur(density, (0, 0), _NEAR), np.float32)
    wide = cv2.GaussianBlur(density, (0, 0), _WIDE)
    chroma = near / (np.abs(near).sum(axis=-1, keepdims=True) + 0.15)
    inside = stained(near)
    usual = np.median(near[inside], axis=0) if inside.any() else np.zeros(3)
    red_cells = np.broadcast_to(usual.astype(np.float32), near.shape)
    return np.concatenate([near, wide, chroma, red_cells], axis=-1)
