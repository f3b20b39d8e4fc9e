"""Sites to study adaptation at: simulated ones made of a bundle's own data, real ones, and strangers to its gate.

What the network sees of an image is measured once and kept on disk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.bundle import Bundle
from ml.data.labelled import load_labelled
from ml.data.manifest import Item
from ml.evaluation.gates import Source
from ml.evaluation.judging import select, with_class_labels
from ml.evaluation.predictions import EvaluationError
from ml.evaluation.simulated_sites import SIMULATED_SITES, simulate
from ml.head_fitting import deal_folds
from ml.runtimes import Runtime
from ml.site_images import SiteImages, measure_site, membership_of, see

SEED = 20
"""Of dealing a real site's groups into halves."""


@dataclass(frozen=True)
class Place:
    """A site with images to learn from and others to judge on, in disjoint groups."""

    name: str
    words: str
    learn: SiteImages
    judge: SiteImages
    split: str


@dataclass(frozen=True)
class Strangers:
    """Pictures of one kind that no gate should let in, as the bundle sees them."""

    name: str
    images: SiteImages


def draw(membership: NDArray[np.floating], count: int, rng: np.random.Generator) -> list[int]:
    """Places of `count` of n images (n, k), each label in its share of them, at least two of each label there is.

    Raises:
        EvaluationError: there are fewer images than that.
    """
    kinds = np.unique(membership, axis=0, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(kinds)
    if count > len(membership):
        raise EvaluationError(
            f"{count} images to learn from were asked for, and there are {len(membership)}."
        )
    wanted = np.minimum(np.maximum(np.floor(count * sizes / sizes.sum()), 2), sizes).astype(int)
    while wanted.sum() != count:
        short = count * sizes / sizes.sum() - wanted
        step = 1 if wanted.sum() < count else -1
        open_to = wanted < sizes if step > 0 else wanted > 2
        # Among equals the label of most images, whose share it changes least.
        wanted[int(np.argmax(np.where(open_to, step * short + 1e-6 * sizes, -np.inf)))] += step
    chosen = [rng.permutation(np.flatnonzero(kinds == kind))[:number] for kind, number in enumerate(wanted)]
    return sorted(int(place) for places in chosen for place in places)


def measured(
    bundle: Bundle,
    runtime: Callable[[], Runtime],
    items: Sequence[Item],
    *,
    site: str | None,
    cache: Path,
) -> SiteImages:
    """`measure_site`, kept in `cache` by graph, images and site; `site` names a simulated one."""
    settings = repr(SIMULATED_SITES[site]) if site else ""
    # By the graph, not by the bundle: evidence that is measured anew changes nothing that is seen.
    graph = (bundle.manifest["files"]["model.onnx"], repr(bundle.preparation))
    told = "\n".join((*graph, settings, *(item.sha256 for item in items)))
    path = cache / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            pooled, seen, refused = (stored[name] for name in ("pooled", "seen", "refused"))
        membership = membership_of([item.label for item in items], bundle)
        groups, hashes = tuple(item.group for item in items), tuple(item.sha256 for item in items)
        return SiteImages(pooled, seen, membership, groups, refused, hashes)
    found = measure_site(
        bundle,
        runtime(),
        items,
        alter=(lambda item, pixels: simulate(pixels, site)) if site else lambda item, pixels: pixels,
    )
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, pooled=found.pooled, seen=found.seen, refused=found.refused)
    os.replace(part, path)
    return found


def look_at(bundle: Bundle, runtime: Runtime, source: Source) -> Strangers:
    """Strangers as the bundle sees them; their labels stand for every class and mean nothing."""
    seen = [see(bundle, runtime, picture) for picture in source.pictures() if not isinstance(picture, str)]
    if not seen:
        raise EvaluationError(f"No picture of {source.name} could be read.")
    images = SiteImages(
        np.stack([one.pooled for one in seen]),
        np.stack([one.appearance for one in seen]),
        np.ones((len(seen), len(bundle.classes)), np.float32),
        tuple(str(i) for i in range(len(seen))),
        np.array([one.refused for one in seen], dtype=bool),
        ("",) * len(seen),
    )
    return Strangers(source.name, images)


def simulated_places(
    bundle: Bundle, items: Sequence[Item], see_them: Callable[..., SiteImages], most: int
) -> Iterator[Place]:
    """Every simulated site, made of the bundle's validation and test images."""
    data = bundle.manifest["data"]
    validation = set(data["validation_sha256"])
    learn = list({item.sha256: item for item in items if item.sha256 in validation}.values())
    judge = list(select(items, data, part="test").items)
    shared = {item.group for item in learn} & {item.group for item in judge}
    learn = [item for item in learn if item.group not in shared]
    if most > len(learn):
        raise EvaluationError(
            f"The data hold {len(learn)} validation images of {bundle.name}: ask for no more."
        )
    for name, site in SIMULATED_SITES.items():
        yield Place(
            f"simulated: {name}",
            site.words,
            see_them(learn, site=name),
            see_them(judge, site=name),
            f"{data['split']['name']}, test part, simulated as {name}; learnt from the validation part",
        )


def real_place(
    bundle: Bundle, folder: Path, mapping: Mapping[str, str], see_them: Callable[..., SiteImages]
) -> Place:
    """A real site: its groups dealt once into two halves, images the bundle has seen left out."""
    manifest = load_labelled(folder, task=bundle.task)
    known, _ = with_class_labels(manifest.items, bundle.classes, mapping, bundle.malignant, all_coarse=True)
    items = select(known, bundle.manifest["data"], part="all").items
    membership = membership_of([item.label for item in items], bundle)
    half = deal_folds([item.group for item in items], membership, np.random.default_rng(SEED), folds=2)
    learn, judge = (
        [item for item, side in zip(items, half, strict=True) if side == which] for which in (0, 1)
    )
    split = f"{manifest.name}: half of its groups, dealt with seed {SEED}; learnt from the other half"
    return Place(manifest.name, "a real site", see_them(learn), see_them(judge), split)
