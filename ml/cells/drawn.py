"""Drawn fields with the truth of what lies where: to train on, and to test against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.drawing import draw_field
from ml.drawn_slide import RGB, Leukocyte, Place, Plane, Slide


@dataclass
class Truth:
    """What was drawn.

    Attributes:
        leukocytes, red_cells, platelets: (x, y, radius) each, in pixels of the picture.
        labels: (h, w) int32, 0 or 1.. the number of the leukocyte in `leukocytes`, as discs of their radius.
        nuclei: (h, w) bool.
    """

    leukocytes: list[Place] = field(default_factory=list)
    red_cells: list[Place] = field(default_factory=list)
    platelets: list[Place] = field(default_factory=list)
    labels: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    nuclei: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))


class RecordingSlide(Slide):
    """A slide that remembers what was drawn on it, without changing what is drawn."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        super().__init__(rng, width, height)
        self.truth = Truth(
            labels=np.zeros((height, width), np.int32),
            nuclei=np.zeros((height, width), bool),
        )
        self._pixel = self.width / width  # micrometres

    def red_cell(self, place: Place) -> None:
        """Draw and note it."""
        super().red_cell(place)
        self.truth.red_cells.append(self._in_pixels(place))

    def platelet(self, place: Place) -> None:
        """Draw and note it."""
        super().platelet(place)
        self.truth.platelets.append(self._in_pixels(place))

    def leukocyte(self, place: Place, look: Leukocyte) -> None:
        """Draw it, and note its disc and its nucleus."""
        self._place = place
        super().leukocyte(place, look)
        x, y, radius = self._in_pixels(place)
        self.truth.leukocytes.append((x, y, radius))
        rows, columns = np.ogrid[: self.pixels[0], : self.pixels[1]]
        inside = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius * radius
        self.truth.labels[inside] = len(self.truth.leukocytes)

    def _nucleus(self, dx: Plane, dy: Plane, radius: float, look: Leukocyte) -> Plane:
        depth = super()._nucleus(dx, dy, radius, look)
        columns = np.floor((dx[0] + self._place[0]) / self._pixel).astype(int)
        rows = np.floor((dy[:, 0] + self._place[1]) / self._pixel).astype(int)
        r, c = np.nonzero((depth > 0) & (np.hypot(dx, dy) < radius))
        inside = (
            (rows[r] >= 0) & (rows[r] < self.pixels[0]) & (columns[c] >= 0) & (columns[c] < self.pixels[1])
        )
        self.truth.nuclei[rows[r][inside], columns[c][inside]] = True
        return depth

    def _in_pixels(self, place: Place) -> Place:
        x, y, radius = place
        return x / self._pixel, y / self._pixel, radius / self._pixel


def drawn_with_truth(rng: np.random.Generator, **how: Any) -> tuple[RGB, Truth]:
    """Draw a field as `ml.drawing.draw_field` does, with the same arguments, and return it with what was drawn."""
    slides: list[RecordingSlide] = []

    class Kept(RecordingSlide):
        def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
            super().__init__(rng, width, height)
            slides.append(self)

    pixels = draw_field(rng, slide_type=Kept, **how)
    return pixels, slides[0].truth
