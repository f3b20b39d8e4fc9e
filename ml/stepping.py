"""A training step that every trial of a process shares: traced once, its settings being arguments.

Keras bakes optimiser, loss and dropout into the graph that it traces for `fit`, half a minute for a DenseNet-121.
Here they come in as numbers, and weights are put back between trials. Imports TensorFlow.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml.heads import BETAS, EPSILON, HeadWeights
from ml.losses import membership_loss
from ml.network import head_weights
from ml.plan import CLIP_NORM, MOMENTUM
from ml.search import Setting

UNDECAYED = ("bias", "gamma", "beta")


class Stepper:
    """A body (image or feature map -> pooled features) with a dense head, trained by settings that may change.

    `begin` puts the starting weights back and sets up a trial; `step` trains on a batch; `logits` judges one.
    """

    def __init__(self, body: keras.Model, head: HeadWeights) -> None:
        """The body's weights at this moment are the start of every trial; all its layers are trained."""
        self._body = body
        self._start = [*body.get_weights()]
        self._head_start = head
        self._kernel = tf.Variable(head.kernel, name="kernel")
        self._bias = tf.Variable(head.bias, name="bias")
        self._weights = [*(weight.value for weight in body.trainable_variables), self._kernel, self._bias]
        names = [*(weight.name for weight in body.trainable_variables), "kernel", "bias"]
        self._decayed = [not name.startswith(UNDECAYED) for name in names]
        self._first = [tf.Variable(tf.zeros_like(weight), trainable=False) for weight in self._weights]
        self._second = [tf.Variable(tf.zeros_like(weight), trainable=False) for weight in self._weights]
        images = tf.TensorSpec(body.input_shape, tf.float32)
        labels, number = tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((), tf.float32)
        self._slopes = tf.function(
            self._compute_slopes,
            input_signature=[images, labels, tf.TensorSpec((None,), tf.float32), number, number, number,
                             tf.TensorSpec((2,), tf.int32)],
        )  # fmt: skip
        self._judge = tf.function(self._compute_logits, input_signature=[images])
        self._momentum = tf.function(self._descend, input_signature=[number, number, self._specs()])
        self._adam = tf.function(self._adapt, input_signature=[number, number, self._specs()])
        self._setting = Setting()
        self._seed = 0
        self._count = 0

    def begin(self, setting: Setting, *, seed: int) -> None:
        """Start a trial afresh. Of the setting, optimiser, dropout, decay, smoothing and loss are used here."""
        self._body.set_weights(self._start)
        self._kernel.assign(self._head_start.kernel)
        self._bias.assign(self._head_start.bias)
        for moment in (*self._first, *self._second):
            moment.assign(tf.zeros_like(moment))
        self._setting, self._seed, self._count = setting, seed, 0

    def step(
        self,
        images: tf.Tensor,
        membership: NDArray[np.float32],
        weights: NDArray[np.float32],
        rate: float,
    ) -> float:
        """Train on a batch (b, ...) with labels (b, k) and weights (b,); returns its mean weighted loss."""
        setting = self._setting
        self._count += 1
        loss, slopes = self._slopes(
            images, membership, weights, setting.dropout, setting.label_smoothing, setting.gamma,
            np.array([self._seed, self._count], np.int32),
        )  # fmt: skip
        decay = 0.0 if setting.optimiser == "adam" else setting.weight_decay * rate
        if setting.optimiser == "sgd":
            self._momentum(rate, decay, slopes)
        else:
            fade = [1 - beta**self._count for beta in BETAS]
            self._adam(rate * float(np.sqrt(fade[1])) / fade[0], decay, slopes)
        return float(loss)

    def logits(self, images: tf.Tensor) -> NDArray[np.float32]:
        """(b, ...) -> (b, k), as serving would compute them."""
        return np.asarray(self._judge(images).numpy(), np.float32)

    @property
    def head(self) -> HeadWeights:
        """The dense layer as trained so far; the body's layers are shared with whoever made it."""
        return HeadWeights(self._kernel.numpy(), self._bias.numpy())

    def _specs(self) -> list[tf.TensorSpec]:
        return [tf.TensorSpec(weight.shape, weight.dtype) for weight in self._weights]

    def _compute_slopes(
        self,
        images: tf.Tensor,
        membership: tf.Tensor,
        weights: tf.Tensor,
        dropout: tf.Tensor,
        smoothing: tf.Tensor,
        gamma: tf.Tensor,
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            pooled = self._body(images, training=True)
            kept = tf.random.stateless_uniform(tf.shape(pooled), seed) >= dropout
            pooled = tf.where(kept, pooled / (1.0 - dropout), 0.0)
            logits = tf.matmul(pooled, self._kernel) + self._bias
            loss = tf.reduce_mean(weights * membership_loss(membership, logits, smoothing, gamma))
        slopes = tape.gradient(loss, self._weights)
        return loss, [tf.clip_by_norm(slope, CLIP_NORM) for slope in slopes]

    def _compute_logits(self, images: tf.Tensor) -> tf.Tensor:
        return tf.matmul(self._body(images, training=False), self._kernel) + self._bias

    def _decay(self, weight: tf.Variable, decayed: bool, decay: tf.Tensor) -> None:
        if decayed:
            weight.assign_sub(weight * decay)

    def _descend(self, rate: tf.Tensor, decay: tf.Tensor, slopes: list[tf.Tensor]) -> None:
        for weight, moment, slope, decayed in zip(
            self._weights, self._first, slopes, self._decayed, strict=True
        ):
            self._decay(weight, decayed, decay)
            weight.assign_add(moment.assign(moment * MOMENTUM - rate * slope))

    def _adapt(self, corrected: tf.Tensor, decay: tf.Tensor, slopes: list[tf.Tensor]) -> None:
        moments = zip(self._weights, self._first, self._second, slopes, self._decayed, strict=True)
        for weight, first, second, slope, decayed in moments:
            self._decay(weight, decayed, decay)
            first.assign_add((slope - first) * (1 - BETAS[0]))
            second.assign_add((slope * slope - second) * (1 - BETAS[1]))
            weight.assign_sub(corrected * first / (tf.sqrt(second) + EPSILON))


def starting_head(model: keras.Model) -> HeadWeights:
    """The dense layer of a network that `build_network` made."""
    return HeadWeights(*head_weights(model))
