"""Train, validation and test parts, made once, by group, and stored with the bundle by the images' hashes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.data.manifest import Item, Manifest

TEST_EVERY = 5
TEST_FROM = 2
VALIDATION_FROM = 0
"""The standing split: of each class's blocks in name order every fifth tests, from the third; every fifth
validates, from the first; so no validation block touches a test block."""


PARTS = ("train", "validation", "test")
STANDING = "standing block split"


@dataclass(frozen=True)
class Split:
    """Positions into a manifest's items; disjoint. `left_out` are near duplicates of a test or validation image
    that another part would have held. `notes` say what to know about it, a sentence each."""

    name: str
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    left_out: tuple[int, ...]
    seed: int | None = None
    notes: tuple[str, ...] = ()

    def hashes(self, manifest: Manifest) -> dict[str, list[str]]:
        """SHA-256 of every image by part: keys train_sha256, validation_sha256, test_sha256."""
        return {f"{part}_sha256": [manifest.items[i].sha256 for i in getattr(self, part)] for part in PARTS}

    def summary(self, manifest: Manifest) -> dict[str, Any]:
        """Images and groups of each part, by class."""

        def count(part: Sequence[int]) -> dict[str, Any]:
            chosen = [manifest.items[i] for i in part]
            return {
                "images": len(chosen),
                "groups": len({item.group for item in chosen}),
                "by_label": manifest.subset(chosen).counts,
            }

        parts = {part: count(getattr(self, part)) for part in (*PARTS, "left_out")}
        return {"name": self.name, "seed": self.seed, **parts}


def standing_split(manifest: Manifest, family: NDArray[np.int64]) -> Split:
    """Blocks held out: the split that every field bundle is judged on.

    Args:
        manifest: items with a block as group.
        family: (n,) family number of each item, from `ml.data.duplicates.families`.
    """
    part_of = standing_parts(manifest)
    wanted = [part_of[item.group] for item in manifest]
    return keep_families_together(STANDING, wanted, family, seed=None)


def standing_parts(items: Iterable[Item]) -> dict[str, str]:
    """Group -> part by the standing rule, of each label's groups in name order."""
    groups_of: dict[str, set[str]] = {}
    for item in items:
        groups_of.setdefault(item.label, set()).add(item.group)
    part_of: dict[str, str] = {}
    for _, groups in sorted(groups_of.items()):
        for position, group in enumerate(sorted(groups)):
            place = position % TEST_EVERY
            part_of[group] = (
                "test" if place == TEST_FROM else "validation" if place == VALIDATION_FROM else "train"
            )
    return part_of


def random_split(
    manifest: Manifest,
    family: NDArray[np.int64],
    *,
    seed: int,
    test_share: float = 0.2,
    validation_share: float = 0.2,
) -> Split:
    """Images drawn at random within each class, as published work does; near duplicates still on one side.

    Neighbouring fields of one slide land on both sides, so its figures flatter; it is here for comparison.
    """
    rng = np.random.default_rng(seed)
    wanted = ["train"] * len(manifest)
    for label in manifest.labels:
        members = [i for i, item in enumerate(manifest) if item.label == label]
        shuffled = rng.permutation(members)
        tests = round(len(members) * test_share)
        validations = round(len(members) * validation_share)
        for i in shuffled[:tests]:
            wanted[i] = "test"
        for i in shuffled[tests : tests + validations]:
            wanted[i] = "validation"
    return keep_families_together("random split", wanted, family, seed=seed)


def keep_families_together(
    name: str, wanted: Sequence[str], family: NDArray[np.int64], *, seed: int | None
) -> Split:
    """A family that reaches into test stays there alone, then validation; its other members are left out.

    Args:
        wanted: the part of each item, or `left_out` for one that has none whatever its family does.
    """
    rank = {"left_out": 0, "train": 1, "validation": 2, "test": 3}
    strongest: dict[int, str] = {}
    for part, number in zip(wanted, family.tolist(), strict=True):
        if rank[part] > rank[strongest.get(number, "left_out")]:
            strongest[number] = part
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": [], "left_out": []}
    for i, (part, number) in enumerate(zip(wanted, family.tolist(), strict=True)):
        parts[part if part == strongest.get(number) else "left_out"].append(i)
    return Split(
        name,
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        left_out=tuple(parts["left_out"]),
        seed=seed,
    )
