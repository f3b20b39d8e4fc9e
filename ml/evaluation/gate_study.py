"""Does the gate turn bad models away and let good ones pass? Shown with trained models on a bundle's own data.

    python -m ml.evaluation.gate_study --bundle ml/bundles/field-1 --data DIR/taleqani-all --out FOLDER

Five bundles are made of the bundle given, which is the active one: its network and gate stay, and dense heads are
trained anew on what that network makes of the training images. Each is calibrated on the validation images, as
mislabelled as those it learnt from, because a laboratory that mislabels does so everywhere. They are sealed, get
measured evidence of their own, and are judged by `ml.promotion.compare` on the locked test images, whose labels are
left alone. The features were learnt from right labels, so a head that learns wrong ones does less harm here than a
whole network would: these are the harder cases for a gate.

The last two are not trained but made, as a pair: one that over-calls, active in its turn, and one that is more
accurate and less sensitive. Their heads are the given one with the bias of one class moved, until a stated share of
validation images is called wrongly.

`--equal BUNDLE` judges another trained bundle too, over its own network. What the network sees of an image is
measured once and kept under `LEUKOSCOPE_CACHE`. Imports TensorFlow.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ml.bundle import Bundle, read_bundle
from ml.cache import cache_dir
from ml.data.manifest import Manifest, load_manifest
from ml.evaluation.gate_table import markdown
from ml.evaluation.intervals import RESAMPLES
from ml.evaluation.predictions import EvaluationError, Row, read_predictions_csv
from ml.evaluation.remembered import remembered_rows
from ml.evaluation.spoiling import Mask, flipped, moved, shuffled
from ml.evaluation.study_images import MAP_IMAGES, MAP_NETWORKS, Looked, look
from ml.evaluation.study_models import fit_head, own_weights, rows_of, write_model
from ml.locked import locked_images
from ml.promotion import Verdict, compare
from ml.promotion_evidence import LEAST_AGREEMENT
from ml.serving import load_predictor
from ml.site_images import FloatArray

log = logging.getLogger(__name__)

SEED = 20
FLIPPED = 0.1
"""Share of the benign and of the malignant labels that say the other."""

OVERCALLED = 0.5
"""Share of the other validation images that the over-calling bundle gives the commonest malignant class. The bundle
given is nearly never wrong: another is beyond doubt more accurate, and less sensitive, only than one that errs often,
and among all classes, because benign images are of two groups and some resamples hold none."""

MISSED = 0.03
"""Share of the malignant validation images that the less sensitive bundle calls benign."""

Judged = tuple[Bundle, list[Row]]
"""A bundle and what it says of the locked images."""

Mislabel = Callable[[FloatArray, np.random.Generator], FloatArray]


@dataclass(frozen=True)
class Case:
    """A model that asked to be promoted: what it is, against which bundle it was judged, and what the gate said."""

    name: str
    words: str
    against: str
    verdict: Verdict

    @property
    def refused_by(self) -> tuple[str, ...]:
        """Names of the checks that were not passed."""
        return tuple(check.name for check in self.verdict.checks if check.passed is not True)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "words": self.words,
            "against": self.against,
            "refused_by": list(self.refused_by),
            "reasons": list(self.verdict.reasons),
            "verdict": self.verdict.to_dict(),
        }


def study(
    bundle: Bundle,
    manifest: Manifest,
    folder: Path,
    *,
    equal: Sequence[Bundle] = (),
    most: int | None = None,
    map_images: int = MAP_IMAGES,
    networks: int = MAP_NETWORKS,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """Make the models in `folder`, have the gate judge each, and return all of it for JSON.

    Args:
        manifest: the data the bundle was made from.
        equal: other trained bundles to judge.
        most: at most so many images of each part, drawn evenly by class; None takes all.
        map_images, networks: as `look` takes them. resamples: of every bootstrap.

    Raises:
        EvaluationError: the data lack the bundle's images, or the bundle does not say what its evidence says.
    """
    looked = look(
        bundle,
        manifest,
        cache=cache_dir() / "gate-study",
        seed=seed,
        most=most,
        map_images=map_images,
        networks=networks,
        progress=_told,
    )
    active = (bundle, rows_of(bundle, looked.locked, looked.items))
    _refuse_another_network(*active)

    def judge(name: str, words: str, candidate: Judged, against: Judged) -> Case:
        verdict = compare(candidate[0], against[0], candidate[1], against[1], seed=seed, resamples=resamples)
        log.info("%s: %s", name, "passed" if verdict.passed else " ".join(verdict.reasons))
        return Case(name, words, against[0].name, verdict)

    with threadpool_limits(1):
        cases = [judge(*made, active) for made in _trained(looked, folder, seed, resamples)]
        cases.append(judge(*_less_sensitive(looked, folder, seed, resamples)))
    for other in equal:
        cases.append(
            judge(f"{other.name}, given", _words(other), *_given(other, manifest, looked, active[1]))
        )
    return {
        "bundle": {"name": bundle.name, "sha256": bundle.sha256},
        "data": manifest.name,
        "seed": seed,
        "resamples": resamples,
        "images": {part: len(getattr(looked, part)) for part in ("train", "validation", "locked")},
        "maps": {"images": len(looked.maps.own), "networks": len(looked.maps.drawn)},
        "cases": [case.to_dict() for case in cases],
    }


def _malignant(bundle: Bundle) -> Mask:
    return np.isin(np.array(bundle.classes), bundle.malignant)


def _trained(looked: Looked, folder: Path, seed: int, resamples: int) -> list[tuple[str, str, Judged]]:
    """Heads trained on right, on shuffled and on flipped labels: name, words, bundle with rows."""
    malignant = _malignant(looked.bundle)

    def tenth(labels: FloatArray, rng: np.random.Generator) -> FloatArray:
        return flipped(labels, malignant, FLIPPED, rng)

    ways: dict[str, tuple[str, Mislabel]] = {
        "another seed": ("labels as they are", lambda labels, rng: labels),
        "shuffled labels": ("their labels shuffled", shuffled),
        "flipped labels": (f"{FLIPPED:.0%} of the benign and of the malignant labels flipped", tenth),
    }
    made = []
    for number, (name, (labels, mislabel)) in enumerate(ways.items(), start=1):
        rngs = np.random.default_rng((seed, number)).spawn(2)
        train, held = (
            mislabel(part.membership, rng)
            for part, rng in zip((looked.train, looked.validation), rngs, strict=True)
        )
        words = (
            f"A dense head trained from random weights (seed {seed + number}) on {len(train)} training images, "
            f"{labels}, over the unchanged network of {looked.bundle.name}; calibrated on {len(held)} validation "
            "images labelled in the same way."
        )
        head = fit_head(looked, train, held, seed=seed + number)
        place = folder / f"study-{name.replace(' ', '-')}"
        written = write_model(
            looked, head, place, validation=held, words=words, seed=seed, resamples=resamples
        )
        made.append((name, words, written))
    return made


def _less_sensitive(
    looked: Looked, folder: Path, seed: int, resamples: int
) -> tuple[str, str, Judged, Judged]:
    """The pair: one that misses malignant images, against one that over-calls, both by a moved bias."""
    bundle, held = looked.bundle, looked.validation
    malignant, own = _malignant(bundle), own_weights(bundle)
    commonest = int(np.where(malignant, looked.train.membership.sum(axis=0), -1).argmax())
    ways = (
        (
            "over-calls",
            np.arange(len(malignant)) == commonest,
            OVERCALLED,
            bundle.classes[commonest],
            "other",
        ),
        ("misses", ~malignant, MISSED, "benign", "malignant"),
    )
    pair = []
    for name, towards, share, given, of in ways:
        head = moved(own, held.pooled, held.membership, towards, share)
        words = (
            f"The head of {bundle.name} with its bias for {given} moved by "
            f"{float((head.bias - own.bias)[towards].max()):+.1f}, so that {share:.0%} of the {of} validation images "
            f"are called {given}; its temperature fitted anew on the {len(held)} validation images."
        )
        written = write_model(
            looked,
            head,
            folder / f"study-{name}",
            validation=held.membership,
            words=words,
            seed=seed,
            resamples=resamples,
        )
        pair.append((words, written))
    (before, active), (after, candidate) = pair
    return "more accurate, less sensitive", f"{after} The one it would replace: {before}", candidate, active


def _words(bundle: Bundle) -> str:
    return f"A bundle trained elsewhere, from {bundle.manifest.get('training', {}).get('start', 'weights not stated')}."


def _given(other: Bundle, manifest: Manifest, looked: Looked, active: Sequence[Row]) -> tuple[Judged, Judged]:
    """What another bundle says of the locked images that it never learnt, and the active rows of the same ones."""
    unknown = {item.sha256 for item in locked_images(looked.bundle, [manifest], candidate=other)}
    items = [item for item in looked.items if item.sha256 in unknown]
    answers = remembered_rows(load_predictor(other.path), items, folder=cache_dir() / "predictions")
    rows = [answer for answer in answers if isinstance(answer, Row)]
    read = {row.sha256 for row in rows}
    return (other, rows), (looked.bundle, [row for row in active if row.sha256 in read])


def _refuse_another_network(bundle: Bundle, rows: Sequence[Row]) -> None:
    stored, _ = read_predictions_csv(bundle.path / "evidence" / "predictions.csv")
    said = {row.sha256: row.predicted for row in stored}
    same = sum(said.get(row.sha256) == row.predicted for row in rows)
    if same < LEAST_AGREEMENT * len(rows):
        raise EvaluationError(
            f"Of {len(rows)} locked images, {bundle.name} classes {len(rows) - same} otherwise than its evidence says."
        )


def _told(part: str, done: int, total: int) -> None:
    if done == total or done % 100 == 0:
        log.info("%s: %d of %d images", part, done, total)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="the active one")
    parser.add_argument("--data", type=Path, required=True, help="the labelled data it was made from")
    parser.add_argument("--equal", type=Path, nargs="*", default=[], help="other trained bundles to judge")
    parser.add_argument("--images", type=int, help="at most so many of each part, for a quick look")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the bundles, gate.json and gate.md"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    result = study(
        read_bundle(arguments.bundle),
        load_manifest(arguments.data),
        arguments.out,
        equal=[read_bundle(path) for path in arguments.equal],
        most=arguments.images,
    )
    (arguments.out / "gate.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    table = markdown(result)
    (arguments.out / "gate.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
