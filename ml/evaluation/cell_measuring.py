"""What the study of cells measures of one way to picture a cell, under one kind of heads; see `cell_study`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml.data.cells import CNMC, DEEPAPL, FOLDS, PBC, TEST_FOLD, Cells
from ml.evaluation.cell_figures import binary_figures, cell_figures, joined_figures
from ml.evaluation.cell_heads import HEADS, RIDGES, Head, choose_ridge, cross_fitted, fit_head, source_told
from ml.evaluation.cell_pictures import SEED, Network, Variant, crops_of, features_of
from ml.evaluation.intervals import Figure
from ml.tasks import CELL

log = logging.getLogger(__name__)

BY_PATIENT: Final = f"{FOLDS} folds by patient"
SHARED: Final = ("segmented_neutrophil", "eosinophil", "lymphocyte", "monocyte", "erythroblast")
"""Types of which both hospitals have many: by their cells is told how far a picture tells the hospital."""

Features = Mapping[str, NDArray[np.float32]]


class Study:
    """The cells and the network of a study, and what is measured of one variant after another."""

    def __init__(
        self,
        cells: Cells,
        network: Network,
        *,
        size: int,
        cache: Path,
        resamples: int,
        ridges: Sequence[float] = RIDGES,
    ) -> None:
        self.ridges = ridges
        self.network, self.size, self.cache, self.resamples = network, size, cache, resamples
        sources, fine = cells.sources, cells.fine
        self.parts = {name: np.flatnonzero(sources == name) for name in dict.fromkeys(sources.tolist())}
        self.items = cells.manifest.items
        self.fold = cells.fold
        self.codes = cells.membership.argmax(axis=1).astype(np.int64)
        self.groups = np.asarray([item.group for item in self.items])
        self.ours = np.concatenate([self.parts[DEEPAPL.name], self.parts[PBC.name]])
        self.fine = fine

    def features(self, variant: Variant) -> Features:
        """(n, d) by source."""
        return {name: self._features(name, variant) for name in self.parts}

    def _features(self, source: str, variant: Variant, spoilt: str = "") -> NDArray[np.float32]:
        words = f"{variant.name}, {source}{f', {spoilt}' if spoilt else ''}"
        items = [self.items[i] for i in self.parts[source].tolist()]
        crops = crops_of(
            items,
            size=self.size,
            cache=self.cache,
            spoilt=spoilt,
            seed=SEED,
            progress=progress_said(f"{words}: cropping"),
        )
        return features_of(
            self.network, crops, variant, cache=self.cache, progress=progress_said(f"{words}: features")
        )

    def row(self, variant: Variant, kind: str, features: Features) -> tuple[dict[str, Any], list[Head]]:
        """Everything about one variant and kind of heads; the heads of the folds too."""
        began = time.monotonic()
        both = np.concatenate([features[DEEPAPL.name], features[PBC.name]])
        ours = self.ours
        chances, heads = cross_fitted(
            both,
            self.codes[ours],
            self.fold[ours],
            kind=kind,
            folds=FOLDS,
            may_learn=self.fine[ours],
            ridges=self.ridges,
        )
        count = len(self.parts[DEEPAPL.name])
        found = {
            DEEPAPL.name: self._judge(DEEPAPL.name, chances[:count], BY_PATIENT),
            f"{DEEPAPL.name}, standing fold": self._judge(
                DEEPAPL.name, chances[:count], "standing fold by patient", only=TEST_FOLD
            ),
            PBC.name: self._judge(PBC.name, chances[count:], f"{FOLDS} folds of images, no patients known"),
            f"{PBC.name}, 8 types": self._judge_types(chances[count:]),
        }
        if CNMC.name in self.parts:
            found[CNMC.name] = self._elsewhere(both, features[CNMC.name], kind)
        if kind == HEADS[0]:
            found["hospital"] = self._hospital(both)
        row = {
            "variant": variant.name, "cut": variant.cut, "stain": variant.stain, "adapted": variant.adapted,
            "heads": kind, "ridges": [head.ridge for head in heads],
            "figures": {name: [one.to_dict() for one in some] for name, some in found.items()},
            "seconds": round(time.monotonic() - began, 1),
        }  # fmt: skip
        return row, heads

    def robustness(self, variant: Variant, heads: Sequence[Head], spoilt: str) -> list[dict[str, Any]]:
        """The cells of `deepapl-discovery`, spoilt, judged by heads that learnt from other patients' unspoilt ones."""
        features = self._features(DEEPAPL.name, variant, spoilt)
        fold = self.fold[self.parts[DEEPAPL.name]]
        chances = np.full((len(features), len(CELL.classes)), np.nan)
        for number, head in enumerate(heads):
            chances[fold == number] = head.probabilities(features[fold == number])
        return [one.to_dict() for one in self._judge(DEEPAPL.name, chances, BY_PATIENT)]

    def _judge(
        self, source: str, chances: NDArray[np.float64], split: str, *, only: int | None = None
    ) -> list[Figure]:
        place = self.parts[source]
        fold = self.fold[place]
        seen = self.fine[place] & ((fold >= 0) if only is None else (fold == only))
        labels = [CELL.classes[code] for code in self.codes[place][seen]]
        groups = self.groups[place][seen].tolist()
        return cell_figures(labels, chances[seen], groups, split=split, resamples=self.resamples)

    def _judge_types(self, chances: NDArray[np.float64]) -> list[Figure]:
        """A coarse label says the type all the same: none is left out here."""
        place = self.parts[PBC.name]
        seen = self.fold[place] >= 0
        labels = [CELL.classes[code] for code in self.codes[place][seen]]
        groups = self.groups[place][seen].tolist()
        split = f"{FOLDS} folds of images, no patients known"
        return joined_figures(labels, chances[seen], groups, split=split, resamples=self.resamples)

    def _elsewhere(self, both: NDArray[np.float32], other: NDArray[np.float32], kind: str) -> list[Figure]:
        """Leukemic against normal cells of another hospital, by a head fitted to all of ours."""
        ours, learn = self.ours, self.fine[self.ours]
        fold = self.fold[ours]
        held = learn & (fold == TEST_FOLD)
        ridge = choose_ridge(
            both, self.codes[ours], learn & (fold > TEST_FOLD), held, kind=kind, ridges=self.ridges
        )
        head = fit_head(both[learn], self.codes[ours][learn], kind=kind, ridge=ridge)
        malignant = np.asarray([name in CELL.malignant for name in CELL.classes])
        chances = head.probabilities(other)[:, malignant].sum(axis=1)
        place = self.parts[CNMC.name]
        return binary_figures(
            malignant[self.codes[place]], chances, self.groups[place].tolist(), name="auroc_blast",
            split="another hospital, nothing fitted to it", resamples=self.resamples,
        )  # fmt: skip

    def _hospital(self, both: NDArray[np.float32]) -> list[Figure]:
        ours = self.ours
        shared = np.isin(self.codes[ours], [CELL.classes.index(name) for name in SHARED])
        seen = shared & self.fine[ours] & (self.fold[ours] >= 0)
        second = (np.arange(len(ours)) >= len(self.parts[DEEPAPL.name]))[seen]
        scores = source_told(both[seen], second, self.codes[ours][seen], self.fold[ours][seen], FOLDS)
        return binary_figures(
            second, scores, self.groups[ours][seen].tolist(), name="auroc_hospital",
            split=f"{BY_PATIENT}, types that both have", resamples=self.resamples,
        )  # fmt: skip


def progress_said(words: str) -> Callable[[int, int], None]:
    """Say how far something is, every tenth of it."""
    said = -1

    def tell(done: int, total: int) -> None:
        nonlocal said
        if 10 * done // total > said:
            said = 10 * done // total
            log.info("%s %d of %d", words, done, total)

    return tell
