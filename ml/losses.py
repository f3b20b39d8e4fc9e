"""The loss and the figures of training, for labels that may stand for several classes.

A label is a row of the membership matrix M (n, k): 1 where it stands for a class. One 1 is an ordinary label;
several are a coarse one (`malignant`, say), whose probability is the sum of its classes'. With smoothing s, focal
exponent g and probabilities p of k classes, an image's loss is

    -(1 - s) (1 - sum(M p)) ** g log(sum(M p)) - s / k sum(log(p))

which for ordinary labels and g = 0 is cross-entropy with label smoothing (Szegedy et al. 2016), and for s = 0 the
focal loss (Lin et al. 2017). Imports TensorFlow; `ml.heads` has the same in NumPy.
"""

from __future__ import annotations

import keras
import tensorflow as tf


def membership_loss(
    membership: tf.Tensor, logits: tf.Tensor, smoothing: tf.Tensor | float, gamma: tf.Tensor | float
) -> tf.Tensor:
    """(n, k) membership and logits -> (n,) losses in nats; smoothing in 0..1, gamma 0 or more, also as tensors."""
    logarithms = tf.nn.log_softmax(logits)
    # A class outside the label gets the lowest finite weight, so that the sum is over the label's classes alone.
    inside = tf.reduce_logsumexp(tf.where(membership > 0, logarithms, logarithms.dtype.min), axis=-1)
    # At g = 0 the power's gradient would be 0 times infinity where the probability has reached 1.
    remaining = tf.maximum(1.0 - tf.exp(inside), 1e-7)
    focal = tf.pow(remaining, gamma)
    classes = tf.cast(tf.shape(logits)[-1], logits.dtype)
    spread = tf.reduce_sum(logarithms, axis=-1) / classes
    return -(1.0 - smoothing) * focal * inside - smoothing * spread


@keras.saving.register_keras_serializable("leukoscope")
class MembershipLoss(keras.losses.Loss):  # type: ignore[misc]
    """`membership_loss` of logits, for `compile`."""

    def __init__(self, smoothing: float = 0.0, gamma: float = 0.0, name: str = "membership_loss") -> None:
        super().__init__(name=name)
        self.smoothing = smoothing
        self.gamma = gamma

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return membership_loss(y_true, y_pred, self.smoothing, self.gamma)

    def get_config(self) -> dict[str, float | str]:
        return {"smoothing": self.smoothing, "gamma": self.gamma, "name": self.name}


def accuracy(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """(n,) 1 where the label's classes together are at least as probable as any class outside it, else 0."""
    probabilities = tf.nn.softmax(y_pred)
    inside = tf.reduce_sum(probabilities * y_true, axis=-1)
    outside = tf.reduce_max(probabilities * (1.0 - y_true), axis=-1)
    return tf.cast(inside >= outside, tf.float32)
