"""How far maps stay what they were while weights are drawn anew, from the head down (Adebayo et al. 2018).

All methods are measured on the same feature maps of the same networks, so that a second method costs no second pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ml.evaluation.intervals import Figure
from ml.evaluation.means import Means
from ml.evaluation.words import of_method
from ml.saliency import saliency_map

FloatArray = NDArray[np.float64]
FloatMap = NDArray[np.float32]
Track = Callable[[Iterable[Any], int, str], Iterable[Any]]

STAGES: Final = {
    "head": "the dense head",
    "block5": "head and last dense block",
    "block4": "head and last two blocks",
    "block3": "head and last three blocks",
    "whole": "the whole network",
}
"""Name of each step of the cascade, and in words what is drawn anew."""

DRAWS: Final[dict[str, int]] = {"head": 8, "block5": 4, "block4": 4, "block3": 4, "whole": 8}
"""Networks drawn anew at each step: one alone may correlate by luck, and all its images with it. The two ends of the
cascade are what is judged and compared, so they get more."""


class Networks(Protocol):
    """What gives maps under weights drawn anew (`ml.evaluation.randomised.RandomisedNetwork` does)."""

    def answers(
        self, images: FloatMap, stage: str, rng: np.random.Generator, draws: int
    ) -> Iterator[tuple[FloatMap, FloatMap]]: ...


class Cascade:
    """Correlations of n images' maps with those of the networks drawn anew, by step and method.

    Attributes:
        rank, linear: (step, method) -> (n, draws). blank: the same, 1 where the drawn network's map is empty.
    """

    def __init__(
        self,
        networks: Networks,
        images: FloatMap,
        own: Mapping[str, Sequence[FloatMap]],
        given: Sequence[int],
        *,
        rng: np.random.Generator,
        progress: Track,
    ) -> None:
        """Ask the networks.

        Args:
            images: (n, S, S, 3) normalised. own: method -> the n images' own maps. given: their classes' numbers.
        """
        self.rank: dict[tuple[str, str], FloatArray] = {}
        self.linear: dict[tuple[str, str], FloatArray] = {}
        self.blank: dict[tuple[str, str], FloatArray] = {}
        for stage in progress(list(STAGES), len(STAGES), "Drawing weights anew"):
            found: dict[str, list[list[tuple[float, float, float]]]] = {method: [] for method in own}
            for feature_maps, head in networks.answers(images, stage, rng, DRAWS[stage]):
                for method, maps in own.items():
                    drawn = [
                        saliency_map(features, head[:, label], method)
                        for features, label in zip(feature_maps, given, strict=True)
                    ]
                    found[method].append(
                        [
                            (rank_correlation(mine, other), linear_correlation(mine, other), not other.any())
                            for mine, other in zip(maps, drawn, strict=True)
                        ]
                    )
            for method, rows in found.items():
                rank, linear, blank = np.asarray(rows, np.float64).transpose(2, 1, 0)
                self.rank[stage, method] = rank
                self.linear[stage, method] = linear
                self.blank[stage, method] = blank

    def figures(self, method: str, mean: Means) -> list[Figure]:
        """What promotion judges of a method's maps first, then the steps of the cascade."""
        whole = self.rank["whole", method]
        measured = {
            "saliency_randomised_correlation": whole,
            "saliency_randomised_linear": self.linear["whole", method],
            "saliency_randomised_absolute": np.abs(whole),
            **{f"saliency_cascade/{stage}": self.rank[stage, method] for stage in STAGES if stage != "whole"},
            "saliency_randomised_blank": self.blank["whole", method],
        }
        return [mean.of_networks(of_method(name, method), values) for name, values in measured.items()]

    def by_network(self) -> dict[str, FloatArray]:
        """Step, or `STEP@METHOD` -> (draws,) mean correlation over images of each network drawn anew."""
        return {of_method(stage, method): ranks.mean(axis=0) for (stage, method), ranks in self.rank.items()}


def rank_correlation(one: FloatMap, other: FloatMap) -> float:
    """Spearman's correlation of two maps, cell by cell; 0 where a map has no contrast and says nothing."""
    return linear_correlation(rankdata(one.ravel()), rankdata(other.ravel()))


def linear_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Pearson's correlation of two arrays of one shape; 0 where one has no contrast."""
    a, b = one.ravel() - one.mean(dtype=np.float64), other.ravel() - other.mean(dtype=np.float64)
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0
