"""What adapting a `cell` bundle to another hospital buys, by number of labelled cells: before and after.

    python -m ml.evaluation.cell_site_study --bundle BUNDLE --data DATA --out FILE.json

DATA holds `cnmc2019-fold1`: lymphoblasts and normal lymphoid cells of a hospital, cut out onto black. Its subjects are
dealt into parts; cells to learn from are drawn from the subjects outside a part, and the part is judged, so that in the
end every cell was judged by what learnt from other subjects. Each number of cells is drawn anew several times; figures
are means over the draws, their intervals those of a bootstrap over the subjects, the same resamples for all draws (over
cells where there are too few subjects, and then it is said). What the network sees of a cell is measured once and kept
under `LEUKOSCOPE_CACHE`. A Markdown table is written beside the JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ml.bundle import Bundle, read_bundle
from ml.cache import cache_dir
from ml.data.cells import CNMC
from ml.data.labelled import load_labelled
from ml.data.manifest import Item
from ml.evaluation.cell_strangers import photograph_cells
from ml.evaluation.intervals import RESAMPLES
from ml.evaluation.judging import select, with_class_labels
from ml.evaluation.metrics import Judged, class_metrics
from ml.evaluation.site_places import Strangers, draw, look_at, measured
from ml.evaluation.site_study import SEED, STRANGERS, mean_figures, turned_away
from ml.evaluation.site_table import METHODS
from ml.head_fitting import deal_folds
from ml.runtimes import Runtime, open_runtime
from ml.site_fitting import Fitted, fit_site, own_answers
from ml.site_images import SiteImages, is_malignant, judged_site

log = logging.getLogger(__name__)

ENOUGH_GROUPS: Final = 5
"""Subjects of either kind, leukemic and not, below which drawing subjects anew says nothing of how they differ."""

COLUMNS: Final = {"auroc_malignant": "AUROC of blast", "ece": "ECE", "coverage": "coverage"}
BY_SUBJECT: Final = "bootstrap over subjects"
BY_CELL: Final = (
    "bootstrap over single cells, since {} {} subjects are too few to draw anew (so the intervals say nothing of how "
    "subjects differ)"
)
PARTS: Final = 3
"""Of the subjects: three of the set's are normal, and each part has one of them to judge and two to learn from."""

SPLIT: Final = "each cell judged by what learnt from other subjects"


def run(
    bundle: Bundle,
    folder: Path,
    *,
    sizes: Sequence[int] = (20, 50, 100),
    seeds: int = 5,
    resamples: int = RESAMPLES,
    strangers: int = STRANGERS,
) -> dict[str, Any]:
    """The whole study, ready for JSON.

    Args:
        folder: labelled single-cell pictures of the other hospital. seeds: draws of each number of cells.
        strangers: crops of photographs that the gate is shown before and after.
    """
    opened: list[Runtime] = []

    def runtime() -> Runtime:
        if not opened:
            opened.append(open_runtime(bundle, "openvino"))
        return opened[0]

    def see_them(items: Sequence[Item], site: str | None = None) -> SiteImages:
        log.info("%d cells", len(items))
        return measured(bundle, runtime, items, site=site, cache=cache_dir() / "site-study")

    manifest = load_labelled(folder, task=bundle.task)
    known, _ = with_class_labels(manifest.items, bundle.classes, {}, bundle.malignant, all_coarse=True)
    images = see_them(select(known, bundle.manifest["data"], part="all").items)
    shown = look_at(bundle, runtime(), photograph_cells("everyday photographs", most=strangers, seed=SEED))
    count = len(set(images.groups))
    part = deal_folds(images.groups, images.membership, np.random.default_rng(SEED), folds=PARTS)
    judged, intervals = resampled(bundle, images)
    study = _Study(bundle, images, judged, part, shown, resamples)
    return {
        "bundle": {"name": bundle.name, "sha256": bundle.sha256, "task": bundle.task},
        "data": manifest.name,
        "split": f"{count} subjects dealt into {len(np.unique(part))} parts with seed {SEED}; "
        "each cell judged by what learnt from subjects of the other parts",
        "seed": SEED,
        "seeds": seeds,
        "resamples": resamples,
        "intervals": intervals,
        "n": len(images),
        "subjects": count,
        "strangers": {shown.name: len(shown.images)},
        **study.before(),
        "rows": [study.row(size, seeds) for size in sizes],
    }


@dataclass(frozen=True)
class _Study:
    """A bundle at one site.

    Attributes:
        images: of the site. judged: the same, in the groups that the bootstrap draws. part: (n,) of each image.
    """

    bundle: Bundle
    images: SiteImages
    judged: SiteImages
    part: NDArray[np.intp]
    strangers: Strangers
    resamples: int

    def before(self) -> dict[str, Any]:
        own = own_answers(self.bundle, self.images)
        return {
            "before": self._figures([judged_site(self.bundle, self.judged, *own)]),
            "parts_before": self._areas(own[0]),
            "strangers_before": turned_away(own_answers(self.bundle, self.strangers.images)),
        }

    def row(self, size: int, seeds: int) -> dict[str, Any]:
        """Figures after learning from `size` cells, over so many draws."""
        before = judged_site(self.bundle, self.judged, *own_answers(self.bundle, self.images))
        after, fits, areas = [], [], []
        for seed in range(seeds):
            probabilities = np.empty(self.images.membership.shape, np.float64)
            kept = np.zeros(len(self.images), bool)
            for part in np.unique(self.part).tolist():
                here = np.flatnonzero(self.part == part)
                fit = self._fit(part, size, seed)
                probabilities[here], kept[here] = fit.answers(self.images.subset(here))
                fits.append(fit)
            after.append(judged_site(self.bundle, self.judged, probabilities, kept))
            areas.append(self._areas(probabilities))
            log.info("%d cells, draw %d done", size, seed)
        return {
            "cells": size,
            "after": self._figures(after),
            "gain": self._figures(after, instead_of=before),
            "parts_after": np.mean(areas, axis=0).tolist(),
            "strangers_after": float(
                np.mean([turned_away(fit.answers(self.strangers.images)) for fit in fits])
            ),
            "methods": dict(Counter(fit.choice.way.method for fit in fits)),
        }

    def _fit(self, part: int, size: int, seed: int) -> Fitted:
        learn = self.images.subset(np.flatnonzero(self.part != part))
        chosen = draw(learn.membership, size, np.random.default_rng((SEED, seed, part)))
        return fit_site(self.bundle, learn.subset(chosen), seed=SEED + seed)

    def _areas(self, probabilities: NDArray[np.float64]) -> list[float]:
        """AUROC of blast in each part: how far subjects differ, which the intervals may not say."""
        found = []
        for part in np.unique(self.part).tolist():
            here = np.flatnonzero(self.part == part)
            judged = judged_site(
                self.bundle, self.images.subset(here), probabilities[here], np.ones(len(here), bool)
            )
            found.append(float(class_metrics(judged, None)["auroc_malignant"].values[0]))
        return found

    def _figures(self, judged: Sequence[Judged], *, instead_of: Judged | None = None) -> list[dict[str, Any]]:
        found = mean_figures(judged, SPLIT, instead_of=instead_of, resamples=self.resamples)
        return [one for one in found if one["name"] in COLUMNS]


def resampled(bundle: Bundle, images: SiteImages) -> tuple[SiteImages, str]:
    """The images in the groups that their bootstrap draws anew, and which these are in words."""
    malignant = is_malignant(bundle, images.membership).tolist()
    kinds = Counter(kind for _, kind in set(zip(images.groups, malignant, strict=True)))
    if min(kinds[True], kinds[False]) >= ENOUGH_GROUPS:
        return images, BY_SUBJECT
    few = "leukemic" if kinds[True] < kinds[False] else "normal"
    return replace(images, groups=images.sha256), BY_CELL.format(min(kinds[True], kinds[False]), few)


def markdown(result: Mapping[str, Any]) -> str:
    """Before and after by number of cells, and the gains; `result` is the study's JSON."""
    ((stranger, shown),) = result["strangers"].items()
    heads = [
        "cells",
        "what cross-validation chose",
        *COLUMNS.values(),
        f"{stranger} turned away (n = {shown})",
    ]
    lines = [
        f"{result['bundle']['name']} at `{result['data']}`, a hospital it never saw: before, and after learning from "
        f"so many labelled cells of it. n = {result['n']} cells; {result['split']}. Means over {result['seeds']} "
        f"draws, in brackets 95 % intervals by {result['intervals']} ({result['resamples']} resamples). Coverage is "
        "the share inside the domain, and so given a class; the columns before it count every cell, the gate ignored.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        f"| 0 | | {' | '.join(_cells(result['before']))} | {result['strangers_before']:.1%} |",
    ]
    for row in result["rows"]:
        ways = sorted(row["methods"].items(), key=lambda pair: -pair[1])
        chosen = ", ".join(f"{METHODS[way]} ({count}x)" for way, count in ways)
        lines.append(
            f"| {row['cells']} | {chosen} | {' | '.join(_cells(row['after']))} | {row['strangers_after']:.1%} |"
        )
    lines += [
        "",
        "The same as paired differences, after less before:",
        "",
        f"| cells | {' | '.join(COLUMNS.values())} |",
        f"|---|{'---|' * len(COLUMNS)}",
        *(f"| {row['cells']} | {' | '.join(_cells(row['gain'], signed=True))} |" for row in result["rows"]),
    ]
    parts = [("0", result["parts_before"]), *((row["cells"], row["parts_after"]) for row in result["rows"])]
    told = "; ".join(f"{cells}: {', '.join(f'{area:.3f}' for area in areas)}" for cells, areas in parts)
    lines += ["", f"How far subjects differ, AUROC of blast in each part by cells learnt from: {told}."]
    return "\n".join(lines) + "\n"


def _cells(figures: Sequence[Mapping[str, Any]], *, signed: bool = False) -> list[str]:
    by_name = {one["name"]: one for one in figures}
    form = "+.3f" if signed else ".3f"
    found = []
    for name in COLUMNS:
        one = by_name.get(name)
        if one is None or one["value"] is None:
            found.append("not defined")
        elif one["low"] is None:
            found.append(f"{one['value']:{form}} (no interval)")
        else:
            found.append(f"{one['value']:{form}} ({one['low']:{form}} to {one['high']:{form}})")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="a bundle of the task cell")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets of cells")
    parser.add_argument("--cells", type=int, nargs="+", default=[20, 50, 100], help="to learn from")
    parser.add_argument("--draws", type=int, default=5, help="of each number (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="JSON; a Markdown table is written beside it")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with threadpool_limits(1):
        result = run(
            read_bundle(arguments.bundle),
            arguments.data / CNMC.name,
            sizes=arguments.cells,
            seeds=arguments.draws,
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    table = markdown(result)
    arguments.out.with_suffix(".md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
