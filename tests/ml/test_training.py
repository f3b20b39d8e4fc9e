"""Training, export and assembly, on drawn classes and with the very code that makes the shipped bundle."""

from __future__ import annotations

import zipfile
from io import BytesIO

import h5py
import numpy as np
import onnx
import pytest

from ml.bundle import read_bundle
from ml.data.augmentation import Augmentation
from ml.drawing import DRAWN_CLASSES
from ml.imaging.preprocessing import Preprocessing, normalise
from ml.imaging.reading import read_image
from ml.runtimes import open_runtime
from ml.serving import load_predictor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts(drawn_bundle):
    bundle, manifest, split = drawn_bundle
    items = [manifest.items[i] for i in (*split.validation, *split.test)]
    return bundle, [(read_image(item.path).pixels, item.label) for item in items]


def test_it_learns_the_drawn_classes(parts):
    bundle, fields = parts
    predictor = load_predictor(bundle.path, runtime="openvino")
    right = [predictor.predict(pixels).top_label == label for pixels, label in fields]
    assert np.mean(right) >= 0.6, "four drawn classes: chance is 0.25"


def test_both_runtimes_agree(parts):
    bundle, fields = parts
    openvino, tensorflow = (load_predictor(bundle.path, runtime=name) for name in ("openvino", "tensorflow"))
    for pixels, _ in fields[::4]:
        one, other = openvino.predict(pixels), tensorflow.predict(pixels)
        assert one.top_label == other.top_label
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=0.01)
        assert one.domain_score == pytest.approx(other.domain_score, abs=0.02)


def test_an_ordinary_drawn_field_is_inside_and_a_photographs_noise_is_not(parts):
    bundle, fields = parts
    predictor = load_predictor(bundle.path, runtime="openvino")
    assert np.mean([predictor.predict(pixels).inside_domain for pixels, _ in fields]) > 0.9
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    assert not predictor.predict(noise).inside_domain


def test_both_graphs_store_float16(drawn_bundle):
    bundle, _, _ = drawn_bundle
    graph = onnx.load(bundle.path / "model.onnx").graph
    large = [t for t in graph.initializer if np.prod(t.dims) >= 256]
    assert large
    assert {t.data_type for t in large} <= {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}
    with zipfile.ZipFile(bundle.path / "model.keras") as archive:
        content = archive.read("model.weights.h5")
    found: set[np.dtype] = set()
    with h5py.File(BytesIO(content)) as weights:
        weights.visititems(
            lambda _, entry: found.add(entry.dtype) if isinstance(entry, h5py.Dataset) else None
        )
    weights_stored = {kind for kind in found if kind.kind == "f"}
    assert weights_stored == {np.dtype(np.float16)}


def test_the_bundle_says_what_it_was_made_of(drawn_bundle):
    bundle, manifest, split = drawn_bundle
    facts = read_bundle(bundle.path).manifest
    assert facts["data"]["train_sha256"] == [manifest.items[i].sha256 for i in split.train]
    assert facts["training"]["plan"]["blocks"] == [2, 2, 2, 2]
    assert sum(facts["prevalence"].values()) == pytest.approx(1)
    assert facts["thresholds"]["suspected"] > 0
    assert bundle.classes == DRAWN_CLASSES


def test_saliency_of_a_trained_network_equals_tf_keras_vis(parts):
    """The closed form against the reference that differentiates, on the shipped graph's own weights."""
    import keras
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    bundle, fields = parts
    model = keras.saving.load_model(bundle.path / "model.keras", compile=False)
    reference = Gradcam(model, clone=True)
    predictor = load_predictor(bundle.path, runtime="openvino")
    for pixels, _ in fields[:3]:
        prediction = predictor.predict(pixels)
        image = normalise(bundle.preprocessing.prepare(pixels))[None]
        wanted = reference(
            CategoricalScore(DRAWN_CLASSES.index(prediction.top_label)),
            image,
            penultimate_layer="relu",
            seek_penultimate_conv_layer=False,
            expand_cam=False,
        )[0]
        own = prediction.maps["gradcam"]
        wanted = np.asarray(wanted)
        spread = wanted.max() - wanted.min()
        wanted = (wanted - wanted.min()) / spread if spread > 0 else np.zeros_like(wanted)
        assert np.corrcoef(own.ravel(), wanted.ravel())[0, 1] > 0.995


def test_a_training_goes_on_where_it_stopped(tmp_path):
    from ml.training import Examples, Plan, Stage, train

    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (16, 32, 32, 3), dtype=np.uint8)
    examples = Examples(images, np.arange(16) % 2)
    plan = Plan(
        stages=(Stage(32, 1, 1e-3), Stage(48, 1, 1e-3)),
        batch_size=8,
        blocks=(1, 1, 1, 1),
        augmentation=Augmentation(),
    )
    common = {
        "classes": ("a", "b"), "plan": plan, "preprocessing": Preprocessing(size=48), "start": None,
        "work": tmp_path, "verbose": 0,
    }  # fmt: skip
    model, history = train(examples, examples, **common)
    assert len(history["loss"]) == 2
    stamp = (tmp_path / "stage-0.npz").stat().st_mtime_ns
    (tmp_path / "stage-1.npz").unlink()
    again, history_again = train(examples, examples, **common)
    assert (tmp_path / "stage-0.npz").stat().st_mtime_ns == stamp, "the finished stage is not trained again"
    assert len(history_again["loss"]) == 2
    assert again.output_shape == model.output_shape == (None, 2)


def test_the_network_serves_what_it_computes(drawn_bundle):
    """The feature map times the head is the logits: what the closed form of the saliency stands on."""
    bundle, manifest, _ = drawn_bundle
    runtime = open_runtime(bundle, "openvino")
    image = normalise(bundle.preprocessing.prepare(read_image(manifest.items[0].path).pixels))[None]
    feature_map, logits = runtime.run(image)
    expected = feature_map.mean(axis=(1, 2)) @ bundle.arrays["head_kernel"] + bundle.arrays["head_bias"]
    assert logits == pytest.approx(expected, abs=1e-2)
