"""What is held out when models are compared: no group on both sides, every image judged once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.data.duplicates import families
from ml.data.folds import folds_for
from ml.data.manifest import Item, Manifest, ManifestError
from ml.data.splits import standing_split


def manifest_of(groups: dict[str, dict[str, int]]) -> Manifest:
    """Label -> group -> number of images; no file is needed."""
    items = []
    for label, sizes in groups.items():
        for group, count in sizes.items():
            for number in range(count):
                item = Item(Path("none"), f"{label}-{group}-{number}", label, group)
                item.__dict__["sha256"] = item.name
                items.append(item)
    return Manifest("made", tuple(items))


def alone(manifest: Manifest) -> np.ndarray:
    return np.arange(len(manifest))


CELLS = {
    "all": {"1": 53, "2": 84, "3": 97, "4": 201, "5": 212, "6": 352, "7": 757},
    "hem": {"H1": 405, "H2": 385, "H3": 373},
}


def test_few_subjects_make_three_folds_that_judge_every_image_once():
    manifest = manifest_of(CELLS)
    found = folds_for(manifest, seed=1, find_families=alone)
    assert len(found.folds) == 3
    assert sorted(i for fold in found.folds for i in fold.test) == list(range(len(manifest)))


def test_no_subject_is_on_both_sides_of_any_fold():
    manifest = manifest_of(CELLS)

    def groups(positions):
        return {manifest.items[i].group for i in positions}

    for fold in folds_for(manifest, seed=1, find_families=alone).folds:
        assert not groups(fold.test) & groups(fold.learn)
        assert not groups(fold.inner) & groups(fold.validation)
        assert sorted(fold.inner + fold.validation) == list(fold.learn)
        assert len({group for group in groups(fold.test) if group.startswith("H")}) == 1
        for part in (fold.test, fold.inner, fold.validation):
            assert {manifest.items[i].label for i in part} == {"all", "hem"}


def test_folds_are_about_as_large_as_their_largest_subject_allows():
    manifest = manifest_of(CELLS)
    sizes = [
        sum(manifest.items[i].label == "all" for i in fold.test)
        for fold in folds_for(manifest, seed=1, find_families=alone).folds
    ]
    assert sorted(sizes) == [497, 502, 757], "the largest subject has 757"


def test_the_seed_settles_the_folds():
    manifest = manifest_of(CELLS)
    one, same = (folds_for(manifest, seed=4, find_families=alone) for _ in range(2))
    assert one == same


def test_the_same_bytes_under_two_subjects_are_judged_and_not_learnt():
    manifest = manifest_of(CELLS)
    manifest.items[0].__dict__["sha256"] = manifest.items[-1].sha256
    first, last = 0, len(manifest) - 1
    for fold in folds_for(manifest, seed=1, find_families=alone).folds:
        if first in fold.test:
            assert last not in fold.learn
        if last in fold.test:
            assert first not in fold.learn


def test_near_copies_under_two_subjects_are_on_one_side_of_a_fold_and_of_its_validation():
    manifest = manifest_of(CELLS)
    place = {manifest.items[i].group: i for i in range(len(manifest))}
    pairs = [("1", "2"), ("1", "7"), ("3", "H2"), ("H1", "H3")]

    def near(manifest: Manifest) -> np.ndarray:
        return families(len(manifest), [(place[one], place[other]) for one, other in pairs])

    family = near(manifest)
    folds = folds_for(manifest, seed=1, find_families=near).folds
    assert sorted(i for fold in folds for i in fold.test) == list(range(len(manifest)))
    for fold in folds:
        for one, other in ((fold.test, fold.learn), (fold.inner, fold.validation)):
            assert not set(family[list(one)]) & set(family[list(other)])


def test_without_groups_the_split_is_not_called_one_of_blocks():
    images = manifest_of({label: {f"{label}{i}": 1 for i in range(9)} for label in ("benign", "pre")})
    assert folds_for(images, seed=1, find_families=alone).name == (
        "every fifth image of each label, no groups known, test part"
    )


def test_many_groups_take_the_standing_split():
    manifest = manifest_of({label: {f"{label}{i}": 3 for i in range(6)} for label in ("benign", "pre")})
    found = folds_for(manifest, seed=1, find_families=alone)
    split = standing_split(manifest, alone(manifest))
    (fold,) = found.folds
    assert (fold.learn, fold.validation, fold.test) == (split.train, split.validation, split.test)
    assert "standing" in found.name


def test_exact_copies_in_the_test_part_count_once():
    manifest = manifest_of({label: {f"{label}{i}": 3 for i in range(6)} for label in ("benign", "pre")})
    (fold,) = folds_for(manifest, seed=1, find_families=alone).folds
    manifest.items[fold.test[1]].__dict__["sha256"] = manifest.items[fold.test[0]].sha256
    (again,) = folds_for(manifest, seed=1, find_families=alone).folds
    assert again.test == (fold.test[0], *fold.test[2:])


def test_too_few_labels_or_groups_are_refused_with_a_sentence():
    with pytest.raises(ManifestError, match="one label"):
        folds_for(manifest_of({"all": {"1": 4, "2": 4, "3": 4}}), seed=1, find_families=alone)
    few = manifest_of({"all": {"1": 4, "2": 4, "3": 4}, "hem": {"H1": 4, "H2": 4}})
    with pytest.raises(ManifestError, match=r"labelled hem .* 2 groups"):
        folds_for(few, seed=1, find_families=alone)
