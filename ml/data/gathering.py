"""From labelled data to what a training may use: sources joined, labels mapped, every image read once, copies found.

What cannot be learnt from is refused here, in one sentence, before any hour is spent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.data.copies import copies_of, counted_copy, refuse_contradictions
from ml.data.labels import LabelMap, unknown_labels
from ml.data.manifest import DataProblem, Item, Manifest
from ml.data.parting import OTHER_GROUPS, Kind, part_images
from ml.data.signatures import families_of, readable, signatures
from ml.data.splits import PARTS, Split, standing_parts

__all__ = ["DataProblem", "Gathered", "Kind", "describe", "gather", "split_for"]


@dataclass(frozen=True)
class Gathered:
    """Images that may be learnt from, each once.

    Attributes:
        manifest: the images; an item's label is a class of the task or `malignant`, its columns tell the `source` and
            the `original_label`.
        membership: (n, k) float32, 1 where an image's label stands for that class: one 1 a row, several if coarse.
        family: (n,) int64, the same number for near duplicates of one field or cell.
        notes: what to know about the data, a sentence each, without paths.
        coarse: whether a label stands for several classes.
        sources: names of what was joined.
        copies: exact copies that were left away. dropped: images whose label the map drops.
    """

    manifest: Manifest
    membership: NDArray[np.float32]
    family: NDArray[np.int64]
    notes: tuple[str, ...]
    coarse: bool
    sources: tuple[str, ...] = ()
    copies: int = 0
    dropped: int = 0


def gather(
    sources: Sequence[Manifest],
    *,
    classes: Sequence[str],
    malignant: Sequence[str],
    label_map: Mapping[str, str] | str = {},
    progress: Callable[[int], None] = lambda done: None,
    cache: Path | None = None,
) -> Gathered:
    """Join labelled data, read every image once (in two threads), and keep each image once.

    Of exact copies within a class the first is kept, but in the block that the standing split would test where one
    would be; copies whose labels contradict each other are refused. A coarse label and one of its classes do not
    contradict: the finer one counts. Images of one group stay one group whatever source names it.

    Args:
        label_map: label of the data -> class, `malignant` or `drop` (`ml.data.labels.LabelMap`).
        progress: called with the number of images read, of all that the sources hold.
        cache: file of remembered signatures, by default in the cache folder (`ml.data.signatures`).

    Raises:
        DataProblem: no image, a label without a meaning, an image that cannot be read, copies with labels that
            contradict each other, or one class alone.
    """
    labels = LabelMap.parse(label_map, classes=classes, malignant=malignant)
    names = _unique_names(sources)
    mapped = _mapped(dict(zip(names, sources, strict=True)), labels)
    joined = [item for source in mapped for item in source]
    _refuse_too_few_classes(joined, labels)
    found = readable(joined, signatures(joined, progress=progress, file=cache))
    kept = _each_once(mapped, labels)
    items = [item for _, item in kept]
    family = families_of([found[i] for i, _ in kept])
    membership = labels.membership([item.label for item in items])
    copies = len(joined) - len(items)
    return Gathered(
        Manifest(" + ".join(names), tuple(items)),
        membership,
        family,
        tuple(_notes(items, family, copies)),
        bool((membership.sum(axis=1) > 1).any()),
        tuple(names),
        copies=copies,
        dropped=sum(map(len, sources)) - len(joined),
    )


def _unique_names(sources: Sequence[Manifest]) -> list[str]:
    """The sources' names, numbered where one occurs again."""
    seen: Counter[str] = Counter()
    names = []
    for source in sources:
        seen[source.name] += 1
        names.append(source.name if seen[source.name] == 1 else f"{source.name} ({seen[source.name]})")
    return names


def _mapped(sources: Mapping[str, Manifest], labels: LabelMap) -> list[list[Item]]:
    """Every source's items with what their labels mean, without those the map drops."""
    strange = sorted({label for one in sources.values() for label in one.labels if not labels.knows(label)})
    if strange:
        raise DataProblem(unknown_labels(strange, labels.classes))
    several = len(sources) > 1
    return [
        [
            replace(
                item,
                label=labels.target(item.label),
                # a group that is only the image's own name says nothing about another source's image of that name
                group=f"{name}/{item.group}" if several and item.group == item.name else item.group,
                columns={"source": name, **item.columns, "original_label": item.label},
            )
            for item in source
            if not labels.drops(item.label)
        ]
        for name, source in sources.items()
    ]


def _refuse_too_few_classes(items: Sequence[Item], labels: LabelMap) -> None:
    if not items:
        raise DataProblem("There is no labelled image: give a folder with index.csv, or one folder a class.")
    if len({labels.members(item.label) for item in items}) < 2:
        raise DataProblem(f"Every image is labelled {items[0].label}: a training needs two classes or more.")


def _each_once(mapped: Sequence[Sequence[Item]], labels: LabelMap) -> list[tuple[int, Item]]:
    """The copies that count, each with its position among all items, in order."""
    items = [item for source in mapped for item in source]
    copies = copies_of(items)
    refuse_contradictions(items, copies, labels)
    # Which copy counts must not hang on what else is given: the split of a starting model knows an image by its
    # bytes and its block by the others in it. So each source is asked by itself.
    rank = {name: number for number, name in enumerate(reversed(PARTS))}
    parts = [standing_parts(source) for source in mapped]
    ranks = [rank[of[item.group]] for source, of in zip(mapped, parts, strict=True) for item in source]
    kept = []
    for places in copies:
        i = counted_copy(items, places, labels, dict(enumerate(ranks)))
        others = {items[j].group for j in places} - {items[i].group}
        item = items[i]  # the very one where it can be: it knows its SHA-256 already
        if others:
            item = replace(item, columns={**item.columns, OTHER_GROUPS: ", ".join(sorted(others))})
        kept.append((i, item))
    return sorted(kept, key=lambda pair: pair[0])


def _notes(items: Sequence[Item], family: NDArray[np.int64], copies: int) -> list[str]:
    members: dict[int, list[Item]] = {}
    for item, number in zip(items, family.tolist(), strict=True):
        members.setdefault(number, []).append(item)
    alike = [found for found in members.values() if len(found) > 1]
    torn = sum(len({item.label for item in found}) > 1 for found in alike)
    notes = []
    if copies:
        notes.append(f"exact copies of other images, left away: {copies}")
    if alike:
        notes.append(
            f"near duplicates: {sum(map(len, alike))} images, which show {len(alike)} fields or cells"
        )
    if torn:
        notes.append(f"near duplicates that bear different labels, to be read again: {torn}")
    return notes


def split_for(
    gathered: Gathered,
    *,
    seed: int,
    previous: Mapping[str, Any] | None,
    kind: Kind = "auto",
    classes: Sequence[str],
) -> Split:
    """Train, validation and test parts of gathered images; a locked test image never trains.

    What the starting model tested on stays test, with its group and its near duplicates; what it validated on stays
    validation, what it learnt from stays train. Where there is no such model, a column `split` of the data decides,
    where it says so. Everything else goes by `kind`:

    - standing: every fifth group of each label in name order tests, every fifth validates (`standing_split`).
    - group: whole groups are dealt, about 60, 20 and 20 % of each label's images (`ml.data.dealing`).
    - random: the same with single images, as published work does; its figures flatter. What a starting model knew
      keeps its part by image and not by group.
    - auto: standing where nothing is fixed, images are grouped, no group bears two labels and each label has five
      groups or more; else group.

    Args:
        previous: `data` of the starting model's manifest: train_sha256, validation_sha256, test_sha256, split.
        seed: of the deal; the standing rule has none.
        classes: of the task, in the order of `gathered.membership`.

    Raises:
        DataProblem: a group with images in two parts, or too few images of a class in train or validation
            (`ml.data.parting.MINIMUM_IMAGES`). A class that the test part lacks is a note of the split.
    """
    return part_images(
        gathered.manifest,
        gathered.family,
        gathered.membership,
        previous=previous,
        kind=kind,
        seed=seed,
        classes=classes,
    )


def describe(gathered: Gathered, split: Split) -> dict[str, Any]:
    """Names, counts and leaks of what a training would see, for people and as JSON; no path in it.

    `split` is `Split.summary`. `leaks` are counted anew from the split as it is: groups, near-duplicate families and
    identical images that lie in two parts. All are 0 but for a random split's groups.
    """
    items = gathered.manifest.items
    sizes = np.bincount(gathered.family, minlength=len(items))

    def in_two_parts(key: Callable[[int], Any]) -> int:
        parts_of: dict[Any, set[str]] = {}
        for part in PARTS:
            for i in getattr(split, part):
                parts_of.setdefault(key(i), set()).add(part)
        return sum(len(parts) > 1 for parts in parts_of.values())

    return {
        "name": gathered.manifest.name,
        "sources": list(gathered.sources),
        "images": len(items),
        "groups": len({item.group for item in items}),
        "by_label": gathered.manifest.counts,
        "coarse": gathered.coarse,
        "split": split.summary(gathered.manifest),
        "duplicates": {
            "exact": gathered.copies,
            "near": int(sizes[sizes > 1].sum()),
            "near_families": int((sizes > 1).sum()),
            "left_out": len(split.left_out),
        },
        "dropped": gathered.dropped,
        "leaks": {
            "groups": in_two_parts(lambda i: items[i].group),
            "families": in_two_parts(lambda i: int(gathered.family[i])),
            "images": in_two_parts(lambda i: items[i].sha256),
        },
        "notes": [*gathered.notes, *split.notes],
    }
