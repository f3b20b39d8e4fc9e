"""Small painted sets for tests that compare models: classes told apart by texture, never by colour."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from ml.data.manifest import Manifest, load_manifest


def paint_set(
    folder: Path, groups: dict[str, int], *, images: int = 4, cells: bool = False, seed: int = 0
) -> Manifest:
    """Write `images` pictures of each of so many groups a label with `index.csv`, and read them as a manifest.

    The first label's spots are fine, the second's coarser, and so on. `cells` are discs cut out onto black.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number, (label, count) in enumerate(groups.items()):
        for group in range(count):
            for image in range(images):
                path = folder / label / f"{group}-{image}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = _cell(rng, number) if cells else _field(rng, number)
                cv2.imwrite(str(path), pixels[..., ::-1])
                rows.append([f"{label}/{path.name}", label, f"{label}-{group}"])
    with (folder / "index.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["path", "label", "subject"], *rows])
    return load_manifest(folder)


def _spots(rng: np.random.Generator, number: int, shape: tuple[int, int]) -> np.ndarray:
    """Noise smoothed more for each further class, between 0 and 1."""
    noise = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), 0.7 * 2.2**number)
    return np.asarray(np.clip((noise - noise.mean()) / noise.std() / 4 + 0.5, 0, 1))


def _field(rng: np.random.Generator, number: int) -> np.ndarray:
    spots = _spots(rng, number, (96, 128))[..., None]
    return np.asarray(np.rint(235 * (1 - spots) + np.array([150, 90, 170]) * spots), np.uint8)


def _cell(rng: np.random.Generator, number: int) -> np.ndarray:
    spots = _spots(rng, number, (150, 150))[..., None]
    inside = cv2.circle(np.zeros((150, 150), np.uint8), (75, 75), 40, 1, -1)[..., None]
    return np.asarray(np.rint(inside * (60 + np.array([110, 60, 120]) * spots)), np.uint8)
