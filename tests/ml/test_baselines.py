"""Baselines: nearest neighbours against scikit-learn's, and the order of classes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from ml.evaluation.baselines import Baseline, Neighbours, six_colour_baseline


def painted(colour: tuple[int, int, int], seed: int) -> np.ndarray:
    """A field of two colours: a light background and a square of `colour`, with some noise."""
    rng = np.random.default_rng(seed)
    image = np.full((24, 32, 3), 240.0)
    image[6:18, 8:24] = colour
    return np.clip(image + rng.normal(scale=2, size=image.shape), 0, 255).astype(np.uint8)


def test_neighbours_choose_as_scikit_learns_do():
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(80, 6)), rng.choice(["a", "b", "c"], 80)
    queries = rng.normal(size=(40, 6))
    ours = Neighbours(5).fit(vectors, list(labels)).predict_proba(queries)
    theirs = KNeighborsClassifier(5).fit(vectors, labels).predict_proba(queries)
    assert np.allclose(ours, (theirs * 5 + 1) / 8)


def test_neighbours_make_do_with_fewer_images_than_they_ask_for():
    chances = Neighbours(5).fit(np.zeros((2, 6)), ["a", "b"]).predict_proba(np.zeros((1, 6)))
    assert chances == pytest.approx(np.asarray([[0.5, 0.5]]))


def test_the_colour_baseline_tells_colours_apart():
    pink, blue = (220, 150, 190), (120, 140, 220)
    images = [painted(colour, seed) for seed in range(8) for colour in (pink, blue)]
    baseline = six_colour_baseline().fit(images, ["pro", "pre"] * 8, classes=("pre", "pro"))
    chances = baseline.predict_proba([painted(blue, 90), painted(pink, 91)])
    assert chances.argmax(axis=1).tolist() == [0, 1]
    assert chances.sum(axis=1) == pytest.approx([1, 1])


def test_a_class_without_images_gets_no_probability():
    images = [painted((220, 150, 190), seed) for seed in range(4)]
    baseline = six_colour_baseline().fit(images, ["a", "c", "a", "c"], classes=("a", "b", "c"))
    assert (baseline.predict_proba(images)[:, 1] == 0).all()


def test_another_measurement_and_classifier_make_another_baseline():
    images = [np.full((4, 4, 3), level, dtype=np.uint8) for level in (20, 30, 200, 210)]
    baseline = Baseline("mean level", lambda pixels: np.asarray([pixels.mean()]), LogisticRegression())
    baseline.fit(images, ["dark", "dark", "light", "light"], classes=("light", "dark"))
    assert baseline.predict_proba(images).argmax(axis=1).tolist() == [1, 1, 0, 0]


def test_it_says_when_it_has_not_learnt_or_does_not_know_a_label():
    with pytest.raises(ValueError, match="not learnt"):
        six_colour_baseline().predict_proba([painted((1, 2, 3), 0)])
    with pytest.raises(ValueError, match="z"):
        six_colour_baseline().fit([painted((1, 2, 3), 0)], ["z"], classes=("a", "b"))
    with pytest.raises(ValueError, match="at least one"):
        Neighbours().fit(np.zeros((0, 6)), [])
