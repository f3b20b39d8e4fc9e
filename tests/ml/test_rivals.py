"""Rivals and the training that ends when its minutes are up, at a size and budget that teach little."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from ml.batches import Examples
from ml.benchmark_data import preprocessing_for
from ml.budget import Budget, learning_rate_at
from ml.data.augmentation import Augmentation
from ml.rivals import NORMALISATION_MOMENTUM, RIVALS, Contender

pytestmark = pytest.mark.slow
SIZE = 64


class Ticks:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Lesson:
    """As much of a model as a budget needs."""

    def __init__(self) -> None:
        self.optimizer, self.stop_training, self.rates = self, False, []

    @property
    def learning_rate(self) -> float:
        return self.rates[-1]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.rates.append(value)


def taught(seconds: float) -> tuple[Budget, Lesson]:
    budget, lesson = Budget(seconds, 1.0, batch_size=4, clock=Ticks()), Lesson()
    budget.set_model(lesson)
    budget.on_train_begin()
    while not lesson.stop_training:
        budget.on_train_batch_begin(0)
        budget.on_train_batch_end(0, {"loss": 1.0})
    return budget, lesson


@pytest.mark.parametrize("seconds", [20, 200])
def test_the_budget_is_used_up_and_not_exceeded(seconds):
    budget, _ = taught(seconds)
    assert 0.8 * seconds < budget.spent <= seconds


def test_the_learning_rate_is_fitted_to_the_budget_whatever_its_length():
    short, long = taught(100)[1].rates, taught(1000)[1].rates
    for rates in (short, long):
        assert max(rates) == pytest.approx(1.0, abs=0.02)
        assert rates[0] < 0.5
        assert rates[-1] < 0.05
    at = np.linspace(0, 1, 20)
    shapes = [np.interp(at, np.linspace(0, 1, len(rates)), rates) for rates in (short, long)]
    assert np.abs(shapes[0] - shapes[1]).max() < 0.35


def test_without_a_second_left_there_is_one_step_at_the_last_rate():
    budget, lesson = taught(0)
    assert budget.steps == 1
    assert lesson.rates == [pytest.approx(0.01)]


def test_the_rate_rises_in_the_first_tenth_and_then_falls():
    rates = [learning_rate_at(share, 2.0) for share in np.linspace(0, 1, 101)]
    assert np.argmax(rates) == 10
    assert rates[10] == pytest.approx(2.0)
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert learning_rate_at(7.0, 2.0) == pytest.approx(0.02)


@pytest.mark.parametrize("key", ["vgg16", "efficientnetb0"])
def test_a_rival_gives_logits_that_depend_on_the_picture(key):
    keras.utils.set_random_seed(1)
    model = RIVALS[key].build(3, SIZE, None)
    pictures = np.random.default_rng(0).normal(size=(4, SIZE, SIZE, 3)).astype(np.float32)
    # In training mode: random weights' running averages say nothing yet.
    logits = np.asarray(model(pictures, training=True))
    assert logits.shape == (4, 3)
    assert np.isfinite(logits).all()
    assert logits.std(axis=0).min() > 1e-3


def test_efficientnet_sees_the_normalised_picture_and_not_one_divided_by_255():
    model = RIVALS["efficientnetb0"].build(3, SIZE, None)
    pictures = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
    model.set_weights(model.get_weights())  # as for every fold; its own normalisation is among them
    first = keras.Model(model.input, model.get_layer("stem_conv").input)
    seen = np.asarray(first(pictures))[:, :-1, :-1]  # one row and column of zeros pad it
    assert np.allclose(seen, pictures, atol=1e-5)


@pytest.fixture(scope="module")
def contender() -> Contender:
    return Contender(
        RIVALS["alexnet"],
        classes=2,
        preprocessing=preprocessing_for(SIZE, cells=True),
        augmentation=Augmentation(colour=False),
        weights=None,
        seed=5,
        batch_size=8,
    )


def pictures(flipped: bool = False) -> Examples:
    """Bright and dark noise, which anything learns at once."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = np.clip(rng.normal(60 + 120 * labels[:, None, None, None], 20, (24, SIZE, SIZE, 3)), 0, 255)
    return Examples(images.astype(np.uint8), 1 - labels if flipped else labels)


def test_it_learns_within_its_seconds_and_starts_anew_for_each_fold(contender):
    told = []
    effort = contender.train(pictures(), seconds=2.5, report=lambda share, words: told.append(share))
    # Loaded machines are slow to take the last step; that is what the room is for.
    assert 0 < effort.seconds < 10
    assert effort.images == effort.steps * 8 > 0
    assert told == sorted(told)
    chances = contender.probabilities(pictures().images)
    assert chances.sum(axis=1) == pytest.approx(np.ones(24))
    assert np.mean(chances.argmax(axis=1) == pictures().labels) > 0.8
    contender.train(pictures(flipped=True), seconds=2.5)
    again = contender.probabilities(pictures().images)
    assert np.mean(again.argmax(axis=1) == pictures().labels) < 0.2, "nothing of the first fold may be left"


def test_building_and_tracing_are_counted_and_averages_follow_quickly(contender):
    assert contender.tracing_seconds > 0
    layers = [one for one in contender.model.layers if isinstance(one, keras.layers.BatchNormalization)]
    assert layers
    assert all(layer.momentum == NORMALISATION_MOMENTUM for layer in layers)


def test_before_training_it_stands_where_it_started(contender):
    start = [np.array(values) for values in contender._start]
    contender.train(pictures(), seconds=0.0)
    contender._reset()
    assert all(np.array_equal(a, b) for a, b in zip(start, contender.model.get_weights(), strict=True))
