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
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from ml.cache import cache_dir
from ml.data.cells import CNMC, DEEPAPL, PBC, load_cells
from ml.evaluation.cell_heads import HEADS, RIDGES
from ml.evaluation.cell_measuring import Study, progress_said
from ml.evaluation.cell_pictures import (
    ADAPTING,
    BASELINE,
    SEED,
    SPOILT,
    VARIANTS,
    Network,
    Variant,
    adapting_crops,
)
from ml.evaluation.cell_table import markdown
from ml.evaluation.intervals import RESAMPLES

log = logging.getLogger(__name__)

HEADLINE: Final = "auroc_blast_or_promyelocyte"


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
            progress=progress_said("cells to adapt to: cropping"),
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
