"""DenseNet-121 with our head: feature map -> global average pooling -> dropout -> dense, and nothing more.

The model is flat (no nested backbone) and its head is linear in the pooled `relu` feature map, which is what
gives Grad-CAM its closed form (`ml.saliency`). Imports TensorFlow: for training and TensorFlow serving alone.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from ml.plan import DENSENET_121, Depth
from ml.saving import TrainingProblem

FEATURE_LAYER = "relu"
LOGITS_LAYER = "logits"
LAST_BLOCK_INPUT = "pool4_pool"
"""What the last dense block reads: a map of a 32nd of the input's side."""

LAST_BLOCK = "conv5_"
LAST_NORM = "bn"
"""The last block's layers begin with the first, and the second follows them."""


def build_network(
    classes: int,
    *,
    size: int | None = 224,
    dropout: float = 0.3,
    weights: Path | str | None = None,
    blocks: tuple[int, ...] = DENSENET_121,
) -> keras.Model:
    """A DenseNet-121 (Huang et al. 2017) that maps (n, size, size, 3) normalised RGB to (n, classes) logits.

    Args:
        size: side of the input; None leaves it open (convolutions do not care), at no cost in speed.
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
    model: keras.Model, size: int | None, *, dropout: float = 0.3, blocks: tuple[int, ...] = DENSENET_121
) -> keras.Model:
    """The same network, weights copied, for another input side (convolutions do not care)."""
    classes = model.output_shape[-1]
    other = build_network(classes, size=size, dropout=dropout, blocks=blocks)
    other.set_weights(model.get_weights())
    return other


def blocks_of(model: keras.Model) -> tuple[int, ...]:
    """Layers of each dense block of a network that `build_network` made."""
    found = Counter(layer.name[:5] for layer in model.layers if layer.name.endswith("_concat"))
    return tuple(found[f"conv{number}"] for number in range(2, 6))


def start_network(
    classes: int,
    start: Path | str | None,
    *,
    size: int | None,
    dropout: float,
    blocks: tuple[int, ...] = DENSENET_121,
) -> keras.Model:
    """A network that begins at other weights.

    Args:
        start: a whole network (`model.keras` of a bundle; its head is taken where it has as many classes), a
            Keras weights file of the backbone without top, "imagenet", or None for random weights.

    Raises:
        TrainingProblem: the file is missing, unreadable, or of another architecture than `blocks`.
    """
    whole = str(start).endswith(".keras")
    try:
        if not whole:
            return build_network(classes, size=size, dropout=dropout, weights=start, blocks=blocks)
        old = keras.saving.load_model(start, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingProblem(
            f"The starting weights {Path(str(start)).name} cannot be read, or belong to another network."
        ) from error
    if blocks_of(old) != tuple(blocks):
        raise TrainingProblem(
            f"The starting network {Path(str(start)).name} has dense blocks of {blocks_of(old)} layers, "
            f"the plan of {tuple(blocks)}."
        )
    model = build_network(classes, size=size, dropout=dropout, blocks=blocks)
    kept = old.get_weights()
    if old.output_shape[-1] != classes:
        kept = [*kept[:-2], *model.get_weights()[-2:]]  # the dense layer's kernel and bias come last
    model.set_weights(kept)
    return model


def unfreeze(model: keras.Model, depth: Depth) -> None:
    """Let the layers of that depth learn and no others; normalisation in frozen layers keeps its statistics."""
    for layer in model.layers:
        last = layer.name.startswith(LAST_BLOCK) or layer.name == LAST_NORM
        layer.trainable = depth == "all" or layer.name == LOGITS_LAYER or (depth == "block" and last)


def with_feature_map(model: keras.Model) -> keras.Model:
    """The two-output graph that serving uses: (n, h, w, c) feature map, then (n, classes) logits."""
    return keras.Model(model.input, [model.get_layer(FEATURE_LAYER).output, model.output], name="serving")


def head_weights(model: keras.Model) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(c, classes) kernel and (classes,) bias of the dense layer."""
    kernel, bias = model.get_layer(LOGITS_LAYER).get_weights()
    return np.asarray(kernel, np.float32), np.asarray(bias, np.float32)
