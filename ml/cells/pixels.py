"""What each pixel of a field is: part of a nucleus, of a leukocyte's cytoplasm, or of anything else.

A network of two small hidden layers over twelve numbers a pixel (`ml.cells.stain`), trained by
`python -m ml.cells.pixel_training` and stored beside this file as plain arrays. Colour thresholds come as far where
red cells are grey (Taleqani), and fail where both red cells and nuclei are violet against a coloured glass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml.cells.stain import FEATURES, pixel_features

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

STORED: Final = Path(__file__).with_name("pixel_network.npz")
OTHER, CYTOPLASM, NUCLEUS = 0, 1, 2
_BLOCK: Final = 65_536


@dataclass(frozen=True)
class PixelNetwork:
    """Dense layers with ReLU between them and softmax after: weights[i] (in, out) and biases[i] (out,), float32."""

    weights: tuple[Plane, ...]
    biases: tuple[Plane, ...]

    def probabilities(self, pixels: Pixels) -> Plane:
        """Return (H, W, 3) float32, summing to 1: other, cytoplasm, nucleus, for (H, W, 3) uint8 RGB."""
        height, width = pixels.shape[:2]
        rows = pixel_features(pixels).reshape(-1, FEATURES)
        parts = [self._forward(rows[start : start + _BLOCK]) for start in range(0, len(rows), _BLOCK)]
        return np.concatenate(parts).reshape(height, width, 3)

    def _forward(self, rows: Plane) -> Plane:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            rows = np.maximum(rows @ weight + bias, 0)
        logits = rows @ self.weights[-1] + self.biases[-1]
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float32)

    def save(self, path: Path) -> None:
        """Write the arrays to a compressed .npz."""
        arrays = {f"weight{i}": array for i, array in enumerate(self.weights)}
        arrays |= {f"bias{i}": array for i, array in enumerate(self.biases)}
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> PixelNetwork:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            count = sum(name.startswith("weight") for name in stored.files)
            return cls(
                tuple(stored[f"weight{i}"].astype(np.float32) for i in range(count)),
                tuple(stored[f"bias{i}"].astype(np.float32) for i in range(count)),
            )


@cache
def pixel_network() -> PixelNetwork:
    """The network that comes with Leukoscope."""
    return PixelNetwork.load(STORED)
