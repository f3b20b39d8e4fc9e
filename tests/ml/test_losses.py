"""One loss, written twice: for Keras, and in NumPy for the head. They agree with each other and with Keras' own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from ml.heads import Descent, balanced_accuracy, log_loss, loss_and_slope, right, scheduled
from ml.losses import MembershipLoss, accuracy, membership_loss
from ml.plan import OPTIMISERS, Plan
from ml.training import make_optimiser, schedule

ONE = np.eye(4, dtype=np.float32)
MALIGNANT = np.array([0, 1, 1, 1], np.float32)


def drawn(seed: int = 0, n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels of which every third stands for three classes."""
    rng = np.random.default_rng(seed)
    membership = ONE[rng.integers(4, size=n)]
    membership[::3] = MALIGNANT
    return rng.normal(0, 3, (n, 4)).astype(np.float32), membership


def test_of_ordinary_labels_it_is_cross_entropy_with_smoothing():
    logits, _ = drawn()
    labels = ONE[np.arange(12) % 4]
    wanted = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(labels, logits)
    assert float(MembershipLoss(0.1)(labels, logits)) == pytest.approx(float(wanted), rel=1e-5)


def test_of_ordinary_labels_it_is_the_focal_loss():
    logits, _ = drawn()
    labels = ONE[np.arange(12) % 4]
    p = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True) * labels).sum(1)
    wanted = (-((1 - p) ** 2) * np.log(p)).mean()
    assert float(MembershipLoss(0.0, 2.0)(labels, logits)) == pytest.approx(wanted, rel=1e-4)


def test_a_coarse_label_costs_what_its_classes_lack_together():
    chances = np.array([[0.4, 0.3, 0.2, 0.1]], np.float32)
    loss = membership_loss(MALIGNANT[None], np.log(chances), 0.0, 0.0)
    assert float(loss[0]) == pytest.approx(-np.log(0.6), rel=1e-5)
    assert bool(accuracy(MALIGNANT[None], np.log(chances))[0]), "0.6 against 0.4: its sum is what counts"
    assert not bool(accuracy(ONE[1:2], np.log(chances))[0])
    assert right(np.log(chances), MALIGNANT[None]).all()


@pytest.mark.parametrize(("smoothing", "gamma"), [(0.0, 0.0), (0.1, 0.0), (0.0, 2.0), (0.07, 1.5)])
def test_numpy_and_tensorflow_agree_on_loss_and_slope(smoothing, gamma):
    logits, membership = drawn(3)
    watched = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        wanted = membership_loss(membership, watched, smoothing, gamma)
    loss, slope = loss_and_slope(logits, membership, smoothing, gamma)
    assert loss == pytest.approx(wanted.numpy(), rel=1e-4, abs=1e-6)
    assert slope == pytest.approx(tape.gradient(wanted, watched).numpy(), rel=1e-3, abs=1e-5)


def test_a_certain_answer_breaks_neither():
    logits = np.array([[60.0, 0, 0, 0], [-60.0, 0, 0, 0]], np.float32)
    labels = ONE[[0, 0]]
    watched = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        loss = membership_loss(labels, watched, 0.05, 2.0)
    assert np.isfinite(loss.numpy()).all()
    assert np.isfinite(tape.gradient(loss, watched).numpy()).all()
    assert all(np.isfinite(part).all() for part in loss_and_slope(logits, labels, 0.05, 2.0))


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_heads_descent_is_keras_descent(optimiser):
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(5, 4)).astype(np.float32), np.zeros(4, np.float32)
    theirs = [keras.Variable(kernel, name="kernel"), keras.Variable(bias, name="bias")]
    keras_optimiser = make_optimiser(Plan(optimiser=optimiser, weight_decay=0.1), 0.01)
    ours = [kernel.copy(), bias.copy()]
    descent = Descent(ours, optimiser, [0.0 if optimiser == "adam" else 0.1, 0.0])
    for _ in range(5):
        slopes = [rng.normal(0, 2, w.shape).astype(np.float32) for w in ours]  # some beyond the clip
        keras_optimiser.apply(slopes, theirs)
        descent.step(slopes, 0.01)
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(np.asarray(other.numpy()), rel=1e-4, abs=1e-6)


def test_the_heads_schedule_is_keras_schedule():
    keras_schedule = schedule(0.3, steps=10, epochs=12)
    ours = [0.3 * scheduled(step, 120) for step in range(120)]
    assert ours == pytest.approx([float(keras_schedule(step)) for step in range(120)], rel=1e-4)


def test_every_label_counts_alike_in_balanced_accuracy():
    membership = ONE[[0, 0, 0, 1]]
    logits = ONE[[0, 0, 0, 2]]
    assert balanced_accuracy(logits, membership) == pytest.approx(0.5)
    assert log_loss(np.zeros((4, 4), np.float32), membership) == pytest.approx(np.log(4))
