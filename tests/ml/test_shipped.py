"""The shipped field bundle: whole, small enough, and as good on its test images as its evidence says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml.bundle import SHIPPED, read_bundle
from ml.card import BEGIN, END, card_markdown
from ml.data.manifest import load_manifest
from ml.drawing import draw_field
from ml.evaluation.evidence import read_evidence
from ml.evaluation.evidence_tables import evidence_markdown
from ml.evaluation.predictions import read_predictions_csv
from ml.evaluation.words import ABSTAINING_METRICS, CLASS_METRICS, PER_CLASS, SALIENCY_METRICS
from ml.imaging.reading import read_image
from ml.serving import load_predictor

FIELD = SHIPPED / "field-1"
README = SHIPPED.parent.parent / "README.md"


@pytest.fixture(scope="module")
def predictor():
    return load_predictor(FIELD, runtime="openvino")


@pytest.fixture(scope="module")
def evidence():
    return read_evidence(FIELD / "evidence" / "metrics.json")


def test_it_is_whole_and_at_most_40_megabytes():
    bundle = read_bundle(FIELD)
    assert bundle.classes == ("benign", "early", "pre", "pro")
    assert sum(file.stat().st_size for file in FIELD.rglob("*") if file.is_file()) <= 40e6


def test_no_image_is_on_two_sides_of_its_split():
    data = read_bundle(FIELD).manifest["data"]
    train, validation, test = (set(data[f"{part}_sha256"]) for part in ("train", "validation", "test"))
    assert train
    assert train.isdisjoint(validation | test)
    assert validation.isdisjoint(test)


def test_its_predictions_are_those_its_figures_were_computed_from(evidence):
    rows, classes = read_predictions_csv(FIELD / "evidence" / "predictions.csv")
    section = evidence.sections[0]
    assert section.n == len(rows)
    right = np.mean([row.predicted == row.label for row in rows])
    assert section["accuracy"].value == pytest.approx(right)
    assert tuple(classes) == section.classes
    assert {row.sha256 for row in rows} == set(read_bundle(FIELD).manifest["data"]["test_sha256"])


def test_its_runtimes_agree_on_every_test_image(evidence):
    assert evidence.runtimes
    for row in evidence.runtimes:
        assert row.classes_equal == row.n


def test_the_evidence_holds_what_was_promised_beside_it(evidence):
    names = " | ".join(
        section.name for section in (*evidence.baselines, *evidence.ablations, *evidence.repainted)
    )
    for wanted in ("six colour numbers", "reduced:", "reduced-no-colour:", "reduced-random:", "repainted"):
        assert wanted in names
    assert {row.name.split(",")[0].split(" (")[0] for row in evidence.gate} == {
        "held-out fields", "pbc-acevedo", "cnmc2019-fold1", "txl-pbc-v2", "drawn fields", "everyday photographs",
    }  # fmt: skip


def test_whether_its_saliency_is_true_is_on_record(evidence):
    assert {figure.name for figure in evidence.saliency} == set(SALIENCY_METRICS)
    for figure in evidence.saliency:
        assert figure.n == 60
        assert figure.low <= figure.value <= figure.high


def test_its_card_says_plainly_that_its_maps_hardly_fall_on_leukocytes(evidence):
    known = {figure.name: figure for figure in evidence.saliency}
    room = known["saliency_on_leukocytes_best"].value - known["saliency_on_leukocytes_chance"].value
    assert known["saliency_on_leukocytes_gain"].value < room / 2
    card = (FIELD / "card.md").read_text(encoding="utf-8")
    assert "The map hardly falls on leukocytes" in card
    assert "must not be read as pointing at blasts" in card


def test_card_and_readme_show_the_evidence_as_it_is(evidence):
    table = evidence_markdown(evidence)
    assert table in card_markdown(read_bundle(FIELD), evidence)
    assert table in (FIELD / "card.md").read_text(encoding="utf-8")
    shown = README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert shown.strip() == table, "run python -m ml.card ml/bundles/field-1 --readme README.md"


def test_it_calls_a_drawn_field_indeterminate(predictor):
    for seed in range(3):
        prediction = predictor.predict(draw_field(np.random.default_rng(seed)))
        assert prediction.outcome == "indeterminate"
        assert prediction.reasons


@pytest.mark.data
def test_every_field_from_the_microscope_gets_the_class_of_its_twin(predictor, data_dir):
    for item in load_manifest(data_dir / "demo-fields"):
        small = data_dir / "taleqani-all" / item.columns["same_field_as"]
        one, other = (predictor.predict(read_image(path).pixels) for path in (item.path, small))
        assert one.top_label == other.top_label, item.name
        for name, probability in one.probabilities.items():
            assert probability == pytest.approx(other.probabilities[name], abs=0.05), item.name


@pytest.mark.data
def test_its_stored_predictions_come_out_again(predictor, data_dir):
    rows, _ = read_predictions_csv(FIELD / "evidence" / "predictions.csv")
    for row in rows[::25]:
        prediction = predictor.predict(read_image(data_dir / "taleqani-all" / row.name).pixels)
        assert prediction.top_label == row.predicted
        assert list(prediction.probabilities.values()) == pytest.approx(row.probabilities, abs=0.01)


def test_its_twins_are_on_record():
    twins = json.loads((FIELD / "evidence" / "twins.json").read_text())
    assert len(twins) == 13
    assert all(twin["label"] == twin["twin_label"] and twin["largest_difference"] <= 0.05 for twin in twins)


def test_every_figure_of_the_evidence_has_a_name_in_words(evidence):
    for figure in evidence.sections[0].figures:
        family = figure.name.partition("/")[0]
        assert figure.name in {**CLASS_METRICS, **ABSTAINING_METRICS} or family in PER_CLASS, figure.name
