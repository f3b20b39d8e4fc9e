"""Small painted sets of single cells for tests that train: every class, or another hospital's two labels."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.data.manifest import MICROMETRES

PIXELS = 128
UM = 0.29
"""Micrometres that a pixel of a picture shows, where it is stated."""

GLASS, RED, CYTOPLASM, NUCLEUS = (238, 234, 240), (205, 160, 160), (190, 170, 195), (95, 50, 140)


def paint_cell(rng: np.random.Generator, number: int, *, on_black: bool = False) -> NDArray[np.uint8]:
    """One cell among red cells, or alone on black: the larger its number, the larger the nucleus in it."""
    pixels = np.full((PIXELS, PIXELS, 3), (0, 0, 0) if on_black else GLASS, np.uint8)
    if not on_black:
        for angle in rng.uniform(0, 2 * np.pi, 7):
            x, y = PIXELS / 2 + rng.uniform(44, 58) * np.array([np.cos(angle), np.sin(angle)])
            cv2.circle(pixels, (round(x), round(y)), int(rng.integers(11, 14)), RED, -1)
    # On black there is nothing else to tell pictures apart by: they would pass for copies of each other.
    stray, spread = (16, 12) if on_black else (3, 4)
    centre = tuple((PIXELS // 2 + rng.integers(-stray, stray + 1, 2)).tolist())
    axes = (20 + int(rng.integers(0, spread)), 22 + int(rng.integers(0, spread)))
    cv2.ellipse(pixels, centre, axes, float(rng.uniform(0, 180)), 0, 360, CYTOPLASM, -1)
    radius = 8 + 0.7 * number + rng.uniform(0, 1)
    nucleus = (round(radius), round(radius * rng.uniform(0.8, 1.0)))
    cv2.ellipse(pixels, centre, nucleus, float(rng.uniform(0, 180)), 0, 360, NUCLEUS, -1)
    grain = cv2.GaussianBlur(rng.normal(0, 40, pixels.shape[:2]).astype(np.float32), (0, 0), 2.0)
    noisy = pixels + (grain[..., None] * 2 + rng.normal(0, 3, pixels.shape)) * (pixels > 0)
    return np.clip(noisy, 1 if not on_black else 0, 250).astype(np.uint8)


def paint_cells(
    folder: Path, groups: Mapping[str, int], *, images: int = 5, on_black: bool = False, seed: int = 0
) -> Path:
    """Write `images` pictures of each of so many groups a label, with `index.csv`.

    Those on black are larger and state no scale, as the set of C-NMC.
    """
    rows = []
    for number, (label, count) in enumerate(groups.items()):
        for group in range(count):
            for image in range(images):
                rng = np.random.default_rng((seed, number, group, image))
                path = folder / label / f"{group}-{image}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = paint_cell(rng, number, on_black=on_black)
                if on_black:
                    pixels = np.asarray(cv2.resize(pixels, None, fx=4, fy=4), np.uint8)
                cv2.imwrite(str(path), pixels[..., ::-1])
                rows.append([f"{label}/{path.name}", label, f"{label}-{group}", *([] if on_black else [UM])])
    with (folder / "index.csv").open("w", newline="") as handle:
        header = ["path", "label", "subject", *([] if on_black else [MICROMETRES])]
        csv.writer(handle).writerows([header, *rows])
    return folder
