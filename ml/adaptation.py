"""A laboratory makes a bundle its own: from some labelled images of a site to an adapted bundle, before and after.

What is fitted, and how far, is in `ml.site_fitting`. Here the result is written: the head into `model.keras`,
`model.onnx` and `serving.npz` alike, checked in every runtime before the bundle gets its name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ml.bundle import Bundle, read_bundle, seal
from ml.data.manifest import Item
from ml.evaluation.evidence import Evidence, Section, make_section, read_evidence, write_evidence
from ml.evaluation.judging import judge
from ml.evaluation.predictions import EvaluationError, Row, to_judged
from ml.head_export import check_head, replace_head
from ml.head_fitting import Choice, Way
from ml.imaging.preprocessing import normalise
from ml.imaging.reading import read_image
from ml.pictures import picture_of, scale_stated
from ml.runtimes import open_runtime
from ml.serving import Predictor
from ml.site_card import site_card, site_facts
from ml.site_fitting import SEED, Fitted, choose_way, fit_site, own_head, refuse_too_few
from ml.site_images import (
    FloatArray,
    OwnImages,
    SiteImages,
    SiteProblem,
    judged_site,
    measure_site,
    membership_of,
)

CROSS_VALIDATED = "images of the site it learnt from, each judged when its group was left out"
UNUSED = "images of the site that it did not learn from"
NOT_TUNED = (
    "Fine-tuning the last block was not tried: the gate would have to be measured anew on the images that {name} was "
    "made from, and they are not at hand."
)
PROBES = 2
"""Images on which the runtimes are compared after writing."""


@dataclass(frozen=True)
class Adapted:
    """An adapted bundle on disk: how it came about, and what cross-validation says of it."""

    bundle: Bundle
    way: Way
    images: int
    groups: int
    cross_validated: Section
    notes: tuple[str, ...]


def adapt(
    bundle: Bundle,
    items: Sequence[Item],
    *,
    name: str,
    site: str,
    folder: Path,
    groups: Sequence[str] | None = None,
    own: Sequence[Item] = (),
    seed: int = SEED,
    runtimes: Sequence[str] = ("openvino", "tensorflow"),
    progress: Callable[[int], None] = lambda done: None,
) -> Adapted:
    """Adapt a bundle to a site's labelled images and write the result to `folder/name`, all of it or nothing.

    Args:
        items: labelled with classes of the bundle, or `malignant`.
        name: of the bundle to come. site: what the laboratory calls the site.
        groups: of the images; None takes those of the items.
        own: images among which those that the bundle was trained and validated on are found by hash; without them
            the last block is not fine-tuned, because its gate could not be measured anew.
        runtimes: those the written head is checked in; the first one measures.
        progress: told how many images of the site have been measured.

    Raises:
        SiteProblem: the images cannot be learnt from, or the bundle is tested on some of them.
        HeadProblem: the adapted head could not be stored as it was fitted.
    """
    target = folder / name
    _refuse(bundle, items, target)
    membership = membership_of([item.label for item in items], bundle)
    refuse_too_few(bundle, membership, groups or [item.group for item in items])
    images = measure_site(bundle, open_runtime(bundle, runtimes[0]), items, groups=groups, progress=progress)
    part, tuned = folder / f"{name}.part", folder / f"{name}.tuned.part"
    for leftover in (part, tuned):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        mine = OwnImages.among(own, bundle)
        base, images, choice = _choose(bundle, images, items, own=mine, work=tuned, seed=seed)
        fitted = fit_site(base, images, choice=choice)
        if mine is None:
            fitted = replace(fitted, notes=(*fitted.notes, NOT_TUNED.format(name=bundle.name)))
        section = cross_validated_section(bundle, images, fitted, site=site, seed=seed)
        written = write_adapted(
            base, fitted, part, name=name, site=site, images=images, section=section, seed=seed, origin=bundle
        )
        probes = np.stack([_prepared(bundle, item) for item in items[:PROBES]])
        for runtime in runtimes:
            check_head(written, open_runtime(written, runtime), probes)
        os.replace(part, target)
    finally:
        for leftover in (part, tuned):
            shutil.rmtree(leftover, ignore_errors=True)
    return Adapted(
        bundle=read_bundle(target),
        way=fitted.choice.way,
        images=len(images),
        groups=len(set(images.groups)),
        cross_validated=section,
        notes=fitted.notes,
    )


def _choose(
    bundle: Bundle, images: SiteImages, items: Sequence[Item], *, own: OwnImages | None, work: Path, seed: int
) -> tuple[Bundle, SiteImages, Choice]:
    """The way taken, and the bundle and what it sees of the images from there on: another one where it was tuned."""
    if own is None:
        return bundle, images, choose_way(bundle, images, seed=seed)
    from ml.site_tuning import BlockTuner

    tuner = BlockTuner(bundle, items, images.membership, work=work / "features", seed=seed)
    choice = choose_way(bundle, images, seed=seed, fine_tuned=tuner.left_out)
    if choice.way.method != "fine_tune":
        return bundle, images, choice
    tuned = tuner.write(work / "bundle", own)
    seen = measure_site(tuned, open_runtime(tuned, "openvino"), items, groups=images.groups)
    return tuned, seen, choice


def write_adapted(
    bundle: Bundle,
    fitted: Fitted,
    folder: Path,
    *,
    name: str,
    site: str,
    images: SiteImages,
    section: Section,
    seed: int = SEED,
    origin: Bundle | None = None,
) -> Bundle:
    """Write and seal the adapted bundle in an empty or new folder; its evidence is `section` alone.

    `origin` is the bundle that was adapted, where `bundle` is its fine-tuned network.
    The images learnt from count as images of training from now on, so that no evaluation uses them.
    """
    (folder / "evidence").mkdir(parents=True, exist_ok=True)
    for file in ("model.keras", "model.onnx"):
        shutil.copyfile(bundle.path / file, folder / file)
    old = own_head(bundle)
    before, after = (
        (head.kernel.astype(np.float32), head.bias.astype(np.float32)) for head in (old, fitted.head)
    )
    if not all(np.array_equal(one, other) for one, other in zip(before, after, strict=True)):
        replace_head(folder, before, after)
    arrays = {**bundle.arrays, "head_kernel": after[0], "head_bias": after[1], **fitted.domain.arrays()}
    np.savez(folder / "serving.npz", allow_pickle=False, **arrays)
    data = bundle.manifest["data"]
    learnt = [*data.get("train_sha256", ()), *images.sha256]
    facts = {key: value for key, value in bundle.manifest.items() if key not in ("files", "format")}
    facts |= {
        **fitted.facts,
        "name": name,
        "data": {**data, "train_sha256": list(dict.fromkeys(learnt))},
        "site": site_facts(origin or bundle, fitted, site=site, images=images, seed=seed),
    }
    evidence = Evidence(
        bundle={"name": name, "sha256": None, "temperature": fitted.head.temperature},
        seed=seed,
        sites=(section,),
    )
    write_evidence(folder / "evidence" / "metrics.json", evidence)
    (folder / "card.md").write_text(
        site_card(origin or bundle, fitted, section, name=name, site=site, images=images)
    )
    return seal(folder, facts)


def add_site_sections(bundle: Bundle, sections: Sequence[Section]) -> Bundle:
    """Put what was measured at a site before the other sites of a bundle's evidence, and seal it again."""
    place = bundle.path / "evidence" / "metrics.json"
    evidence = read_evidence(place)
    others = [one for one in evidence.sites if one not in sections]
    write_evidence(place, replace(evidence, sites=(*sections, *others)))
    facts = {key: value for key, value in bundle.manifest.items() if key not in ("files", "format")}
    return seal(bundle.path, facts)


def cross_validated_section(
    bundle: Bundle, images: SiteImages, fitted: Fitted, *, site: str, seed: int = SEED
) -> Section:
    """All figures on the images learnt from, each judged when its group was left out (the choice of the way aside)."""
    kept = ~images.refused & (fitted.scores <= fitted.domain.threshold)
    return make_section(
        judged_site(bundle, images, fitted.probabilities, kept),
        name=f"{site}, cross-validated",
        model=f"{bundle.name}, {fitted.choice.way.words}",
        data=site,
        split=CROSS_VALIDATED,
        seed=seed,
        notes=fitted.notes,
    )


def before_after(
    old: Predictor,
    new: Predictor,
    items: Sequence[Item],
    *,
    site: str,
    seed: int = SEED,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Section, Section]:
    """What two predictors say of the same labelled images of a site, as sections with intervals.

    Raises:
        SiteProblem: the new one learnt from one of the images. EvaluationError: none could be read.
    """
    learnt = set(new.bundle.manifest["data"].get("train_sha256", ()))
    used = sum(item.sha256 in learnt for item in items)
    if used:
        raise SiteProblem(f"{new.bundle.name} learnt from {used} of the images it should be judged on.")
    before = site_section(old, items, site=site, seed=seed, progress=progress)
    after = site_section(new, items, site=site, seed=seed, progress=lambda n: progress(len(items) + n))
    return before, after


def site_section(
    predictor: Predictor,
    items: Sequence[Item],
    *,
    site: str,
    split: str = UNUSED,
    seed: int = SEED,
    progress: Callable[[int], None] = lambda done: None,
) -> Section:
    """What a predictor says of labelled images of a site, all figures with intervals.

    Args:
        items: labelled with classes of the bundle, or `malignant`.
        progress: told how many images have been judged.

    Raises:
        DataProblem: an unknown label. EvaluationError: no image could be read.
    """
    bundle = predictor.bundle
    membership_of([item.label for item in items], bundle)
    rows: list[Row] = []
    for done, answer in enumerate(judge(items, predictor, bundle.classes), start=1):
        if isinstance(answer, Row):
            rows.append(answer)
        progress(done)
    if not rows:
        raise EvaluationError(f"No image of {site} could be read.")
    lost = len(items) - len(rows)
    return make_section(
        to_judged(rows, classes=bundle.classes, malignant=bundle.malignant),
        name=site,
        model=f"{bundle.name} on {predictor.runtime}",
        data=site,
        split=split,
        seed=seed,
        notes=[f"{lost} of {len(items)} images could not be read"] if lost else [],
    )


def _refuse(bundle: Bundle, items: Sequence[Item], target: Path) -> None:
    if target.exists():
        raise SiteProblem(f"There is a bundle {target.name} already: choose another name.")
    tested = set(bundle.manifest["data"].get("test_sha256", ()))
    locked = sum(item.sha256 in tested for item in items)
    if locked:
        raise SiteProblem(
            f"{locked} of the images are test images of {bundle.name}, and what tests a model must not teach it: "
            "take them out."
        )


def _prepared(bundle: Bundle, item: Item) -> FloatArray:
    pixels = read_image(item.path).pixels
    return normalise(picture_of(bundle.preparation, pixels, scale_stated(item)).prepared)
