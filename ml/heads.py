"""Training the dense head on pooled features, in NumPy: a step takes microseconds, so that a trial takes a second.

The same loss (`ml.losses`), optimisers and schedule as the training in Keras, written out for one dense layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.plan import CLIP_NORM, MOMENTUM, Optimiser
from ml.search import Setting

FloatArray = NDArray[np.float32]

BETAS = (0.9, 0.999)
EPSILON = 1e-7
"""Of Adam and AdamW, as in Keras."""

WARMUP_SHARE = 0.1
FIRST_RATE = 1 / 20
LAST_RATE = 0.01
"""Shares of the peak rate at which a schedule begins and ends, as `ml.training.schedule` has them."""


def scheduled(step: int, steps: int) -> float:
    """The share of the peak learning rate at a step: warmed up linearly, then falling as half a cosine."""
    warmup = int(steps * WARMUP_SHARE)
    if step < warmup:
        return FIRST_RATE + (1 - FIRST_RATE) * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + float(np.cos(np.pi * min(1.0, progress))))


def loss_and_slope(
    logits: FloatArray, membership: FloatArray, smoothing: float, gamma: float
) -> tuple[FloatArray, FloatArray]:
    """(n,) losses of `ml.losses.membership_loss` and (n, k) their derivatives by the logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted)
    totals = probabilities.sum(axis=1, keepdims=True)
    probabilities /= totals
    logarithms = shifted - np.log(totals)
    inside = np.maximum((probabilities * membership).sum(axis=1, keepdims=True), 1e-30)
    within = probabilities * membership / inside
    log_inside = np.log(inside)
    remaining = np.maximum(1.0 - inside, 1e-7)
    focal = remaining**gamma
    classes = logits.shape[1]
    loss = -(1 - smoothing) * focal * log_inside - smoothing / classes * logarithms.sum(axis=1, keepdims=True)
    # d log(inside) / d logits is (within - p), d inside / d logits is inside times that.
    slope = (
        (1 - smoothing) * (gamma * focal / remaining * inside * log_inside - focal) * (within - probabilities)
    )
    slope += smoothing * (probabilities - 1 / classes)
    return loss[:, 0], slope


def log_loss(logits: FloatArray, membership: FloatArray) -> float:
    """Mean of -log of the probability of an image's label (the sum of its classes'), in nats."""
    return float(loss_and_slope(logits.astype(np.float64), membership, 0.0, 0.0)[0].mean())


def right(logits: FloatArray, membership: FloatArray) -> NDArray[np.bool_]:
    """(n,) whether the label's classes together are at least as probable as any class outside it."""
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    inside = (probabilities * membership).sum(axis=1)
    return np.asarray(inside >= (probabilities * (1 - membership)).max(axis=1))


def balanced_accuracy(logits: FloatArray, membership: FloatArray) -> float:
    """Mean over the distinct labels present of the share that is right, in 0..1."""
    _, label = np.unique(membership > 0, axis=0, return_inverse=True)
    label = np.asarray(label).reshape(-1)
    hits = np.bincount(label, right(logits, membership))
    return float((hits / np.bincount(label)).mean())


@dataclass(frozen=True)
class HeadWeights:
    """The dense layer: kernel (c, k) and bias (k,)."""

    kernel: FloatArray
    bias: FloatArray

    @classmethod
    def drawn(cls, features: int, classes: int, rng: np.random.Generator) -> HeadWeights:
        """Glorot's uniform draw, as Keras begins a dense layer."""
        limit = np.sqrt(6 / (features + classes))
        kernel = rng.uniform(-limit, limit, (features, classes)).astype(np.float32)
        return cls(kernel, np.zeros(classes, np.float32))

    def logits(self, pooled: FloatArray) -> FloatArray:
        """(n, c) pooled features -> (n, k) logits."""
        return np.asarray(pooled.astype(np.float32) @ self.kernel + self.bias, np.float32)


class Descent:
    """SGD with momentum, Adam or AdamW on a list of arrays, changed in place; as Keras computes them."""

    def __init__(self, weights: list[FloatArray], optimiser: Optimiser, decays: list[float]) -> None:
        self._weights = weights
        self._optimiser = optimiser
        self._decays = decays
        self._first = [np.zeros_like(weight) for weight in weights]
        self._second = [np.zeros_like(weight) for weight in weights]
        self._step = 0

    def step(self, slopes: list[FloatArray], rate: float) -> None:
        """One update at a learning rate; each slope is clipped to the norm of `CLIP_NORM` first."""
        self._step += 1
        fade = [1 - beta**self._step for beta in BETAS]
        corrected = rate * np.sqrt(fade[1]) / fade[0]
        for place, (weight, slope) in enumerate(zip(self._weights, slopes, strict=True)):
            if self._decays[place]:
                weight -= weight * np.float32(self._decays[place] * rate)
            norm = float(np.sqrt(np.vdot(slope, slope)))
            if norm > CLIP_NORM:
                slope = slope * np.float32(CLIP_NORM / norm)
            first, second = self._first[place], self._second[place]
            if self._optimiser == "sgd":
                first *= np.float32(MOMENTUM)
                first -= np.float32(rate) * slope
                weight += first
                continue
            first += (slope - first) * np.float32(1 - BETAS[0])
            second += (slope * slope - second) * np.float32(1 - BETAS[1])
            weight -= np.float32(corrected) * first / (np.sqrt(second) + np.float32(EPSILON))


def train_head(
    views: FloatArray,
    membership: FloatArray,
    weights: FloatArray,
    *,
    start: HeadWeights,
    setting: Setting,
    epochs: int,
    seed: int,
) -> Iterator[tuple[HeadWeights, float]]:
    """Train the dense layer; after each epoch gives it (a view, changed by what follows) and the mean training loss.

    Args:
        views: (v, n, c) pooled features of v variations of each image; each epoch draws one for each image.
        membership: (n, k). weights: (n,) how much each image counts, mean 1.
        setting: learning_rate, optimiser, batch_size, dropout, weight_decay, label_smoothing and loss are used.
    """
    rng = np.random.default_rng((seed, 1))
    head = HeadWeights(start.kernel.copy(), start.bias.copy())
    decay = setting.weight_decay if setting.optimiser != "adam" else 0.0
    descent = Descent([head.kernel, head.bias], setting.optimiser, [decay, 0.0])
    count = len(membership)
    batch = min(setting.batch_size, count)
    steps = count // batch
    keep = 1 - setting.dropout
    for epoch in range(epochs):
        order = rng.permutation(count)
        chosen = views[rng.integers(len(views), size=count), order]
        losses = 0.0
        for step in range(steps):
            place = slice(step * batch, (step + 1) * batch)
            rows = order[place]
            features = chosen[place].astype(np.float32)
            if setting.dropout:
                features *= (rng.random(features.shape, dtype=np.float32) < keep) / np.float32(keep)
            loss, slope = loss_and_slope(
                head.logits(features), membership[rows], setting.label_smoothing, setting.gamma
            )
            slope *= (weights[rows] / batch)[:, None]
            rate = setting.learning_rate * scheduled(epoch * steps + step, epochs * steps)
            descent.step([features.T @ slope, slope.sum(axis=0)], rate)
            losses += float((loss * weights[rows]).mean())
        yield head, losses / steps
