"""Exact copies of an image: which of them counts, and when their labels exclude each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ml.data.labels import LabelMap
from ml.data.manifest import DataProblem, Item

NAMED_AT_MOST = 3
"""Images that a sentence names before it only counts."""

Copies = Sequence[Sequence[int]]
"""For every distinct image, the positions of all its copies."""


def copies_of(items: Sequence[Item]) -> list[list[int]]:
    """Positions of the items with the same bytes, in order of first appearance; an image without a copy too."""
    places: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        places.setdefault(item.sha256, []).append(i)
    return list(places.values())


def refuse_contradictions(items: Sequence[Item], copies: Copies, labels: LabelMap) -> None:
    """Raises DataProblem where copies of one image bear labels that exclude each other. A coarse label and one of
    its classes do not."""
    pairs = [pair for places in copies if len(places) > 1 and (pair := _contradiction(items, places, labels))]
    if pairs:
        more = f"; and {len(pairs) - NAMED_AT_MOST} more" if len(pairs) > NAMED_AT_MOST else ""
        raise DataProblem(
            f"The same image bears labels that exclude each other: {'; '.join(pairs[:NAMED_AT_MOST])}{more}. "
            "Correct the labels, or take those images out of the data."
        )


def counted_copy(
    items: Sequence[Item], places: Sequence[int], labels: LabelMap, preference: Mapping[int, int]
) -> int:
    """The position of the copy that counts: of the finest label, then of the lowest `preference`, then the first."""
    return min(places, key=lambda i: (len(labels.members(items[i].label)), preference[i], i))


def _contradiction(items: Sequence[Item], places: Sequence[int], labels: LabelMap) -> str | None:
    finest = min(places, key=lambda i: len(labels.members(items[i].label)))
    meant = set(labels.members(items[finest].label))
    for i in places:
        if not meant <= set(labels.members(items[i].label)):
            one, other = sorted((finest, i))
            return f"{items[one].name} is {items[one].label} and {items[other].name} is {items[other].label}"
    return None
