"""Dealing whole groups to train, validation and test, so that each label is shared out about 60, 20 and 20 %."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""Of each label's images."""

ORDERS = 20
EVEN_ENOUGH = 0.05
"""A label's groups are dealt in so many orders at most, until every part is so near its share."""


def deal(
    groups: Sequence[str],
    labels: Sequence[str],
    *,
    supplied: Mapping[str, Collection[str]],
    rng: np.random.Generator,
) -> dict[str, str]:
    """Group -> part, for groups that may bear several labels.

    Labels are dealt from the one with the fewest groups on, each label's groups in random order to the part that is
    furthest below its share; at a tie to one that has nothing of the label yet, then to train. Where groups differ
    in size, the most even of some orders counts.

    Args:
        groups, labels: of each image, (n,).
        supplied: part -> labels of which it has images already.
    """
    counts: dict[str, Counter[str]] = {}
    for group, label in zip(groups, labels, strict=True):
        counts.setdefault(group, Counter())[label] += 1
    bearers: dict[str, list[str]] = {}
    for group in sorted(counts):
        for label in counts[group]:
            bearers.setdefault(label, []).append(group)
    part_of: dict[str, str] = {}
    for label in sorted(bearers, key=lambda name: (len(bearers[name]), name)):
        sizes = {group: counts[group][label] for group in bearers[label]}
        lacking = [part for part in SHARES if label not in supplied.get(part, ())]
        ways = []
        for _ in range(ORDERS):
            dealt = _dealt_in_order(rng.permutation(bearers[label]).tolist(), sizes, part_of, lacking)
            ways.append((_unevenness(sizes, part_of | dealt), dealt))
            if ways[-1][0] <= EVEN_ENOUGH:
                break
        part_of |= min(ways, key=lambda way: way[0])[1]
    return part_of


def _dealt_in_order(
    order: Sequence[str], sizes: Mapping[str, int], placed: Mapping[str, str], lacking: Collection[str]
) -> dict[str, str]:
    """Group -> part, of one label's groups in `order` that are not `placed` yet."""
    total = sum(sizes.values())
    have = dict.fromkeys(SHARES, 0)
    for group in order:
        if group in placed:
            have[placed[group]] += sizes[group]
    dealt: dict[str, str] = {}
    for group in order:
        if group not in placed:
            dealt[group] = min(
                SHARES, key=lambda part: (have[part] / (SHARES[part] * total), part not in lacking)
            )
            have[dealt[group]] += sizes[group]
    return dealt


def _unevenness(sizes: Mapping[str, int], part_of: Mapping[str, str]) -> float:
    """How far a part's share of one label's images is from that wanted, at most."""
    have = Counter[str]()
    for group, size in sizes.items():
        have[part_of[group]] += size
    return max(abs(have[part] / sum(sizes.values()) - share) for part, share in SHARES.items())
