"""Coarse labels: leukemia of unknown subtype is judged on the summed probability, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration import apply_temperature
from ml.evaluation.coarse import Grouping
from ml.evaluation.predictions import Row, before_scaling, to_judged

CLASSES = ("benign", "early", "pre")
MALIGNANT = ("early", "pre")


def row(label: str, *chances: float) -> Row:
    return Row(
        name="x", sha256="0", label=label, group=label, site="", predicted=CLASSES[int(np.argmax(chances))],
        kept=True, inside_domain=True, domain_score=0.5, reasons=(), probabilities=chances,
    )  # fmt: skip


def judged(*rows: Row):
    return to_judged(rows, classes=CLASSES, malignant=MALIGNANT)


def test_a_coarse_label_puts_the_subtypes_together():
    found = judged(row("malignant", 0.4, 0.3, 0.3), row("benign", 0.6, 0.2, 0.2), row("pre", 0.1, 0.7, 0.2))
    assert found.classes == ("benign", "malignant")
    assert found.malignant == {"malignant"}
    assert found.probabilities == pytest.approx(np.asarray([[0.4, 0.6], [0.6, 0.4], [0.1, 0.9]]))
    assert found.labels.tolist() == [1, 0, 1]


def test_the_class_given_is_that_of_the_sum_and_not_of_the_largest_part():
    found = judged(row("malignant", 0.4, 0.3, 0.3), row("benign", 0.9, 0.05, 0.05))
    assert found.predicted.tolist() == [1, 0]


def test_exact_labels_are_left_as_they_are():
    found = judged(row("early", 0.2, 0.5, 0.3), row("benign", 0.8, 0.1, 0.1))
    assert found.classes == CLASSES
    assert found.malignant == set(MALIGNANT)
    assert found.probabilities.tolist() == [[0.2, 0.5, 0.3], [0.8, 0.1, 0.1]]


def test_a_task_that_has_a_class_called_malignant_is_not_grouped():
    grouping = Grouping.of({"malignant", "benign"}, ("benign", "malignant"), ("malignant",))
    assert not grouping.is_coarse
    assert grouping.note == ""


def test_scaling_is_undone_before_summing():
    logits = np.asarray([[1.0, 2.0, 0.5], [3.0, 0.0, 0.0]])
    rows = [
        row("malignant", *apply_temperature(logits, 2.0)[0]),
        row("benign", *apply_temperature(logits, 2.0)[1]),
    ]
    found = judged(*before_scaling(rows, 2.0))
    plain = apply_temperature(logits, 1.0)
    assert found.probabilities[:, 1] == pytest.approx(plain[:, 1:].sum(axis=1))


def test_the_note_names_what_was_summed():
    assert "early, pre are summed" in Grouping.of({"malignant"}, CLASSES, MALIGNANT).note
