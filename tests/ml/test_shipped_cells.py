"""The shipped cell bundle: whole, small enough, patients apart, and as good on its test cells as its evidence says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml.bundle import SHIPPED, read_bundle
from ml.cells.serving import CellPredictor
from ml.data.cells import DEEPAPL, PBC, load_cells
from ml.drawing import draw_field
from ml.evaluation.cell_evidence_table import BEGIN, END, markdown
from ml.evaluation.predictions import read_predictions_csv
from ml.imaging.reading import read_image
from ml.pictures import scale_stated
from ml.serving import load_predictor
from ml.tasks import CELL

BUNDLE = SHIPPED / "cell-1"
README = SHIPPED.parent.parent / "README.md"
SAMPLE = 40


@pytest.fixture(scope="module")
def predictor() -> CellPredictor:
    found = load_predictor(BUNDLE, runtime="openvino")
    assert isinstance(found, CellPredictor)
    return found


@pytest.fixture(scope="module")
def evidence() -> dict:
    return json.loads((BUNDLE / "evidence" / "cells.json").read_text())


def test_it_is_whole_and_at_most_40_megabytes() -> None:
    bundle = read_bundle(BUNDLE)
    assert (bundle.task, bundle.classes, bundle.malignant) == (CELL.name, CELL.classes, CELL.malignant)
    assert bundle.thresholds["suspicion"] == 0.2
    assert sum(file.stat().st_size for file in BUNDLE.rglob("*") if file.is_file()) <= 40e6


def test_no_image_is_on_two_sides_of_its_split() -> None:
    data = read_bundle(BUNDLE).manifest["data"]
    train, validation, test = (set(data[f"{part}_sha256"]) for part in ("train", "validation", "test"))
    assert len(train) > 5000
    assert train.isdisjoint(validation | test)
    assert validation.isdisjoint(test)


def test_the_readme_shows_its_tables(evidence: dict) -> None:
    shown = README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert shown.strip() == markdown(evidence), (
        "run python -m ml.evaluation.cell_evidence_table ml/bundles/cell-1 --readme README.md"
    )


def test_every_figure_that_was_promised_is_on_record(evidence: dict) -> None:
    names = {one["name"] for one in evidence["hospitals"][DEEPAPL.name]}
    assert {
        "auroc_blast_or_promyelocyte",
        "auroc_blast",
        "auroc_promyelocyte",
        "f1_macro",
        "accuracy",
    } <= names
    assert {row["name"].split(" (")[0] for row in evidence["gate"]} >= {
        "leukocytes of cnmc2019-fold1", "leukocytes of txl-pbc-v2", "red cells", "platelets", "everyday photographs",
    }  # fmt: skip
    assert len(evidence["spoilt"]) == 8
    assert {one["name"].partition("/")[0] for one in evidence["fields"]["figures"]} == {
        "auroc", "auroc_number_alone",
    }  # fmt: skip


def test_the_spoilt_pictures_cost_little(evidence: dict) -> None:
    def area(words: str) -> float:
        return next(
            one["value"] for one in evidence["spoilt"][words] if one["name"] == "auroc_blast_or_promyelocyte"
        )

    for words in evidence["spoilt"]:
        assert area("as it is") - area(words) <= 0.03, words


def test_a_drawn_field_gets_its_cells(predictor: CellPredictor) -> None:
    found = predictor.read(draw_field(np.random.default_rng(7)))
    judged = [one for one in found.findings if one.probabilities]
    assert judged
    assert all(sum(one.probabilities.values()) == pytest.approx(1, abs=1e-5) for one in judged)
    assert len(found.tiles) == len(found.findings)


def test_its_test_cells_are_those_of_patients_it_never_learnt_from(data_dir) -> None:
    cells = load_cells(data_dir, (DEEPAPL, PBC))
    data = read_bundle(BUNDLE).manifest["data"]
    group_of = {item.sha256: item.group for item in cells.manifest}
    groups = [
        {group_of[sha] for sha in data[f"{part}_sha256"] if sha in group_of}
        for part in ("train", "validation", "test")
    ]
    assert groups[0].isdisjoint(groups[1] | groups[2])
    assert groups[1].isdisjoint(groups[2])


def test_it_says_of_its_test_cells_what_its_evidence_says(data_dir, predictor: CellPredictor) -> None:
    rows, classes = read_predictions_csv(BUNDLE / "evidence" / "predictions.csv")
    items = {item.sha256: item for item in load_cells(data_dir, (DEEPAPL, PBC)).manifest}
    chosen = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))[:SAMPLE]]
    for row in chosen:
        item = items[row.sha256]
        said = predictor.predict(read_image(item.path).pixels, scale_stated(item))
        assert [said.probabilities[name] for name in classes] == pytest.approx(row.probabilities, abs=0.02)
        assert said.domain_score == pytest.approx(row.domain_score, abs=0.02)
