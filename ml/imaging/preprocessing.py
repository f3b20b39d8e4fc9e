"""From a decoded smear field to what the network sees: one code path for training and for serving.

The steps, in order: squash to the working size, hide the burned-in scale bar, take out noise, divide by
the illumination (all of which `Preprocessing.correct` does, and training caches), then raise local contrast
on lightness (`Preprocessing.contrast`; training augments between the two). `normalise` scales to the
network's input. Noise is removed at the working size: at full size it would cost seconds and change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

PREPROCESSING_VERSION = 1
"""Raised whenever the same pixels and parameters would give other numbers."""

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""Channel statistics of the pretraining (RGB in 0..1), as `keras.applications.densenet` uses them."""

FIELD_ASPECT = 4 / 3
ASPECT_TOLERANCE = 0.05

Pixels = NDArray[np.uint8]


class UnknownPreprocessing(ValueError):
    """A bundle asks for a preprocessing that this code does not have."""


class Prepares(Protocol):
    """What training and serving ask of a preprocessing, whatever it is of: fields here, cells in `ml.cells`."""

    @property
    def size(self) -> int:
        """Side of the square network input, in pixels."""

    def contrast(self, image: Pixels) -> Pixels:
        """The last step, after augmentation: (S, S, 3) RGB uint8 in and out."""

    def as_dict(self) -> dict[str, Any]:
        """Its parameters, as `bundle.json` holds them."""


@dataclass(frozen=True)
class Preprocessing:
    """The parameters of one preprocessing; they travel inside the bundle.

    Attributes:
        size: side of the square network input, in pixels.
        scale_bar: lower-right corner that is painted over, as (width, height) fractions of the field.
        denoise_sigma: bilateral filter's range sigma, in grey levels at the working size; 0 switches it off.
        white: grey level (0..255) that the empty background is brought to; 0 leaves the illumination alone.
        clahe_clip: clip limit of CLAHE on lightness; 0 switches it off.
        clahe_tiles: CLAHE's tiles a side.
    """

    size: int = 224
    scale_bar: tuple[float, float] = (0.16, 0.15)
    denoise_sigma: float = 14.0
    white: int = 240
    clahe_clip: float = 1.5
    clahe_tiles: int = 4
    version: int = PREPROCESSING_VERSION

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "scale_bar": list(self.scale_bar)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Raises UnknownPreprocessing for another version or parameter than this code knows."""
        if values.get("version") != PREPROCESSING_VERSION:
            raise UnknownPreprocessing(
                f"The model wants preprocessing version {values.get('version')}, "
                f"this Leukoscope has version {PREPROCESSING_VERSION}."
            )
        try:
            return cls(**{**values, "scale_bar": tuple(values["scale_bar"])})
        except (TypeError, KeyError) as error:
            raise UnknownPreprocessing(
                f"The model's preprocessing has unknown parameters: {error}."
            ) from error

    def correct(self, pixels: Pixels) -> Pixels:
        """Squash, hide the scale bar, take out noise, even the illumination: (H, W, 3) -> (size, size, 3).

        RGB uint8 in and out. A 4:3 field is squashed to a square, as the training fields were.
        """
        return self.correct_squashed(squash(pixels, self.size))

    def correct_squashed(self, squashed: Pixels) -> Pixels:
        """`correct` for a field that is at the working size already."""
        background = background_colour(squashed, self.scale_bar)
        image = hide_scale_bar(squashed, background, self.scale_bar)
        if self.denoise_sigma > 0:
            filtered = cv2.bilateralFilter(image, d=5, sigmaColor=self.denoise_sigma, sigmaSpace=1.5)
            image = np.asarray(filtered, np.uint8)
        if self.white > 0:
            image = even_illumination(image, background, self.white)
        return image

    def contrast(self, image: Pixels) -> Pixels:
        """CLAHE on the lightness of CIELAB, colour left alone: RGB uint8 in and out, same shape."""
        if self.clahe_clip <= 0:
            return image
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        clahe = cv2.createCLAHE(clipLimit=self.clahe_clip, tileGridSize=(self.clahe_tiles, self.clahe_tiles))
        lab[..., 0] = clahe.apply(np.ascontiguousarray(lab[..., 0]))
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)

    def prepare(self, pixels: Pixels) -> Pixels:
        """What the network sees, before `normalise`: (H, W, 3) RGB uint8 -> (size, size, 3) RGB uint8."""
        return self.contrast(self.correct(pixels))


def squash(pixels: Pixels, size: int) -> Pixels:
    """Resize to (size, size, 3) whatever the aspect, by area: the closest to how the training fields were made."""
    if pixels.shape[:2] == (size, size):
        return pixels
    shrinks = pixels.shape[0] >= size and pixels.shape[1] >= size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=interpolation), np.uint8)


def is_field_shaped(pixels: Pixels, size: int) -> bool:
    """Whether the picture is a 4:3 field (within 5 %), or one that comes squashed to the network's input already."""
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return True
    return bool(abs(width / height / FIELD_ASPECT - 1) <= ASPECT_TOLERANCE)


def background_colour(image: Pixels, scale_bar: tuple[float, float]) -> NDArray[np.float32]:
    """Median RGB of the brightest quarter of a field (by green), the scale bar left out: (3,), 1..255.

    Between the cells a smear is empty glass, so its brightest quarter is the lamp's colour. Green is where
    the stains absorb most, hence where glass and cells differ most.
    """
    rows, columns = _scale_bar_origin(image, scale_bar)
    seen = np.ones(image.shape[:2], dtype=bool)
    seen[rows:, columns:] = False
    colours = image[seen]
    bright = colours[colours[:, 1] >= np.percentile(colours[:, 1], 75)]
    return np.asarray(np.maximum(np.median(bright, axis=0), 1), np.float32)


def hide_scale_bar(image: Pixels, background: NDArray[np.float32], scale_bar: tuple[float, float]) -> Pixels:
    """Paint the lower-right corner, where microscopes burn in the scale bar, with the background's colour."""
    rows, columns = _scale_bar_origin(image, scale_bar)
    hidden = image.copy()
    hidden[rows:, columns:] = np.round(background).astype(np.uint8)
    return hidden


def even_illumination(image: Pixels, background: NDArray[np.float32], white: int) -> Pixels:
    """Divide by the lamp's colour (Beer-Lambert's I/I0), so that empty glass is `white` in every field."""
    scaled = image.astype(np.float32) * (white / background)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def normalise(images: Pixels) -> NDArray[np.float32]:
    """RGB uint8 of any leading shape -> float32 with the pretraining's channel statistics (about -2.1..2.7)."""
    return (images.astype(np.float32) / 255.0 - IMAGENET_MEAN) / IMAGENET_STD


def _scale_bar_origin(image: Pixels, scale_bar: tuple[float, float]) -> tuple[int, int]:
    height, width = image.shape[:2]
    return round(height * (1 - scale_bar[1])), round(width * (1 - scale_bar[0]))
