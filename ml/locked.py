"""Locked images: what a bundle was tested on, found again by hash, for judging a successor that never learnt them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ml.bundle import Bundle
from ml.data.labels import MALIGNANT
from ml.data.manifest import Item, Manifest
from ml.evaluation.judging import select
from ml.evaluation.predictions import EvaluationError


def locked_images(
    active: Bundle, manifests: Sequence[Manifest], *, candidate: Bundle | None = None
) -> list[Item]:
    """Return the test images of `active` among `manifests`, each once, found by SHA-256.

    Images that `candidate` was trained or validated on are left out, and so is every image of a group it learnt
    another image of, also where a copy of it lies in other data. The data that the bundle was made from are looked
    at first, and the others only while images are missing. Groups of several data sets are told apart by the data's
    name. An image whose label is no class of `active` (nor `malignant`, for all malignant classes together) is left
    out.
    """
    wanted = set(active.manifest["data"].get("test_sha256", ()))
    learnt = frozenset() if candidate is None else learnt_hashes(candidate)
    labels = {name.casefold(): name for name in (MALIGNANT, *active.classes)}
    home = active.manifest["data"].get("name")
    found: dict[str, Item] = {}
    settled = set(wanted & learnt)
    for manifest in sorted(manifests, key=lambda one: one.name != home):
        if settled == wanted:  # the other data would be read whole to be hashed
            break
        learnt_groups = {item.group for item in manifest if item.sha256 in learnt} if learnt else set()
        for item in _test_items(manifest, active):
            label = labels.get(item.label.casefold())
            if label is None or item.sha256 in settled:
                continue
            settled.add(item.sha256)
            if item.group in learnt_groups:
                continue
            named = replace(item, label=label, group=f"{manifest.name}/{item.group}")
            # A cached property: the new item would read its file again.
            named.__dict__["sha256"] = item.sha256
            found[item.sha256] = named
    return list(found.values())


def learnt_hashes(bundle: Bundle) -> frozenset[str]:
    """SHA-256 of every image a bundle was trained or validated on."""
    data = bundle.manifest["data"]
    return frozenset((*data.get("train_sha256", ()), *data.get("validation_sha256", ())))


def _test_items(manifest: Manifest, bundle: Bundle) -> tuple[Item, ...]:
    try:
        return select(manifest.items, bundle.manifest["data"], part="test").items
    except EvaluationError:  # none of them is here
        return ()
