"""Adapting a head: it learns what the images show, no more, and cross-validation says how far to go."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from ml.head_fitting import (
    BIAS_SIGMA,
    SCALE_SIGMA,
    WAYS,
    Head,
    Way,
    choose,
    deal_folds,
    fit_scale,
    fit_way,
    losses,
)

CLASSES, CHANNELS = 3, 40
SPREAD = 3.0
RECALIBRATE = Way("recalibrate")


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[labels]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As `ml.site_fitting` does: on a busy machine, threads that wait for each other make this a minute."""
    with threadpool_limits(1):
        yield


class World:
    """Features in which each class has a direction; the head knows it, and a site may move it."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.normal(size=(CLASSES, CHANNELS))
        # Bayes' rule for normal features of this spread: calibrated, so far as a head can be.
        self.head = Head(self.centres.T.copy(), -(self.centres**2).sum(axis=1) / 2, SPREAD**2)

    def sample(self, n: int, *, shift: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(n) % CLASSES
        pooled = self.centres[labels] + self.rng.normal(size=(n, CHANNELS)) * SPREAD + shift
        return pooled.astype(np.float32), one_hot(labels)


@pytest.fixture
def world() -> World:
    return World()


def groups_of(n: int, size: int = 4) -> list[str]:
    return [str(i // size) for i in range(n)]


def loss(head: Head, pooled: np.ndarray, membership: np.ndarray) -> float:
    return float(losses(head.logits(pooled), membership).mean())


def test_a_coarse_label_is_as_likely_as_its_classes_together():
    logits = np.log(np.array([[0.2, 0.3, 0.5]]))
    assert losses(logits, np.array([[0, 1, 1]]))[0] == pytest.approx(-np.log(0.8))
    assert losses(logits, np.array([[1, 1, 1]]))[0] == pytest.approx(0, abs=1e-12)


def test_recalibrating_finds_the_temperature_and_bias_that_were_lost(world):
    pooled, membership = world.sample(3000)
    wrong = Head(world.head.kernel, world.head.bias + np.array([20.0, 0, -20.0]), 1.0)
    found = fit_way(RECALIBRATE, wrong, pooled, membership)
    assert loss(found, pooled, membership) < loss(wrong, pooled, membership) / 2
    assert np.array_equal(
        found.kernel, wrong.kernel
    )  # saliency is linear in it, and nothing said it was wrong
    assert found.temperature > 5


@pytest.mark.parametrize("way", [RECALIBRATE, Way("refit_head", 0.03)])
def test_a_fit_is_at_the_bottom_of_its_cost(world, way):
    pooled, membership = world.sample(60, shift=0.4)
    found = fit_way(way, world.head, pooled, membership)
    scale = world.head.temperature / found.temperature
    old, new = world.head.logits(pooled), found.logits(pooled)

    def cost(scale: float, rest: np.ndarray) -> float:
        # In the fit's own terms: a bias of each class, and a change that is linear in the centred features.
        bias, change = rest.mean(axis=0), rest - rest.mean(axis=0)
        centred = pooled.astype(np.float64) - pooled.mean(axis=0)
        length = np.sqrt((centred**2).sum() / len(pooled))
        weights = np.linalg.lstsq(centred / length, change, rcond=None)[0]
        prior = (np.log(scale) / SCALE_SIGMA) ** 2 + bias @ bias / BIAS_SIGMA**2
        ridge = prior / len(pooled) + way.strength * (weights**2).sum()
        return float(losses(scale * old + rest, membership).mean() + ridge / 2)

    rest = new - scale * old
    best = cost(scale, rest)
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert cost(scale * np.exp(rng.normal() * 0.05), rest) >= best - 1e-9
        assert cost(scale, rest + rng.normal(size=CLASSES) * 0.05) >= best - 1e-9
        if way.method == "refit_head":
            nudge = (pooled - pooled.mean(axis=0)) @ rng.normal(size=(CHANNELS, CLASSES)) * 0.005
            assert cost(scale, rest + nudge) >= best - 1e-9


def test_a_stronger_ridge_stays_nearer_to_the_old_head(world):
    pooled, membership = world.sample(60, shift=1.0)
    old = world.head.kernel / world.head.temperature
    changes = []
    for strength in (1.0, 0.1, 0.01):
        found = fit_way(Way("refit_head", strength), world.head, pooled, membership)
        scale = world.head.temperature / found.temperature
        changes.append(np.linalg.norm(found.kernel / found.temperature - scale * old))
    assert changes[0] < changes[1] < changes[2]


def test_a_refitted_head_is_right_at_the_site_where_the_old_one_was_not(world):
    turned = world.rng.normal(size=(CLASSES, CHANNELS)) * 3
    pooled, membership = world.sample(90)
    new_pooled, new_membership = world.sample(900)
    pooled = (pooled + membership @ turned).astype(np.float32)
    new_pooled = (new_pooled + new_membership @ turned).astype(np.float32)
    bad = Head(-world.head.kernel, -world.head.bias, world.head.temperature)
    choice = choose(bad, pooled, membership, groups_of(90), rng=np.random.default_rng(0))
    assert choice.way.method == "refit_head"
    found = fit_way(choice.way, bad, pooled, membership)
    right = (found.logits(new_pooled).argmax(axis=1) == new_membership.argmax(axis=1)).mean()
    assert right > 0.95


def test_a_head_that_is_right_already_is_kept(world):
    pooled, membership = world.sample(60)
    choice = choose(world.head, pooled, membership, groups_of(60), rng=np.random.default_rng(0))
    assert choice.way.method == "keep"
    assert [one.way for one in choice.tried] == list(WAYS)


def test_of_ways_that_cannot_be_told_apart_the_simplest_is_taken(world):
    pooled, membership = world.sample(400)
    hot = Head(world.head.kernel, world.head.bias, 0.2)
    choice = choose(hot, pooled, membership, groups_of(400), rng=np.random.default_rng(0))
    assert choice.way.method == "recalibrate"
    best = min(choice.tried, key=lambda one: one.loss)
    taken = next(one for one in choice.tried if one.way == choice.way)
    assert taken.excess <= taken.excess_error
    assert best.excess == 0


def test_each_image_is_judged_by_a_fit_without_its_group(world):
    """Labels drawn at random can be learnt by heart and by nothing else: left out, they must not look learnt."""
    pooled, _ = world.sample(60)
    labels = np.repeat(np.random.default_rng(3).integers(0, CLASSES, 15), 4)
    # Images of a group are copies of each other: a fold that split one would give its label away.
    pooled = np.repeat(pooled[::4], 4, axis=0)
    ways = (Way("refit_head", 0.003),)
    choice = choose(
        world.head, pooled, one_hot(labels), groups_of(60), rng=np.random.default_rng(0), ways=ways
    )
    assert choice.tried[0].loss > 0.8
    assert loss(fit_way(ways[0], world.head, pooled, one_hot(labels)), pooled, one_hot(labels)) < 0.3


def test_groups_stay_whole_and_labels_spread_over_the_folds():
    rng = np.random.default_rng(0)
    groups = [f"g{i // 5}" for i in range(100)]
    membership = one_hot((np.arange(100) // 5) % CLASSES)
    folds = deal_folds(groups, membership, rng)
    for group in set(groups):
        assert len({int(f) for f, g in zip(folds, groups, strict=True) if g == group}) == 1
    for fold in range(5):
        assert (membership[folds == fold].sum(axis=0) > 0).all()
    with pytest.raises(ValueError, match="two groups"):
        deal_folds(["one"] * 20, membership[:20], rng)


def test_a_fit_that_is_too_sure_of_itself_is_scaled_down(world):
    pooled, membership = world.sample(600)
    logits = world.head.logits(pooled)[None]
    assert fit_scale(4 * logits, membership) < 0.5
    assert fit_scale(logits, membership) == pytest.approx(1, abs=0.25)


def test_a_fit_is_never_made_surer_because_the_images_left_out_were_all_right(world):
    _, membership = world.sample(20)
    right = 5.0 * membership[None].astype(np.float64)
    assert fit_scale(right, membership) == 1


def test_twenty_images_that_are_all_right_make_little_change(world):
    labels = np.arange(20) % CLASSES
    pooled = world.centres[labels].astype(np.float32)
    found = fit_way(RECALIBRATE, world.head, pooled, one_hot(labels))
    assert world.head.temperature / found.temperature < 1.5


def test_a_class_that_the_site_did_not_show_is_not_ruled_out(world):
    pooled, membership = world.sample(60)
    seen = membership[:, 2] == 0
    found = fit_way(RECALIBRATE, world.head, pooled[seen], membership[seen])
    third, truth = pooled[~seen], membership[~seen]
    assert (found.logits(third).argmax(axis=1) == truth.argmax(axis=1)).mean() > 0.5  # without the ridge: 0
