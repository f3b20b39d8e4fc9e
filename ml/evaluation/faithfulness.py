"""Is the saliency true? Three measurements of a bundle's Grad-CAM++ maps, each against what chance would give.

* Randomisation (Adebayo et al. 2018, arXiv 1810.03292): rank correlation of each image's map with the maps that the
  network gives once its weights are drawn anew (`ml.evaluation.randomised`). A map that survives shows the picture,
  not what was learnt. Beside it stands the correlation between the maps of different images, which tells how alike
  maps are anyway.
* Deletion and insertion (Petsiuk et al. 2018, RISE, arXiv 1806.07421, section 4.2): the area under the probability
  of the class given, while tenths of the picture are taken away (painted as empty glass) or brought in (over a
  blurred picture) in the map's order. Beside it the same in the order of the map with its cells shuffled, and of a
  map that knows nothing but the middle of the picture.
* Leukocytes: the share of the map's mass that lies on nuclei (`ml.imaging.nuclei`), against the share of the area
  that nuclei take, and against the share that the mask itself would reach at the map's coarse grid.

All of it is about the map of the class given, as pages show it. Figures are means over images drawn evenly from the
classes; intervals are bootstrapped over whole groups, and for randomised networks over groups and networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ml.bundle import Bundle
from ml.data.manifest import Item
from ml.evaluation.deletion import ORDERS, curve_figures, deletion_and_insertion
from ml.evaluation.intervals import RESAMPLES, Figure
from ml.evaluation.means import Means
from ml.evaluation.predictions import EvaluationError
from ml.imaging.nuclei import nucleus_mask
from ml.imaging.preprocessing import normalise
from ml.imaging.reading import UnreadableImage, read_image
from ml.runtimes import Runtime, open_runtime
from ml.saliency import min_max, saliency_map, upsample

FloatArray = NDArray[np.float64]
FloatMap = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Track = Callable[[Iterable[Any], int, str], Iterable[Any]]

METHOD: Final = "gradcam++"
IMAGES: Final = 60
DRAWS: Final = 8
"""Networks drawn anew at each step of the cascade: one alone may correlate by luck, and all its images with it."""

STAGES: Final = {
    "head": "the dense head",
    "block5": "head and last dense block",
    "block4": "head and last two blocks",
    "block3": "head and last three blocks",
    "whole": "the whole network",
}
"""Name of each step of the cascade, and in words what is drawn anew."""


class Networks(Protocol):
    """What gives maps under weights drawn anew (`ml.evaluation.randomised.RandomisedNetwork` does)."""

    def answers(
        self, images: FloatMap, stage: str, rng: np.random.Generator, draws: int
    ) -> Iterator[tuple[FloatMap, FloatMap]]: ...


@dataclass(frozen=True)
class Faithfulness:
    """What was measured.

    Attributes:
        figures: for the evidence's `saliency`; names as in `ml.evaluation.words.SALIENCY_METRICS`.
        curves: "deletion" and "insertion" -> order (`ORDERS`) -> (STEPS + 1,) mean probability of the class given.
        by_network: step of the cascade -> (draws,) mean correlation of each network drawn anew.
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
    """One image: prepared for the network, its map, the class given, nuclei, and its group."""

    prepared: Pixels
    saliency: FloatMap
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
    correlations = _randomised(bundle, seen, networks, weights, progress)
    curves = [
        deletion_and_insertion(bundle, one.prepared, one.saliency, one.given, runtime, shuffling)
        for one in progress(seen, len(seen), "Deleting and inserting")
    ]
    by_name = {name: np.stack([row[name] for row in curves]) for name in curves[0]}
    return Faithfulness(
        figures=(
            *_randomisation_figures(correlations, seen, mean, partners),
            *curve_figures(by_name, mean),
            *_leukocyte_figures(seen, mean),
        ),
        curves={
            what: {order: by_name[f"{what}/{order}"].mean(axis=0) for order in ORDERS}
            for what in ("deletion", "insertion")
        },
        by_network={stage: found["rank"].mean(axis=0) for stage, found in correlations.items()},
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


def rank_correlation(one: FloatMap, other: FloatMap) -> float:
    """Spearman's correlation of two maps, cell by cell; 0 where a map has no contrast and says nothing."""
    return _pearson(rankdata(one.ravel()), rankdata(other.ravel()))


def _pearson(one: NDArray[Any], other: NDArray[Any]) -> float:
    a, b = one.ravel() - one.mean(dtype=np.float64), other.ravel() - other.mean(dtype=np.float64)
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def _look(bundle: Bundle, items: Sequence[Item], runtime: Runtime, progress: Track) -> Iterator[_Seen]:
    head = np.asarray(bundle.arrays["head_kernel"], np.float32)
    for item in progress(items, len(items), "Drawing maps"):
        try:
            pixels = read_image(item.path).pixels
        except UnreadableImage:
            continue  # `evaluate` names it among those not read
        prepared = bundle.preprocessing.prepare(pixels)
        feature_maps, logits = runtime.run(normalise(prepared)[None])
        given = int(logits[0].argmax())
        yield _Seen(
            prepared=prepared,
            saliency=saliency_map(feature_maps[0], head[:, given], METHOD),
            given=given,
            nuclei=nucleus_mask(pixels),
            group=item.group,
        )


# --- randomisation --------------------------------------------------------------------------------------------


def _randomised(
    bundle: Bundle,
    seen: Sequence[_Seen],
    networks: Networks | None,
    rng: np.random.Generator,
    progress: Track,
) -> dict[str, dict[str, FloatArray]]:
    """Return step of the cascade -> "rank" and "linear" -> (n, draws) correlations with the own maps."""
    if networks is None:
        from ml.evaluation.randomised import RandomisedNetwork

        networks = RandomisedNetwork(bundle)
    images = normalise(np.stack([one.prepared for one in seen]))
    found: dict[str, dict[str, FloatArray]] = {}
    for stage in progress(list(STAGES), len(STAGES), "Drawing weights anew"):
        ranks, lines = [], []
        for feature_maps, head in networks.answers(images, stage, rng, DRAWS):
            maps = [
                saliency_map(features, head[:, one.given], METHOD)
                for features, one in zip(feature_maps, seen, strict=True)
            ]
            ranks.append(
                [rank_correlation(one.saliency, drawn) for one, drawn in zip(seen, maps, strict=True)]
            )
            lines.append([_pearson(one.saliency, drawn) for one, drawn in zip(seen, maps, strict=True)])
        found[stage] = {"rank": np.asarray(ranks).T, "linear": np.asarray(lines).T}
    return found


def _randomisation_figures(
    correlations: Mapping[str, Mapping[str, FloatArray]],
    seen: Sequence[_Seen],
    mean: Means,
    rng: np.random.Generator,
) -> list[Figure]:
    whole = correlations["whole"]
    figures = [
        mean.of_networks("saliency_randomised_correlation", whole["rank"]),
        mean.of_networks("saliency_randomised_linear", whole["linear"]),
        mean.of_networks("saliency_randomised_absolute", np.abs(whole["rank"])),
        *(
            mean.of_networks(f"saliency_cascade/{stage}", found["rank"])
            for stage, found in correlations.items()
            if stage != "whole"
        ),
    ]
    # Each image beside one of another group, where there is one: images of a group look alike.
    partners = [
        [other for other in seen if other.group != one.group] or [other for other in seen if other is not one]
        for one in seen
    ]
    others = [
        rank_correlation(one.saliency, choice[int(rng.integers(len(choice)))].saliency) if choice else np.nan
        for one, choice in zip(seen, partners, strict=True)
    ]
    return [*figures, mean.of("saliency_other_image", np.asarray(others))]


# --- leukocytes -----------------------------------------------------------------------------------------------


def _leukocyte_figures(seen: Sequence[_Seen], mean: Means) -> list[Figure]:
    shares = np.asarray([_mass_on(one.saliency, one.nuclei) for one in seen])
    chance = np.asarray([one.nuclei.mean() for one in seen])
    best = np.asarray([_mass_on(_coarse(one.nuclei, one.saliency.shape), one.nuclei) for one in seen])
    peaks = np.asarray([_peak_on(one.saliency, one.nuclei) for one in seen])
    return [
        mean.of("saliency_on_leukocytes", shares),
        mean.of("saliency_on_leukocytes_chance", chance),
        mean.of("saliency_on_leukocytes_gain", shares - chance),
        mean.of("saliency_on_leukocytes_best", best),
        mean.of("saliency_peak_on_leukocytes", peaks),
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
