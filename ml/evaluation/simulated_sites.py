"""Simulated sites: fields made to look as if another stain, camera or lamp had made them. None of them is a real site.

A real site differs in more ways than these, and its patients differ too: what is measured here says how an
adaptation deals with a change of colour, tone and sharpness, and nothing of another hospital's patients. Every
image varies a little about its site's settings, as slides and exposures of one laboratory do; the variation is
drawn from the site's seed and the image's own pixels, so that the same image always gives the same picture.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.data.augmentation import HED_FROM_RGB

Pixels = NDArray[np.uint8]
FloatArray = NDArray[np.float32]

WORKING_SIDE = 224
"""Pixels of the short side for which blur is given; larger pictures are blurred by as much more."""


@dataclass(frozen=True)
class Stain:
    """Another stain: fields are split into stains in optical density and put together again with other ones.

    Attributes:
        azure, eosin: unit-free directions in RGB optical density of the two stains.
        azure_gain, eosin_gain: their strengths against the original's.
        spread: sigma of the log strength from slide to slide.
    """

    azure: tuple[float, float, float]
    eosin: tuple[float, float, float]
    azure_gain: float
    eosin_gain: float
    spread: float = 0.08


@dataclass(frozen=True)
class Camera:
    """Another camera and its software.

    Attributes:
        gamma: exponent on 0..1, above 1 darkens the middle. s_curve: share of a smooth step mixed in, 0..1.
        white_balance: gain of each channel. saturation: factor on the distance from grey.
        zoom: how much closer it sees, 1 or more; the middle of the field fills the picture.
        blur: sigma in pixels at 224. noise: sigma in grey levels. jpeg: quality 1..100.
        spread: sigma of the log exposure from picture to picture.
    """

    gamma: float
    s_curve: float
    white_balance: tuple[float, float, float]
    saturation: float
    blur: float
    noise: float
    jpeg: int
    zoom: float = 1.0
    spread: float = 0.03


@dataclass(frozen=True)
class Lamp:
    """Another lamp: `colour` gain of each channel, `falloff` share of light lost in the corners."""

    colour: tuple[float, float, float]
    falloff: float


@dataclass(frozen=True)
class SimulatedSite:
    """A name, what changes in the order stain, lamp, camera, and the seed of the variation."""

    name: str
    words: str
    seed: int
    stain: Stain | None = None
    lamp: Lamp | None = None
    camera: Camera | None = None


_STAIN = Stain(azure=(0.56, 0.76, 0.33), eosin=(0.14, 0.93, 0.34), azure_gain=0.75, eosin_gain=1.6)
_CAMERA = Camera(
    gamma=1.35, s_curve=0.5, white_balance=(1.07, 1.0, 0.88), saturation=0.75, blur=0.6, noise=2.5, jpeg=60
)
_LAMP = Lamp(colour=(1.0, 0.97, 0.92), falloff=0.2)

SIMULATED_SITES = {
    site.name: site
    for site in (
        SimulatedSite("another stain", "redder, weaker azure and stronger eosin", 31, stain=_STAIN),
        SimulatedSite(
            "another camera",
            "steeper tone curve, other white balance, softer, noisier, JPEG 60",
            32,
            camera=_CAMERA,
        ),
        SimulatedSite(
            "another hospital",
            "that stain, a yellower and uneven lamp, and that camera seeing 1.4 times closer",
            33,
            stain=_STAIN,
            lamp=_LAMP,
            camera=replace(_CAMERA, zoom=1.4),
        ),
    )
}


def simulate(pixels: Pixels, site: SimulatedSite | str) -> Pixels:
    """The field as the simulated site would show it: (H, W, 3) RGB uint8 in and out, same shape.

    Raises:
        KeyError: no site of that name.
    """
    place = SIMULATED_SITES[site] if isinstance(site, str) else site
    rng = np.random.default_rng((place.seed, zlib.crc32(np.ascontiguousarray(pixels).tobytes())))
    light = pixels.astype(np.float32) / 255.0
    if place.stain is not None:
        light = _restained(light, place.stain, rng)
    if place.lamp is not None:
        light = _lit(light, place.lamp)
    if place.camera is not None:
        return _photographed(light, place.camera, rng)
    return _levels(light * 255.0)


def _restained(light: FloatArray, stain: Stain, rng: np.random.Generator) -> FloatArray:
    """Densities as amounts of stain (Ruifrok and Johnston 2001), laid along other directions.

    What the two stains do not explain stays as it is. An azure whose direction turns also changes how much each
    channel absorbs, so directions are brought to the length of the old ones.
    """
    density = -np.log((light * 255.0 + 1.0) / 256.0)
    from_stains = np.linalg.inv(HED_FROM_RGB).astype(np.float32)
    amounts = density @ HED_FROM_RGB
    gains = np.array([stain.azure_gain, stain.eosin_gain], np.float32)
    gains *= np.exp(rng.normal(0.0, stain.spread, size=2)).astype(np.float32)
    directions = from_stains.copy()
    for row, (direction, gain) in enumerate(zip((stain.azure, stain.eosin), gains, strict=True)):
        other = np.asarray(direction, np.float32)
        directions[row] = gain * other * (np.linalg.norm(from_stains[row]) / np.linalg.norm(other))
    # Less than no stain is the noise of bright glass; it would turn into a coloured haze.
    stained = np.maximum(amounts, 0.0) @ directions + np.minimum(amounts, 0.0) @ from_stains
    return np.asarray((np.exp(-stained) * 256.0 - 1.0) / 255.0, np.float32)


def _lit(light: FloatArray, lamp: Lamp) -> FloatArray:
    height, width = light.shape[:2]
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None]
    # The lamp is a little off the axis, as lamps are.
    distance = ((rows - 0.2) ** 2 + (columns + 0.3) ** 2) / 3.13
    shade = 1.0 - lamp.falloff * np.minimum(distance, 1.0)
    return np.asarray(light * shade[..., None] * np.asarray(lamp.colour, np.float32), np.float32)


def _photographed(light: FloatArray, camera: Camera, rng: np.random.Generator) -> Pixels:
    if camera.zoom > 1:
        light = _closer(light, camera.zoom)
    exposed = light * np.exp(rng.normal(0.0, camera.spread)) * np.asarray(camera.white_balance, np.float32)
    grey = exposed.mean(axis=2, keepdims=True)
    toned = np.clip(grey + camera.saturation * (exposed - grey), 0.0, 1.0) ** camera.gamma
    toned = (1 - camera.s_curve) * toned + camera.s_curve * toned**2 * (3 - 2 * toned)
    sigma = camera.blur * min(light.shape[:2]) / WORKING_SIDE
    soft = cv2.GaussianBlur(toned.astype(np.float32), (0, 0), sigma) if sigma > 0 else toned
    noisy = _levels(soft * 255.0 + rng.standard_normal(light.shape, dtype=np.float32) * camera.noise)
    packed = cv2.imencode(".jpg", noisy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg])[1]
    opened = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(opened[..., ::-1])


def _closer(light: FloatArray, zoom: float) -> FloatArray:
    height, width = light.shape[:2]
    rows, columns = round(height / zoom), round(width / zoom)
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = light[top : top + rows, left : left + columns]
    return np.asarray(cv2.resize(middle, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _levels(values: NDArray[np.floating]) -> Pixels:
    found: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return found
