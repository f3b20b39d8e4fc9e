"""A drawn slide: optical density, structure by structure, and the photograph taken of it.

Built like a stained smear: every structure adds optical density (Beer and Lambert), so overlaps darken, and
the stain can vary without the shapes. Lengths are micrometres; `ml.drawing` decides what lies where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

FIELD_WIDTH_UM: Final = 112.0
"""Width of a field at 100x with a common camera; a red cell of 7.5 micrometres is then 69 of 1024 pixels
wide.
"""

_SUPERSAMPLING: Final = 2
_NOISE_TILE: Final = 512
_TRIES: Final = 60

Plane = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]
Place = tuple[float, float, float]
"""x, y and radius of a round thing."""


@dataclass(frozen=True)
class Leukocyte:
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


# Colours of light through one unit of each stained structure on white, as sRGB: Romanowsky stains as they
# commonly look.
_TRANSMITTED: Final = {
    "nucleus": (100, 55, 160),
    "blue": (165, 185, 232),
    "grey_blue": (186, 190, 218),
    "lilac": (218, 190, 220),
    "orange": (226, 140, 120),
    "platelet": (168, 120, 190),
}
# Salmon, rose, lavender and slate: how red cells come out depends on the buffer and the time.
_RED_CELL_TONES: Final = ((224, 176, 158), (216, 172, 180), (192, 178, 202), (166, 176, 196))


class Slide:
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
        tones = -np.log10(np.array(_RED_CELL_TONES) / 255.0)
        self.stain["red_cell"] = (rng.dirichlet([0.6] * len(tones)) @ tones * np.exp(tint)).astype(np.float32)
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
        return np.asarray(smooth / smooth.std(), np.float32)

    def places(
        self,
        radii: Sequence[float],
        *,
        closeness: tuple[float, float],
        inset: float,
        around: Sequence[Place] = (),
    ) -> list[Place]:
        """Where circles of these radii fit; those that find no room are left out.

        Each keeps a random share within `closeness` of the sum of radii from its like (less than one
        overlaps), and stays clear of the circles `around`. `inset` keeps centres so many radii inside the
        picture; negative lets them stand outside.
        """
        found: list[Place] = []
        circles = np.array(around, dtype=float).reshape(-1, 3)
        for radius in radii:
            share = self.rng.uniform(*closeness)
            xs = self.rng.uniform(inset * radius, self.width - inset * radius, _TRIES)
            ys = self.rng.uniform(inset * radius, self.height - inset * radius, _TRIES)
            gaps = np.hypot(xs[:, None] - circles[:, 0], ys[:, None] - circles[:, 1])
            shares = np.where(np.arange(len(circles)) < len(around), 0.97, share)
            free = np.flatnonzero((gaps >= shares * (circles[:, 2] + radius)).all(axis=1))
            if free.size:
                found.append((float(xs[free[0]]), float(ys[free[0]]), radius))
                circles = np.vstack([circles, found[-1]])
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
        return np.asarray(ramp * ramp * (3.0 - 2.0 * ramp), np.float32)

    def _texture(self, name: str, shape: tuple[int, ...]) -> Plane:
        tile = self.noise[name]
        rows = (np.arange(shape[0]) + self.rng.integers(_NOISE_TILE)) % _NOISE_TILE
        columns = (np.arange(shape[1]) + self.rng.integers(_NOISE_TILE)) % _NOISE_TILE
        return np.asarray(tile[np.ix_(rows, columns)])

    def red_cell(self, place: Place) -> None:
        """A biconcave disc; its thickness after Evans and Fung 1972 (Microvascular Research 4, 335), 0.81 to
        2.6 micrometres.
        """
        x, y, radius = place
        patch = self._patch(x, y, radius * 1.35)
        if patch is None:
            return
        where, dx, dy = patch
        depth = self._outline(dx, dy, radius, roughness=0.018, stretch=0.10)
        away = np.clip(1.0 - depth / np.float32(radius), 0.0, 1.0)  # 0 in the middle, 1 at the edge
        squared = away ** np.float32(
            self.rng.uniform(1.7, 3.2)
        )  # 2 is the textbook's; more is a wider pallor
        thickness = np.sqrt(1.0 - away**4) * (0.81 + 7.83 * squared - 4.39 * squared**2) / 3.0
        amount = self.rng.normal(1.0, 0.07) * (0.12 + 0.88 * thickness) * self._cover(depth, 0.3)
        halo = 0.10 * np.exp(-(((depth + 0.25) / 0.22) ** 2))  # light bent outward at the rim
        self.density[where] += (amount - halo)[..., None] * self.stain["red_cell"]

    def platelet(self, place: Place) -> None:
        """A small granular disc; `place` gives its middle and usual radius."""
        x, y, usual = place
        radius = usual * float(self.rng.uniform(0.65, 1.2))
        patch = self._patch(x, y, radius * 1.6)
        if patch is None:
            return
        where, dx, dy = patch
        depth = self._outline(dx, dy, radius, roughness=0.10, stretch=0.25)
        grains = 1.0 + 0.35 * self._texture("fine", depth.shape)
        amount = self.rng.uniform(0.6, 1.0) * self._cover(depth, 0.5) * np.clip(grains, 0.2, 2.0)
        self.density[where] += amount[..., None] * self.stain["platelet"]

    def leukocyte(self, place: Place, look: Leukocyte) -> None:
        """A leukocyte of this look; it pushes red cells aside."""
        x, y, radius = place
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

    def _nucleus(self, dx: Plane, dy: Plane, radius: float, look: Leukocyte) -> Plane:
        """Signed depth of the nucleus, positive inside."""
        size = radius * float(self.rng.uniform(*look.nucleus_share))
        turn = float(self.rng.uniform(0, 2 * np.pi))
        if look.nucleus == "lobed":
            return self._lobes(dx, dy, size, turn, int(self.rng.integers(*look.lobes, endpoint=True)))
        shift = (radius - size) * float(self.rng.uniform(0.2, 0.8))
        cx, cy = np.float32(shift * np.cos(turn)), np.float32(shift * np.sin(turn))
        depth = self._outline(dx - cx, dy - cy, size, look.roughness)
        if look.nucleus == "kidney":
            away = size * float(self.rng.uniform(0.85, 1.0))
            nx, ny = np.float32(cx - away * np.cos(turn)), np.float32(cy - away * np.sin(turn))
            notch = self._outline(dx - nx, dy - ny, size * float(self.rng.uniform(0.45, 0.6)), 0.05)
            depth = -np.logaddexp(-depth * 2.0, notch * 2.0) / np.float32(2.0)
        return depth

    def _lobes(self, dx: Plane, dy: Plane, size: float, turn: float, count: int) -> Plane:
        """Signed depth of `count` lobes along an arc, joined by threads of chromatin."""
        arc, sharpness = 0.54 * size, np.float32(4.0)
        lobe = size * (0.36 if count > 2 else 0.46) * (3.0 / max(count, 3)) ** 0.5
        step = 2.0 * np.arcsin(min(1.9 * lobe / (2.0 * arc), 0.95))
        depth = np.full(np.broadcast_shapes(dx.shape, dy.shape), -np.inf, np.float32)
        before: tuple[float, float] | None = None
        for index in range(count):
            angle = turn + step * (index - (count - 1) / 2) + self.rng.normal(0.0, 0.06)
            away = arc * self.rng.uniform(0.85, 1.12)
            cx, cy = float(away * np.cos(angle)), float(away * np.sin(angle))
            radius = lobe * float(self.rng.uniform(0.9, 1.15))
            depth = np.logaddexp(depth, sharpness * self._outline(dx - cx, dy - cy, radius, 0.07, 0.25))
            if before is not None:
                depth = np.logaddexp(depth, sharpness * (0.35 - _distance(dx, dy, before, (cx, cy))))
            before = (cx, cy)
        return depth / sharpness

    def _spot(self, dx: Plane, dy: Plane, away: float, radius: tuple[float, float]) -> Plane:
        angle = self.rng.uniform(0, 2 * np.pi)
        cx, cy = np.float32(away * np.cos(angle)), np.float32(away * np.sin(angle))
        return self._cover(np.float32(self.rng.uniform(*radius)) - np.hypot(dx - cx, dy - cy), 0.4)

    def photograph(self) -> RGB:
        """The slide under a lamp, through a lens, onto a sensor."""
        height, width = self.pixels
        # The stain took unevenly.
        density = cv2.resize(self.density, (width, height), interpolation=cv2.INTER_AREA)
        density = density * (1.0 + 0.10 * self._broad())[..., None]
        sigma = self.rng.uniform(0.08, 0.13) / (self.um * _SUPERSAMPLING)
        if sigma > 0.25:
            density = cv2.GaussianBlur(density, (0, 0), sigma)
        lamp = np.array([246.0, 246.0, 243.0]) * np.exp(self.rng.normal(0.0, [0.012, 0.006, 0.015]))
        light = 1.0 + 0.025 * self._broad() - 0.05 * self._vignette()
        image = (lamp.astype(np.float32) * light[..., None]) * np.exp(np.float32(-np.log(10.0)) * density)
        noise = self.rng.standard_normal(image.shape, dtype=np.float32)
        image += noise * np.sqrt(1.2 + 0.012 * np.clip(image, 0.0, None))  # read noise and shot noise
        return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)

    def _broad(self) -> Plane:
        """Smooth unevenness over the picture, of about unit size."""
        height, width = self.pixels
        coarse = self.rng.standard_normal((4, 5), dtype=np.float32)
        return np.asarray(
            np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), -2, 2), np.float32
        )

    def _vignette(self) -> Plane:
        height, width = self.pixels
        x = np.linspace(-1.0, 1.0, width, dtype=np.float32) - np.float32(self.rng.uniform(-0.2, 0.2))
        y = np.linspace(-1.0, 1.0, height, dtype=np.float32) - np.float32(self.rng.uniform(-0.2, 0.2))
        return np.asarray((x[None, :] ** 2 + y[:, None] ** 2) / 2.0, np.float32)


def _distance(dx: Plane, dy: Plane, start: tuple[float, float], end: tuple[float, float]) -> Plane:
    """Distance of every sample from a straight thread."""
    ux, uy = end[0] - start[0], end[1] - start[1]
    along = ((dx - start[0]) * ux + (dy - start[1]) * uy) / max(ux * ux + uy * uy, 1e-6)
    along = np.clip(along, 0.0, 1.0)
    return np.hypot(dx - start[0] - along * ux, dy - start[1] - along * uy)
