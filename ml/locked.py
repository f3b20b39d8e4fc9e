"""Locked images: what a bundle was tested on, found again by hash, for judging a successor that never learnt them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ml.bundle import Bundle
from ml.data.labels import LabelMap
from ml.data.manifest import Item, Manifest
from ml.evaluation.coarse import too_coarse
from ml.evaluation.judging import select
from ml.evaluation.predictions import EvaluationError


def locked_images(
    active: Bundle, manifests: Sequence[Manifest], *, candidate: Bundle | None = None
) -> list[Item]:
    """Return the test images of `active` among `manifests`, each once, found by SHA-256.

    Images that `candidate` was trained or validated on are left out, and so is every image of a group it learnt
    another image of, also where a copy of it lies in other data. The data that the bundle was made from are looked
    at first, and the others only while images are missing. Groups of several data sets are told apart by the data's
    name. An image whose label means nothing to `active` is left out; several classes (`malignant`, `a or b`) are a
    meaning too, unless they are a few images whose classes others tell apart (`ml.evaluation.coarse.too_coarse`).
    """
    wanted = set(active.manifest["data"].get("test_sha256", ()))
    learnt = frozenset() if candidate is None else learnt_hashes(candidate)
    labels = LabelMap.parse({}, classes=active.classes, malignant=active.malignant)
    home = active.manifest["data"].get("name")
    found: dict[str, Item] = {}
    settled = set(wanted & learnt)
    for manifest in sorted(manifests, key=lambda one: one.name != home):
        if settled == wanted:  # the other data would be read whole to be hashed
            break
        learnt_groups = {item.group for item in manifest if item.sha256 in learnt} if learnt else set()
        for item in _test_items(manifest, active):
            if not labels.knows(item.label) or item.sha256 in settled:
                continue
            label = labels.target(item.label)
            settled.add(item.sha256)
            if item.group in learnt_groups:
                continue
            named = replace(item, label=label, group=f"{manifest.name}/{item.group}")
            # A cached property: the new item would read its file again.
            named.__dict__["sha256"] = item.sha256
            found[item.sha256] = named
    coarse = too_coarse([item.label for item in found.values()], active.classes)
    return [item for item in found.values() if item.label not in coarse]


def learnt_hashes(bundle: Bundle) -> frozenset[str]:
    """SHA-256 of every image a bundle was trained or validated on."""
    data = bundle.manifest["data"]
    return frozenset((*data.get("train_sha256", ()), *data.get("validation_sha256", ())))


def _test_items(manifest: Manifest, bundle: Bundle) -> tuple[Item, ...]:
    try:
        return select(manifest.items, bundle.manifest["data"], part="test").items
    except EvaluationError:  # none of them is here
        return ()
