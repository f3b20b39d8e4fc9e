"""What is measured of a cell classifier: blasts against other leukocytes, and the types, with patients drawn anew.

Each metric works on many weightings at once, as those of `ml.evaluation.metrics` do, so that `figures` gives it an
interval by bootstrap over whole patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml.data.cells import IMMATURE_GRANULOCYTES, NEUTROPHILS
from ml.evaluation.intervals import Figure, figures
from ml.evaluation.metrics import Judged, Values, weighted_auroc
from ml.tasks import CELL

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

NO_LEUKOCYTES: Final = frozenset({"erythroblast", "smudge_cell", "platelet_or_artefact"})
"""Classes that are not counted among leukocytes, as in *blasts per 100*."""

JOINED: Final[Mapping[str, tuple[str, ...]]] = {
    "neutrophil": NEUTROPHILS,
    "immature_granulocyte": IMMATURE_GRANULOCYTES,
    **{name: (name,) for name in ("eosinophil", "basophil", "lymphocyte", "monocyte", "erythroblast")},
    "platelet_or_artefact": ("platelet_or_artefact",),
}
"""The eight types of `pbc-acevedo`, and the classes that each is made of."""

SEED: Final = 20


def cell_figures(
    labels: Sequence[str], chances: FloatArray, groups: Sequence[str], *, split: str, resamples: int
) -> list[Figure]:
    """Blasts and types of cells that bear one class each.

    auroc_blast_or_promyelocyte: blast probability and promyelocyte's together, against the other leukocytes (without
    erythroblasts, smudge cells and platelets); with `_all` against these too. auroc_blast: blast probability,
    promyelocytes among the others. auroc_promyelocyte: against all other leukocytes, blasts among them. accuracy,
    f1_macro over the classes present, recall of malignant ones given as such, and f1/CLASS.
    """
    judged = Judged.of(labels, chances, classes=CELL.classes, malignant=CELL.malignant, groups=groups)
    return figures(judged, split=split, rng=_rng(), metric=_cell_metrics, resamples=resamples)


def joined_figures(
    labels: Sequence[str], chances: FloatArray, groups: Sequence[str], *, split: str, resamples: int
) -> list[Figure]:
    """The eight types of `pbc-acevedo`: accuracy, f1_macro and f1/TYPE; classes of one type count as one.

    Probability outside the eight (a blast's, say) is one more answer, and always wrong here.

    Args:
        labels: of `JOINED`, or classes of the task that one of them is made of.
    """
    kinds = (*JOINED, "other")
    kind_of = {one: kind for kind, classes in JOINED.items() for one in (*classes, kind)}
    found = np.zeros((len(labels), len(kinds)))
    for column, name in enumerate(CELL.classes):
        found[:, kinds.index(kind_of.get(name, "other"))] += chances[:, column]
    judged = Judged.of([kind_of[label] for label in labels], found, classes=kinds, groups=groups)
    return figures(judged, split=split, rng=_rng(), metric=type_metrics, resamples=resamples)


def binary_figures(
    positive: Mask, scores: FloatArray, groups: Sequence[str], *, name: str, split: str, resamples: int
) -> list[Figure]:
    """One area, of any score: (n,) which cells are positive, (n,) scores of which only the order counts."""

    def metric(judged: Judged, weights: FloatArray | None) -> dict[str, Values]:
        weights = np.ones((1, len(judged))) if weights is None else weights
        return {name: Values(weighted_auroc(positive, scores, weights))}

    labels = np.where(positive, "positive", "negative").tolist()
    flat = np.full((len(labels), 2), 0.5)
    judged = Judged.of(labels, flat, classes=("negative", "positive"), groups=groups)
    return figures(judged, split=split, rng=_rng(), metric=metric, resamples=resamples)


def type_metrics(judged: Judged, weights: FloatArray | None = None) -> dict[str, Values]:
    """accuracy, f1_macro over the classes that have images, and f1/CLASS of each of these."""
    weights = np.ones((1, len(judged))) if weights is None else weights
    support = weights @ _one_hot(judged.labels, judged)
    given = weights @ _one_hot(judged.predicted, judged)
    right = judged.labels == judged.predicted
    hits = (weights * right) @ _one_hot(judged.labels, judged)
    total = support + given
    f1 = np.divide(2 * hits, total, out=np.full(hits.shape, np.nan), where=support > 0)
    accuracy = hits.sum(axis=1) / weights.sum(axis=1)
    found = {
        "accuracy": Values(accuracy, weights.sum(axis=1)),
        "f1_macro": Values(np.asarray(np.nanmean(f1, axis=1))),
    }
    present = set(judged.labels.tolist())
    found.update({f"f1/{n}": Values(f1[:, i]) for i, n in enumerate(judged.classes) if i in present})
    return found


def _cell_metrics(judged: Judged, weights: FloatArray | None) -> dict[str, Values]:
    weights = np.ones((1, len(judged))) if weights is None else weights
    malignant = judged.is_malignant
    promyelocyte = np.asarray([name == "promyelocyte" for name in judged.classes])
    leukocyte = np.asarray([name not in NO_LEUKOCYTES for name in judged.classes])[judged.labels]

    def area(which: Mask, among: FloatArray) -> Values:
        return Values(weighted_auroc(which[judged.labels], _log_odds(judged, which), among))

    found = {
        "auroc_blast_or_promyelocyte": area(malignant | promyelocyte, weights * leukocyte),
        "auroc_blast_or_promyelocyte_all": area(malignant | promyelocyte, weights),
        "auroc_blast": area(malignant, weights * leukocyte),
        "auroc_promyelocyte": area(promyelocyte, weights * leukocyte),
    }
    bears, given = malignant[judged.labels], malignant[judged.predicted]
    for name, which in (("sensitivity_blast", bears), ("specificity_blast", ~bears)):
        of = weights @ which.astype(np.float64)
        right = weights @ (which & (bears == given)).astype(np.float64)
        found[name] = Values(np.divide(right, of, out=np.full(len(of), np.nan), where=of > 0), of)
    return {**found, **type_metrics(judged, weights)}


def _log_odds(judged: Judged, which: Mask) -> FloatArray:
    """(n,) of some classes together: they rank where probabilities round to 1."""
    tiny = np.finfo(np.float64).tiny
    plus = np.maximum(judged.probabilities[:, which].sum(axis=1), tiny)
    minus = np.maximum(judged.probabilities[:, ~which].sum(axis=1), tiny)
    return np.asarray(np.log(plus) - np.log(minus))


def _one_hot(codes: NDArray[np.intp], judged: Judged) -> FloatArray:
    return np.eye(len(judged.classes))[codes]


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)
