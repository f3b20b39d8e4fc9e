"""What a bundle sees of labelled images of a site: measured once, through the bundle's own runtime.

From these numbers a site adaptation is fitted (`ml.adaptation`) and judged, without running the network again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.bundle import Bundle
from ml.data.labels import LabelMap, label_of
from ml.data.manifest import DataProblem, Item
from ml.evaluation.coarse import Grouping
from ml.evaluation.metrics import Judged
from ml.imaging.preprocessing import normalise
from ml.imaging.quality import assess_quality
from ml.imaging.reading import UnreadableImage, read_image
from ml.pictures import picture_of, scale_stated
from ml.runtimes import Runtime

FloatArray = NDArray[np.float32]
Pixels = NDArray[np.uint8]


LEAST_OWN = 0.95
"""Share of the images a bundle was made from that must be at hand to measure its gate anew."""


class SiteProblem(DataProblem):
    """A site's images cannot be learnt from or judged on; one sentence that says what to do."""


@dataclass(frozen=True)
class SiteImages:
    """n labelled images of one site as a bundle's network and gate see them.

    Attributes:
        pooled: (n, c) mean of the feature map over places, unscaled. seen: (n, d) what else the gate looks at.
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


def is_malignant(bundle: Bundle, membership: FloatArray) -> NDArray[np.bool_]:
    """(n,) whether labels (n, k) stand for malignant classes alone."""
    benign = [number for number, name in enumerate(bundle.classes) if name not in bundle.malignant]
    return np.asarray(~membership[:, benign].any(axis=1))


@dataclass(frozen=True)
class Seen:
    """One picture as a bundle sees it: rows of `SiteImages`."""

    pooled: FloatArray
    appearance: FloatArray
    refused: bool


def see(bundle: Bundle, runtime: Runtime, pixels: Pixels, um_per_pixel: float | None = None) -> Seen:
    """Run a bundle's graph and checks over one picture, (H, W, 3) RGB uint8, as serving does.

    Args:
        um_per_pixel: of a single-cell picture, where it is known.
    """
    picture = picture_of(bundle.preparation, pixels, um_per_pixel)
    feature_maps, _ = runtime.run(normalise(picture.prepared)[None])
    # Quality is a field's: a single-cell picture has neither the glass nor the cells that it is read off.
    acceptable = bundle.task != "field" or assess_quality(pixels).acceptable
    pooled = np.asarray(feature_maps[0].mean(axis=(0, 1)), np.float32)
    return Seen(pooled, picture.plain, bool(picture.problem) or not acceptable)


@dataclass(frozen=True)
class OwnImages:
    """The images a bundle was trained and validated on, as far as they are at hand."""

    train: tuple[Item, ...]
    validation: tuple[Item, ...]

    @classmethod
    def among(cls, items: Sequence[Item], bundle: Bundle) -> OwnImages | None:
        """Find them by SHA-256; None where fewer than `LEAST_OWN` of either part are there."""
        at_hand = {item.sha256: item for item in items}
        parts = []
        for part in ("train", "validation"):
            wanted = dict.fromkeys(bundle.manifest["data"].get(f"{part}_sha256", ()))
            found = tuple(at_hand[sha256] for sha256 in wanted if sha256 in at_hand)
            if not found or len(found) < LEAST_OWN * len(wanted):
                return None
            parts.append(found)
        return cls(*parts)


def membership_of(labels: Sequence[str], bundle: Bundle) -> FloatArray:
    """(n, k) of labels that are classes of the bundle, several (`a or b`), or `malignant`.

    Raises:
        DataProblem: a label is none of these.
    """
    plain = LabelMap.parse({}, classes=bundle.classes, malignant=bundle.malignant)
    return plain.membership(labels)


def measure_site(
    bundle: Bundle,
    runtime: Runtime,
    items: Sequence[Item],
    *,
    groups: Sequence[str] | None = None,
    alter: Callable[[Item, Pixels], Pixels] = lambda item, pixels: pixels,
    progress: Callable[[int], None] = lambda done: None,
) -> SiteImages:
    """Run a bundle over labelled images one by one, as serving does.

    Args:
        items: labelled with classes of the bundle, several (`a or b`), or `malignant`.
        groups: of the images; None takes those of the items.
        alter: changes the pixels first (for simulated sites).

    Raises:
        DataProblem: an unknown label. SiteProblem: no image, or some that cannot be read.
    """
    membership = membership_of([item.label for item in items], bundle)
    if not items:
        raise SiteProblem("There is no image of the site.")
    seen: list[Seen] = []
    unreadable: list[str] = []
    for done, item in enumerate(items, start=1):
        try:
            pixels = alter(item, read_image(item.path).pixels)
            seen.append(see(bundle, runtime, pixels, scale_stated(item)))
        except UnreadableImage as error:
            unreadable.append(f"{item.name} ({error})")
        progress(done)
    if unreadable:
        raise SiteProblem(
            f"{len(unreadable)} of {len(items)} images cannot be read, among them {'; '.join(unreadable[:3])}. "
            "Mend them or take them out."
        )
    return SiteImages(
        np.stack([one.pooled for one in seen]),
        np.stack([one.appearance for one in seen]),
        membership,
        tuple(groups) if groups is not None else tuple(item.group for item in items),
        np.array([one.refused for one in seen], dtype=bool),
        tuple(item.sha256 for item in items),
    )


def judged_site(
    bundle: Bundle, images: SiteImages, probabilities: NDArray[np.float64], kept: NDArray[np.bool_]
) -> Judged:
    """The images and what was said of them, for the metrics; where a label is coarse, on summed probabilities.

    Args:
        probabilities: (n, k). kept: (n,) whether each image was given a class.
    """
    labels = [
        label_of([bundle.classes[number] for number in np.flatnonzero(row)], bundle.malignant)
        for row in images.membership
    ]
    grouping = Grouping.of(set(labels), bundle.classes, bundle.malignant)
    return Judged.of(
        [grouping.label(label) for label in labels],
        grouping.fold(probabilities),
        classes=grouping.classes,
        malignant=grouping.malignant,
        groups=images.groups,
        kept=kept,
    )
