"""Networks to stand beside ours, and a training that ends when its minutes are up. Imports TensorFlow.

ImageNet weights are at hand for DenseNet-121 alone; every other network starts from random weights, and a
DenseNet-121 from random weights stands beside them, so that like is compared with like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.batches import Examples, batches
from ml.budget import Budget, Report
from ml.clocks import Clock, wall_clock
from ml.data.augmentation import Augmentation
from ml.imaging.preprocessing import Preprocessing
from ml.network import build_network
from ml.plan import Plan

NORMALISATION_MOMENTUM = 0.9
"""Of every batch normalisation. Keras' applications have 0.99 or 0.999, whose averages still hold their starting
values after the few hundred steps that minutes allow: networks would be judged by that, not by what they learnt."""


@dataclass(frozen=True)
class Rival:
    """A network, in the words of a table, and the peak learning rate of AdamW that it was given beforehand."""

    words: str
    build: Callable[[int, int, Path | str | None], keras.Model]
    learning_rate: float
    pretrained: bool = False


def _densenet(classes: int, size: int, weights: Path | str | None) -> keras.Model:
    return build_network(classes, size=size, dropout=0.2, weights=weights)


def _application(make: Callable[..., keras.Model], *, scale: float = 1.0) -> Callable[..., keras.Model]:
    """A network of `keras.applications` from random weights behind a pooled linear head, as ours has."""

    def build(classes: int, size: int, weights: Path | str | None) -> keras.Model:
        del weights
        image = keras.Input((size, size, 3))
        scaled = keras.layers.Rescaling(scale)(image) if scale != 1.0 else image
        backbone = make(include_top=False, weights=None, input_tensor=scaled)
        pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
        return _with_head(image, keras.layers.Dropout(0.2)(pooled), classes)

    return build


def _vgg16(classes: int, size: int, weights: Path | str | None) -> keras.Model:
    """VGG16's convolutions (Simonyan and Zisserman 2015) behind one hidden layer of 256 on pooled features.

    The published head, two layers of 4,096 on a flattened map, is made for 224 pixels and a million images. The
    convolutions start as He (2015) has it: with Glorot's weights, which Keras gives them, thirteen layers without
    normalisation hardly begin to learn.
    """
    del weights
    backbone = keras.applications.VGG16(include_top=False, weights=None, input_shape=(size, size, 3))
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(keras.initializers.HeNormal()(layer.kernel.shape))
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
    hidden = keras.layers.Dense(256, activation="relu", kernel_initializer="he_normal")(pooled)
    return _with_head(backbone.input, keras.layers.Dropout(0.3)(hidden), classes)


def _alexnet(classes: int, size: int, weights: Path | str | None) -> keras.Model:
    """AlexNet (Krizhevsky 2012; one tower, as in 2014), for a reduced size.

    Batch normalisation stands in for the response normalisation that nobody uses any more, and the two hidden
    layers have 512 units in place of 4,096, since the last map is 2x2 or 3x3 here and not 6x6.
    """
    del weights
    image = keras.Input((size, size, 3))
    x: Any = image
    for filters, kernel, stride, pool in (
        (64, 11, 4, True), (192, 5, 1, True), (384, 3, 1, False), (256, 3, 1, False), (256, 3, 1, True),
    ):  # fmt: skip
        x = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False,
                                kernel_initializer="he_normal")(x)  # fmt: skip
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        if pool:
            x = keras.layers.MaxPooling2D(3, 2)(x)
    x = keras.layers.Flatten()(x)
    for _ in range(2):
        x = keras.layers.Dense(512, activation="relu", kernel_initializer="he_normal")(x)
        x = keras.layers.Dropout(0.4)(x)
    return _with_head(image, x, classes)


def _with_head(image: Any, features: Any, classes: int) -> keras.Model:
    return keras.Model(image, keras.layers.Dense(classes, dtype="float32", name="logits")(features))


RIVALS: dict[str, Rival] = {
    "densenet-imagenet": Rival("DenseNet-121, fine-tuned", _densenet, 5e-4, pretrained=True),
    "densenet": Rival("DenseNet-121", _densenet, 1e-3),
    "resnet50": Rival("ResNet50", _application(keras.applications.ResNet50), 1e-3),
    "vgg16": Rival("VGG16", _vgg16, 2e-4),
    "mobilenetv2": Rival("MobileNetV2", _application(keras.applications.MobileNetV2), 1e-3),
    # Keras' EfficientNet divides by 255 itself, and takes no pictures that are normalised already.
    "efficientnetb0": Rival(
        "EfficientNetB0", _application(keras.applications.EfficientNetB0, scale=255.0), 1e-3
    ),
    "alexnet": Rival("AlexNet (own definition)", _alexnet, 5e-4),
}
"""By the key of their row. The learning rates were set before any test image was looked at, one a family."""


@dataclass(frozen=True)
class Effort:
    """What one training took: seconds by its clock, steps, and images shown (with repetitions)."""

    seconds: float
    steps: int
    images: int


class Contender:
    """A rival built and traced once, and trained anew for each fold from the same starting weights.

    `tracing_seconds` is what building it and its first step took; it counts towards the row's budget.
    """

    def __init__(
        self,
        rival: Rival,
        *,
        classes: int,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        weights: Path | str | None,
        seed: int,
        batch_size: int = 32,
        clock: Clock = wall_clock,
    ) -> None:
        self.rival, self.classes, self.preprocessing, self.clock = rival, classes, preprocessing, clock
        self.plan = Plan(batch_size=batch_size, seed=seed, augmentation=augmentation)
        began = clock()
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        self.model = rival.build(classes, preprocessing.size, weights if rival.pretrained else None)
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = NORMALISATION_MOMENTUM
        optimiser = keras.optimizers.AdamW(
            rival.learning_rate, weight_decay=self.plan.weight_decay, clipnorm=1.0
        )
        optimiser.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.model.compile(
            optimizer=optimiser,
            loss=keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=self.plan.label_smoothing
            ),
        )
        optimiser.build(self.model.trainable_variables)
        self._start = self.model.get_weights()
        self._optimiser_start = [np.asarray(variable) for variable in optimiser.variables]
        self._step_once()
        self.tracing_seconds = clock() - began

    @property
    def parameters(self) -> int:
        """Numbers the network holds, those of normalisation included."""
        return int(self.model.count_params())

    @property
    def device(self) -> str:
        """What TensorFlow trains on here: GPU or CPU."""
        return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"

    def train(
        self, examples: Examples, *, seconds: float, report: Report = lambda share, words: None
    ) -> Effort:
        """Train all layers for `seconds` from the starting weights; no image but these is looked at.

        The weights at the end count: nothing is chosen on the way, on these images or on others.
        """
        self._reset()
        budget = Budget(
            seconds,
            self.rival.learning_rate,
            batch_size=self.plan.batch_size,
            clock=self.clock,
            report=report,
        )
        self.model.fit(
            self._batches(examples),
            epochs=1,
            steps_per_epoch=2**31,
            shuffle=False,
            verbose=0,
            callbacks=[budget],
        )
        return Effort(budget.spent, budget.steps, budget.steps * self.plan.batch_size)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(n, classes) of corrected images (n, S, S, 3) uint8, in the order they come."""
        nobody = np.zeros(len(images), np.int64)
        data = batches(
            Examples(images, nobody),
            classes=self.classes,
            size=self.preprocessing.size,
            preprocessing=self.preprocessing,
            batch_size=self.plan.batch_size,
        )
        logits = np.asarray(self.model.predict(data.map(lambda x, y, w: x), verbose=0), np.float64)
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = chances / chances.sum(axis=1, keepdims=True)
        return found

    def _batches(self, examples: Examples) -> Any:
        return batches(
            examples,
            classes=self.classes,
            size=self.preprocessing.size,
            preprocessing=self.preprocessing,
            batch_size=self.plan.batch_size,
            plan=self.plan,
        )

    def _step_once(self) -> None:
        """Trace the training step on grey pictures, so that no fold pays for it."""
        size, count = self.preprocessing.size, self.plan.batch_size
        grey = np.full((count, size, size, 3), 127, np.uint8)
        labels = np.arange(count, dtype=np.int64) % self.classes
        self.model.fit(
            self._batches(Examples(grey, labels)), epochs=1, steps_per_epoch=1, shuffle=False, verbose=0
        )

    def _reset(self) -> None:
        self.model.set_weights(self._start)
        for variable, value in zip(self.model.optimizer.variables, self._optimiser_start, strict=True):
            variable.assign(value)


def pooled_features(
    images: NDArray[np.uint8], *, weights: Path | str, preprocessing: Preprocessing
) -> NDArray[np.float64]:
    """(n, 1024) means over the place of a frozen ImageNet DenseNet-121's last map, of corrected images (n, S, S, 3)."""
    network = build_network(2, size=preprocessing.size, weights=weights)
    network = keras.Model(network.input, network.get_layer("pool").output)
    data = batches(
        Examples(images, np.zeros(len(images), np.int64)),
        classes=2,
        size=preprocessing.size,
        preprocessing=preprocessing,
        batch_size=32,
    )
    return np.asarray(network.predict(data.map(lambda x, y, w: x), verbose=0), np.float64)
