"""The closed forms against tf-keras-vis, which runs the backward pass."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ml.saliency import METHODS, min_max, saliency_map, upsample

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]

CLASSES = 4
SIDE = 112  # the last map is then 7x7


@pytest.fixture(scope="module")
def network() -> SimpleNamespace:
    """A small randomly initialised network built as ours: dense blocks, then relu, GAP, dropout, linear
    dense.
    """
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(11)
    layers = keras.layers
    inputs = x = keras.Input((SIDE, SIDE, 3))
    for block in range(4):
        x = layers.Conv2D(24, 3, strides=2, padding="same", name=f"down{block}")(x)
        for unit in range(2):
            y = layers.BatchNormalization(name=f"bn{block}_{unit}")(x)
            y = layers.Activation("relu", name=f"relu{block}_{unit}")(y)
            y = layers.Conv2D(12, 3, padding="same", name=f"conv{block}_{unit}")(y)
            x = layers.Concatenate(name=f"concat{block}_{unit}")([x, y])
    x = layers.BatchNormalization(name="bn")(x)
    feature_map = layers.Activation("relu", name="relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(feature_map)
    x = layers.Dropout(0.3, name="dropout")(x)
    logits = layers.Dense(CLASSES, name="logits", bias_initializer="random_normal")(x)
    model = keras.Model(inputs, logits)
    return SimpleNamespace(
        model=model,
        features=keras.Model(inputs, feature_map),
        weights=model.get_layer("logits").get_weights()[0],
        images=np.random.default_rng(2).normal(0, 1, (3, SIDE, SIDE, 3)).astype(np.float32),
    )


def reference(network: SimpleNamespace, method: str, index: int, class_index: int) -> np.ndarray:
    gradcam = pytest.importorskip("tf_keras_vis.gradcam")
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam
    from tf_keras_vis.utils.scores import CategoricalScore

    kinds = {"gradcam": gradcam.Gradcam, "gradcam++": GradcamPlusPlus, "layercam": Layercam}
    visualiser = kinds[method](network.model, clone=False)
    maps = visualiser(
        CategoricalScore(class_index),
        network.images[index : index + 1],
        penultimate_layer="relu",
        seek_penultimate_conv_layer=False,
    )
    return np.asarray(maps[0])


@pytest.mark.parametrize("class_index", range(CLASSES))
@pytest.mark.parametrize("method", METHODS)
def test_the_closed_form_equals_tf_keras_vis(network: SimpleNamespace, method: str, class_index: int) -> None:
    seen_contrast = False
    for index in range(len(network.images)):
        feature_map = np.asarray(network.features(network.images[index : index + 1]))[0]
        assert feature_map.shape == (7, 7, 48)
        ours = saliency_map(feature_map, network.weights[:, class_index], method)
        expected = reference(network, method, index, class_index)
        np.testing.assert_allclose(min_max(upsample(ours, (SIDE, SIDE))), min_max(expected), atol=1e-4)
        seen_contrast |= bool(ours.any())
    assert seen_contrast, "a test of empty maps proves nothing"


def test_the_reference_tells_classes_apart(network: SimpleNamespace) -> None:
    """The equality above would mean nothing if every class had the same map."""
    feature_map = np.asarray(network.features(network.images[:1]))[0]
    shown = upsample(saliency_map(feature_map, network.weights[:, 1], "layercam"), (SIDE, SIDE))
    assert np.abs(shown - reference(network, "layercam", 0, 0)).max() > 0.05
