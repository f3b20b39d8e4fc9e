"""A whole retraining of cells with a tiny network on painted ones, and a site that adapts what came of it."""

from __future__ import annotations

import json
from io import StringIO

import cv2
import numpy as np
import pytest
from django.core.management import CommandError, call_command

from diagnosis.models import ModelVersion, SiteValidation, Training
from diagnosis.services import promotion, retraining, trainings
from diagnosis.services.retraining_request import RetrainProblem, RetrainRequest
from ml.bundle import read_bundle
from ml.cells.serving import CellPredictor
from ml.data.augmentation import CELL_AUGMENTATION
from ml.data.cells import CNMC
from ml.drawing import draw_field
from ml.imaging.reading import read_image
from ml.serving import load_predictor
from ml.tasks import CELL
from tests.diagnosis.test_retraining import Follower
from tests.painted_cells import UM, paint_cells

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return paint_cells(tmp_path_factory.mktemp("painted-cells"), dict.fromkeys(CELL.classes, 5))


@pytest.fixture(autouse=True)
def places(settings, tmp_path, monkeypatch):
    settings.LEUKOSCOPE_OWN_BUNDLES = tmp_path / "own"
    settings.VAR_DIR = tmp_path / "var"
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trainings, "WRITE_SECONDS", 0.2)
    from ml.pace import Pace

    monkeypatch.setattr("ml.pace.pace_apart", lambda **more: Pace(training=30.0, judging=90.0, tracing=5.0))


def request_for(data, **more):
    values = {
        "data": (data,), "task": "cell", "start": "imagenet", "blocks": (1, 1, 1, 1), "size": 64, "trials": 1,
        "trial_epochs": 1, "epochs": 2, "evidence": "brief",
    }  # fmt: skip
    return RetrainRequest(**{**values, **more})


@pytest.mark.slow
def test_from_cells_to_a_candidate_that_serves_and_on_to_a_site(data, version, cast, tmp_path, settings):
    training = retraining.retrain(request=request_for(data), observer=Follower(), actor=cast.administrator)
    assert (training.state, training.name) == ("done", "cell-1")
    candidate = training.result
    assert (candidate.task, candidate.status, candidate.classes) == ("cell", "candidate", list(CELL.classes))
    bundle = read_bundle(tmp_path / "own" / "cell-1")
    assert (bundle.cell_preprocessing.size, bundle.malignant) == (64, CELL.malignant)
    (trial,) = training.progress["trials"]
    strength = trial["settings"]["augmentation"]
    assert bundle.manifest["training"]["plan"]["augmentation"] == CELL_AUGMENTATION.scaled(strength).as_dict()
    parts = [bundle.manifest["data"][f"{part}_sha256"] for part in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [240, 80, 80]

    predictor = load_predictor(bundle.path, runtime="openvino")
    assert isinstance(predictor, CellPredictor)
    pixels = read_image(data / "blast" / "0-0.png").pixels
    said, found = predictor.predict(pixels, UM), predictor.classify(pixels, UM)
    assert said.top_label == found.top_label
    assert said.probabilities == pytest.approx(found.probabilities, abs=1e-5)
    assert found.blast_probability == pytest.approx(sum(found.probabilities[name] for name in CELL.malignant))
    field = predictor.read(draw_field(np.random.default_rng(1), width=640, height=480))
    assert any(one.top_label in CELL.classes for one in field.findings)

    settings.LEUKOSCOPE_PREDICTOR_LOADER = "ml.serving.load_predictor"  # this one is no stand-in
    settings.LEUKOSCOPE_DATA = data
    with pytest.raises(promotion.PromotionRefused, match="cell-1 is not promoted"):
        promotion.promote(version=candidate, actor=None, data=[data])
    promoted = promotion.promote(
        version=candidate, actor=None, data=[data], force=True, why="the first of cells"
    )
    assert promoted.verdict["n"] == 80, "its locked test images were found by their bytes"
    assert {one.name for one in ModelVersion.objects.filter(status="active")} == {version.name, "cell-1"}
    evaluated = tmp_path / "evaluated.json"
    call_command("evaluate", "--task", "cell", "--data", str(data), "--json", str(evaluated), "--resamples", "20",
                 stdout=StringIO())  # fmt: skip
    assert json.loads(evaluated.read_text())["evaluated"]["n"] == 80
    out = StringIO()
    call_command(
        "evaluate_gate", "--task", "cell", "--photographs", "3", "--drawn", "2", "--json", "-", stdout=out
    )
    assert {row["name"]: row["n"] for row in json.loads(out.getvalue())["gate"]} == {
        "drawn cells": 2,
        "everyday photographs": 3,
    }

    # Another hospital's labels are coarser, and known by the name of the set.
    site = paint_cells(tmp_path / CNMC.name, {"all": 4, "hem": 3}, images=5, on_black=True, seed=3)
    call_command(
        "retrain", "--task", "cell", "--data", str(site), "--laboratory", "central", "--site", "North", "--json",
        stdout=(out := StringIO()),
    )  # fmt: skip
    assert {"before", "after"} <= json.loads(out.getvalue().splitlines()[-1])["done"].keys()
    validation = SiteValidation.objects.get()
    assert (validation.adapted_from, validation.model_version.task) == (candidate, "cell")
    assert "lymphocyte or variant_lymphocyte" in validation.after["classes"]
    adapted = load_predictor(tmp_path / "own" / validation.model_version.name, runtime="openvino")
    assert isinstance(adapted, CellPredictor)
    assert adapted.bundle.cell_preprocessing == bundle.cell_preprocessing


@pytest.mark.slow
def test_a_cell_training_keeps_the_size_and_split_of_what_it_starts_from(data, version, tmp_path):
    prepared, facts = retraining.check(request=request_for(data, size=None), observer=Follower())
    assert prepared.preprocessing.as_dict()["kind"] == "cell"
    assert prepared.preprocessing.size == 128
    assert facts["split"]["test"]["images"] == 80
    shown = prepared.examples("test")
    assert shown.images.shape == (80, 128, 128, 3)
    assert not Training.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--reviewed", "--laboratory", "central"], "No cell has a standing review"),
        (["--data", "DATA", "--start", "active"], "No model is active to start from"),
        (["--data", "DATA", "--label-map", "blast=lymphocyte or blast"], "all malignant or none"),
    ],
)
def test_what_cannot_be_meant_of_cells_is_refused(arguments, sentence, data, version, laboratory):
    given = [str(data) if word == "DATA" else word for word in arguments]
    start = [] if "--start" in given else ["--start", "imagenet", "--blocks", "1,1,1,1"]
    with pytest.raises(CommandError, match=sentence):
        call_command("retrain", "--task", "cell", *given, *start)
    assert not Training.objects.exists()


def test_a_field_bundle_is_no_start_for_cells(data, version, bundles):
    with pytest.raises(RetrainProblem, match="answers another task"):
        retraining.check(request=request_for(data, start=str(bundles / "field-test")), observer=Follower())


def test_cells_of_one_class_teach_nothing(tmp_path, version):
    folder = paint_cells(tmp_path / "one", {"blast": 3}, images=2)
    assert cv2.imread(str(folder / "blast" / "0-0.png")) is not None
    with pytest.raises(RetrainProblem, match="Every image is labelled blast"):
        retraining.check(request=request_for(folder), observer=Follower())
