"""`python -m ml.cells.pixel_training --data FOLDER`: train the network that tells nucleus, cytoplasm and the rest.

Nobody drew outlines in the public sets, so the truth is made from what there is:

* txl-pbc-v2, training part: the ellipse in a leukocyte's box is the cell (the boxes are tight), and in it is nucleus
  what absorbs red light more than Otsu's threshold in and around the box; red cells let red light pass. What is outside
  every box and no platelet is the rest.
* Taleqani fields, the demo fields' twins left out: nuclei by colour (`ml.imaging.nuclei`), which works on that stain;
  what is near them is left out, for nobody knows where the cytoplasm ends.
* Drawn fields (`ml.drawing`), whose truth is known: cytoplasm among grey and lavender red cells, which neither set has.

Each picture is shown at a random scale and in a random stain: gains of the channels' densities, and a mixture of them.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.cells.drawn import drawn_with_truth
from ml.cells.pixels import CYTOPLASM, NUCLEUS, OTHER, STORED, PixelNetwork
from ml.cells.stain import FEATURES, glass_colour, optical_density, pixel_features
from ml.drawing import KINDS
from ml.drawn_slide import FIELD_WIDTH_UM
from ml.imaging.nuclei import nucleus_mask
from ml.imaging.reading import read_image

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int8]

UNKNOWN: Final = -1
WHITE_CELL, RED_CELL, PLATELET = 0, 1, 2
"""The classes of txl-pbc-v2."""

HIDDEN: Final = (32, 16)
_RED_CELL_PIXELS: Final = (12.0, 45.0)
"""Width of a red cell at the scales shown; the working scale has 30, and the first look at a field any."""
_A_PICTURE: Final = 240
_TALEQANI_RED_CELL: Final = 14.0
_TALEQANI: Final = 700
_DRAWN: Final = 250


def boxes_of(path: Path, width: int, height: int) -> NDArray[np.float64]:
    """Return (n, 5): class, x, y, w, h in pixels (corner first) of a picture's YOLO label file."""
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    found = np.array([[float(value) for value in row[:5]] for row in rows]).reshape(-1, 5)
    found[:, 1:] *= (width, height, width, height)
    found[:, 1:3] -= found[:, 3:5] / 2
    return found


def labelled_boxes(pixels: Pixels, boxes: NDArray[np.float64]) -> Labels:
    """Return (H, W) int8 of class or `UNKNOWN` from the boxes of a picture, (n, 5) as `boxes_of` gives them."""
    height, width = pixels.shape[:2]
    labels = np.full((height, width), OTHER, np.int8)
    red = cv2.GaussianBlur(optical_density(pixels, glass_colour(pixels))[..., 0], (0, 0), 1.5)
    for kind, x, y, w, h in boxes:
        if kind == RED_CELL:
            continue
        grow = 0.08 if kind == WHITE_CELL else 0.3
        top, bottom = _span(y, h, grow, height)
        left, right = _span(x, w, grow, width)
        labels[top:bottom, left:right] = UNKNOWN
    for kind, x, y, w, h in boxes:
        if kind != WHITE_CELL:
            continue
        top, bottom = _span(y, h, 0.3, height)
        left, right = _span(x, w, 0.3, width)
        levels = np.clip(np.rint(red[top:bottom, left:right] * 120), 0, 255).astype(np.uint8)
        threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        rows, columns = np.mgrid[top:bottom, left:right]
        # A cell that the picture cuts is no ellipse in its box; the middle of it still is the cell.
        away = np.hypot((columns + 0.5 - x - w / 2) / (w / 2), (rows + 0.5 - y - h / 2) / (h / 2))
        part = labels[top:bottom, left:right]
        nucleus = levels > threshold
        part[(away < 0.88) & ~nucleus] = CYTOPLASM
        part[(away < 0.97) & (levels > threshold + 6)] = NUCLEUS
        part[(away < 0.97) & (np.abs(levels.astype(int) - threshold) <= 6)] = UNKNOWN
    return labels


def _span(start: float, length: float, grow: float, limit: int) -> tuple[int, int]:
    return max(int(start - grow * length), 0), min(int(start + (1 + grow) * length) + 1, limit)


def labelled_by_colour(pixels: Pixels) -> Labels:
    """Return (H, W) int8 of `NUCLEUS`, `OTHER` or `UNKNOWN` for a Taleqani field."""
    height, width = pixels.shape[:2]
    size = (width, height)
    nuclei = cv2.resize(nucleus_mask(pixels).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    labels = np.full((height, width), OTHER, np.int8)
    labels[cv2.dilate(nuclei, np.ones((13, 13), np.uint8)) > 0] = UNKNOWN
    labels[cv2.erode(nuclei, np.ones((3, 3), np.uint8)) > 0] = NUCLEUS
    return labels


def another_look(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The picture in another stain, under another lamp, through another camera."""
    glass = glass_colour(pixels)
    density = optical_density(pixels, glass)
    mixture = np.eye(3) + rng.normal(0, 0.05, (3, 3))
    gains = np.exp(rng.normal(0, 0.22) + rng.normal(0, 0.10, 3))
    lamp = np.clip(glass * np.exp(rng.normal(0, 0.05, 3)), 120, 253)
    image = np.asarray(lamp * np.exp(-(density @ mixture.T) * gains), np.float64)
    if rng.random() < 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2)), np.float64)
    image += rng.normal(0, rng.uniform(0, 4), image.shape)
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)


def samples(data: Path, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.float32], Labels]]:
    """Yield (n, FEATURES) and (n,) of each picture shown."""
    for path in sorted((data / "txl-pbc-v2/images/train").iterdir()):
        pixels = read_image(path).pixels
        boxes = boxes_of(data / f"txl-pbc-v2/labels/train/{path.stem}.txt", pixels.shape[1], pixels.shape[0])
        red_cells = boxes[boxes[:, 0] == RED_CELL]
        across = float(np.median(np.sqrt(red_cells[:, 3] * red_cells[:, 4]))) if len(red_cells) > 2 else 100.0
        yield _shown(pixels, labelled_boxes(pixels, boxes), across, rng)
    twins = set()
    with (data / "demo-fields/index.csv").open(newline="") as listed:
        twins = {Path(row["same_field_as"]).name for row in csv.DictReader(listed)}
    fields = [path for path in sorted((data / "taleqani-all").glob("*/*.jpg")) if path.name not in twins]
    for index in np.linspace(0, len(fields) - 1, min(_TALEQANI, len(fields))).astype(int):
        pixels = read_image(fields[index]).pixels
        pixels = np.asarray(cv2.resize(pixels, (448, 336), interpolation=cv2.INTER_CUBIC), np.uint8)
        yield _shown(pixels, labelled_by_colour(pixels), 2 * _TALEQANI_RED_CELL, rng)
    for index in range(_DRAWN):
        pixels, truth = drawn_with_truth(
            np.random.default_rng((7, index)), width=448, height=336, kind=KINDS[index % len(KINDS)]
        )
        labels = np.full(truth.labels.shape, OTHER, np.int8)
        labels[truth.labels > 0] = CYTOPLASM
        labels[truth.nuclei] = NUCLEUS
        rim = cv2.morphologyEx(labels.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        labels[rim > 0] = UNKNOWN
        yield _shown(pixels, labels, 7.5 / (FIELD_WIDTH_UM / 448), rng)


def _shown(
    pixels: Pixels, labels: Labels, red_cell: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], Labels]:
    scale = float(np.exp(rng.uniform(*np.log(_RED_CELL_PIXELS)))) / red_cell
    size = (max(round(pixels.shape[1] * scale), 16), max(round(pixels.shape[0] * scale), 16))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    if rng.random() < 0.75:
        small = another_look(small, rng)
    labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.int8).ravel()
    rows = pixel_features(small).reshape(-1, FEATURES)
    chosen = []
    for kind, share in ((OTHER, 0.5), (CYTOPLASM, 0.25), (NUCLEUS, 0.25)):
        places = np.flatnonzero(labels == kind)
        chosen.append(rng.permutation(places)[: round(share * _A_PICTURE)])
    places = np.concatenate(chosen)
    return rows[places], labels[places]


def train(data: Path, *, seed: int = 1) -> PixelNetwork:
    """Train the network on the public sets in `data`; the same seed gives the same network on one machine."""
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(seed)
    pairs = list(samples(data, rng))
    rows, labels = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
    middle, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    learner = MLPClassifier(
        HIDDEN, alpha=1e-4, batch_size=1024, learning_rate_init=3e-3, max_iter=25, random_state=seed
    )
    learner.fit((rows - middle) / spread, labels)
    weights = [np.asarray(weight, np.float32) for weight in learner.coefs_]
    biases = [np.asarray(bias, np.float32) for bias in learner.intercepts_]
    # The standardisation goes into the first layer.
    biases[0] = (biases[0] - (middle / spread) @ weights[0]).astype(np.float32)
    weights[0] = (weights[0] / spread[:, None]).astype(np.float32)
    print(f"{len(labels)} pixels of {len(pairs)} pictures, loss {learner.loss_:.4f}")
    return PixelNetwork(tuple(weights), tuple(biases))


def main() -> int:
    """Train and store."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.cells.pixel_training", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the public sets")
    parser.add_argument("--out", type=Path, default=STORED)
    options = parser.parse_args()
    train(options.data).save(options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
