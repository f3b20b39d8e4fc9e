"""Splits of gathered images: what must never happen, whatever the data look like."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ml.data.dealing import deal
from ml.data.duplicates import families
from ml.data.gathering import Gathered, describe, split_for
from ml.data.labels import LabelMap
from ml.data.manifest import DataProblem, Item, Manifest
from ml.data.parting import MINIMUM_IMAGES, OTHER_GROUPS, UPLOADED
from ml.data.splits import PARTS, standing_split
from ml.tasks import FIELD

CLASSES = FIELD.classes
LABELS = LabelMap.parse("", classes=CLASSES, malignant=FIELD.malignant)


def item(label, group, number, **columns):
    name = f"{label}-{group}-{number}"
    made = Item(Path(name), name, label, group, columns)
    made.__dict__["sha256"] = f"sha {name}"  # there is no file behind it
    return made


def gathered_of(items, pairs=()):
    return Gathered(
        Manifest("made-up", tuple(items)),
        LABELS.membership([one.label for one in items]),
        families(len(items), list(pairs)),
        notes=(),
        coarse=any(one.label == "malignant" for one in items),
        sources=("made-up",),
    )


def blocks(sizes, labels=CLASSES):
    """For each label a group of each size."""
    return [
        item(label, f"{label}-{number:02d}", i)
        for label in labels
        for number, size in enumerate(sizes)
        for i in range(size)
    ]


def split(found, *, seed=1, previous=None, kind="auto", classes=CLASSES):
    return split_for(found, seed=seed, previous=previous, kind=kind, classes=classes)


def parts_of(found, made):
    return {part: [found.manifest.items[i] for i in getattr(made, part)] for part in PARTS}


def owners(made):
    return {i: part for part in PARTS for i in getattr(made, part)}


GROUPED = st.lists(
    st.tuples(st.integers(0, 11), st.sampled_from([*CLASSES, "malignant"]), st.integers(1, 9)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(
    pieces=GROUPED, seed=st.integers(0, 2**31), kind=st.sampled_from(["auto", "group", "standing", "random"]),
    data=st.data(),
)  # fmt: skip
def test_whatever_the_data_a_split_keeps_its_promises(pieces, seed, kind, data):
    items = [
        item(label, f"g{group}", f"{n}-{i}")
        for n, (group, label, size) in enumerate(pieces)
        for i in range(size)
    ]
    places = st.integers(0, len(items) - 1)
    found = gathered_of(items, data.draw(st.lists(st.tuples(places, places), max_size=8)))
    if kind == "standing":  # the rule is one for groups of one label
        labels_of = {one.group: set() for one in items}
        for one in items:
            labels_of[one.group].add(one.label)
        assume(all(len(labels) == 1 for labels in labels_of.values()))
    try:
        made = split(found, seed=seed, kind=kind)
    except DataProblem:
        return
    everything = [*made.train, *made.validation, *made.test, *made.left_out]
    assert sorted(everything) == list(range(len(items)))
    for number in range(len(CLASSES)):
        for part in (made.train, made.validation):
            assert found.membership[list(part), number].sum() >= MINIMUM_IMAGES
    leaks = describe(found, made)["leaks"]
    assert leaks["families"] == leaks["images"] == 0
    if kind != "random":
        assert leaks["groups"] == 0
    assert split(found, seed=seed, kind=kind) == made


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(5, 12), min_size=3, max_size=9),
    seed=st.integers(0, 2**31),
)
def test_three_groups_of_five_images_a_class_are_always_enough(sizes, seed):
    found = gathered_of(blocks(sizes))
    made = split(found, seed=seed, kind="group")
    assert not made.left_out
    assert {one.label for one in parts_of(found, made)["test"]} == set(CLASSES)
    assert made.notes == ()


@settings(max_examples=50, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_what_a_model_was_tested_on_never_trains_its_successor(data, seed):
    old = blocks([7] * 6)
    part_of = {
        group: data.draw(st.sampled_from([*PARTS, None])) for group in sorted({one.group for one in old})
    }
    previous = {f"{part}_sha256": [one.sha256 for one in old if part_of[one.group] == part] for part in PARTS}
    new = [item(label, f"case-{n % 7}", n) for n, label in enumerate(CLASSES * 9)]
    # more images of blocks the model knows, too
    new += [item(one.label, one.group, "new") for one in old[::9]]
    items = [*old, *new]
    places = st.integers(0, len(items) - 1)
    found = gathered_of(items, data.draw(st.lists(st.tuples(places, places), max_size=10)))
    try:
        made = split(found, seed=seed, previous=previous)
    except DataProblem as problem:
        assert "too few images" in str(problem)  # noqa: PT017 - most draws succeed
        return
    owner = owners(made)
    tested = {i for i, one in enumerate(items) if one.sha256 in set(previous["test_sha256"])}
    assert tested <= set(made.test)
    near_tested = {int(found.family[i]) for i in tested}
    assert not any(
        owner.get(i) in ("train", "validation") for i in range(len(items)) if found.family[i] in near_tested
    )
    for part in PARTS:
        for sha in previous[f"{part}_sha256"]:
            i = next(k for k, one in enumerate(items) if one.sha256 == sha)
            assert owner.get(i, part) == part
    assert describe(found, made)["leaks"] == {"groups": 0, "families": 0, "images": 0}
    for i, one in enumerate(items):
        if part_of.get(one.group) and i in owner:
            assert owner[i] == part_of[one.group]


def test_the_automatic_choice_for_blocks_is_the_standing_split():
    found = gathered_of(blocks([5] * 7))
    made = split(found)
    assert made == standing_split(found.manifest, found.family)
    assert made == split(found, seed=2, kind="standing")
    assert made.name == "standing block split"


@pytest.mark.parametrize(
    "items",
    [
        blocks([8] * 4),  # too few groups a class for every fifth to test
        [item(label, f"{label}-{i}", 0) for label in CLASSES for i in range(30)],  # no groups at all
        [*blocks([5] * 7), item("pro", "pre-00", 9)],  # a group with two labels
    ],
)
def test_elsewhere_groups_are_dealt_by_the_seed(items):
    found = gathered_of(items)
    made = split(found, seed=3)
    assert (made.name, made.seed) == ("split by group", 3)
    assert any(split(found, seed=seed).test != made.test for seed in range(4, 9))


def test_a_deal_comes_close_to_its_shares_for_every_label():
    items = blocks([6] * 20)
    counts = Counter()
    for part, found in parts_of(gathered_of(items), split(gathered_of(items), kind="group")).items():
        for one in found:
            counts[one.label, part] += 1
    for label in CLASSES:
        assert [counts[label, part] for part in PARTS] == [72, 24, 24]


def test_groups_of_very_different_sizes_are_dealt_until_the_parts_are_even():
    found = gathered_of(blocks([60, 20, 20]))
    for seed in range(6):
        made = split(found, seed=seed, kind="group")
        assert [len(getattr(made, part)) for part in PARTS] == [240, 80, 80]


def test_groups_of_several_labels_are_dealt_so_that_the_rare_label_is_everywhere():
    groups = [f"p{i}" for i in range(12)]
    pairs = [(group, "common") for group in groups for _ in range(9)] + [(g, "rare") for g in groups[:3]]
    dealt = deal(*zip(*pairs, strict=True), supplied={}, rng=np.random.default_rng(0))
    assert {dealt[group] for group in groups[:3]} == set(PARTS)
    assert set(dealt) == set(groups)


def test_the_first_new_group_goes_where_its_label_is_lacking():
    dealt = deal(["a"], ["pre"], supplied={"train": {"pre"}}, rng=np.random.default_rng(0))
    assert dealt == {"a": "validation"}


def test_new_images_join_a_split_that_goes_on():
    old = blocks([6] * 5)
    first = standing_split(Manifest("old", tuple(old)), np.arange(len(old)))
    previous = {"split": {"name": first.name}, **first.hashes(Manifest("old", tuple(old)))}
    new = [item(label, f"{label}-new-{i}", i) for label in CLASSES for i in range(10)]
    made = split(gathered_of([*old, *new]), previous=previous)
    assert made.name == "standing block split, continued"
    assert "images that keep the part in which the starting model knew them: 120" in made.notes
    fresh = {part: sum(i >= len(old) for i in getattr(made, part)) for part in PARTS}
    assert fresh == {"train": 24, "validation": 8, "test": 8}
    again = {"split": {"name": made.name}, **made.hashes(Manifest("all", (*old, *new)))}
    assert split(gathered_of([*old, *new]), previous=again).name == "standing block split"


def test_an_image_is_also_known_by_the_bytes_that_were_uploaded():
    items = blocks([6] * 5)
    items[0] = item("benign", "case-1", 0, **{UPLOADED: "the original"})
    made = split(gathered_of(items), previous={"test_sha256": ["the original"]}, kind="group")
    assert 0 in made.test


def test_a_copy_whose_other_group_is_elsewhere_is_left_out_rather_than_moved():
    """Its bytes are locked in one part and its group in another: it stays in neither."""
    items = blocks([6] * 5)
    items[0] = item("benign", "benign-00", 0, **{OTHER_GROUPS: "benign-09"})
    previous = {
        "test_sha256": [items[0].sha256],
        "train_sha256": [one.sha256 for one in items[1:] if one.group == "benign-00"],
    }
    made = split(gathered_of(items), previous=previous)
    assert made.left_out == (0,)


def test_a_split_that_the_data_state_is_kept():
    items = [
        item(label, f"{label}-{part}-{i}", i, split=part)
        for label in CLASSES
        for part in ("Train", "val", "test")
        for i in range(6)
    ]
    found = gathered_of(items)
    made = split(found)
    assert made.name == "split that the data state"
    assert {one.columns["split"] for one in parts_of(found, made)["validation"]} == {"val"}
    assert len(made.train) == len(made.validation) == len(made.test) == 24


def test_it_is_said_when_a_stated_split_is_not_followed():
    items = blocks([6] * 5)
    items[0] = item("benign", "benign-00", 0, split="test")
    made = split(gathered_of(items), previous={"train_sha256": [items[1].sha256]})
    assert 0 in made.train
    assert any(
        note.startswith("images whose part the column split states: 1; it is not") for note in made.notes
    )


# --- bad input ----------------------------------------------------------------------------------------------


def refusal(items, **options):
    with pytest.raises(DataProblem) as caught:
        split(gathered_of(items), **options)
    return str(caught.value)


def test_a_group_in_two_parts_is_refused():
    items = blocks([6] * 5)
    items[0] = item("benign", "benign-00", 0, split="test")
    items[1] = item("benign", "benign-00", 1, split="train")
    sentence = refusal(items)
    assert (
        "benign-00 has images in two parts of the split: benign-benign-00-0 is in test and benign-"
        in sentence
    )
    assert sentence.endswith("correct the group, or the column split.")


def test_a_group_of_which_a_model_saw_some_and_was_tested_on_others_is_refused():
    items = blocks([6] * 5)
    previous = {"train_sha256": [items[0].sha256], "test_sha256": [items[1].sha256]}
    sentence = refusal(items, previous=previous)
    assert "The group benign-00 has images in two parts of the split" in sentence
    assert sentence.endswith("start from a model that was not trained on these images.")


def test_a_stated_part_that_is_none_is_refused():
    items = [*blocks([6] * 5), item("pre", "x", 0, split="holdout")]
    assert "pre-x-0 has holdout in the column split: write train, validation or test" in refusal(items)


def test_a_class_without_an_image_is_refused():
    assert "There is no image of pro among the data" in refusal(blocks([6] * 5, labels=CLASSES[:3]))


def test_a_coarse_label_stands_for_its_classes():
    made = split(gathered_of(blocks([6] * 5, labels=("benign", "malignant"))))
    assert made.test


@pytest.mark.parametrize(
    ("few", "words"),
    [
        ([item("pro", "one patient", i) for i in range(40)], "too few images of pro to split: 40 in 1 group,"),
        ([item("pro", f"p{i}", i) for i in range(6)], "too few images of pro to split: 6 in 6 groups, which gives "),
    ],
)  # fmt: skip
def test_too_few_images_of_a_class_are_refused(few, words):
    sentence = refusal([*blocks([6] * 5, labels=CLASSES[:3]), *few])
    assert words in sentence
    assert "each needs 5 or more, from 2 groups or more" in sentence


def test_a_class_that_the_test_part_lacks_is_a_note():
    made = split(gathered_of([*blocks([6] * 5, labels=CLASSES[:3]), *blocks([6] * 2, labels=["pro"])]))
    assert made.notes == ("the test part has no image of pro: its figures leave that open",)


def test_the_description_counts_and_is_honest_about_a_random_split():
    found = gathered_of(blocks([6] * 10), pairs=[(0, 1), (0, 60)])
    told = describe(found, split(found, kind="random"))
    assert told["leaks"]["groups"] > 20
    assert told["leaks"]["families"] == 0
    assert (told["images"], told["groups"]) == (240, 40)
    assert told["duplicates"]["near"] == 3
    assert told["duplicates"]["left_out"] == told["split"]["left_out"]["images"]
