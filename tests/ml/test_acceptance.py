"""A laboratory's limits: met, not met, not set, or too few images to say."""

from __future__ import annotations

import math

import pytest

from ml.calibration import wilson_interval
from ml.evaluation.acceptance import MET, NOT_MET, NOT_SET, TOO_FEW, images_needed, judge_limits
from ml.evaluation.evidence import Section, make_section
from ml.evaluation.metrics import Judged

CLASSES = ("benign", "early")


def section(
    *, missed: int, malignant: int, false_alarms: int = 0, benign: int = 40, groups: int = 20
) -> Section:
    labels = ["early"] * malignant + ["benign"] * benign
    wrong = [i < missed for i in range(malignant)] + [i < false_alarms for i in range(benign)]
    sure = [
        [0.1, 0.9] if (label == "early") != bad else [0.9, 0.1]
        for label, bad in zip(labels, wrong, strict=True)
    ]
    judged = Judged.of(
        labels,
        sure,
        classes=CLASSES,
        malignant={"early"},
        groups=[str(i % groups) for i in range(len(labels))],
    )
    return make_section(judged, name="site", model="m", data="site", split="unused", seed=1, resamples=300)


def limits(found: Section, sensitivity: float | None = 0.9, specificity: float | None = None):
    return judge_limits(found, malignant={"early"}, sensitivity=sensitivity, specificity=specificity)


def test_a_limit_is_met_where_the_interval_begins_above_it():
    sensitivity, specificity = limits(section(missed=0, malignant=100))
    assert (sensitivity.state, specificity.state) == (MET, NOT_SET)
    assert sensitivity.n == 100
    assert sensitivity.low == pytest.approx(wilson_interval(100, 100)[0])
    assert "90.0%" in sensitivity.words


def test_a_perfect_handful_proves_nothing_and_says_how_many_would():
    sensitivity, _ = limits(section(missed=0, malignant=10))
    assert sensitivity.state == TOO_FEW
    assert str(images_needed(0.9)) in sensitivity.words
    needed = images_needed(0.9)
    assert wilson_interval(needed, needed)[0] >= 0.9 > wilson_interval(needed - 1, needed - 1)[0]


def test_what_was_measured_below_the_limit_is_not_met_however_wide_the_interval():
    sensitivity, _ = limits(section(missed=2, malignant=10))
    assert sensitivity.state == NOT_MET
    assert "80.0%" in sensitivity.words


def test_the_interval_is_the_more_careful_of_two():
    """With errors crowded into one group Wilson's, which takes images as independent, is too sure; and the reverse."""
    found = section(missed=3, malignant=100, groups=3)
    sensitivity, _ = limits(found, 0.9)
    assert sensitivity.low == pytest.approx(
        min(found["sensitivity_malignant"].low, wilson_interval(97, 100)[0])
    )


def test_one_group_has_no_interval_and_so_proves_nothing():
    sensitivity, _ = limits(section(missed=0, malignant=200, groups=1))
    assert sensitivity.state == TOO_FEW
    assert math.isnan(sensitivity.low)
    assert "one group" in sensitivity.words


def test_a_site_without_malignant_images_says_so():
    sensitivity, specificity = limits(section(missed=0, malignant=0, benign=200), 0.9, 0.9)
    assert sensitivity.state == TOO_FEW
    assert "no malignant image" in sensitivity.words
    assert specificity.state == MET


def test_certainty_can_never_be_proven():
    assert images_needed(1.0) is None
    sensitivity, _ = limits(section(missed=0, malignant=500), 1.0)
    assert sensitivity.state == TOO_FEW
