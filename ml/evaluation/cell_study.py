"""Which picture of a cell lets a frozen network tell it best, and what stays elsewhere: the ablation of the cell task.

    python -m ml.evaluation.cell_study --data DATA --weights FILE --out FILE.json [--variants NAME ...] [--size 128]

A baseline, the cell's area and mean colour without any network, and variants: cells in their surroundings or cut out;
their stain as it is, or normalised over the cell by Reinhard's or Macenko's method; batch normalisation with
ImageNet's statistics or estimated anew on cells; and one softmax head or two heads (blast or not; type). Heads are
logistic regressions on pooled DenseNet-121 features, fitted to `deepapl-discovery` and `pbc-acevedo` together, judged
on folds by patient that they did not see, and on `cnmc2019-fold1`, another hospital's cells, which nothing is fitted
to. The best variant's heads are then shown pictures that were spoilt. Intervals draw whole patients anew.

Beware when reading: the statistics of the adapted normalisation are estimated without labels on cells of all folds;
`pbc-acevedo` names no patients, so its figures may flatter; and the best variant is best on the folds it is shown for.

A variant that is done is kept in the file and not done again; crops and features stay under `LEUKOSCOPE_CACHE`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml.cache import cache_dir
from ml.data.cells import CNMC, DEEPAPL, FOLDS, PBC, TEST_FOLD, Cells, load_cells
from ml.evaluation.cell_figures import binary_figures, cell_figures, joined_figures
from ml.evaluation.cell_heads import HEADS, RIDGES, Head, choose_ridge, cross_fitted, fit_head, source_told
from ml.evaluation.cell_pictures import (
    ADAPTING,
    BASELINE,
    SEED,
    SPOILT,
    VARIANTS,
    Network,
    Variant,
    adapting_crops,
    crops_of,
    features_of,
)
from ml.evaluation.cell_table import markdown
from ml.evaluation.intervals import RESAMPLES, Figure
from ml.tasks import CELL

log = logging.getLogger(__name__)

HEADLINE: Final = "auroc_blast_or_promyelocyte"
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
            progress=_told(f"{words}: cropping"),
        )
        return features_of(
            self.network, crops, variant, cache=self.cache, progress=_told(f"{words}: features")
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


def run(
    study: Study,
    out: Path,
    facts: Mapping[str, Any],
    *,
    variants: Sequence[Variant],
    best: str | None = None,
    heads: Sequence[str] = HEADS,
    robust: bool = True,
) -> dict[str, Any]:
    """Measure the variants that `out` lacks, then the best one's robustness; `out` is written after every row.

    Args:
        facts: what rows must share to stand in one file; rows of other facts are not kept.
        best: the variant whose robustness is measured; by default that of the largest headline area.
        heads: the kinds that are fitted. robust: whether robustness is measured.
    """
    result = _begun(out, facts)
    for variant in variants:
        for kind in heads:
            if any(row["variant"] == variant.name and row["heads"] == kind for row in result["rows"]):
                continue
            features = study.features(variant)
            log.info("%s, %s head(s): fitting", variant.name, kind)
            result["rows"].append(study.row(variant, kind, features)[0])
            _write(out, result)
    if not robust:
        return result
    chosen = _best(result["rows"], best)
    if result["robustness"].get("variant") != [chosen["variant"], chosen["heads"]]:
        result["robustness"] = {"variant": [chosen["variant"], chosen["heads"]], "rows": {}}
    rows = result["robustness"]["rows"]
    if not set(SPOILT) <= set(rows):
        variant = next(one for one in (BASELINE, *VARIANTS) if one.name == chosen["variant"])
        fitted = study.row(variant, chosen["heads"], study.features(variant))[1]
        for words, spoilt in SPOILT.items():
            if words not in rows:
                rows[words] = study.robustness(variant, fitted, spoilt)
                _write(out, result)
    return result


def headline(row: Mapping[str, Any]) -> float:
    """The area that variants are ranked by."""
    found = {one["name"]: one["value"] for one in row["figures"][DEEPAPL.name]}
    return float(found[HEADLINE] or 0.0)


def _best(rows: Sequence[Mapping[str, Any]], name: str | None) -> Mapping[str, Any]:
    """The variant named, else that of the largest headline area; the baseline only where there is nothing else."""
    asked = [row for row in rows if name in (None, row["variant"])] or rows
    return max([row for row in asked if row["variant"] != BASELINE.name] or asked, key=headline)


def _begun(out: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    fresh: dict[str, Any] = {"facts": dict(facts), "rows": [], "robustness": {}}
    if not out.is_file():
        return fresh
    kept: dict[str, Any] = json.loads(out.read_text())
    return kept if kept.get("facts") == fresh["facts"] else fresh


def _write(out: Path, result: Mapping[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    part.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    part.replace(out)
    out.with_suffix(".md").write_text(markdown(result, best=_best(result["rows"], None)))


def _told(words: str) -> Callable[[int, int], None]:
    """Say how far something is, every tenth of it."""
    said = -1

    def tell(done: int, total: int) -> None:
        nonlocal said
        if 10 * done // total > said:
            said = 10 * done // total
            log.info("%s %d of %d", words, done, total)

    return tell


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m ml.evaluation.cell_study", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the public sets of cells")
    parser.add_argument(
        "--weights", type=Path, required=True, help="ImageNet weights of DenseNet-121 without top"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON to write; the table goes beside it as .md"
    )
    names = [variant.name for variant in (BASELINE, *VARIANTS)]
    parser.add_argument(
        "--variants", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels (default 128)")
    parser.add_argument(
        "--resamples", type=int, default=RESAMPLES, help=f"of the bootstrap (default {RESAMPLES})"
    )
    parser.add_argument("--best", choices=names, metavar="NAME", help="measure this variant's robustness")
    parser.add_argument(
        "--heads", nargs="+", choices=HEADS, default=HEADS, help="kinds to fit (default both)"
    )
    parser.add_argument(
        "--ridge",
        type=float,
        help="C for every head, a third of the time (default: chosen on held-out patients)",
    )
    parser.add_argument("--no-robustness", action="store_true", help="leave out the spoilt pictures")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    cache = cache_dir() / "cell-study"
    log.info("reading the cells")
    cells = load_cells(arguments.data, (DEEPAPL, PBC, CNMC))
    with arguments.weights.open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    network = Network(
        partial(_densenet, arguments.weights),
        f"{weights} {ADAPTING} {SEED}",
        partial(
            adapting_crops,
            cells,
            size=arguments.size,
            cache=cache,
            progress=_told("cells to adapt to: cropping"),
        ),
    )
    facts = {
        "data": cells.manifest.name, "images": len(cells.manifest), "size": arguments.size, "seed": SEED,
        "weights_sha256": weights, "resamples": arguments.resamples, "ridge": arguments.ridge,
    }  # fmt: skip
    ridges = RIDGES if arguments.ridge is None else (arguments.ridge,)
    study = Study(
        cells, network, size=arguments.size, cache=cache, resamples=arguments.resamples, ridges=ridges
    )
    chosen = [variant for variant in (BASELINE, *VARIANTS) if variant.name in arguments.variants]
    result = run(
        study, arguments.out, facts, variants=chosen, best=arguments.best, heads=arguments.heads,
        robust=not arguments.no_robustness,
    )  # fmt: skip
    print(markdown(result, best=_best(result["rows"], arguments.best)))


def _densenet(weights: Path) -> Any:
    from ml.network import build_network

    return build_network(2, size=None, weights=weights)


if __name__ == "__main__":
    main()
