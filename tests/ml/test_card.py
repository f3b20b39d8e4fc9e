"""The model card says of any bundle what is known of it, and nothing that is known of another."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ml.calibration import softmax
from ml.card import BEGIN, END, card_markdown, write_into_readme
from ml.evaluation.evidence import Evidence, make_section
from ml.evaluation.evidence_tables import evidence_markdown, saliency_markdown
from ml.evaluation.intervals import Figure
from ml.evaluation.metrics import Judged

CLASSES = ("benign", "blast")
PART = {"images": 40, "groups": 8, "by_label": {"benign": 20, "blast": 20}}
PLAN = {
    "stages": [{"epochs": 3, "size": 128, "learning_rate": 5e-4}], "batch_size": 16, "dropout": 0.2,
    "weight_decay": 0.01, "label_smoothing": 0.05, "seed": 4,
    "optimiser": "sgd", "loss": "focal", "focal_gamma": 2.0, "depth": "block",
}  # fmt: skip


def bundle(**training):
    facts = {
        "data": {"name": "ours + reviews",
                 "split": {"name": "group split", "seed": 3, "train": PART, "validation": PART, "test": PART}},
        "training": training,
        "prevalence": {"benign": 0.5, "blast": 0.5},
        "preprocessing": {"version": 1},
        "code_version": "abc",
    }  # fmt: skip
    return SimpleNamespace(
        name="cell-3", task="cell", classes=CLASSES, malignant=("blast",), temperature=1.25, manifest=facts
    )


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    judged = Judged.of(
        [CLASSES[i] for i in labels],
        softmax(rng.normal(size=(80, 2)) + 2 * np.eye(2)[labels]),
        classes=CLASSES,
        malignant=("blast",),
        groups=[f"g{i // 10}" for i in range(80)],
    )
    section = make_section(
        judged,
        name="cell-3 on ours",
        model="cell-3",
        data="ours",
        split="group split, test part",
        seed=1,
        resamples=50,
    )
    return Evidence(
        bundle={"name": "cell-3", "sha256": "ab" * 32, "temperature": 1.25}, seed=1, sections=(section,)
    )


def figure(name: str, value: float, low: float, high: float) -> Figure:
    return Figure(name, value, low, high, 60, 16, "blocks, 60 images drawn evenly by class")


def said(*figures: Figure) -> str:
    return saliency_markdown(figures)[0]


def on_leukocytes(value: float, low: float, high: float) -> str:
    return said(
        figure("saliency_on_leukocytes", 0.1 + value, 0, 1),
        figure("saliency_on_leukocytes_chance", 0.1, 0, 1),
        figure("saliency_on_leukocytes_gain", value, low, high),
        figure("saliency_on_leukocytes_best", 0.3, 0, 1),
        figure("saliency_peak_on_leukocytes", 0.12, 0, 1),
    )


def test_it_describes_the_bundle_at_hand(evidence):
    card = card_markdown(bundle(plan=PLAN, start="field-1", chosen="Trial 3 is best.",
                                search={"trials": 8, "by": "random", "seed": 20}), evidence)  # fmt: skip
    for words in (
        "# cell-3", "a single leukocyte", "`ours`", "`reviews`: images of the laboratory's own cases",
        "Split: group split, seed 3", "| test | 40 | 8 | benign 20, blast 20 |",
        "From field-1, through the last dense block and the head",
        "3 epochs at 128 px (peak rate 0.0005), SGD, batch 16", "focal loss (gamma 2)", "Trial 3 is best.",
        "8 trials (random, seed 20)", "Temperature 1.250", "group split, test part",
    ):  # fmt: skip
        assert words in card, words


def test_it_claims_nothing_that_is_known_of_another_bundle(evidence):
    card = card_markdown(bundle(), evidence)
    for words in ("Taleqani", "every fifth block", "pbc-acevedo", "B-ALL", "How the gate came about"):
        assert words not in card, words
    assert "has not been measured for this bundle" in card


def test_a_bundle_without_evidence_says_so():
    empty = Evidence(bundle={"name": "cell-3", "sha256": None, "temperature": 1.25}, seed=1)
    assert "Nothing has been measured" in card_markdown(bundle(), empty)


def test_saliency_off_the_leukocytes_is_said_plainly():
    assert "**The map does not fall on leukocytes: 0.104 of its mass" in on_leukocytes(0.004, -0.01, 0.02)
    assert "**The map does not fall on leukocytes: 0.070 of its mass" in on_leukocytes(-0.03, -0.05, -0.01)
    hardly = on_leukocytes(0.02, 0.01, 0.03)
    assert "**The map hardly falls on leukocytes: 0.120 of its mass" in hardly
    assert "a map this coarse could reach 0.300; it peaks on a nucleus in 12% of the images.**" in hardly
    assert "**" not in on_leukocytes(0.15, 0.1, 0.2)


def test_sentences_about_saliency_follow_from_the_intervals():
    name = "saliency_randomised_correlation"
    assert "within the 0.3 that promotion allows." in said(figure(name, 0.1, 0.05, 0.2))
    assert "within the 0.3 that promotion allows, though its interval reaches across." in said(
        figure(name, 0.28, 0.2, 0.4)
    )
    assert "above the 0.3 that promotion allows." in said(figure(name, 0.5, 0.4, 0.6))
    orders = (
        figure("saliency_insertion_gain/shuffled", 0.05, 0.02, 0.08),
        figure("saliency_insertion_gain/centre", -0.02, -0.04, 0.01),
    )
    words = said(*orders)
    assert (
        "does better than its own cells shuffled and no better than simply starting from the middle" in words
    )


def kept(head: float, whole: float, *, other_head: float, other_whole: float) -> str:
    """What is said of two methods, of which so much is left under weights drawn anew."""
    values = {
        "saliency_cascade/head": head,
        "saliency_randomised_correlation": whole,
        "saliency_cascade/head@gradcam++": other_head,
        "saliency_randomised_correlation@gradcam++": other_whole,
    }
    return said(*(figure(name, value, value - 0.1, value + 0.1) for name, value in values.items()))


def test_why_a_method_is_shown_first_follows_from_what_both_keep():
    words = kept(0.15, 0.05, other_head=0.95, other_whole=0.31)
    assert "Grad-CAM maps of the class given, and Grad-CAM++ maps beside them" in words
    assert (
        "because its maps hang more on what was learnt: with the head alone drawn anew they correlate 0.15"
        in words
    )
    assert "(Grad-CAM++ maps 0.95), with all weights 0.05 (0.31)" in words
    assert "it is not settled that its maps hang more" in kept(0.15, 0.25, other_head=0.95, other_whole=0.31)


def test_older_evidence_is_said_to_be_about_the_method_it_was_measured_on():
    words = said(figure("saliency_randomised_correlation", 0.31, 0.24, 0.37))
    assert "Grad-CAM++ maps of the class given;" in words
    assert "shown first" not in words


def test_the_readme_gets_the_table_between_its_marks(tmp_path, evidence):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_into_readme(readme, evidence)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert evidence_markdown(evidence) in text
    assert "old" not in text
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="no place for the evidence"):
        write_into_readme(readme, evidence)
