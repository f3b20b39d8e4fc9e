"""What a comparison of models learns from and is judged on: one standing test part, or folds over few subjects.

No group (block, patient, subject) has images on both sides, and settings are chosen on groups of the learning side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.data.manifest import Manifest, ManifestError
from ml.data.signatures import duplicate_families
from ml.data.splits import standing_split

STANDING_GROUPS = 5
"""Groups of every class from which the standing split leaves some for training, validation and test."""

SUBJECT_FOLDS = 3


@dataclass(frozen=True)
class Fold:
    """Positions into a manifest's items.

    Attributes:
        learn: what a model with its settings chosen learns from.
        inner, validation: what settings are tried on; of the learning side, or, with `standing_fold`, beside it.
        test: judged once, never learnt from and never chosen on.
    """

    name: str
    learn: tuple[int, ...]
    inner: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Folds:
    """All folds of a comparison; `name` says in words which images were held out. Test parts are disjoint."""

    name: str
    folds: tuple[Fold, ...]


def folds_for(
    manifest: Manifest,
    *,
    seed: int,
    find_families: Callable[[Manifest], NDArray[np.int64]] = duplicate_families,
) -> Folds:
    """The standing split where every class has five groups or more, else three folds over subjects.

    Args:
        find_families: gives each item a number that near duplicates share.

    Raises:
        ManifestError: there are fewer than two labels, or a class has fewer than three groups.
        DataProblem: an image cannot be read.
    """
    if len(manifest.labels) < 2:
        raise ManifestError(f"{manifest.name} has images of one label alone; comparing models needs two.")
    by_label = _groups_by_label(manifest)
    fewest = min(by_label, key=lambda label: len(by_label[label]))
    if len(by_label[fewest]) >= STANDING_GROUPS:
        return standing_fold(manifest, find_families(manifest))
    if len(by_label[fewest]) < SUBJECT_FOLDS:
        raise ManifestError(
            f"The images labelled {fewest} in {manifest.name} come from {len(by_label[fewest])} groups, and "
            f"holding groups out needs at least {SUBJECT_FOLDS}."
        )
    return subject_folds(manifest, find_families(manifest), seed=seed)


def standing_fold(manifest: Manifest, family: NDArray[np.int64]) -> Folds:
    """The split that every field bundle is judged on: settings are chosen on its validation part.

    Args:
        family: (n,) family number of each item, from `ml.data.duplicates.families`.
    """
    split = standing_split(manifest, family)
    # Exact copies count once, as `evaluate` counts them.
    first = {manifest.items[i].sha256: i for i in reversed(split.test)}
    fold = Fold("test part", split.train, split.train, split.validation, tuple(sorted(first.values())))
    # Without groups neighbours on a slide lie on both sides, and figures flatter: the name must not speak of blocks.
    grouped = len({item.group for item in manifest}) < len(manifest)
    name = split.name if grouped else "every fifth image of each label, no groups known"
    return Folds(f"{name}, test part", (fold,))


def subject_folds(manifest: Manifest, family: NDArray[np.int64], *, seed: int) -> Folds:
    """Three folds, each holding out a share of every class's subjects; settings are chosen on the next fold's subjects.

    The largest subject is dealt first, to the fold with the fewest images of that class, so that folds are about
    equally large; `seed` parts equal ones.

    Args:
        family: (n,) family number of each item, from `ml.data.duplicates.families`.
    """
    rng = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    for groups in _groups_by_label(manifest).values():
        held = np.zeros(SUBJECT_FOLDS, dtype=np.int64)
        for group in sorted(rng.permutation(sorted(groups)).tolist(), key=lambda name: -groups[name]):
            number = int(np.argmin(held))
            fold_of[group] = number
            held[number] += groups[group]
    place = np.asarray([fold_of[item.group] for item in manifest])
    hashes = np.asarray([item.sha256 for item in manifest])

    def copied(part: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What is in the part, or a copy of it: flat pictures are near duplicates of nothing, but may be the same."""
        return np.isin(hashes, hashes[part]) | np.isin(family, family[part])

    folds = []
    for number in range(SUBJECT_FOLDS):
        test = place == number
        # A picture under two subjects would be learnt and judged; it is judged alone.
        learn = ~test & ~copied(test)
        following = learn & (place == (number + 1) % SUBJECT_FOLDS)
        folds.append(
            Fold(
                f"fold {number + 1} of {SUBJECT_FOLDS}",
                learn=_positions(learn),
                inner=_positions(learn & ~copied(following)),
                validation=_positions(following),
                test=_positions(test),
            )
        )
    return Folds(f"{SUBJECT_FOLDS} folds over subjects, each judged when held out", tuple(folds))


def _groups_by_label(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Label -> group -> images; a group counts with the label that most of its images bear."""
    counts: dict[str, dict[str, int]] = {}
    for item in manifest:
        of_group = counts.setdefault(item.group, {})
        of_group[item.label] = of_group.get(item.label, 0) + 1
    found: dict[str, dict[str, int]] = {label: {} for label in manifest.labels}
    for group, labels in counts.items():
        found[max(sorted(labels), key=lambda label: labels[label])][group] = sum(labels.values())
    return found


def _positions(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    found: Sequence[int] = np.flatnonzero(mask).tolist()
    return tuple(found)
