"""A bundle's network with weights drawn anew, from its head down to the whole: what its maps are then worth nothing.

The model-parameter randomisation test of Adebayo et al. (2018, arXiv 1810.03292, section 3): if a map stays as it was
when the network has forgotten what it learnt, the map does not show what the network learnt. Layers are drawn anew
in cascade from the top, each from the law its training began with (the layer's own initialiser). Batch normalisation
takes the statistics of the images shown, as it does in the first step of a training: with means of 0 and variances of
1 instead, every channel of a random network repeats the picture's brightness, and the test would ask about that.

Imports TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.bundle import Bundle, BundleCorrupt
from ml.network import FEATURE_LAYER, LOGITS_LAYER

FloatArray = NDArray[np.float32]

_DEPTH: Final = {"head": 6, "block5": 5, "block4": 4, "block3": 3, "whole": 0}
_BLOCK: Final = re.compile(r"(?:conv|pool)(\d)")


class RandomisedNetwork:
    """The network of a bundle, to be asked under weights drawn anew. Not for two threads at once."""

    def __init__(self, bundle: Bundle) -> None:
        """Load `model.keras`. Raises BundleCorrupt where it cannot be loaded."""
        try:
            self._model = keras.saving.load_model(bundle.path / "model.keras", compile=False)
        except (OSError, ValueError, TypeError) as error:
            raise BundleCorrupt(
                f"The model {bundle.name} cannot be loaded: model.keras is not usable."
            ) from error
        self._own = [weight.copy() for weight in self._model.get_weights()]
        self._kept: tuple[FloatArray, dict[str, tf.Tensor]] | None = None

    def answers(
        self, images: FloatArray, stage: str, rng: np.random.Generator, draws: int
    ) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Give, for each of `draws` networks, (n, h, w, c) feature maps of the images and its head (c, k).

        Args:
            images: (n, S, S, 3) normalised. They are shown as one batch, whose statistics normalise it.
            stage: one of `ml.evaluation.cascade.STAGES`.
        """
        fresh = [layer for layer in self._model.layers if layer.weights and _depth(layer) >= _DEPTH[stage]]
        # Layers that keep their weights keep their statistics too; those of the fresh ones are the batch's.
        for layer in self._model.layers:
            layer.trainable = layer in fresh
        batch = tf.constant(images) if stage == "whole" else self._below(images)[stage]
        call: Callable[[Any], Any] | None = None
        if stage != "head":
            end = self._model.get_layer(FEATURE_LAYER).output
            rest = keras.Model(self._cut(stage), end)
            call = tf.function(lambda below: rest(below, training=True))
        try:
            for _ in range(draws):
                self._model.set_weights(self._own)
                for layer in fresh:
                    _draw_anew(layer, rng)
                kernel = self._model.get_layer(LOGITS_LAYER).get_weights()[0]
                features = batch if call is None else call(batch)
                yield features.numpy(), np.asarray(kernel, np.float32)
        finally:
            self._model.set_weights(self._own)

    def _below(self, images: FloatArray) -> dict[str, tf.Tensor]:
        """What layers that keep their weights give where the fresh ones of each step begin: one pass for all steps."""
        if self._kept is None or self._kept[0] is not images:
            stages = [stage for stage in _DEPTH if stage != "whole"]
            kept = keras.Model(self._model.input, [self._cut(stage) for stage in stages])
            call = tf.function(lambda batch: kept(batch, training=False))
            self._kept = images, dict(zip(stages, call(tf.constant(images)), strict=True))
        return self._kept[1]

    def _cut(self, stage: str) -> Any:
        """The tensor that all of a step's fresh layers below the head hang on; of the head, the feature map."""
        if stage == "whole":
            return self._model.input
        if stage == "head":
            return self._model.get_layer(FEATURE_LAYER).output
        first = next(
            layer for layer in self._model.layers if layer.weights and _depth(layer) >= _DEPTH[stage]
        )
        return first.input


def _depth(layer: keras.layers.Layer) -> int:
    """Number of the dense block (transitions count with the block above), 6 for the head, 1 for the stem."""
    if layer.name == LOGITS_LAYER:
        return _DEPTH["head"]
    found = _BLOCK.match(layer.name)
    if layer.name.startswith("pool") and found:
        return int(found.group(1)) + 1
    # The last batch normalisation, before the feature map, has no number: it belongs to the last block.
    return int(found.group(1)) if found else 5


def _draw_anew(layer: keras.layers.Layer, rng: np.random.Generator) -> None:
    """Give every weight of a layer a value from the layer's own initialiser, seeded by `rng`."""
    for weight in layer.weights:
        kind = {
            "kernel": "kernel_initializer",
            "bias": "bias_initializer",
            "gamma": "gamma_initializer",
            "beta": "beta_initializer",
            "moving_mean": "moving_mean_initializer",
            "moving_variance": "moving_variance_initializer",
        }[weight.name]
        law = getattr(layer, kind)
        settings = law.get_config()
        if "seed" in settings:
            settings = {**settings, "seed": int(rng.integers(2**31))}
        weight.assign(type(law).from_config(settings)(weight.shape))
