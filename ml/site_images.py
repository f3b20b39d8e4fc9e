"""What a bundle sees of labelled images of a site: measured once, through the bundle's own runtime.

From these numbers a site adaptation is fitted (`ml.adaptation`) and judged, without running the network again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.bundle import Bundle
from ml.data.labels import MALIGNANT
from ml.data.manifest import Item
from ml.domain import appearance
from ml.evaluation.metrics import Judged
from ml.imaging.preprocessing import is_field_shaped, normalise, squash
from ml.imaging.quality import assess_quality
from ml.imaging.reading import UnreadableImage, read_image
from ml.runtimes import Runtime

FloatArray = NDArray[np.float32]
Pixels = NDArray[np.uint8]


class SiteProblem(ValueError):
    """A site's images cannot be learnt from or judged on; one sentence that says what to do."""


@dataclass(frozen=True)
class SiteImages:
    """n labelled images of one site as a bundle's network and gate see them.

    Attributes:
        pooled: (n, c) mean of the feature map over places, unscaled. seen: (n, 24) appearances.
        membership: (n, k) 1 where the label stands for that class; several in a row where it is coarse.
        groups: which images belong together. refused: (n,) turned away for another reason than the domain.
        sha256: of the files.
    """

    pooled: FloatArray
    seen: FloatArray
    membership: FloatArray
    groups: tuple[str, ...]
    refused: NDArray[np.bool_]
    sha256: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pooled)

    @property
    def features(self) -> FloatArray:
        """(n, c) pooled features of length 1, as the domain takes them."""
        lengths = np.maximum(np.linalg.norm(self.pooled, axis=1, keepdims=True), 1e-12)
        return np.asarray(self.pooled / lengths, np.float32)

    def subset(self, places: NDArray[np.intp] | Sequence[int]) -> SiteImages:
        """The images at these places, in that order."""
        chosen = np.asarray(places, dtype=np.intp)
        return SiteImages(
            self.pooled[chosen],
            self.seen[chosen],
            self.membership[chosen],
            tuple(self.groups[i] for i in chosen.tolist()),
            self.refused[chosen],
            tuple(self.sha256[i] for i in chosen.tolist()),
        )

    def is_malignant(self, classes: Sequence[str], malignant: Collection[str]) -> NDArray[np.bool_]:
        """(n,) whether the label stands for malignant classes alone."""
        benign = [number for number, name in enumerate(classes) if name not in malignant]
        return np.asarray(~self.membership[:, benign].any(axis=1))


def one_hot(labels: Sequence[str], classes: Sequence[str]) -> FloatArray:
    """(n, k) membership of labels that are classes.

    Raises:
        SiteProblem: a label is none.
    """
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise SiteProblem(
            f"The model has no class called {', '.join(unknown)}: it knows {', '.join(classes)}. "
            "A label map says which is which."
        )
    table = np.zeros((len(labels), len(classes)), np.float32)
    table[np.arange(len(labels)), [list(classes).index(label) for label in labels]] = 1.0
    return table


def measure_site(
    bundle: Bundle,
    runtime: Runtime,
    items: Sequence[Item],
    *,
    membership: FloatArray | None = None,
    groups: Sequence[str] | None = None,
    alter: Callable[[Item, Pixels], Pixels] = lambda item, pixels: pixels,
    progress: Callable[[int], None] = lambda done: None,
) -> SiteImages:
    """Run a bundle over labelled images one by one, as serving does.

    Args:
        membership: (n, k) of the labels; None where every label is a class.
        groups: of the images; None takes those of the items.
        alter: changes the pixels first (for simulated sites).

    Raises:
        SiteProblem: an unknown label, or images that cannot be read.
    """
    table = one_hot([item.label for item in items], bundle.classes) if membership is None else membership
    if table.shape != (len(items), len(bundle.classes)) or not (table > 0).any(axis=1).all():
        raise SiteProblem(f"Each image needs a label that stands for a class of {bundle.name}.")
    pooled, seen, refused, unreadable = [], [], [], []
    for done, item in enumerate(items, start=1):
        try:
            pixels = alter(item, read_image(item.path).pixels)
        except UnreadableImage as error:
            unreadable.append(f"{item.name} ({error})")
            continue
        squashed = squash(pixels, bundle.preprocessing.size)
        image = normalise(bundle.preprocessing.contrast(bundle.preprocessing.correct_squashed(squashed)))
        feature_maps, _ = runtime.run(image[None])
        pooled.append(feature_maps[0].mean(axis=(0, 1)))
        seen.append(appearance(squashed))
        acceptable = assess_quality(pixels).acceptable
        refused.append(not (acceptable and is_field_shaped(pixels, bundle.preprocessing.size)))
        progress(done)
    if unreadable:
        raise SiteProblem(
            f"{len(unreadable)} of {len(items)} images cannot be read, among them {'; '.join(unreadable[:3])}. "
            "Mend them or take them out."
        )
    return SiteImages(
        np.stack(pooled).astype(np.float32),
        np.stack(seen),
        np.asarray(table, np.float32),
        tuple(groups) if groups is not None else tuple(item.group for item in items),
        np.asarray(refused, dtype=bool),
        tuple(item.sha256 for item in items),
    )


def judged_site(
    membership: FloatArray,
    groups: Sequence[str],
    probabilities: NDArray[np.float64],
    kept: NDArray[np.bool_],
    *,
    classes: Sequence[str],
    malignant: Collection[str],
) -> Judged:
    """Images with labels (n, k) and what was said of them, for the metrics.

    Where a label is coarse, all are judged on the coarse classes: the malignant ones become one, with their
    probabilities summed.

    Raises:
        SiteProblem: a coarse label stands for a class that is not malignant.
    """
    names = list(classes)
    table = membership.astype(np.float64)
    coarse = (membership > 0).sum(axis=1) > 1
    if coarse.any():
        is_malignant = np.array([name in malignant for name in names])
        if table[coarse][:, ~is_malignant].any():
            raise SiteProblem("A coarse label may stand for malignant classes alone.")
        table, probabilities = (_merged(values, is_malignant) for values in (table, probabilities))
        names = [*(name for name in names if name not in malignant), MALIGNANT]
        malignant = (MALIGNANT,)
    return Judged.of(
        [names[number] for number in table.argmax(axis=1).tolist()],
        probabilities,
        classes=names,
        malignant=malignant,
        groups=groups,
        kept=kept,
    )


def _merged(values: NDArray[np.float64], is_malignant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, k) with the malignant columns summed into one, the last."""
    joint = values[:, is_malignant].sum(axis=1, keepdims=True)
    return np.concatenate([values[:, ~is_malignant], joint], axis=1)
