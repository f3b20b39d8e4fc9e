"""DenseNet-121 with our head: feature map -> global average pooling -> dropout -> dense, and nothing more.

The model is flat (no nested backbone) and its head is linear in the pooled `relu` feature map, which is what
gives Grad-CAM its closed form (`ml.saliency`). Imports TensorFlow: for training and TensorFlow serving alone.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

FEATURE_LAYER = "relu"
LOGITS_LAYER = "logits"


DENSENET_121 = (6, 12, 24, 16)
"""Layers of each dense block."""


def build_network(
    classes: int,
    *,
    size: int = 224,
    dropout: float = 0.3,
    weights: Path | str | None = None,
    blocks: tuple[int, ...] = DENSENET_121,
) -> keras.Model:
    """A DenseNet-121 (Huang et al. 2017) that maps (n, size, size, 3) normalised RGB to (n, classes) logits.

    Args:
        weights: a Keras weights file of the backbone without top, "imagenet" (downloaded by Keras), or None
            for random weights.
        blocks: layers of each dense block, for a smaller sister of DenseNet-121; pretrained weights fit the default.
    """
    shape = (size, size, 3)
    start = str(weights) if weights else None
    if blocks == DENSENET_121:
        backbone = keras.applications.DenseNet121(include_top=False, weights=start, input_shape=shape)
    else:
        # Keras offers its three published depths alone; the builder behind them takes any.
        from keras.src.applications.densenet import DenseNet

        backbone = DenseNet(blocks=list(blocks), include_top=False, weights=start, input_shape=shape)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    dropped = keras.layers.Dropout(dropout, name="dropout")(pooled)
    logits = keras.layers.Dense(classes, name=LOGITS_LAYER, dtype="float32")(dropped)
    return keras.Model(backbone.input, logits, name="densenet121")


def at_size(
    model: keras.Model, size: int, *, dropout: float = 0.3, blocks: tuple[int, ...] = DENSENET_121
) -> keras.Model:
    """The same network, weights copied, for another input side (convolutions do not care)."""
    classes = model.output_shape[-1]
    other = build_network(classes, size=size, dropout=dropout, blocks=blocks)
    other.set_weights(model.get_weights())
    return other


def with_feature_map(model: keras.Model) -> keras.Model:
    """The two-output graph that serving uses: (n, h, w, c) feature map, then (n, classes) logits."""
    return keras.Model(model.input, [model.get_layer(FEATURE_LAYER).output, model.output], name="serving")


def head_weights(model: keras.Model) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(c, classes) kernel and (classes,) bias of the dense layer."""
    kernel, bias = model.get_layer(LOGITS_LAYER).get_weights()
    return np.asarray(kernel, np.float32), np.asarray(bias, np.float32)
