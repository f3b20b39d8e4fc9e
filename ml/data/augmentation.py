"""What may change between two fields of the same class: place, focus, camera noise, and above all the stain.

The public training fields can be told apart by stain alone, so colour is varied far beyond what one laboratory
shows. Everything works on `Preprocessing.correct`'s output, (S, S, 3) RGB uint8 with a white background.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

HED_FROM_RGB = np.linalg.inv(
    np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=np.float64)
).astype(np.float32)
RGB_FROM_HED = np.linalg.inv(HED_FROM_RGB).astype(np.float32)
"""Stain vectors of Ruifrok and Johnston (2001) in optical density, rows haematoxylin, eosin, residual."""


@dataclass(frozen=True)
class Augmentation:
    """How far each property may wander. Probabilities are in 0..1.

    Attributes:
        colour: whether any colour is varied (the ablation switches it off).
        density_gain: sigma of the log gain of each channel's optical density (the stain's hue and strength).
        stain_gain, stain_shift: sigmas of the factor and offset of each HED stain (Tellez et al. 2018).
        hue, saturation, value: half ranges of the HSV jitter: turns of 360 degrees, factor, factor.
        grey_probability: share of images shown without colour at all.
        rotation: half range in degrees. Not by quarters: a squashed field has an upright (a cell has none).
        zoom: half range of the log2 scale.
        shift: half range of the shift as a share of the side.
        blur_probability, noise_probability, jpeg_probability: camera and compression.
    """

    colour: bool = True
    density_gain: float = 0.25
    stain_gain: float = 0.15
    stain_shift: float = 0.02
    hue: float = 0.06
    saturation: float = 0.4
    value: float = 0.08
    grey_probability: float = 0.1
    rotation: float = 20.0
    zoom: float = 0.2
    shift: float = 0.06
    blur_probability: float = 0.2
    noise_probability: float = 0.2
    jpeg_probability: float = 0.3

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def scaled(self, strength: float) -> Augmentation:
        """The same with every range, sigma and probability times `strength` (0 or more, probabilities up to 1).

        At 0 an image is only mirrored; at 1 nothing changes.
        """
        if not (math.isfinite(strength) and strength >= 0):
            raise ValueError(f"The strength of augmentation must be 0 or more, not {strength}.")
        return replace(
            self,
            **{
                name: min(1.0, value * strength) if name.endswith("_probability") else value * strength
                for name, value in asdict(self).items()
                if name != "colour"
            },
        )

    def apply(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        """One random variant of (S, S, 3) RGB uint8, same shape; the same generator state gives the same picture."""
        image = self._move(image, rng)
        if self.colour:
            image = self._stain(image, rng)
            image = self._hsv(image, rng)
            if rng.random() < self.grey_probability:
                grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
                image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
        return self._camera(image, rng)

    def _move(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        side = image.shape[0]
        if rng.random() < 0.5:
            image = image[:, ::-1]
        if rng.random() < 0.5:
            image = image[::-1]
        angle = rng.uniform(-self.rotation, self.rotation)
        scale = 2.0 ** rng.uniform(-self.zoom, self.zoom)
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, scale)
        matrix[:, 2] += rng.uniform(-self.shift, self.shift, size=2) * side
        moved = cv2.warpAffine(
            np.ascontiguousarray(image),
            matrix,
            (side, side),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return np.asarray(moved, np.uint8)

    def _stain(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        density = -np.log((image.astype(np.float32) + 1.0) / 256.0)
        density *= np.exp(rng.normal(0.0, self.density_gain, size=3)).astype(np.float32)
        stains = density @ HED_FROM_RGB
        stains *= rng.normal(1.0, self.stain_gain, size=3).astype(np.float32)
        stains += rng.normal(0.0, self.stain_shift, size=3).astype(np.float32)
        transmitted = np.exp(-(stains @ RGB_FROM_HED)) * 256.0 - 1.0
        return np.asarray(np.clip(transmitted, 0, 255).astype(np.uint8))

    def _hsv(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(-self.hue, self.hue) * 180.0) % 180.0
        hsv[..., 1] *= 1.0 + rng.uniform(-self.saturation, self.saturation)
        hsv[..., 2] *= 1.0 + rng.uniform(-self.value, self.value)
        return np.asarray(cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)

    def _camera(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        if rng.random() < self.blur_probability:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigmaX=rng.uniform(0.3, 1.1)), np.uint8)
        if rng.random() < self.noise_probability:
            noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(1.0, 6.0))
            image = np.clip(image + noise, 0, 255).astype(np.uint8)
        if rng.random() < self.jpeg_probability:
            _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 96))])
            image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
        return image


CELL_AUGMENTATION: Final = replace(Augmentation(), rotation=180.0, zoom=0.3, shift=0.04)
"""A cell has no upright, and its scale is known to a fifth. Its colours wander as a field's do, although they were
brought to a reference: masks and stains differ in what that leaves."""


def augmentation_of(task: str) -> Augmentation:
    """The standing augmentation of a task's pictures."""
    return CELL_AUGMENTATION if task == "cell" else Augmentation()
