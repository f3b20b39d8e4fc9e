"""How gathered images are parted: what a starting model's split fixes, the rule for the rest, and what is too few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.data.dealing import deal
from ml.data.manifest import DataProblem, Item, Manifest
from ml.data.splits import PARTS, STANDING, TEST_EVERY, Split, keep_families_together, standing_parts

Kind = Literal["auto", "standing", "group", "random"]

MINIMUM_IMAGES = 5
"""Of each class, in train and again in validation."""

MINIMUM_GROUPS = 2
"""Of each class, in train and validation together."""

DEALS = 20
"""How often groups are dealt anew where a deal leaves a class short."""

SPLIT_COLUMN = "split"
UPLOADED = "uploaded_sha256"
"""Column with the hash of the bytes as uploaded, where what is stored has lost its metadata."""

OTHER_GROUPS = "other_groups"
"""Column of an image whose exact copies bear the names of other groups too."""

CONTINUED = ", continued"
_STATED = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "validation": "validation", "valid": "validation", "val": "validation",
}  # fmt: skip

Fixed = Sequence[str | None]
"""The part of each image that is decided already."""


def fixed_parts(manifest: Manifest, previous: Mapping[str, Any] | None) -> list[str | None]:
    """The part of each image by the starting model's hashes, or, without such a model, by the column `split`.

    Raises:
        DataProblem: the column holds something other than train, validation or test.
    """
    if previous is None:
        return [_stated(item) for item in manifest]
    part_of = {sha: part for part in PARTS for sha in previous.get(f"{part}_sha256", ())}
    strength = {name: number for number, name in enumerate((None, *PARTS))}
    return [
        max(
            (part_of.get(sha) for sha in (item.sha256, item.columns.get(UPLOADED, ""))),
            key=lambda part: strength[part],
        )
        for item in manifest
    ]


def _stated(item: Item) -> str | None:
    said = item.columns.get(SPLIT_COLUMN, "").strip().casefold()
    if said and said not in _STATED:
        raise DataProblem(
            f"{item.name} has {said} in the column {SPLIT_COLUMN}: write train, validation or test, or leave it empty."
        )
    return _STATED.get(said)


def choose_kind(items: Sequence[Item], fixed: Fixed) -> Kind:
    """What `auto` means for these images."""
    labels_of: dict[str, set[str]] = {}
    for item in items:
        labels_of.setdefault(item.group, set()).add(item.label)
    groups_of: dict[str, int] = {}
    for labels in labels_of.values():
        for label in labels:
            groups_of[label] = groups_of.get(label, 0) + 1
    is_standing = (
        not any(fixed)
        and len(labels_of) < len(items)
        and all(len(labels) == 1 for labels in labels_of.values())
        and min(groups_of.values()) >= TEST_EVERY
    )
    return "standing" if is_standing else "group"


def part_images(
    manifest: Manifest,
    family: NDArray[np.int64],
    membership: NDArray[np.float32],
    *,
    previous: Mapping[str, Any] | None,
    kind: Kind,
    seed: int,
    classes: Sequence[str],
) -> Split:
    """See `ml.data.gathering.split_for`."""
    items = manifest.items
    fixed = fixed_parts(manifest, previous)
    if kind == "auto":
        kind = choose_kind(items, fixed)
    name = _name(kind, fixed, previous)
    units = [str(i) for i in range(len(items))] if kind == "random" else [item.group for item in items]
    family_fixed = _of_families(fixed, family)
    unit_fixed = _of_units(items, units, fixed, family_fixed, from_data=previous is None)
    problems: list[str] = []
    for part_of in _ways(items, units, unit_fixed, kind, seed):
        wanted = [unit_fixed.get(unit) or part_of[unit] for unit in units]
        # Near duplicates of what a starting model has seen, or will be tested on, belong where that is or nowhere.
        wanted = [
            "left_out" if own and own != part else part
            for own, part in zip(family_fixed, wanted, strict=True)
        ]
        split = keep_families_together(name, wanted, family, seed=None if kind == "standing" else seed)
        short = shortage(split, items, membership, classes)
        if short is None:
            return replace(split, notes=tuple(_notes(split, items, fixed, previous, membership, classes)))
        problems.append(short)
    raise DataProblem(problems[0])


def shortage(
    split: Split, items: Sequence[Item], membership: NDArray[np.float32], classes: Sequence[str]
) -> str | None:
    """The sentence for a class that train or validation has too few images of, coarse labels counted; or None."""
    for number, name in enumerate(classes):
        bearing = {part: [i for i in getattr(split, part) if membership[i, number]] for part in PARTS}
        groups = {items[i].group for part in ("train", "validation") for i in bearing[part]}
        if not membership[:, number].any():
            return (
                f"There is no image of {name} among the data, and a training needs every class of the task: "
                f"add images of it, or say with --label-map which label stands for it."
            )
        if (
            min(len(bearing["train"]), len(bearing["validation"])) < MINIMUM_IMAGES
            or len(groups) < MINIMUM_GROUPS
        ):
            total = int(membership[:, number].sum())
            all_groups = len({item.group for item, row in zip(items, membership, strict=True) if row[number]})
            return (
                f"There are too few images of {name} to split: {total} in {all_groups} "
                f"group{'s' if all_groups != 1 else ''}, which gives {len(bearing['train'])} to train and "
                f"{len(bearing['validation'])} to validate; each needs {MINIMUM_IMAGES} or more, from "
                f"{MINIMUM_GROUPS} groups or more. Add images of {name}, of other patients if possible."
            )
    return None


def _of_families(fixed: Fixed, family: NDArray[np.int64]) -> list[str | None]:
    """For each image the strongest part that is fixed for any of its near duplicates or itself."""
    strongest: dict[int, str] = {}
    for part, number in zip(fixed, family.tolist(), strict=True):
        if part and PARTS.index(part) >= PARTS.index(strongest.get(number, PARTS[0])):
            strongest[number] = part
    return [strongest.get(number) for number in family.tolist()]


def _of_units(
    items: Sequence[Item], units: Sequence[str], fixed: Fixed, family_fixed: Fixed, *, from_data: bool
) -> dict[str, str]:
    """Unit -> part for the units that own a fixed image, else one with a fixed near duplicate.

    Raises:
        DataProblem: a unit whose images are fixed in two parts.
    """
    own: dict[str, dict[str, str]] = {}
    near: dict[str, set[str]] = {}
    for item, unit, part, of_family in zip(items, units, fixed, family_fixed, strict=True):
        if part and OTHER_GROUPS not in item.columns:
            own.setdefault(unit, {}).setdefault(part, item.name)
        if of_family:
            near.setdefault(unit, set()).add(of_family)
    for unit, parts in own.items():
        if len(parts) > 1:
            raise DataProblem(_two_parts(unit, parts, from_data))
    return {unit: max(parts, key=PARTS.index) for unit, parts in near.items()} | {
        unit: next(iter(parts)) for unit, parts in own.items()
    }


def _two_parts(group: str, parts: Mapping[str, str], from_data: bool) -> str:
    (one, first), (other, second) = list(parts.items())[:2]
    return (
        f"The group {group} has images in two parts of the split: {first} is in {one} and {second} in {other}. "
        "Images of one group (patient, block, case) must stay together, or the test would be no test: correct the "
        + (
            f"group, or the column {SPLIT_COLUMN}."
            if from_data
            else "group, or start from a model that was not trained on these images."
        )
    )


def _ways(
    items: Sequence[Item], units: Sequence[str], unit_fixed: Mapping[str, str], kind: Kind, seed: int
) -> Iterator[dict[str, str]]:
    """Ways to part the units that are free: unit -> part. One where a rule decides."""
    if kind == "standing":
        yield standing_parts(items)
        return
    supplied: dict[str, set[str]] = {}
    for item, unit in zip(items, units, strict=True):
        if unit in unit_fixed:
            supplied.setdefault(unit_fixed[unit], set()).add(item.label)
    free = [i for i, unit in enumerate(units) if unit not in unit_fixed]
    groups, labels = [units[i] for i in free], [items[i].label for i in free]
    for attempt in range(DEALS):
        yield deal(groups, labels, supplied=supplied, rng=np.random.default_rng((seed, attempt)))


def _name(kind: Kind, fixed: Fixed, previous: Mapping[str, Any] | None) -> str:
    """What figures say of the split."""
    if not any(fixed):
        return {"standing": STANDING, "random": "random split"}.get(kind, "split by group")
    if previous is None:
        return "split that the data state" if all(fixed) else f"split that the data state{CONTINUED}"
    stored = previous.get("split")
    name = str(stored.get("name", "")) if isinstance(stored, Mapping) else str(stored or "")
    name = (name or "split of the starting model").removesuffix(CONTINUED)
    return name if all(fixed) else f"{name}{CONTINUED}"


def _notes(
    split: Split,
    items: Sequence[Item],
    fixed: Fixed,
    previous: Mapping[str, Any] | None,
    membership: NDArray[np.float32],
    classes: Sequence[str],
) -> list[str]:
    notes = []
    known = sum(part is not None for part in fixed)
    if known and previous is not None:
        notes.append(f"images that keep the part in which the starting model knew them: {known}")
    stated = sum(bool(item.columns.get(SPLIT_COLUMN, "").strip()) for item in items)
    if stated and previous is not None:
        notes.append(
            f"images whose part the column {SPLIT_COLUMN} states: {stated}; it is not followed, since the split of the "
            "starting model goes on"
        )
    if split.left_out:
        notes.append(f"left out, as near duplicates of an image in another part: {len(split.left_out)}")
    lacking = [name for number, name in enumerate(classes) if not membership[list(split.test), number].any()]
    if lacking:
        notes.append(f"the test part has no image of {', '.join(lacking)}: its figures leave that open")
    return notes
