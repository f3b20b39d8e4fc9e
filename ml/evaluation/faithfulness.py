"""Is the saliency true? Three measurements of a bundle's maps, each against what chance would give.

* Randomisation (Adebayo et al. 2018, arXiv 1810.03292): rank correlation of each image's map with the maps that the
  network gives once its weights are drawn anew (`ml.evaluation.cascade`). A map that survives shows the picture,
  not what was learnt. Beside it stands the correlation between the maps of different images, which tells how alike
  maps are anyway.
* Deletion and insertion (Petsiuk et al. 2018, RISE, arXiv 1806.07421, section 4.2): the area under the probability
  of the class given, while fifths of the picture are taken away (painted as empty glass) or brought in (over a
  blurred picture) in the map's order. Beside it the same in the order of the map with its cells shuffled, and of a
  map that knows nothing but the middle of the picture.
* Leukocytes: the share of the map's mass that lies on nuclei (`ml.imaging.nuclei`), against the share of the area
  that nuclei take, and against the share that the mask itself would reach at the map's coarse grid.

All of it is about the map of the class given, of the method that pages show first (figures with plain names) and of
the one it was chosen over (`NAME@METHOD`), from the same feature maps. Figures are means over images drawn evenly
from the classes; intervals are bootstrapped over whole groups, and for randomised networks over groups and networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.bundle import Bundle
from ml.data.manifest import Item
from ml.evaluation.cascade import Cascade, Networks, Track, rank_correlation
from ml.evaluation.deletion import curve_figures, deletion_and_insertion
from ml.evaluation.intervals import RESAMPLES, Figure
from ml.evaluation.means import Means
from ml.evaluation.predictions import EvaluationError
from ml.evaluation.words import METHOD_BESIDE, SAME_FOR_ALL, of_method
from ml.imaging.nuclei import nucleus_mask
from ml.imaging.preprocessing import normalise
from ml.imaging.reading import UnreadableImage, read_image
from ml.pictures import picture_of, scale_stated
from ml.runtimes import Runtime, open_runtime
from ml.saliency import DEFAULT_METHOD, min_max, saliency_map, upsample

FloatArray = NDArray[np.float64]
FloatMap = NDArray[np.float32]
Pixels = NDArray[np.uint8]

METHOD: Final = DEFAULT_METHOD
"""What figures with plain names are about, and so what promotion judges."""
MEASURED: Final = (METHOD, METHOD_BESIDE)
IMAGES: Final = 60


@dataclass(frozen=True)
class Faithfulness:
    """What was measured.

    Attributes:
        figures: for the evidence's `saliency`; names as in `ml.evaluation.words.SALIENCY_METRICS`.
        curves: "deletion" and "insertion" -> order (`ORDERS`, or `ORDER@METHOD`) -> (STEPS + 1,) mean probability
            of the class given.
        by_network: step of the cascade, or `STEP@METHOD` -> (draws,) mean correlation of each network drawn anew.
    """

    figures: tuple[Figure, ...]
    curves: Mapping[str, Mapping[str, FloatArray]]
    by_network: Mapping[str, FloatArray]

    def __getitem__(self, name: str) -> Figure:
        """Return a figure by its name; KeyError where there is none."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(name)

    def details(self) -> dict[str, Any]:
        """The curves and the correlation of each network drawn anew, for JSON."""
        return {
            "curves": {
                what: {order: values.tolist() for order, values in curves.items()}
                for what, curves in self.curves.items()
            },
            "by_network": {stage: values.tolist() for stage, values in self.by_network.items()},
        }


@dataclass(frozen=True)
class _Seen:
    """One image: prepared for the network, its map by method, the class given, nuclei, and its group."""

    prepared: Pixels
    maps: Mapping[str, FloatMap]
    given: int
    nuclei: NDArray[np.bool_]
    group: str


def measure_faithfulness(
    bundle: Bundle,
    items: Sequence[Item],
    *,
    seed: int,
    images: int = IMAGES,
    progress: Track = lambda things, total, description: things,
    split: str = "test part",
    runtime: Runtime | None = None,
    networks: Networks | None = None,
    resamples: int = RESAMPLES,
) -> Faithfulness:
    """Measure the maps of a bundle on labelled images that it was not trained on. Imports TensorFlow.

    Args:
        items: of the test part, exact copies once; at most `images` are drawn of them, evenly by class.
        seed: of the drawing, the weights drawn anew and the bootstrap; the same seed gives the same figures.
        split: in words, which images these are.
        runtime: instead of the one that would serve here. networks: instead of the bundle's own `model.keras`.

    Raises:
        EvaluationError: there is no image, or none can be read.
    """
    # Each measurement draws from a stream of its own, so that none moves when another is mended.
    drawing, weights, shuffling, partners, bootstrap = np.random.default_rng(seed).spawn(5)
    runtime = runtime or open_runtime(bundle)
    chosen = draw_evenly(items, images, drawing)
    seen = list(_look(bundle, chosen, runtime, progress))
    if not seen:
        raise EvaluationError("No image of the test part could be read to measure the saliency on.")
    groups = np.unique([one.group for one in seen], return_inverse=True)[1].astype(np.intp)
    mean = Means(
        groups,
        f"{split}, {len(seen)} images drawn evenly by class",
        int(bootstrap.integers(2**32)),
        resamples,
    )
    cascade = _cascade(bundle, seen, networks, weights, progress)
    rows = [
        deletion_and_insertion(bundle, one.prepared, one.maps, one.given, runtime, shuffling)
        for one in progress(seen, len(seen), "Deleting and inserting")
    ]
    curves = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    others = _others(seen, partners)
    figures = [
        figure
        for method in MEASURED
        for figure in (
            *cascade.figures(method, mean),
            _other_image(seen, others, method, mean),
            *curve_figures(curves, mean, method),
            *_leukocyte_figures(seen, mean, method),
        )
    ]
    return Faithfulness(
        figures=tuple(figures),
        curves={
            what: {
                name.removeprefix(f"{what}/"): values.mean(axis=0)
                for name, values in curves.items()
                if name.startswith(what)
            }
            for what in ("deletion", "insertion")
        },
        by_network=cascade.by_network(),
    )


def draw_evenly(items: Sequence[Item], count: int, rng: np.random.Generator) -> list[Item]:
    """Draw at most `count` items, as many of each label as there are, in the order of `items`."""
    members = {label: [i for i, item in enumerate(items) if item.label == label] for label in
               sorted({item.label for item in items})}  # fmt: skip
    queues = [list(rng.permutation(places)) for places in members.values()]
    chosen: list[int] = []
    while len(chosen) < count and any(queues):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(int(queue.pop()))
    return [items[i] for i in sorted(chosen)]


def _look(bundle: Bundle, items: Sequence[Item], runtime: Runtime, progress: Track) -> Iterator[_Seen]:
    head = np.asarray(bundle.arrays["head_kernel"], np.float32)
    for item in progress(items, len(items), "Drawing maps"):
        try:
            pixels = read_image(item.path).pixels
        except UnreadableImage:
            continue  # `evaluate` names it among those not read
        prepared = picture_of(bundle.preparation, pixels, scale_stated(item)).prepared
        feature_maps, logits = runtime.run(normalise(prepared)[None])
        given = int(logits[0].argmax())
        yield _Seen(
            prepared=prepared,
            maps={method: saliency_map(feature_maps[0], head[:, given], method) for method in MEASURED},
            given=given,
            # A cell's map covers the square that was cut out, a field's the picture.
            nuclei=nucleus_mask(pixels if bundle.task == "field" else prepared),
            group=item.group,
        )


# --- randomisation --------------------------------------------------------------------------------------------


def _cascade(
    bundle: Bundle,
    seen: Sequence[_Seen],
    networks: Networks | None,
    rng: np.random.Generator,
    progress: Track,
) -> Cascade:
    if networks is None:
        from ml.evaluation.randomised import RandomisedNetwork

        networks = RandomisedNetwork(bundle)
    return Cascade(
        networks,
        normalise(np.stack([one.prepared for one in seen])),
        {method: [one.maps[method] for one in seen] for method in MEASURED},
        [one.given for one in seen],
        rng=rng,
        progress=progress,
    )


def _others(seen: Sequence[_Seen], rng: np.random.Generator) -> list[_Seen | None]:
    """Give each image one of another group, where there is one: images of a group look alike."""
    choices = [
        [other for other in seen if other.group != one.group] or [other for other in seen if other is not one]
        for one in seen
    ]
    return [choice[int(rng.integers(len(choice)))] if choice else None for choice in choices]


def _other_image(seen: Sequence[_Seen], others: Sequence[_Seen | None], method: str, mean: Means) -> Figure:
    found = [
        rank_correlation(one.maps[method], other.maps[method]) if other else np.nan
        for one, other in zip(seen, others, strict=True)
    ]
    return mean.of(of_method("saliency_other_image", method), np.asarray(found))


# --- leukocytes -----------------------------------------------------------------------------------------------


def _leukocyte_figures(seen: Sequence[_Seen], mean: Means, method: str) -> list[Figure]:
    maps = [one.maps[method] for one in seen]
    shares = np.asarray([_mass_on(own, one.nuclei) for own, one in zip(maps, seen, strict=True)])
    peaks = np.asarray([_peak_on(own, one.nuclei) for own, one in zip(maps, seen, strict=True)])
    chance = np.asarray([one.nuclei.mean() for one in seen])
    best = np.asarray([_mass_on(_coarse(one.nuclei, maps[0].shape), one.nuclei) for one in seen])
    measured = {
        "saliency_on_leukocytes": shares,
        "saliency_on_leukocytes_chance": chance,
        "saliency_on_leukocytes_gain": shares - chance,
        "saliency_on_leukocytes_best": best,
        "saliency_peak_on_leukocytes": peaks,
        "saliency_blank": np.asarray([float(not own.any()) for own in maps]),
    }
    return [
        mean.of(of_method(name, method), values)
        for name, values in measured.items()
        if method == METHOD or name not in SAME_FOR_ALL
    ]


def _mass_on(saliency: FloatMap, mask: NDArray[np.bool_]) -> float:
    """Share of a map's mass, enlarged as pages show it, that lies on the mask; nan for a map without any."""
    large = upsample(saliency, (mask.shape[0], mask.shape[1])).astype(np.float64)
    total = float(large.sum())
    return float(large[mask].sum()) / total if total > 0 else float("nan")


def _peak_on(saliency: FloatMap, mask: NDArray[np.bool_]) -> float:
    """1 where the highest point of the enlarged map lies on the mask, else 0; nan for a map without contrast."""
    large = upsample(saliency, (mask.shape[0], mask.shape[1]))
    return float(mask.ravel()[int(large.argmax())]) if large.max() > 0 else float("nan")


def _coarse(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> FloatMap:
    """The mask as a map of the given (h, w): the share of nuclei in each cell, scaled as maps are."""
    cells = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return min_max(cells)
