"""Is a smear image good enough to be judged: large enough, in focus, well exposed, stained?

Everything but the size is measured on the image reduced to 224x224, the size at which networks see a field,
so the answer doesn't depend on the camera's resolution and counts blur only where it reaches the network. The
limits were set on every fifth field of the public Taleqani set (224x224; Aria et al. 2021), of which more
than 99 % pass, and on the same fields blurred, darkened, overexposed and turned grey; the docstring of each
constant says what was seen. They say nothing about disease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

WORKING_SIZE: Final = 224

SHORTEST_SIDE: Final = 200
"""Pixels. Below, a leukocyte of a field is under 20 pixels wide and its chromatin is lost."""

LEAST_SHARPNESS: Final = 0.455
"""Of the ratio in `_sharpness`. Taleqani fields: 0.50 at least, median 0.70. Blurred by a Gaussian of 2.5
pixels: 0.44 at most.
"""

LEAST_BRIGHTNESS: Final = 170.0
"""Of the 95th percentile of grey, 0..255: the empty background. Taleqani fields: 228 at least; at half the
light 127 at most.
"""

MOST_CLIPPED: Final = 0.52
"""Share of pixels with all channels at 250 or more. Taleqani fields: 0.47 at most; at 1.6 times the light
0.55 at least.
"""

LEAST_CONTRAST: Final = 42.0
"""Grey values between the 1st and the 99th percentile. Taleqani fields: 49 at least, median 120."""

LEAST_COLOUR: Final = 10.0
"""Chroma in CIELAB that 2 in 1000 pixels exceed. Taleqani fields: 30 at least; greyscale images: 0."""

LEAST_NUCLEI: Final = 0.002
"""Share of violet (a* > 8, b* < -6) in spots at least 7 pixels wide: a third of one leukocyte. Taleqani
fields: 0.008 at least; drawn fields with platelets alone: 0.0008 at most.
"""

RGB = npt.NDArray[np.uint8]

_NUCLEUS: Final = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))


@dataclass(frozen=True)
class QualityCheck:
    """One check in words. `value` is what was measured, `detail` the same in words with its limit, `advice`
    is empty when ok.
    """

    name: str
    ok: bool
    value: float
    message: str
    detail: str = ""
    advice: str = ""


@dataclass(frozen=True)
class QualityReport:
    """The checks of one image, always in the order size, focus, exposure, stain."""

    checks: tuple[QualityCheck, ...]

    @property
    def acceptable(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The messages of the failed checks."""
        return tuple(check.message for check in self.checks if not check.ok)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        return {"acceptable": self.acceptable, "checks": [asdict(check) for check in self.checks]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> QualityReport:
        """The report `to_dict` wrote."""
        return cls(tuple(QualityCheck(**check) for check in data["checks"]))


def assess_quality(pixels: RGB) -> QualityReport:
    """Check an image of (H, W, 3) uint8 RGB. Takes 3 ms at 1024x768.

    Raises:
        ValueError: for another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"expected (H, W, 3) uint8 pixels, got {pixels.shape} {pixels.dtype}")
    small: RGB = np.asarray(
        cv2.resize(pixels, (WORKING_SIZE, WORKING_SIZE), interpolation=cv2.INTER_AREA), np.uint8
    )
    grey: RGB = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
    return QualityReport((_size(pixels), _focus(small), _exposure(small, grey), _stain(small)))


def _size(pixels: RGB) -> QualityCheck:
    height, width = pixels.shape[:2]
    short = min(height, width)
    detail = f"{width}x{height} pixels, the short side at least {SHORTEST_SIDE}"
    if short >= SHORTEST_SIDE:
        return QualityCheck("size", True, float(short), "large enough", detail)
    return QualityCheck(
        "size",
        False,
        float(short),
        "too small",
        detail,
        "Upload the image as the microscope's camera made it.",
    )


def _focus(small: RGB) -> QualityCheck:
    # Burned-in scale bars stand in the lowest seventh, and are always sharp.
    value = _sharpness(small[: WORKING_SIZE * 6 // 7, :, 1])
    detail = f"sharpness {value:.2f}, at least {LEAST_SHARPNESS:.2f}"
    if value >= LEAST_SHARPNESS:
        return QualityCheck("focus", True, value, "in focus", detail)
    return QualityCheck(
        "focus", False, value, "out of focus", detail, "Focus on the nuclei and take the image again."
    )


def _sharpness(channel: npt.NDArray[np.uint8]) -> float:
    """Detail of 1 to 2 pixels over detail of 2 to 4 pixels, as standard deviations of two
    difference-of-Gaussian bands.

    A ratio of neighbouring bands doesn't depend on contrast or on how many cells there are; it falls with
    defocus, towards 0.31. The finest band (under 1 pixel) is left out because sensor noise fills it.
    """
    values = channel.astype(np.float32)
    fine, middle, coarse = (cv2.GaussianBlur(values, (0, 0), sigma) for sigma in (1.0, 2.0, 4.0))
    broad = float(np.std(middle - coarse))
    # Without any detail there is nothing in focus.
    return float(np.std(fine - middle)) / broad if broad > 0.25 else 0.0


def _exposure(small: RGB, grey: npt.NDArray[np.uint8]) -> QualityCheck:
    counts = np.bincount(grey.ravel(), minlength=256)  # exact for 8 bits, and ten times faster than sorting
    low, bright, high = np.searchsorted(np.cumsum(counts), np.array([0.01, 0.95, 0.99]) * grey.size).tolist()
    white = cv2.inRange(small, (250, 250, 250), (255, 255, 255))
    clipped = cv2.countNonZero(white) / grey.size
    if bright < LEAST_BRIGHTNESS:
        return QualityCheck(
            "exposure",
            False,
            float(bright),
            "too dark",
            f"background brightness {bright:.0f} of 255, at least {LEAST_BRIGHTNESS:.0f}",
            "Raise the lamp or the exposure time and take the image again.",
        )
    if clipped > MOST_CLIPPED:
        return QualityCheck(
            "exposure",
            False,
            clipped,
            "too bright",
            f"{clipped:.0%} of the image is pure white, at most {MOST_CLIPPED:.0%}",
            "Lower the lamp or the exposure time, or move to the cells, and take the image again.",
        )
    if high - low < LEAST_CONTRAST:
        return QualityCheck(
            "exposure",
            False,
            float(high - low),
            "washed out",
            f"contrast {high - low:.0f} of 255, at least {LEAST_CONTRAST:.0f}",
            "Close the condenser a little, or check the stain, and take the image again.",
        )
    return QualityCheck(
        "exposure",
        True,
        float(bright),
        "well exposed",
        f"background brightness {bright:.0f} of 255, contrast {high - low:.0f}, {clipped:.0%} pure white",
    )


def _stain(small: RGB) -> QualityCheck:
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    a, b = lab[..., 1].astype(np.float32) - 128.0, lab[..., 2].astype(np.float32) - 128.0
    colour = float(np.percentile(np.hypot(a, b), 99.8))
    violet = ((a > 8.0) & (b < -6.0)).astype(np.uint8)
    platelets_gone = cv2.morphologyEx(violet, cv2.MORPH_OPEN, _NUCLEUS)
    nuclei = float(np.mean(platelets_gone))
    if colour < LEAST_COLOUR:
        return QualityCheck(
            "stain",
            False,
            colour,
            "no stain colour",
            f"colourfulness {colour:.0f}, at least {LEAST_COLOUR:.0f}",
            "Upload a colour image of a Romanowsky-stained smear.",
        )
    if nuclei < LEAST_NUCLEI:
        return QualityCheck(
            "stain",
            False,
            nuclei,
            "hardly any stained nuclei",
            f"{nuclei:.1%} of the image is nuclei, at least {LEAST_NUCLEI:.1%}",
            "Choose a field with leukocytes, and check that the smear is Romanowsky-stained.",
        )
    return QualityCheck("stain", True, nuclei, "stain visible", f"{nuclei:.1%} of the image is nuclei")
