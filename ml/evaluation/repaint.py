"""Repainting a field's stain as another field's: the test that colour does not carry the answer.

A field is described by six colour numbers, the median colour of its background and of its stained pixels.
Repainting moves these six onto those of another field and leaves the structure alone. It works on optical
densities, where a stain adds up (Beer and Lambert; Ruifrok and Johnston 2001): each pixel's density is
split into how far it goes from background to stain and what remains; the way is laid along the other
field's stain, the rest is kept. A mapping of each channel by itself would not do: in the blue of some
slides stained pixels are lighter than the background, in others darker, and no monotone curve turns one
into the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

# Density of a pixel value v is -ln((v + 1) / 256): the added 1 keeps black finite.
_WHITE: Final = 256.0
# Medians are of many pixels and do not follow a mapping of colours exactly; a few corrections bring them
# there.
_CORRECTIONS: Final = 8
# Two levels that differ by less than this density, in natural units, do not differ by a stain.
_LEAST_STAIN: Final = 0.04


def six_colour_numbers(pixels: Pixels) -> FloatArray:
    """Return the median RGB of the background and of the stained pixels, (6,) float64 in 0..255.

    `pixels` is (H, W, 3) uint8 RGB. A field of one green all over has no stained pixels; its median stands
    for both.
    """
    return _medians(pixels.reshape(-1, 3), stained_pixels(pixels).ravel())


def stained_pixels(pixels: Pixels) -> NDArray[np.bool_]:
    """Return (H, W): which pixels of an (H, W, 3) uint8 RGB field are stained.

    Otsu's method with three levels (leukocytes, red cells, background; Liao et al. 2001) of green, the
    channel that both eosin and the azures absorb. With two levels it parts now the leukocytes and now all
    cells from the rest, and the medians of two such fields cannot be compared.
    """
    green = pixels[..., 1]
    counts = np.bincount(green.ravel(), minlength=256).astype(np.float64)
    mass, moment = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    low, high = np.triu_indices(255, 1)
    masses = np.stack([mass[low], mass[high] - mass[low], mass[-1] - mass[high]])
    moments = np.stack([moment[low], moment[high] - moment[low], moment[-1] - moment[high]])
    means = np.divide(moments, masses, out=np.zeros_like(moments), where=masses > 0)
    # The variance between the levels is greatest where this sum is.
    best = int(np.argmax((moments * means).sum(axis=0)))
    middle, top = density(means[1:, best])
    # Where there are no red cells the third level is noise of the background, and the lower threshold is
    # the right one.
    threshold = high[best] if middle - top >= _LEAST_STAIN else low[best]
    return np.asarray(green <= threshold)


def repaint(pixels: Pixels, colours: FloatArray) -> Pixels:
    """Return the field painted so that its six colour numbers become `colours` (6,), 0..255.

    `pixels` is (H, W, 3) uint8 RGB; the result has the same shape and type. The medians are those of the
    pixels that are stained before painting. A field without stain (one colour all over) is returned as it
    is.
    """
    stained = stained_pixels(pixels).ravel()
    flat = pixels.reshape(-1, 3)
    own = density(_medians(flat, stained))
    way = own[3:] - own[:3]
    if np.linalg.norm(way) < _LEAST_STAIN:
        return pixels.copy()
    offset = density(flat) - own[:3]
    share = offset @ way / (way @ way)
    rest = offset - share[:, None] * way
    aim = density(np.asarray(colours, dtype=np.float64))
    wanted = aim.copy()
    best, best_error = flat, np.inf
    for _ in range(_CORRECTIONS):
        painted = _levels(wanted[:3] + share[:, None] * (wanted[3:] - wanted[:3]) + rest)
        reached = _medians(painted, stained)
        error = float(np.abs(reached - colours).max())
        if error < best_error:
            best, best_error = painted, error
        if error <= 1:
            break
        wanted = wanted + (aim - density(reached))
    return best.reshape(pixels.shape)


def choose_targets(labels: Sequence[str], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return for each image the index of one of another class: the class drawn first, then an image of it.

    Each other class is as likely, however many images it has. Raises ValueError where all labels are one.
    """
    names = np.asarray(labels)
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise ValueError("Repainting needs images of at least two classes.")
    members = {name: np.flatnonzero(names == name) for name in classes}
    chosen = []
    for name in labels:
        others = [other for other in classes if other != name]
        chosen.append(rng.choice(members[others[rng.integers(len(others))]]))
    return np.asarray(chosen, dtype=np.intp)


def density(levels: NDArray[np.uint8] | FloatArray) -> FloatArray:
    """Return the optical density (natural logarithm) of levels 0..255."""
    result: FloatArray = -np.log((np.asarray(levels, dtype=np.float64) + 1.0) / _WHITE)
    return result


def _levels(densities: FloatArray) -> Pixels:
    return np.clip(np.rint(_WHITE * np.exp(-densities) - 1.0), 0, 255).astype(np.uint8)


def _medians(flat: Pixels, stained: NDArray[np.bool_]) -> FloatArray:
    """Return the six numbers of (n, 3) pixels, (n,) of which are stained."""
    if stained.all() or not stained.any():
        stained = np.ones(len(flat), dtype=bool)
        return np.tile(np.median(flat, axis=0), 2).astype(np.float64)
    return np.concatenate([np.median(flat[~stained], axis=0), np.median(flat[stained], axis=0)])
