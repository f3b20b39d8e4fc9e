"""Our words for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnosis import wording
from diagnosis.models import Analysis, Review


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (None, "n/a"),
        (0.0, "0.0 %"),
        (0.0001, "< 0.1 %"),
        (0.001, "0.1 %"),
        (0.5, "50.0 %"),
        (0.9994, "99.9 %"),
        (0.9996, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_percent(probability, words):
    assert wording.percent(probability) == words


@given(st.floats(0, 1), st.integers(0, 3))
def test_percent_never_says_certain_or_impossible_of_what_is_not(probability, digits):
    words = wording.percent(probability, digits)
    number = float(words.strip("<> %"))
    assert abs(number - 100 * probability) <= 10.0**-digits
    if 1e-9 < probability < 1 - 1e-9:
        assert number not in (0.0, 100.0)


@pytest.mark.parametrize(("value", "words"), [(None, ""), (84.4, "84 ms"), (1300, "1.3 s")])
def test_milliseconds(value, words):
    assert wording.milliseconds(value) == words


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"state": "queued"}, "waiting to be analysed"),
        ({"state": "running"}, "being analysed"),
        ({"state": "failed", "failure": "The file is gone."}, "analysis failed: The file is gone."),
        ({"state": "done", "outcome": "class", "label": "pre", "confidence": 0.97}, "pre-B, 97.0 %"),
        ({"state": "done", "outcome": "class", "label": "new_one", "confidence": 0.5}, "new one, 50.0 %"),
        (
            {"state": "done", "outcome": "indeterminate", "reasons": ["out of focus", "too dark"]},
            "indeterminate: out of focus; too dark",
        ),
        ({"state": "done", "outcome": "indeterminate"}, "indeterminate"),
    ],
)
def test_where_an_image_stands_in_one_line(values, sentence):
    assert wording.outcome_sentence(Analysis(**values)) == sentence


def test_what_was_never_analysed_or_reviewed():
    assert wording.outcome_sentence(None) == "not analysed"
    assert wording.review_sentence(None) == "not reviewed"


@pytest.mark.parametrize(
    ("verdict", "label", "sentence"),
    [
        ("agree", "pre", "agrees: pre-B"),
        ("agree", "", "agrees: indeterminate"),
        ("overrule", "benign", "overruled: benign (hematogones)"),
        ("overrule", "not_judgeable", "overruled: cannot be judged"),
        ("unsure", "", "cannot tell"),
        ("withdraw", "", "took the reading back"),
    ],
)
def test_a_reading_in_one_line(verdict, label, sentence):
    assert wording.review_sentence(Review(verdict=verdict, label=label)) == sentence


def test_probabilities_come_in_the_order_of_the_classes():
    stored = {"pro": 0.1, "other": 0.2, "benign": 0.7}
    assert wording.ordered_probabilities(stored, ["benign", "early", "pro"]) == [
        ("benign", 0.7),
        ("pro", 0.1),
        ("other", 0.2),
    ]
