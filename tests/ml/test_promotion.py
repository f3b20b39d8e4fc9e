"""The gate: what is let through, what is refused, and with which words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ml.bundle import Bundle
from ml.evaluation.predictions import EvaluationError
from ml.imaging.preprocessing import Preprocessing
from ml.promotion import compare
from tests import told


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return told.write_data(tmp_path_factory.mktemp("data") / "locked")


@pytest.fixture
def bundle(tmp_path, data):
    """Makes a bundle with whole evidence of what it says; nothing but its manifest and evidence is there."""

    def make(name: str = "candidate", said=None, *, correlation=0.1, learnt=(), **changed) -> Bundle:
        place = tmp_path / name
        told.write_whole_evidence(place, said or told.rows(data.items), correlation=correlation)
        manifest = {
            "task": "field",
            "name": name,
            "classes": list(told.CLASSES),
            "malignant": list(told.MALIGNANT),
            "input": {"shape": [64, 64, 3]},
            "preprocessing": Preprocessing(size=64).as_dict(),
            "data": {
                "name": data.name,
                "train_sha256": list(learnt),
                "validation_sha256": [],
                "test_sha256": [item.sha256 for item in data],
            },
            **changed,
        }
        return Bundle(place, manifest, name.ljust(64, "0"))

    return make


def judge(bundle, said, before, **options):
    return compare(
        bundle(said=said, **options), bundle("active", before), said, before, seed=3, resamples=400
    )


def not_passed(verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.passed is not True}


def test_an_equal_bundle_from_another_seed_passes(bundle, tmp_path):
    """It errs on other images, as often: here on two of 600 each."""
    large = told.write_data(tmp_path / "large", each=150, groups=10).items
    before = told.rows(large, told.wrong_on(["early-3.png", "benign-70.png"], "pre"))
    said = told.rows(large, told.wrong_on(["pre-17.png", "benign-9.png"], "pro"))
    verdict = judge(bundle, said, before)
    assert verdict.passed, verdict.reasons
    assert verdict["balanced_accuracy"].low < 0 < verdict["balanced_accuracy"].high


def test_the_same_answers_have_a_difference_of_exactly_nothing_and_say_what_that_shows(bundle, data):
    said = told.rows(data.items, told.wrong_on(["early-3.png"], "benign"))
    verdict = judge(bundle, said, said)
    for name in ("balanced_accuracy", "sensitivity_malignant"):
        check = verdict[name]
        assert (check.value, check.low, check.high, check.passed) == (0.0, 0.0, 0.0, True)
        assert "up to 1.9 % of images like these" in check.words
    assert verdict.passed
    assert verdict.reasons == ()
    assert (verdict.n, verdict.groups, verdict.listed) == (160, 20, 160)


def test_a_bundle_of_shuffled_labels_is_refused(bundle, data):
    labels = np.random.default_rng(1).permutation([item.label for item in data])
    shuffled = dict(zip([item.name for item in data], labels, strict=True))
    said = told.rows(data.items, lambda item: shuffled[item.name])
    verdict = judge(bundle, said, told.rows(data.items))
    assert not_passed(verdict) == {"balanced_accuracy", "sensitivity_malignant", "ece"}
    assert "the lower end must be above -1.00" in verdict["balanced_accuracy"].words


def test_a_bundle_with_a_tenth_of_benign_and_malignant_flipped_is_refused(bundle, data):
    flipped = set(told.scatter(data.items, 16))

    def says(item):
        return item.label if item.name not in flipped else "early" if item.label == "benign" else "benign"

    verdict = judge(bundle, told.rows(data.items, says), told.rows(data.items))
    assert {"balanced_accuracy", "sensitivity_malignant", "ece"} <= not_passed(verdict)


def test_one_that_learnt_flipped_labels_and_only_doubts_is_refused_for_its_calibration(bundle, data):
    said = told.rows(data.items, sure=0.9)
    verdict = judge(bundle, said, told.rows(data.items))
    assert not_passed(verdict) == {"ece"}
    assert verdict["ece"].words.startswith("The calibration error (ECE) is 0.100")


def test_one_more_accurate_but_less_sensitive_is_refused(bundle, data):
    confused = told.scatter(data.items, 16, label="early")
    before = told.rows(data.items, told.wrong_on(confused, "pre"), sure=0.9)
    missed = told.scatter(data.items, 5, label="pro")
    said = told.rows(data.items, told.wrong_on(missed, "benign"), sure=0.97)
    verdict = judge(bundle, said, before)
    assert verdict["balanced_accuracy"].passed
    assert verdict["balanced_accuracy"].value > 0.05
    assert not_passed(verdict) == {"sensitivity_malignant"}
    assert verdict["sensitivity_malignant"].value == pytest.approx(-5 / 120)


def test_losing_one_whole_group_of_twenty_is_refused(bundle, data):
    lost = [item.name for item in data if item.group == "pro-0"]
    verdict = judge(bundle, told.rows(data.items, told.wrong_on(lost, "pre")), told.rows(data.items))
    check = verdict["balanced_accuracy"]
    assert check.passed is False
    assert check.low < 2 * check.value < 0


@pytest.mark.parametrize(("count", "passed"), [(99, False), (100, True)])
def test_fewer_than_a_hundred_images_prove_nothing(bundle, data, count, passed):
    said = told.rows(data.items)
    chosen = [row for label in told.CLASSES for row in [r for r in said if r.label == label][:25]][-count:]
    verdict = judge(bundle, chosen, chosen)
    assert verdict["locked_images"].passed is passed
    assert f"{count} of the 160" in verdict["locked_images"].words
    assert verdict.passed is passed


def test_without_any_image_nothing_is_proven_and_nothing_breaks(bundle):
    active = bundle("active")
    verdict = compare(bundle(), active, [], [], seed=1)
    assert not_passed(verdict) == {"locked_images", "balanced_accuracy", "sensitivity_malignant", "ece"}
    assert verdict["balanced_accuracy"].passed is None


def test_a_class_without_images_or_of_one_group_is_unproven(bundle, data):
    without = told.rows([item for item in data if item.label != "pro"])
    verdict = judge(bundle, without, without)
    assert "none is labelled pro" in verdict["locked_images"].words
    alone = told.rows([item for item in data if item.label != "benign" or item.group == "benign-0"])
    verdict = judge(bundle, alone, alone)
    assert verdict["balanced_accuracy"].passed is None
    assert "a single group" in verdict["balanced_accuracy"].words
    assert verdict["sensitivity_malignant"].passed


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"task": "cell"}, "task"),
        ({"input": {"shape": [96, 96, 3]}}, "input"),
        ({"malignant": ["pre", "pro"]}, "malignant classes"),
        ({"classes": ["benign", "early", "pro", "pre"]}, "classes"),
        ({"preprocessing": Preprocessing(size=96).as_dict()}, "size of the preprocessed image"),
    ],
)
def test_another_input_contract_is_refused_and_nothing_else_compared(bundle, data, changed, words):
    said = told.rows(data.items)
    verdict = judge(bundle, said, said, **changed)
    assert verdict["input_contract"].words == f"The input contract has changed: {words}."
    assert verdict["sensitivity_malignant"].passed is None


@pytest.mark.parametrize(("correlation", "passed"), [(0.3, True), (0.31, False), (None, None)])
def test_maps_that_random_weights_draw_too_are_refused(bundle, data, correlation, passed):
    said = told.rows(data.items)
    assert judge(bundle, said, said, correlation=correlation)["saliency"].passed is passed


def test_the_verdict_names_the_method_that_the_evidence_is_about(bundle, data):
    """Evidence from before the second method knew Grad-CAM++ alone, under the same name."""
    said = told.rows(data.items)
    older = bundle(said=said, correlation=0.2)
    metrics = older.path / "evidence" / "metrics.json"
    facts = json.loads(metrics.read_text())
    assert compare(older, bundle("active", said), said, said, seed=3, resamples=50)[
        "saliency"
    ].words.startswith("Grad-CAM++ maps of the network with random weights correlate 0.20")
    beside = [{**row, "name": f"{row['name']}@gradcam++", "value": 0.9} for row in facts["saliency"]]
    metrics.write_text(json.dumps({**facts, "saliency": [*facts["saliency"], *beside]}))
    check = compare(older, bundle("active", said), said, said, seed=3, resamples=50)["saliency"]
    assert check.words.startswith("Grad-CAM maps of the network with random weights correlate 0.20")
    assert check.passed


def lose(name):
    return lambda place: (place / name).unlink()


def rewrite(**changed):
    def harm(place):
        file = place / "evidence" / "metrics.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))

    return harm


def of_another(place):
    file = place / "evidence" / "predictions.csv"
    lines = file.read_text().splitlines()
    # The class is a column of its own, and probabilities go with it unread.
    file.write_text(
        "\n".join([lines[0], *(line.replace(",pro,class", ",pre,class") for line in lines[1:])]) + "\n"
    )


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose("evidence/metrics.json"), "no metrics.json"),
        (lose("evidence/predictions.csv"), "no predictions.csv"),
        (lose("evidence/roc.svg"), "no plot of roc"),
        (lose("card.md"), "no model card"),
        (rewrite(sections=[]), "nothing measured on a test part"),
        (rewrite(baselines=[]), "no baseline on the same split"),
        (rewrite(saliency=[]), "no measurement of the saliency"),
        (rewrite(format=9), "format 9"),
        (lambda place: (place / "evidence" / "metrics.json").write_text("{"), "not JSON"),
        (lambda place: (place / "evidence" / "predictions.csv").write_text("a,b\n"), "cannot be read"),
        (of_another, "of another network: 40 of 160"),
    ],
)
def test_evidence_that_is_not_whole_is_refused(bundle, data, harm, words):
    said = told.rows(data.items)
    candidate = bundle(said=said)
    harm(Path(candidate.path))
    verdict = compare(candidate, bundle("active", said), said, said, seed=1, resamples=50)
    assert verdict["evidence"].passed is False
    assert words in verdict["evidence"].words


def test_evidence_measured_on_training_images_is_refused(bundle, data):
    said = told.rows(data.items)
    verdict = judge(bundle, said, said, learnt=[data.items[0].sha256])
    assert "images of the training" in verdict["evidence"].words


def test_without_an_active_bundle_the_rest_is_looked_at(bundle, data):
    said = told.rows(data.items)
    verdict = compare(bundle(said=said), None, said, [], seed=1, resamples=50)
    assert verdict.passed
    assert verdict.active is None
    assert not compare(bundle("weak", said), None, said[:50], [], seed=1, resamples=50).passed


def test_other_images_than_the_active_ones_cannot_be_compared(bundle, data):
    said = told.rows(data.items)
    with pytest.raises(EvaluationError, match="same images"):
        compare(bundle(said=said), bundle("active", said), said, said[::-1], seed=1)


def test_a_verdict_goes_to_json_whole_and_the_same_seed_gives_the_same(bundle, data):
    before = told.rows(data.items, told.wrong_on(["early-3.png"], "pre"))
    said = told.rows(data.items, told.wrong_on(["benign-1.png"], "pro"))
    one, other = (judge(bundle_, said, before).to_dict() for bundle_ in (bundle, _renamed(bundle)))
    assert json.loads(json.dumps(one, allow_nan=False)) == one
    assert [check["low"] for check in one["checks"]] == [check["low"] for check in other["checks"]]
    assert {row["name"] for row in one["figures"]["active"]} == {
        "balanced_accuracy",
        "sensitivity_malignant",
        "ece",
    }


def _renamed(bundle):
    return lambda name="candidate", said=None, **options: bundle(f"{name}-2", said, **options)
