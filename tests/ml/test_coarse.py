"""Coarse labels: leukemia of unknown subtype is judged on the summed probability, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration import apply_temperature
from ml.evaluation.coarse import Grouping, too_coarse
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


KINDS = ("a", "b", "c", "blast", "promonocyte")


def test_a_label_of_several_classes_puts_these_together_and_no_others():
    grouping = Grouping.of({"a or b", "c", "blast"}, KINDS, KINDS[3:])
    assert grouping.classes == ("a or b", "c", "blast", "promonocyte")
    assert grouping.malignant == {"blast", "promonocyte"}
    assert [grouping.label(name) for name in ("a", "a or b", "c")] == ["a or b", "a or b", "c"]
    assert grouping.fold([[0.1, 0.2, 0.3, 0.3, 0.1]])[0] == pytest.approx([0.3, 0.3, 0.3, 0.1])
    assert "several classes: the probabilities of a, b are summed" in grouping.note


def test_labels_that_share_a_class_put_all_of_theirs_together():
    grouping = Grouping.of({"a or b", "b or c", "malignant"}, KINDS, KINDS[3:])
    assert grouping.classes == ("a or b or c", "malignant")
    assert grouping.malignant == {"malignant"}
    assert grouping.label("b or c") == "a or b or c"


def test_some_malignant_classes_together_are_malignant():
    grouping = Grouping.of({"early or pre"}, ("benign", "early", "pre", "pro"), ("early", "pre", "pro"))
    assert grouping.malignant == {"early or pre", "pro"}


def test_few_coarse_labels_are_left_out_where_others_tell_their_classes_apart():
    fine = ["a"] * 20 + ["b"] * 20 + ["c"] * 20
    assert too_coarse([*fine, "a or b", "a or b"], KINDS) == {"a or b"}
    assert not too_coarse([*fine, *["a or b"] * 20], KINDS), "many are worth it"
    assert not too_coarse([*["a"] * 50, "a or b"], KINDS), "nobody would see a b"
    assert not too_coarse([*fine, "malignant"], KINDS)
