"""What adaptation to a site buys, by number of labelled images: before and after, on images never learnt from.

    python -m ml.evaluation.site_study --bundle ml/bundles/field-1 --data DIR --images 20 50 100 --seeds 3 --out FILE

Simulated sites (`ml.evaluation.simulated_sites`, so called in every table) are made of the bundle's own data:
images to learn from are drawn from its validation part, and everything is judged on its whole test part, whose
groups no adaptation sees. `--real DIR` adds a real site, whose groups are dealt once into a half to learn from and
a half to judge on. Each size is drawn anew by each seed; figures are means over the seeds, their intervals those of
a bootstrap over the judged groups, the same resamples for all seeds. Beside each stands what the adapted bundle
then does on the bundle's own, unaltered test part, and how many strangers its gate still turns away.
What the network sees of an image is measured once and kept under `LEUKOSCOPE_CACHE`.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ml.bundle import Bundle, read_bundle
from ml.cache import cache_dir
from ml.data.manifest import Item, load_manifest
from ml.evaluation.gates import folder_source, photograph_source
from ml.evaluation.intervals import RESAMPLES, Figure, figures
from ml.evaluation.judging import select
from ml.evaluation.metrics import FloatArray, Judged, Values, abstaining_metrics, class_metrics
from ml.evaluation.site_places import (
    Place,
    Strangers,
    draw,
    look_at,
    measured,
    real_place,
    simulated_places,
)
from ml.evaluation.site_table import markdown
from ml.runtimes import Runtime, open_runtime
from ml.site_fitting import Fitted, fit_site, own_answers
from ml.site_images import SiteImages, judged_site

log = logging.getLogger(__name__)

SEED = 20
FIGURES = (
    "auroc_malignant", "balanced_accuracy", "sensitivity_malignant", "specificity_malignant", "log_loss", "ece",
    "coverage", "risk",
)  # fmt: skip
STRANGERS = 60
"""Pictures of each kind of stranger shown to the gate."""

Answers = tuple[NDArray[np.float64], NDArray[np.bool_]]


def study_place(
    bundle: Bundle,
    place: Place,
    own: SiteImages,
    strangers: Sequence[Strangers],
    *,
    sizes: Sequence[int],
    seeds: int,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Adapt a bundle to a place with each number of images and each seed, and judge before and after.

    Args:
        own: the bundle's own test part, unaltered; no figure is given for it where it is empty.
    """
    before = judged_site(bundle, place.judge, *own_answers(bundle, place.judge))
    own_before = judged_site(bundle, own, *own_answers(bundle, own)) if len(own) else None
    measure = _Measure(bundle, place, own, strangers, resamples)
    rows = []
    for size in sizes:
        fits = [
            fit_site(
                bundle,
                place.learn.subset(draw(place.learn.membership, size, np.random.default_rng((SEED, seed)))),
                seed=SEED + seed,
            )
            for seed in range(seeds)
        ]
        rows.append({"images": size, **measure.row(before, own_before, fits)})
        log.info("%s, %d images: %s", place.name, size, [fit.choice.way.words for fit in fits])
    return {
        "name": place.name,
        "words": place.words,
        "split": place.split,
        "n": len(place.judge),
        "groups": len(set(place.judge.groups)),
        "before": measure.figures([before], place.split),
        "own_before": measure.figures([own_before], OWN) if own_before else [],
        "strangers_before": {one.name: turned_away(own_answers(bundle, one.images)) for one in strangers},
        "rows": rows,
    }


OWN = "the bundle's own test part, unaltered"


@dataclass(frozen=True)
class _Measure:
    """Figures of several adaptations at once, over the same resamples."""

    bundle: Bundle
    place: Place
    own: SiteImages
    strangers: Sequence[Strangers]
    resamples: int

    def row(self, before: Judged, own_before: Judged | None, fits: Sequence[Fitted]) -> dict[str, Any]:
        after = [judged_site(self.bundle, self.place.judge, *fit.answers(self.place.judge)) for fit in fits]
        own = [judged_site(self.bundle, self.own, *fit.answers(self.own)) for fit in fits if own_before]
        return {
            "after": self.figures(after, self.place.split),
            "gain": self.figures(after, self.place.split, instead_of=before),
            "own_after": self.figures(own, OWN) if own else [],
            "own_gain": self.figures(own, OWN, instead_of=own_before) if own else [],
            "strangers_after": {
                one.name: float(np.mean([turned_away(fit.answers(one.images)) for fit in fits]))
                for one in self.strangers
            },
            "seeds": [
                {
                    "method": fit.choice.way.method,
                    "words": fit.choice.way.words,
                    "notes": list(fit.notes),
                    "figures": {name: _number(found[name]) for name in FIGURES if name in found},
                }
                for fit, one in zip(fits, after, strict=True)
                for found in [_metrics(one, None)]
            ],
        }

    def figures(
        self, judged: Sequence[Judged], split: str, *, instead_of: Judged | None = None
    ) -> list[dict[str, Any]]:
        return mean_figures(judged, split, instead_of=instead_of, resamples=self.resamples)


def mean_figures(
    judged: Sequence[Judged], split: str, *, instead_of: Judged | None = None, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """The mean over adaptations, judged on the same images, of each figure, or of its difference to `instead_of`, with
    intervals."""

    def mean(_: Judged, weights: FloatArray | None) -> dict[str, Values]:
        found = [_metrics(one, weights) for one in judged]
        base = _metrics(instead_of, weights) if instead_of is not None else None
        return {
            name: Values(
                np.mean([one[name].values for one in found], axis=0) - (base[name].values if base else 0.0),
                None if base else found[0][name].out_of,
            )
            for name in FIGURES
            if name in found[0]
        }

    made = figures(judged[0], split=split, rng=np.random.default_rng(SEED), metric=mean, resamples=resamples)
    return [_as_difference(one).to_dict() if instead_of is not None else one.to_dict() for one in made]


def _number(values: Values) -> float | None:
    """The estimate for JSON."""
    value = float(values.values[0])
    return value if np.isfinite(value) else None


def _as_difference(figure: Figure) -> Figure:
    """Where every resample shows the same difference, Wilson's interval of a share has no meaning."""
    return (
        replace(figure, low=figure.value, high=figure.value, method="bootstrap")
        if figure.method == "wilson"
        else figure
    )


def _metrics(judged: Judged, weights: FloatArray | None) -> dict[str, Values]:
    return {**class_metrics(judged, weights), **abstaining_metrics(judged, weights)}


def turned_away(answers: Answers) -> float:
    """Share of images that got no class."""
    return float(1.0 - answers[1].mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="the bundle's own data: makes the simulated sites")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="labelled data of real sites")
    parser.add_argument(
        "--label-map",
        nargs="*",
        default=[],
        metavar="LABEL=CLASS",
        help="for --real; malignant and drop are targets too",
    )
    parser.add_argument(
        "--strangers", type=Path, nargs="*", default=[], help="folders of pictures the gate must turn away"
    )
    parser.add_argument("--images", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="JSON; a Markdown table is written beside it")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not (arguments.data or arguments.real):
        parser.error("give --data, --real or both")
    with threadpool_limits(1):
        result = run(
            read_bundle(arguments.bundle),
            data=arguments.data,
            real=arguments.real,
            label_map=dict(pair.split("=", 1) for pair in arguments.label_map),
            strangers=arguments.strangers,
            sizes=arguments.images,
            seeds=arguments.seeds,
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    table = markdown(result)
    arguments.out.with_suffix(".md").write_text(table)
    print(table)


def run(
    bundle: Bundle,
    *,
    data: Path | None,
    real: Sequence[Path] = (),
    label_map: Mapping[str, str] = {},
    strangers: Sequence[Path] = (),
    sizes: Sequence[int] = (20, 50, 100),
    seeds: int = 3,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """The whole study, ready for JSON."""
    opened: list[Runtime] = []

    def runtime() -> Runtime:
        if not opened:
            opened.append(open_runtime(bundle, "openvino"))
        return opened[0]

    def see_them(items: Sequence[Item], site: str | None = None) -> SiteImages:
        log.info("%s: %d images", site or "as they are", len(items))
        return measured(bundle, runtime, items, site=site, cache=cache_dir() / "site-study")

    places: list[Place] = []
    own = None
    if data is not None:
        items = list(load_manifest(data))
        places += simulated_places(bundle, items, see_them, max(sizes))
        own = see_them(select(items, bundle.manifest["data"], part="test").items)
    places += [real_place(bundle, folder, label_map, see_them) for folder in real]
    sources = [photograph_source(STRANGERS, seed=SEED)]
    sources += [folder_source(folder.name, folder, limit=STRANGERS, seed=SEED) for folder in strangers]
    looked_at = [look_at(bundle, runtime(), source) for source in sources]
    nothing = places[0].judge.subset([])
    return {
        "bundle": {"name": bundle.name, "sha256": bundle.sha256, "task": bundle.task},
        "seed": SEED,
        "seeds": seeds,
        "resamples": resamples,
        "strangers": {one.name: len(one.images) for one in looked_at},
        "places": [
            study_place(
                bundle, place, own or nothing, looked_at, sizes=sizes, seeds=seeds, resamples=resamples
            )
            for place in places
        ],
    }


if __name__ == "__main__":
    main()
