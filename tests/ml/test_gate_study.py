"""The study of the gate: labels are spoilt as said and no further, decisions moved as far as said, the table whole."""

from __future__ import annotations

import numpy as np
import pytest

from ml.evaluation.gate_table import markdown
from ml.evaluation.spoiling import flipped, moved, shuffled
from ml.evaluation.study_images import Maps
from ml.heads import HeadWeights

MALIGNANT = np.array([False, True, True, True])
COUNTS = (50, 90, 80, 30)


@pytest.fixture
def labels():
    return np.eye(4, dtype=np.float32)[np.repeat(np.arange(4), COUNTS)]


def classes(membership):
    return membership.argmax(axis=1)


def test_a_tenth_of_each_kind_becomes_the_other_and_the_rest_stays(labels):
    wrong = flipped(labels, MALIGNANT, 0.1, np.random.default_rng(1))
    before, after = classes(labels), classes(wrong)
    assert (wrong.sum(axis=1) == 1).all()
    assert ((before == 0) & (after != 0)).sum() == 5
    assert ((before != 0) & (after == 0)).sum() == 20
    assert (before == after).sum() == len(labels) - 25
    assert (classes(labels) == np.repeat(np.arange(4), COUNTS)).all()  # and those given are as they were


def test_what_becomes_malignant_gets_the_subtypes_in_their_shares(labels):
    many = np.repeat(labels, 40, axis=0)
    wrong = flipped(many, MALIGNANT, 0.5, np.random.default_rng(2))
    given = classes(wrong)[(classes(many) == 0) & (classes(wrong) != 0)]
    assert np.bincount(given, minlength=4)[1:] / len(given) == pytest.approx(
        np.array(COUNTS[1:]) / 200, abs=0.05
    )


def test_shuffled_labels_are_the_same_ones_elsewhere(labels):
    wrong = shuffled(labels, np.random.default_rng(3))
    assert (wrong.sum(axis=0) == labels.sum(axis=0)).all()
    assert (classes(wrong) == classes(labels)).mean() < 0.5


@pytest.mark.parametrize(("towards", "share"), [(~MALIGNANT, 0.03), (np.arange(4) == 1, 0.5)])
def test_a_decision_is_moved_until_the_share_said_is_given_those_classes(labels, towards, share):
    rng = np.random.default_rng(4)
    pooled = (labels * 4 + rng.normal(0, 1, labels.shape)).astype(np.float32)
    head = HeadWeights(np.eye(4, dtype=np.float32), np.zeros(4, np.float32))
    other = moved(head, pooled, labels, towards, share)
    of_others = ~towards[classes(labels)]
    called = towards[other.logits(pooled).argmax(axis=1)]
    assert called[of_others].mean() == pytest.approx(share, abs=1 / of_others.sum())
    assert (other.bias[~towards] == 0).all()
    assert (other.kernel == head.kernel).all()


def test_maps_are_those_of_the_class_that_a_head_gives():
    """A random network that happens to be the bundle's own has the same maps; another one has not."""
    rng = np.random.default_rng(5)
    own = rng.random((6, 7, 7, 16)).astype(np.float32)
    head = HeadWeights(rng.normal(size=(16, 4)).astype(np.float32), np.zeros(4, np.float32))
    groups = ("a", "a", "b", "b", "c", "c")
    same = Maps(own, own[None], head.kernel[None], groups).figure(head, seed=1, resamples=50)
    other = Maps(own, rng.random((3, *own.shape)).astype(np.float32), rng.normal(size=(3, 16, 4)), groups)
    assert same.value == pytest.approx(1.0)
    assert abs(other.figure(head, seed=1, resamples=50).value) < 0.5
    assert (same.n, same.groups) == (6, 3)


def test_the_table_tells_what_was_not_passed_and_why():
    def check(name, passed, value=None, low=None, high=None):
        return {"name": name, "passed": passed, "words": "", "value": value, "low": low, "high": high}

    case = {
        "name": "a model",
        "words": "It was made so.",
        "against": "field-1",
        "reasons": ["The sensitivity fell."],
        "verdict": {
            "passed": False,
            "n": 532,
            "groups": 16,
            "checks": [
                check("balanced_accuracy", True, 0.012, -0.004, 0.02),
                check("sensitivity_malignant", False, -0.05, -0.09, -0.01),
                check("ece", True, 0.004, 0.002, 0.006),
                check("saliency", None),
            ],
        },
    }
    table = markdown(
        {
            "data": "some data",
            "bundle": {"name": "field-1"},
            "images": {"train": 3, "validation": 2, "locked": 1},
            "maps": {"images": 4, "networks": 2},
            "resamples": 10,
            "cases": [case],
        }
    )
    assert (
        "| a model | field-1 | 532 (16) | +1.2 (-0.4 to +2.0) | **-5.0 (-9.0 to -1.0)** | 0.004 (0.002 to 0.006) | "
        "not measured | **refused** |"
    ) in table
    assert "- *a model*: It was made so. **Refused:** The sensitivity fell." in table
