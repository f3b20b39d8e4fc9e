"""Deletion and insertion: does the probability hang on the places that a map marks (Petsiuk et al. 2018, RISE)?

Deleted places are painted as empty glass, which is what a smear without the cell would show; inserted ones come over
a picture blurred until no cell is left. Each order of places, by fifths: the map's own, its cells shuffled (as smooth
and as peaked, but ignorant), and from the middle outwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.bundle import Bundle
from ml.calibration import apply_temperature
from ml.evaluation.intervals import Figure
from ml.evaluation.means import Means
from ml.evaluation.words import of_method
from ml.imaging.preprocessing import background_colour, normalise
from ml.runtimes import Runtime
from ml.saliency import DEFAULT_METHOD, upsample

FloatArray = NDArray[np.float64]
FloatMap = NDArray[np.float32]
Pixels = NDArray[np.uint8]

STEPS: Final = 5
"""Of each curve. Every step is a pass of the network, and more images tell more than finer steps."""
BLUR: Final = 0.08
"""Sigma of the blurred picture that insertion starts from, as a share of the picture's side: no cell is left."""

ORDERS: Final = ("map", "shuffled", "centre")


def deletion_and_insertion(
    bundle: Bundle,
    prepared: Pixels,
    saliency: Mapping[str, FloatMap],
    given: int,
    runtime: Runtime,
    rng: np.random.Generator,
) -> dict[str, FloatArray]:
    """Return "deletion/ORDER" and "insertion/ORDER" -> (STEPS + 1,) probabilities of the class given.

    ORDER is one of `ORDERS`, with `@METHOD` behind the two that hang on the map of a method not shown first.

    Args:
        prepared: (S, S, 3) uint8 RGB as the network sees it, before `normalise`.
        saliency: method -> (h, w) its map for the class numbered `given`.
    """
    size = bundle.preparation.size
    glass = np.broadcast_to(np.rint(background_colour(prepared, (0.0, 0.0))).astype(np.uint8), prepared.shape)
    blurred = np.asarray(cv2.GaussianBlur(prepared, (0, 0), BLUR * size), np.uint8)
    maps = {}
    for method, own in saliency.items():
        maps[of_method("map", method)] = own
        maps[of_method("shuffled", method)] = rng.permutation(own.ravel()).reshape(own.shape)
        maps["centre"] = _centre(own.shape)

    def probability(image: Pixels) -> float:
        _, logits = runtime.run(normalise(image)[None])
        return float(apply_temperature(logits[0], bundle.temperature)[given])

    ends = {"plain": probability(prepared), "glass": probability(glass), "blurred": probability(blurred)}
    found = {}
    for order, values in maps.items():
        place = _places(values, size, rng)
        deleted, inserted = [ends["plain"]], [ends["blurred"]]
        for step in range(1, STEPS):
            first = (place < step / STEPS)[..., None]
            deleted.append(probability(np.where(first, glass, prepared)))
            inserted.append(probability(np.where(first, prepared, blurred)))
        found[f"deletion/{order}"] = np.asarray([*deleted, ends["glass"]])
        found[f"insertion/{order}"] = np.asarray([*inserted, ends["plain"]])
    return found


def _places(values: FloatMap, size: int, rng: np.random.Generator) -> FloatArray:
    """Return (size, size): when each pixel's turn comes, 0..1, the map's highest first and equals in random order."""
    flat = upsample(values, (size, size)).ravel()
    order = np.lexsort((rng.random(len(flat)), -flat))
    places = np.empty(len(flat))
    places[order] = np.arange(len(flat)) / len(flat)
    return places.reshape(size, size)


def _centre(shape: tuple[int, ...]) -> FloatMap:
    """A map that knows nothing but where the middle is."""
    rows, columns = (np.arange(side) - (side - 1) / 2 for side in shape)
    return np.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / (max(shape) / 2) ** 2).astype(np.float32)


def curve_figures(curves: Mapping[str, FloatArray], mean: Means, method: str) -> list[Figure]:
    """Areas under (n, STEPS + 1) curves, and what the order of a method's map gains over the others."""
    areas = {name: np.asarray(np.trapezoid(values, dx=1 / STEPS, axis=1)) for name, values in curves.items()}
    figures = []
    # A true map makes the probability fall early when its places go, and rise early when they come.
    for what, sign in (("deletion", -1.0), ("insertion", 1.0)):
        own = {order: areas[_curve(what, order, method)] for order in ORDERS}
        figures += [
            mean.of(f"saliency_{_curve(what, order, method)}", values)
            for order, values in own.items()
            if order != "centre" or method == DEFAULT_METHOD
        ]
        figures += [
            mean.of(of_method(f"saliency_{what}_gain/{order}", method), sign * (own["map"] - own[order]))
            for order in ORDERS[1:]
        ]
    return figures


def _curve(what: str, order: str, method: str) -> str:
    return f"{what}/{order if order == 'centre' else of_method(order, method)}"
