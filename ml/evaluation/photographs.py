"""Everyday photographs that come with scikit-image and scikit-learn: what no domain gate may take for a
smear.

They lie inside the installed packages, so nothing is downloaded. Histology, retina, cells, drawings, text and
the sky, which the packages carry too, are left out: the question here is a telephone's picture dropped by
mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Final

import numpy as np
import numpy.typing as npt

from ml.imaging.reading import read_image

PHOTOGRAPHS: Final = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/brick.png"),
    ("skimage", "data/camera.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/clock_motion.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/coins.png"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/gravel.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/motorcycle_right.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)
"""Package and path in it. Six are greyscale."""

SHORTEST_SIDE: Final = 210
"""Pixels: no crop is refused for its size, so the other checks and the gate have to turn it away."""


def everyday_photographs() -> Iterator[npt.NDArray[np.uint8]]:
    """Every photograph whole, (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: if an installed package lacks one.
    """
    for package, path in PHOTOGRAPHS:
        yield read_image(files(package).joinpath(path).read_bytes()).pixels


def everyday_photograph_crops(rng: np.random.Generator, count: int = 240) -> Iterator[npt.NDArray[np.uint8]]:
    """`count` crops of 4:3, as fields are, of random size and place, the same number from every photograph
    (give or take one).

    The same generator state gives the same crops; each is (H, W, 3) uint8 RGB with a short side of at least
    `SHORTEST_SIDE`.
    """
    photographs = list(everyday_photographs())
    for index in range(count):
        whole = photographs[index % len(photographs)]
        rows, columns = whole.shape[:2]
        tallest = min(rows, columns * 3 // 4)
        height = int(rng.integers(SHORTEST_SIDE, tallest, endpoint=True))
        width = height * 4 // 3
        top, left = (
            int(rng.integers(rows - height, endpoint=True)),
            int(rng.integers(columns - width, endpoint=True)),
        )
        yield np.ascontiguousarray(whole[top : top + height, left : left + width])
