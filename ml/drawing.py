"""Draws a smear field: red cells, leukocytes, platelets, stain, light and a camera's noise. No photograph
goes into it.

For people who want to try Leukoscope without an image at hand, and for tests that train a network without
data. The picture is built like a stained smear: every structure adds optical density (Beer and Lambert), so
overlaps darken and the stain can vary without the shapes. Lengths are micrometres until the last step. A
drawn field is nobody's blood: it must never pass for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

FIELD_WIDTH_UM: Final = 112.0
"""Width of a field at 100x with a common camera; a red cell of 7.5 micrometres is then 69 of 1024 pixels
wide.
"""

DRAWN_CLASSES: Final = ("drawn_a", "drawn_b", "drawn_c", "drawn_d")
"""Classes that differ in morphology, never in stain: a, many small round nuclei with dense chromatin and
hardly any cytoplasm; b, few large round nuclei with open chromatin and nucleoli; c, kidney-shaped nuclei in
wide vacuolated cytoplasm; d, segmented nuclei in granular cytoplasm. None of them is a disease.
"""

KINDS: Final = ("normal", *DRAWN_CLASSES)

_SUPERSAMPLING: Final = 2
_NOISE_TILE: Final = 512

Plane = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Leukocyte:
    """How one type looks. Pairs are ranges, lengths in micrometres, densities relative to the stain's
    unit.
    """

    radius: tuple[float, float]
    nucleus: str  # "round", "kidney", "lobed"
    nucleus_share: tuple[float, float]  # nuclear over cell radius
    density: float
    clumps: float  # contrast of coarse chromatin
    fine: float  # contrast of fine chromatin
    cytoplasm: str  # key of the stain
    cytoplasm_density: float
    granules: str = ""  # key of the granules' stain
    granule_share: float = 0.0
    nucleoli: tuple[int, int] = (0, 0)
    vacuoles: tuple[int, int] = (0, 0)
    lobes: tuple[int, int] = (3, 4)
    roughness: float = 0.03


_TYPES: Final = {
    "lymphocyte": _Leukocyte((4.3, 5.2), "round", (0.84, 0.92), 1.12, 0.20, 0.06, "blue", 0.75),
    "neutrophil": _Leukocyte(
        (6.0, 7.0), "lobed", (0.80, 0.90), 1.12, 0.16, 0.06, "lilac", 0.55, "lilac", 0.4
    ),
    "eosinophil": _Leukocyte(
        (6.2, 7.2), "lobed", (0.78, 0.86), 1.05, 0.14, 0.05, "lilac", 0.4, "orange", 0.75, lobes=(2, 2)
    ),
    "monocyte": _Leukocyte(
        (7.4, 8.8),
        "kidney",
        (0.74, 0.82),
        0.82,
        0.10,
        0.12,
        "grey_blue",
        0.85,
        "lilac",
        0.2,
        vacuoles=(0, 5),
        roughness=0.06,
    ),
    "drawn_a": _Leukocyte((4.2, 5.0), "round", (0.88, 0.94), 1.18, 0.20, 0.05, "blue", 0.8),
    "drawn_b": _Leukocyte(
        (7.2, 8.8), "round", (0.80, 0.88), 0.80, 0.05, 0.12, "blue", 0.95, nucleoli=(1, 3), roughness=0.045
    ),
    "drawn_c": _Leukocyte(
        (7.2, 8.6),
        "kidney",
        (0.66, 0.74),
        0.86,
        0.08,
        0.10,
        "grey_blue",
        0.9,
        vacuoles=(4, 9),
        roughness=0.06,
    ),
    "drawn_d": _Leukocyte(
        (6.0, 7.0), "lobed", (0.80, 0.90), 1.12, 0.16, 0.06, "lilac", 0.55, "lilac", 0.5, lobes=(3, 5)
    ),
}

_NORMAL_DIFFERENTIAL: Final = {"neutrophil": 0.60, "lymphocyte": 0.28, "monocyte": 0.08, "eosinophil": 0.04}
_COUNTS: Final = {
    "normal": (4, 9),
    "drawn_a": (13, 20),
    "drawn_b": (6, 10),
    "drawn_c": (5, 9),
    "drawn_d": (6, 11),
}

# Colours of light through one unit of each stained structure on white, as sRGB: Romanowsky stains as they
# commonly look.
_TRANSMITTED: Final = {
    "nucleus": (100, 55, 160),
    "blue": (165, 185, 232),
    "grey_blue": (186, 190, 218),
    "lilac": (218, 190, 220),
    "orange": (226, 140, 120),
    "red_cell": (206, 182, 184),
    "platelet": (168, 120, 190),
}


def draw_field(
    rng: np.random.Generator,
    *,
    width: int = 1024,
    height: int = 768,
    kind: str = "normal",
    leukocytes: int | None = None,
) -> RGB:
    """Draw one field.

    The same generator state gives the same picture. The field is always `FIELD_WIDTH_UM` wide, whatever the
    pixels.

    Args:
        rng: source of all randomness.
        width, height: of the picture in pixels, at least 32.
        kind: "normal" for a mixture of mature leukocytes, or one of `DRAWN_CLASSES`.
        leukocytes: how many; drawn at random by kind when None.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: for an unknown kind or a size too small.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}, expected one of {', '.join(KINDS)}")
    if min(width, height) < 32:
        raise ValueError(f"a field needs at least 32x32 pixels, got {width}x{height}")
    slide = _Slide(rng, width, height)
    count = int(rng.integers(*_COUNTS[kind], endpoint=True)) if leukocytes is None else leukocytes
    if kind == "normal":
        names = [
            str(n)
            for n in rng.choice(list(_NORMAL_DIFFERENTIAL), count, p=list(_NORMAL_DIFFERENTIAL.values()))
        ]
    else:
        names = [kind] * count
    looks = [_TYPES[name] for name in names]
    radii = [float(rng.uniform(*look.radius)) for look in looks]
    places = slide.places(radii, closeness=(0.98, 1.1), margin=0.6, taken=[])
    red_radii = [
        float(rng.normal(3.75, 0.22)) for _ in range(int(rng.integers(75, 125) * slide.area / 9400.0))
    ]
    red_places = slide.places(red_radii, closeness=(0.80, 1.06), margin=-1.0, taken=places)
    for x, y, radius in red_places:
        slide.red_cell(x, y, radius)
    for _ in range(int(rng.poisson(9 * slide.area / 9400.0))):
        slide.platelet(float(rng.uniform(0, slide.width)), float(rng.uniform(0, slide.height)))
    for look, (x, y, radius) in zip(looks, places, strict=False):
        slide.leukocyte(x, y, radius, look)
    return slide.photograph()


class _Slide:
    """A stained slide: optical density per colour channel, on a grid finer than the picture."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng = rng
        self.pixels = (height, width)
        self.um = FIELD_WIDTH_UM / (width * _SUPERSAMPLING)  # of one sample
        self.width, self.height = FIELD_WIDTH_UM, FIELD_WIDTH_UM * height / width
        self.area = self.width * self.height
        self.density = np.zeros((height * _SUPERSAMPLING, width * _SUPERSAMPLING, 3), np.float32)
        # The laboratory's stain and lamp: each field has its own, whatever is drawn.
        tint = rng.normal(0.0, 0.05, 3)
        self.stain = {
            name: (-np.log10(np.array(rgb) / 255.0) * np.exp(tint + rng.normal(0.0, 0.04, 3))).astype(
                np.float32
            )
            for name, rgb in _TRANSMITTED.items()
        }
        self.stain["red_cell"] *= np.exp(rng.normal(0.0, [0.25, 0.08, 0.15])).astype(np.float32)
        self.noise = {
            name: self._noise_tile(um) for name, um in (("fine", 0.16), ("clumps", 0.55), ("broad", 2.2))
        }

    def _noise_tile(self, um: float) -> Plane:
        """Periodic Gaussian noise of unit variance whose grain is `um` wide."""
        white = self.rng.standard_normal((_NOISE_TILE, _NOISE_TILE), dtype=np.float32)
        frequency = np.hypot(
            *np.meshgrid(np.fft.fftfreq(_NOISE_TILE), np.fft.rfftfreq(_NOISE_TILE), indexing="ij")
        )
        sigma = max(um / self.um, 0.5)
        smooth = np.fft.irfft2(
            np.fft.rfft2(white) * np.exp(-2.0 * (np.pi * sigma * frequency) ** 2), s=white.shape
        )
        return (smooth / smooth.std()).astype(np.float32)

    def places(
        self,
        radii: list[float],
        *,
        closeness: tuple[float, float],
        margin: float,
        taken: list[tuple[float, float, float]],
    ) -> list[tuple[float, float, float]]:
        """(x, y, radius) for as many circles as find room; each keeps `closeness` times the sum of radii from
        the others.
        """
        found: list[tuple[float, float, float]] = []
        circles = np.array([(*place, 1.0) for place in taken], dtype=float).reshape(-1, 4)
        for radius in radii:
            nearness = self.rng.uniform(*closeness)
            inset = margin * radius
            xs = self.rng.uniform(inset, self.width - inset, 60)
            ys = self.rng.uniform(inset, self.height - inset, 60)
            gaps = np.hypot(xs[:, None] - circles[:, 0], ys[:, None] - circles[:, 1])
            wanted = np.where(circles[:, 3] > 0, 0.97, nearness) * (circles[:, 2] + radius)
            free = np.flatnonzero((gaps >= wanted).all(axis=1))
            if free.size:
                place = (float(xs[free[0]]), float(ys[free[0]]), radius)
                found.append(place)
                circles = np.vstack([circles, (*place, 0.0)])
        return found

    def _patch(self, x: float, y: float, reach: float) -> tuple[tuple[slice, slice], Plane, Plane] | None:
        """The samples within `reach` micrometres: where they are, and their offsets from (x, y) in
        micrometres.
        """
        rows, columns = self.density.shape[:2]
        top, bottom = max(int((y - reach) / self.um), 0), min(int((y + reach) / self.um) + 2, rows)
        left, right = max(int((x - reach) / self.um), 0), min(int((x + reach) / self.um) + 2, columns)
        if top >= bottom or left >= right:
            return None
        dy = (np.arange(top, bottom, dtype=np.float32) + 0.5) * np.float32(self.um) - np.float32(y)
        dx = (np.arange(left, right, dtype=np.float32) + 0.5) * np.float32(self.um) - np.float32(x)
        return (slice(top, bottom), slice(left, right)), dx[None, :], dy[:, None]

    def _outline(self, dx: Plane, dy: Plane, radius: float, roughness: float, stretch: float = 0.08) -> Plane:
        """Signed depth in micrometres, positive inside, of a wobbly ellipse around the origin."""
        turn, squash = self.rng.uniform(0, np.pi), 1.0 + self.rng.uniform(0, stretch)
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        u, v = (dx * cos + dy * sin) * np.float32(squash), (dy * cos - dx * sin) / np.float32(squash)
        distance, angle = np.hypot(u, v), np.arctan2(v, u)
        edge = np.full_like(distance, radius)
        for wave in (2, 3, 4, 5, 7):
            share = self.rng.normal(0.0, roughness / wave**0.8)
            edge += np.float32(radius * share) * np.cos(
                wave * angle + np.float32(self.rng.uniform(0, 2 * np.pi))
            )
        return edge - distance

    def _cover(self, depth: Plane, softness: float = 0.0) -> Plane:
        """Share of a sample inside an outline; `softness` in micrometres widens the edge."""
        ramp = np.clip(depth / np.float32(max(softness, self.um)) + 0.5, 0.0, 1.0)
        return ramp * ramp * (3.0 - 2.0 * ramp)

    def _texture(self, name: str, shape: tuple[int, ...]) -> Plane:
        tile = self.noise[name]
        rows = (np.arange(shape[0]) + self.rng.integers(_NOISE_TILE)) % _NOISE_TILE
        columns = (np.arange(shape[1]) + self.rng.integers(_NOISE_TILE)) % _NOISE_TILE
        return tile[np.ix_(rows, columns)]

    def red_cell(self, x: float, y: float, radius: float) -> None:
        """A biconcave disc; its thickness after Evans and Fung 1972 (Microvascular Research 4, 335), 0.81 to
        2.6 micrometres.
        """
        patch = self._patch(x, y, radius * 1.35)
        if patch is None:
            return
        where, dx, dy = patch
        depth = self._outline(dx, dy, radius, roughness=0.018, stretch=0.10)
        ring = np.clip(1.0 - depth / np.float32(radius), 0.0, 1.0)  # 0 in the middle, 1 at the edge
        pallor = np.float32(self.rng.uniform(0.7, 1.25))
        squared = (ring * pallor) ** 2 if pallor < 1 else np.minimum(ring ** (1.0 / pallor), 1.0) ** 2
        thickness = (
            (0.81 + 7.83 * squared - 4.39 * squared**2) * np.sqrt(np.clip(1.0 - ring**4, 0.0, 1.0)) / 2.6
        )
        amount = self.rng.normal(1.0, 0.07) * (0.18 + 0.82 * thickness) * self._cover(depth, 0.3)
        halo = 0.10 * np.exp(-(((depth + 0.25) / 0.22) ** 2))  # light bent outward at the rim
        self.density[where] += (amount - halo)[..., None] * self.stain["red_cell"]

    def platelet(self, x: float, y: float) -> None:
        radius = float(self.rng.uniform(0.8, 1.5))
        patch = self._patch(x, y, radius * 1.6)
        if patch is None:
            return
        where, dx, dy = patch
        depth = self._outline(dx, dy, radius, roughness=0.10, stretch=0.25)
        grains = 1.0 + 0.35 * self._texture("fine", depth.shape)
        amount = self.rng.uniform(0.6, 1.0) * self._cover(depth, 0.5) * np.clip(grains, 0.2, 2.0)
        self.density[where] += amount[..., None] * self.stain["platelet"]

    def leukocyte(self, x: float, y: float, radius: float, look: _Leukocyte) -> None:
        patch = self._patch(x, y, radius * 1.3)
        if patch is None:
            return
        where, dx, dy = patch
        body = self._outline(dx, dy, radius, look.roughness)
        cell = self._cover(body, 0.35)
        nucleus = self._nucleus(dx, dy, radius, look)
        inside = self._cover(np.minimum(nucleus, body - 0.25), 0.3)
        cytoplasm = look.cytoplasm_density * (1.0 + 0.10 * self._texture("clumps", cell.shape))
        cytoplasm *= 0.80 + 0.35 * np.exp(-np.clip(body, 0.0, None) / 1.2)  # deeper towards the membrane
        for _ in range(int(self.rng.integers(*look.vacuoles, endpoint=True))):
            cytoplasm *= 1.0 - 0.8 * self._spot(dx, dy, radius * self.rng.uniform(0.3, 0.9), (0.35, 0.8))
        stained = cytoplasm[..., None] * self.stain[look.cytoplasm]
        if look.granules:
            grain = self._cover(
                (self._texture("fine", cell.shape) + 2.0 * look.granule_share - 1.6) * 0.2, 0.2
            )
            stained += (0.8 * grain)[..., None] * self.stain[look.granules]
        chromatin = look.density * (
            1.0
            + look.clumps * np.tanh(1.5 * self._texture("clumps", cell.shape))
            + look.fine * self._texture("fine", cell.shape)
            + 0.07 * self._texture("broad", cell.shape)
        )
        chromatin *= 1.0 + 0.14 * np.exp(-(((nucleus - 0.25) / 0.3) ** 2))  # the nuclear membrane
        for _ in range(int(self.rng.integers(*look.nucleoli, endpoint=True))):
            chromatin *= 1.0 - 0.30 * self._spot(dx, dy, radius * self.rng.uniform(0.0, 0.5), (0.9, 1.4))
        stained += (inside * (chromatin - 0.4 * cytoplasm))[..., None] * self.stain["nucleus"]
        # It lies on the slide beside the red cells, not over them.
        self.density[where] *= 1.0 - cell[..., None]
        self.density[where] += cell[..., None] * stained

    def _nucleus(self, dx: Plane, dy: Plane, radius: float, look: _Leukocyte) -> Plane:
        """Signed depth of the nucleus, positive inside."""
        size = radius * float(self.rng.uniform(*look.nucleus_share))
        turn = float(self.rng.uniform(0, 2 * np.pi))
        if look.nucleus == "lobed":
            count = int(self.rng.integers(*look.lobes, endpoint=True))
            spread = np.linspace(-0.5, 0.5, count) * self.rng.uniform(1.2, 1.7) * (count + 1) / 2.5
            depth = np.full(np.broadcast_shapes(dx.shape, dy.shape), -np.inf, np.float32)
            for angle in turn + spread:
                away, lobe = 0.52 * size, size * self.rng.uniform(0.36, 0.44) * (3.4 / (count + 0.4)) ** 0.4
                cx, cy = np.float32(away * np.cos(angle)), np.float32(away * np.sin(angle))
                depth = (
                    np.logaddexp(depth * 3.2, self._outline(dx - cx, dy - cy, lobe, 0.06, 0.2) * 3.2) / 3.2
                )
            return depth
        shift = (radius - size) * float(self.rng.uniform(0.2, 0.8))
        cx, cy = np.float32(shift * np.cos(turn)), np.float32(shift * np.sin(turn))
        depth = self._outline(dx - cx, dy - cy, size, look.roughness)
        if look.nucleus == "kidney":
            away = size * float(self.rng.uniform(0.85, 1.0))
            nx, ny = np.float32(cx - away * np.cos(turn)), np.float32(cy - away * np.sin(turn))
            notch = self._outline(dx - nx, dy - ny, size * float(self.rng.uniform(0.45, 0.6)), 0.05)
            depth = -np.logaddexp(-depth * 2.5, notch * 2.5) / np.float32(2.5)
        return depth

    def _spot(self, dx: Plane, dy: Plane, away: float, radius: tuple[float, float]) -> Plane:
        angle = self.rng.uniform(0, 2 * np.pi)
        cx, cy = np.float32(away * np.cos(angle)), np.float32(away * np.sin(angle))
        return self._cover(np.float32(self.rng.uniform(*radius)) - np.hypot(dx - cx, dy - cy), 0.4)

    def photograph(self) -> RGB:
        """The slide under a lamp, through a lens, onto a sensor."""
        height, width = self.pixels
        density = cv2.resize(self.density, (width, height), interpolation=cv2.INTER_AREA)
        density *= (1.0 + 0.10 * self._broad())[..., None]  # the stain took unevenly
        sigma = self.rng.uniform(0.08, 0.13) / (self.um * _SUPERSAMPLING)
        if sigma > 0.25:
            density = cv2.GaussianBlur(density, (0, 0), sigma)
        lamp = np.array([246.0, 246.0, 243.0]) * np.exp(self.rng.normal(0.0, [0.012, 0.006, 0.015]))
        light = 1.0 + 0.025 * self._broad() - 0.05 * self._vignette()
        image = (lamp.astype(np.float32) * light[..., None]) * np.exp(np.float32(-np.log(10.0)) * density)
        noise = self.rng.standard_normal(image.shape, dtype=np.float32)
        image += noise * np.sqrt(1.2 + 0.012 * np.clip(image, 0.0, None))  # read noise and shot noise
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _broad(self) -> Plane:
        """Smooth unevenness over the picture, of about unit size."""
        height, width = self.pixels
        coarse = self.rng.standard_normal((4, 5), dtype=np.float32)
        return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), -2.0, 2.0)

    def _vignette(self) -> Plane:
        height, width = self.pixels
        x = np.linspace(-1.0, 1.0, width, dtype=np.float32) - np.float32(self.rng.uniform(-0.2, 0.2))
        y = np.linspace(-1.0, 1.0, height, dtype=np.float32) - np.float32(self.rng.uniform(-0.2, 0.2))
        return (x[None, :] ** 2 + y[:, None] ** 2) / 2.0
