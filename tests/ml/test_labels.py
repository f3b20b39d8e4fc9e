"""Label maps: what other people's labels mean to a task."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.data.labels import LabelMap
from ml.data.manifest import DataProblem
from ml.tasks import FIELD, TASKS, UnknownTask, task_named

NAMES = st.text(st.characters(categories=("L", "N"), include_characters="_- "), min_size=1, max_size=8).map(
    str.strip
)
TARGETS = st.sampled_from([*FIELD.classes, "malignant", "drop", "early or pre"])


def parse(text):
    return LabelMap.parse(text, classes=FIELD.classes, malignant=FIELD.malignant)


def test_without_a_map_a_class_means_itself_and_malignant_every_malignant_class():
    labels = parse("")
    assert [labels.members(name) for name in FIELD.classes] == [(0,), (1,), (2,), (3,)]
    assert labels.members("malignant") == (1, 2, 3)


def test_labels_of_another_data_set_are_mapped():
    labels = parse(" all=malignant, HEM=Benign ,debris=drop")
    assert labels.members("ALL") == (1, 2, 3)
    assert labels.members("hem") == (0,)
    assert labels.target("All") == "malignant"
    assert labels.drops("Debris")
    assert labels.members("debris") == ()
    assert not labels.drops("hem")


def test_a_label_may_stand_for_several_classes():
    labels = parse("x=Pre or EARLY,y=pro or pre or early")
    assert (labels.target("x"), labels.members("x")) == ("early or pre", (1, 2))
    assert labels.target("y") == "malignant"
    assert labels.members("pro or early") == (1, 3)
    assert not labels.knows("benign or early"), "nobody could say whether it is leukemia"
    assert not labels.knows("early or blast")


def test_a_map_overrides_what_a_label_would_mean():
    labels = parse({"early": "drop", "pre": "pro"})
    assert labels.drops("early")
    assert labels.members("pre") == (3,)
    assert labels.members("pro") == (3,)


def test_membership_has_a_one_for_every_class_a_label_stands_for():
    table = parse("all=malignant,hem=benign,x=drop").membership(["all", "hem", "pre", "x"])
    assert table.dtype == "float32"
    assert table.tolist() == [[0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("all", r"needs LABEL=CLASS pairs with commas between them, not all\."),
        ("=benign", r"not =benign\."),
        ("all=", r"not all=\."),
        ("all=blast", r"sends all to blast, which is no class: choose benign, early, pre, pro, malignant"),
        ("all=benign or pre", r"sends all to benign or pre, which is no class: .* all malignant or none\."),
        ("all=pre,ALL=pro", r"sends ALL to pre and to pro: keep one of them\."),
    ],
)
def test_a_map_that_makes_no_sense_is_refused_with_a_sentence(text, sentence):
    with pytest.raises(DataProblem, match=sentence):
        parse(text)


def test_a_label_without_a_meaning_is_refused_with_the_way_out():
    with pytest.raises(DataProblem, match=r"label hem, but the task knows benign, .* --label-map hem=CLASS"):
        parse("all=malignant").members("hem")
    assert not parse("all=malignant").knows("hem")


@given(st.dictionaries(NAMES.filter(bool), TARGETS, max_size=6))
def test_text_and_mapping_mean_the_same(mapping):
    unlike = {label.casefold(): target for label, target in mapping.items()}
    labels = parse(unlike)
    assert labels == parse(",".join(f"{label}={target}" for label, target in unlike.items()))
    for label, target in unlike.items():
        assert labels.target(label.upper() if label.upper().casefold() == label else label) == target
        row = labels.membership([label])[0]
        assert tuple(row.nonzero()[0]) == labels.members(label)
        assert row.sum() == {"drop": 0, "malignant": 3, "early or pre": 2}.get(target, 1)


def test_the_tasks_are_known_by_name():
    assert task_named("field") is TASKS["field"] is FIELD
    assert set(FIELD.malignant) < set(FIELD.classes)
    with pytest.raises(UnknownTask, match="There is no task called heart: choose cell or field"):
        task_named("heart")
