"""The Predictor: what it concludes from the network's numbers (the network itself is a stand-in here)."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from ml.bundle import Bundle, BundleCorrupt
from ml.calibration import ConfidenceBins, apply_temperature
from ml.domain import appearance, fit_domain, pooled_features
from ml.drawing import draw_field
from ml.imaging.preprocessing import Preprocessing, normalise, squash
from ml.pictures import NOT_FIELD_SHAPED
from ml.runtimes import RuntimeUnavailable, choose_runtime, describe_runtimes
from ml.saliency import METHODS
from ml.serving import OUT_OF_DOMAIN, Predictor

CLASSES = ("benign", "early", "pre", "pro")
SIZE = 64


class StandIn:
    """A linear "network": an 8-channel map of block means, and logits that it is told."""

    name = "openvino"
    device = "stand-in"

    def __init__(self, logits=(0.0, 4.0, 1.0, 0.0)) -> None:
        self.logits = np.array(logits, np.float32)

    def run(self, images):
        grey = images.mean(axis=3)
        blocks = np.stack([cv2.resize(image, (7, 7), interpolation=cv2.INTER_AREA) for image in grey])
        maps = np.stack([np.maximum(blocks * (k + 1) - k / 4, 0) for k in range(8)], axis=-1)
        return maps.astype(np.float32), np.repeat(self.logits[None], len(images), axis=0)


@pytest.fixture(scope="module")
def fields():
    return [draw_field(np.random.default_rng(seed), width=400, height=300) for seed in range(12)]


@pytest.fixture(scope="module")
def bundle(fields, tmp_path_factory) -> Bundle:
    """In memory: the domain is fitted on drawn fields, so that they are inside."""
    preprocessing = Preprocessing(size=SIZE)
    features, seen = [], []
    for field in fields:
        feature_map, _ = StandIn().run(normalise(preprocessing.prepare(field))[None])
        features.append(pooled_features(feature_map[0]))
        seen.append(appearance(squash(field, SIZE)))
    vectors = (np.stack(features), np.stack(seen))
    domain = fit_domain(training=vectors, held_out=vectors, keep=1.0)
    bins = ConfidenceBins.fit(np.linspace(0.3, 1.0, 100), np.arange(100) % 10 != 0)
    made = Bundle(
        tmp_path_factory.mktemp("bundle"),
        {"task": "field", "name": "field-test", "version": "test", "classes": list(CLASSES), "temperature": 2.0,
         "malignant": ["early", "pre", "pro"], "preprocessing": preprocessing.as_dict(),
         "confidence_bins": bins.to_dict()},
        "0" * 64,
    )  # fmt: skip
    made.__dict__["arrays"] = {"head_kernel": np.eye(8, 4, dtype=np.float32), **domain.arrays()}
    return made


def test_a_field_inside_the_domain_gets_a_class_with_calibrated_confidence(bundle, fields):
    prediction = Predictor(bundle, StandIn()).predict(fields[0])
    assert (prediction.outcome, prediction.label, prediction.reasons) == ("class", "early", ())
    expected = apply_temperature(np.array([0, 4, 1, 0]), 2.0)
    assert list(prediction.probabilities.values()) == pytest.approx(expected)
    assert prediction.confidence == pytest.approx(expected.max())
    low, high = prediction.confidence_interval
    assert 0 <= low < high <= 1
    assert prediction.inside_domain
    assert prediction.domain_score <= prediction.domain_threshold
    assert set(prediction.maps) == set(METHODS)
    assert all(m.shape == (7, 7) and m.min() >= 0 and m.max() <= 1 for m in prediction.maps.values())
    assert set(prediction.timings_ms) >= {"quality", "preprocess", "predict", "saliency", "total"}


def test_a_field_outside_the_domain_is_indeterminate_and_shows_no_confidence(bundle, fields):
    tinted = (fields[0] * np.array([0.35, 0.9, 0.4])).astype(np.uint8)
    prediction = Predictor(bundle, StandIn()).predict(tinted)
    assert prediction.outcome == "indeterminate"
    assert OUT_OF_DOMAIN in prediction.reasons
    assert prediction.label is None
    assert prediction.confidence is None
    assert prediction.confidence_interval is None
    assert prediction.top_label == "early"
    assert not prediction.inside_domain


def test_a_picture_that_is_not_a_field_gets_no_class_and_the_reason(bundle, fields):
    square = cv2.resize(fields[0], (300, 300))
    prediction = Predictor(bundle, StandIn()).predict(square)
    assert prediction.outcome == "indeterminate"
    assert NOT_FIELD_SHAPED in prediction.reasons


def test_a_blurred_field_is_indeterminate_for_its_focus(bundle, fields):
    prediction = Predictor(bundle, StandIn()).predict(cv2.GaussianBlur(fields[0], (0, 0), 12))
    assert prediction.outcome == "indeterminate"
    assert set(prediction.quality.reasons) <= set(prediction.reasons)
    assert not prediction.quality.acceptable


def test_a_head_that_does_not_fit_the_classes_is_refused(bundle):
    other = Bundle(bundle.path, {**bundle.manifest, "classes": ["a", "b"]}, "")
    other.__dict__["arrays"] = bundle.arrays
    with pytest.raises(BundleCorrupt, match="head"):
        Predictor(other, StandIn())


def test_serving_loads_neither_tensorflow_nor_openvino_before_a_bundle():
    code = (
        "import sys, ml.serving; print([m for m in ('tensorflow', 'keras', 'openvino') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_without_a_gpu_openvino_serves(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_runtime() == "openvino"
    assert choose_runtime("tensorflow") == "tensorflow"
    assert describe_runtimes()["auto"] == "openvino"
    with pytest.raises(RuntimeUnavailable, match="choose one of"):
        choose_runtime("abacus")
