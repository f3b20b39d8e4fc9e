"""The whole evidence of a bundle: complete, about its own test part, and put in place whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ml.bundle import Bundle, read_bundle
from ml.card import card_markdown
from ml.data.manifest import Manifest
from ml.evaluation import cascade, search_plots, whole
from ml.evaluation.cascade import STAGES
from ml.evaluation.evidence import read_evidence
from ml.evaluation.evidence_tables import evidence_markdown
from ml.evaluation.faithfulness import Faithfulness
from ml.evaluation.predictions import EvaluationError, read_predictions_csv
from ml.evaluation.whole import add_faithfulness, write_whole_evidence
from ml.evaluation.words import SALIENCY_METRICS

TRIALS = [
    {
        "number": i,
        "state": "complete",
        "value": 0.2 + i / 50,
        "setting": {"dropout": i / 20},
        "fidelity": "64 px",
    }
    for i in range(10)
]


@pytest.fixture(scope="module")
def measured(drawn_bundle, tmp_path_factory) -> tuple[Bundle, Manifest]:
    """A copy of the drawn bundle with everything measured."""
    bundle, manifest, _ = drawn_bundle
    place = tmp_path_factory.mktemp("whole") / bundle.name
    shutil.copytree(bundle.path, place)
    with pytest.MonkeyPatch.context() as fewer:
        # Enough to see that all of it is there; how many there are by default is nothing to test.
        fewer.setattr(whole, "DRAWN_FIELDS", 12)
        fewer.setattr(whole, "PHOTOGRAPH_CROPS", 12)
        fewer.setattr(search_plots, "IMPORTANCE_RESAMPLES", 4)
        fewer.setattr(cascade, "DRAWS", dict.fromkeys(STAGES, 2))
        return write_whole_evidence(place, manifest, search_trials=TRIALS), manifest


def stored(bundle: Bundle, **changes) -> Faithfulness:
    """What was measured of the bundle, as it was kept, its figures changed."""
    kept = json.loads((bundle.path / "evidence" / "saliency.json").read_text())
    figures = read_evidence(bundle.path / "evidence" / "metrics.json").saliency
    return Faithfulness(
        figures=tuple(replace(figure, **changes) for figure in figures),
        curves={
            what: {name: np.asarray(one) for name, one in curves.items()}
            for what, curves in kept["curves"].items()
        },
        by_network={name: np.asarray(one) for name, one in kept["by_network"].items()},
    )


def files(bundle: Bundle) -> dict[str, str]:
    return dict(bundle.manifest["files"])


def test_nothing_is_missing(measured):
    bundle, _ = measured
    evidence = read_evidence(bundle.path / "evidence" / "metrics.json")
    assert evidence.sections[0].split == "drawn split, test part"
    assert evidence.repainted
    assert evidence.baselines
    assert [row.against for row in evidence.runtimes] == ["openvino"]
    assert evidence.runtimes[0].classes_equal == evidence.runtimes[0].n
    assert [row.name for row in evidence.gate] == [
        "held-out images (test part)",
        "drawn fields",
        "everyday photographs",
    ]
    assert {figure.name for figure in evidence.saliency} == set(SALIENCY_METRICS)
    names = {name.removeprefix("evidence/") for name in files(bundle) if name.startswith("evidence/")}
    assert names >= {
        "metrics.json", "predictions.csv", "report.html", "saliency.json", "trials.json", "roc.svg",
        "precision-recall.svg", "confusion.svg", "reliability.svg", "risk-coverage.svg", "history.svg", "search.svg",
        "importance.svg", "comparison.svg", "saliency-randomised.svg", "saliency-curves.svg",
    }  # fmt: skip


def test_it_is_about_the_bundles_own_test_part(measured):
    bundle, _ = measured
    rows, classes = read_predictions_csv(bundle.path / "evidence" / "predictions.csv")
    assert classes == bundle.classes
    assert {row.sha256 for row in rows} == set(bundle.manifest["data"]["test_sha256"])


def test_the_network_and_its_facts_are_what_they_were(measured, drawn_bundle):
    bundle, before = measured[0], drawn_bundle[0]
    for name in ("model.keras", "model.onnx", "serving.npz"):
        assert files(bundle)[name] == files(before)[name]
    untouched = {key: value for key, value in before.manifest.items() if key != "files"}
    assert {key: value for key, value in bundle.manifest.items() if key != "files"} == untouched
    assert [place.name for place in bundle.path.parent.iterdir()] == [bundle.name]


def test_the_card_shows_the_evidence_and_how_the_bundle_came_about(measured):
    bundle, _ = measured
    evidence = read_evidence(bundle.path / "evidence" / "metrics.json")
    card = (bundle.path / "card.md").read_text()
    assert card == card_markdown(bundle, evidence)
    assert evidence_markdown(evidence) in card
    assert "| test | " in card
    assert "30 epochs at 64 px" in card
    assert "Taleqani" not in card
    assert "standing split" not in card


def test_faithfulness_is_added_without_touching_a_figure(measured, tmp_path):
    bundle, manifest = measured
    place = tmp_path / bundle.name
    shutil.copytree(bundle.path, place)
    before = json.loads((place / "evidence" / "metrics.json").read_text())
    after = add_faithfulness(place, manifest, measured=stored(bundle, n=3))
    told = json.loads((place / "evidence" / "metrics.json").read_text())
    assert {row["n"] for row in told.pop("saliency")} == {3}
    before.pop("saliency")
    assert told == before
    assert files(after)["evidence/predictions.csv"] == files(bundle)["evidence/predictions.csv"]


def test_stopped_half_way_the_bundle_is_what_it_was(measured, tmp_path, monkeypatch):
    bundle, manifest = measured
    place = tmp_path / bundle.name
    shutil.copytree(bundle.path, place)

    def full(*args):
        # What looks for bundles meanwhile (`*/bundle.json`) finds the old one alone.
        assert list(tmp_path.glob("*/bundle.json")) == [place / "bundle.json"]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole, "card_markdown", full)
    with pytest.raises(OSError, match="No space"):
        add_faithfulness(place, manifest, measured=stored(bundle))
    assert read_bundle(place).sha256 == bundle.sha256
    assert [one.name for one in tmp_path.iterdir()] == [bundle.name]


def test_data_without_the_test_images_is_refused(measured):
    bundle, manifest = measured
    known = set(bundle.manifest["data"]["test_sha256"])
    others = manifest.subset(item for item in manifest if item.sha256 not in known)
    with pytest.raises(EvaluationError, match="No image is left to judge"):
        write_whole_evidence(bundle.path, others)
    assert read_bundle(bundle.path).sha256 == bundle.sha256
