"""Dealing whole groups to train, validation and test, so that each label is shared out about 60, 20 and 20 %."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""Of each label's images."""


def deal(
    groups: Sequence[str],
    labels: Sequence[str],
    *,
    supplied: Mapping[str, Collection[str]],
    rng: np.random.Generator,
) -> dict[str, str]:
    """Group -> part, for groups that may bear several labels.

    Labels are dealt from the one with the fewest groups on, each label's groups in random order to the part that is
    furthest below its share; at a tie to one that has nothing of the label yet, then to train.

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
        total = sum(counts[group][label] for group in bearers[label])
        have = dict.fromkeys(SHARES, 0)
        for group in bearers[label]:
            if group in part_of:
                have[part_of[group]] += counts[group][label]
        for i in rng.permutation(len(bearers[label])):
            group = bearers[label][i]
            if group not in part_of:
                part_of[group] = _neediest(label, have, total, supplied)
                have[part_of[group]] += counts[group][label]
    return part_of


def _neediest(
    label: str, have: Mapping[str, int], total: int, supplied: Mapping[str, Collection[str]]
) -> str:
    return min(
        SHARES, key=lambda part: (have[part] / (SHARES[part] * total), label in supplied.get(part, ()))
    )
