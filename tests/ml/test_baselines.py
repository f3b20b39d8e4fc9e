"""Baselines: nearest neighbours against scikit-learn's, and the order of classes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ml.evaluation.baselines import (
    Baseline,
    Neighbours,
    ScaledClassifier,
    Setting,
    chances_of,
    choose_setting,
    forest_settings,
    neighbour_settings,
    six_colour_baseline,
    vector_machine_settings,
)


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


def vectors_of(label_count: int, n: int, seed: int, *, spread: float = 1.0) -> tuple[np.ndarray, list[str]]:
    """Gaussian clouds a distance of 6 apart, the second measurement a thousand times the first's scale."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, label_count, n)
    vectors = rng.normal(scale=spread, size=(n, 2)) + 6.0 * codes[:, None]
    return vectors * [1.0, 1000.0], ["abc"[code] for code in codes]


def test_a_scaled_classifier_chooses_as_scikit_learns_pipeline_does():
    vectors, labels = vectors_of(3, 90, 0, spread=3.0)
    queries, _ = vectors_of(3, 40, 1, spread=3.0)
    ours = ScaledClassifier(Neighbours(5)).fit(vectors, labels).predict_proba(queries)
    theirs = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(vectors, labels)
    assert np.allclose(ours, (theirs.predict_proba(queries) * 5 + 1) / 8)


def test_a_measurement_that_never_varies_is_no_trouble():
    vectors, labels = vectors_of(2, 30, 0)
    constant = np.column_stack([vectors, np.full(len(vectors), 7.0)])
    found = ScaledClassifier(Neighbours(3)).fit(constant, labels)
    assert np.isfinite(found.predict_proba(constant + np.array([0, 0, 5]))).all()


@pytest.mark.parametrize(
    "settings",
    [neighbour_settings(), vector_machine_settings(), forest_settings(3)[:1]],
    ids=["k-NN", "SVM", "forest"],
)
def test_every_setting_gives_probabilities_and_tells_clouds_apart(settings):
    training, test = vectors_of(3, 120, 0), vectors_of(3, 60, 1)
    for setting in settings:
        classifier = setting.make()
        classifier.fit(*training)
        chances = chances_of(classifier, test[0], ("c", "b", "a"))
        assert chances.sum(axis=1) == pytest.approx(np.ones(60))
        right = [
            ("c", "b", "a")[place] == label
            for place, label in zip(chances.argmax(axis=1), test[1], strict=True)
        ]
        assert np.mean(right) > 0.95, setting.words


class Fixed:
    """A classifier that gives the right class of its validation labels to a share of images."""

    def __init__(self, share: float) -> None:
        self.share, self.classes_ = share, np.asarray(["a", "b"])

    def fit(self, vectors, labels):
        return self

    def predict_proba(self, vectors):
        truth = vectors[:, 0] > 0
        right = np.arange(len(vectors)) < self.share * len(vectors)
        second = np.where(truth == right, 0.8, 0.2)
        return np.column_stack([1 - second, second])


def some_validation() -> tuple[np.ndarray, list[str]]:
    values = np.asarray([1.0, -1.0] * 10)
    return values[:, None], ["b" if value > 0 else "a" for value in values]


def test_the_setting_that_does_best_on_validation_is_chosen():
    settings = [Setting(str(share), lambda share=share: Fixed(share)) for share in (0.6, 1.0, 0.8)]
    choice = choose_setting(settings, some_validation(), some_validation(), classes=("a", "b"))
    assert (choice.setting.words, choice.balanced_accuracy, choice.tried) == ("1.0", 1.0, 3)


def test_the_search_ends_when_the_minutes_are_up_with_what_was_tried():
    settings = [Setting(str(share), lambda share=share: Fixed(share)) for share in (0.6, 1.0)]
    choice = choose_setting(
        settings, some_validation(), some_validation(), classes=("a", "b"), enough=lambda: True
    )
    assert (choice.setting.words, choice.tried) == ("0.6", 1)
