"""Trials on drawn patches of colour, with a network of four layers: each depth learns, stops, and shares its step."""

from __future__ import annotations

import errno
import resource
from contextlib import contextmanager

import numpy as np
import optuna
import pytest

from ml import tuning
from ml.batches import Examples
from ml.data.augmentation import Augmentation
from ml.features import Frozen, cached_features
from ml.imaging.preprocessing import Preprocessing, normalise
from ml.network import build_network
from ml.pace import Pace, expected_seconds, measure_pace
from ml.plan import Plan, Stage
from ml.saving import TrainingProblem, storage_problem
from ml.search import TRIAL_EPOCHS
from ml.tuning import Stop, Workbench, make_study, run_trial

CLASSES = ("benign", "early", "pre", "pro")
BLOCKS = (1, 1, 1, 1)
SIDE = 64


def patches(n: int, seed: int = 0) -> Examples:
    """Noise whose redness is its class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    images = rng.integers(90, 160, (n, SIDE, SIDE, 3), dtype=np.uint8)
    images[..., 0] = (labels * 70)[:, None, None]
    return Examples(images, labels)


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Workbench:
    return Workbench(
        train=patches(48), validation=patches(16, 1), classes=CLASSES, malignant=CLASSES[1:],
        preprocessing=Preprocessing(size=SIDE), start=None, cache=tmp_path_factory.mktemp("features"),
        blocks=BLOCKS, sizes=(32, 64, 128),
    )  # fmt: skip


def run(bench: Workbench, study: optuna.Study, **fixed) -> optuna.trial.FrozenTrial:
    chosen = {
        "depth": "head", "optimiser": "adamw", "rate": 1e-3, "weight_decay": 1e-4, "loss": "cross_entropy",
        "batch_size": 8, "dropout": 0.1, "augmentation": 0.0, "size": SIDE, "label_smoothing": 0.0, **fixed,
    }  # fmt: skip
    study.enqueue_trial(chosen)
    study.optimize(lambda trial: run_trial(trial, bench), n_trials=1)
    return study.trials[-1]


@pytest.fixture
def study() -> optuna.Study:
    return make_study("t", storage=None)


def test_sizes_above_the_images_own_are_left_out(bench):
    assert tuple(bench.sizes) == (32, 64)


@pytest.mark.parametrize("depth", ["head", "block", "all"])
def test_a_trial_of_each_depth_learns_and_says_how_it_came_about(bench, study, depth):
    trial = run(bench, study, depth=depth, augmentation=0.5 if depth == "head" else 0.0)
    facts = trial.user_attrs
    assert trial.value < np.log(4), "four classes: ignorance costs log 4"
    assert facts["balanced_accuracy"] > 0.25
    assert facts["epochs"] == TRIAL_EPOCHS[depth]
    assert facts["seconds"] > 0
    assert facts["setting"]["depth"] == depth
    assert facts["fidelity"].startswith("reduced size" if depth == "all" else "cached features")
    assert set(trial.intermediate_values) <= set(range(1, 10))
    assert max(trial.intermediate_values) == 9


def test_trials_of_other_settings_share_one_traced_step(bench, study):
    first = run(bench, study, depth="block").value
    traced = bench.block._slopes.experimental_get_tracing_count()
    run(bench, study, depth="block", optimiser="sgd", batch_size=16, size=32, loss="focal", dropout=0.5)
    assert bench.block._slopes.experimental_get_tracing_count() == traced
    again = run(bench, study, depth="block").value
    assert again == pytest.approx(first, rel=1e-3), "weights and moments of other trials leave no trace"


def test_the_frozen_part_stays_as_it_was(bench, study):
    before = bench.frozen.features(normalise(bench.train.images[:2]))[1]
    run(bench, study, depth="block")
    run(bench, study, depth="all")
    assert bench.frozen.features(normalise(bench.train.images[:2]))[1] == pytest.approx(before)


def test_a_hopeless_trial_ends_early(bench, study):
    for _ in range(6):
        run(bench, study, rate=3e-3)
    poor = run(bench, study, rate=1e-4, label_smoothing=0.15, dropout=0.6)
    assert poor.state == optuna.trial.TrialState.PRUNED
    assert poor.user_attrs["epochs"] < TRIAL_EPOCHS["head"]


def test_a_trial_stops_when_asked_and_says_so(bench, study):
    asked = iter([False, False, True])
    with pytest.raises(Stop):
        study.optimize(lambda trial: run_trial(trial, bench, should_stop=lambda: next(asked)), n_trials=1)
    assert study.trials[-1].user_attrs["stopped"] is True


def test_a_trial_tells_where_it_is(bench, study, monkeypatch):
    monkeypatch.setattr(tuning, "REPORT_SECONDS", 0.0)
    told: list[dict] = []
    study.optimize(lambda trial: run_trial(trial, bench, report=told.append), n_trials=1)
    assert {"trial", "fidelity", "trial_phase", "trial_done", "trial_total"} <= told[0].keys()
    assert told[-1]["metric_name"] == "balanced accuracy, validation"
    assert 0 <= told[-1]["metric"] <= 1


def test_coarse_labels_train_too(bench, study, tmp_path):
    membership = bench.membership.copy()
    membership[::2, 1:] = membership[::2, 1:].max(axis=1, keepdims=True)
    coarse = Workbench(
        train=Examples(bench.train.images, membership=membership), validation=bench.validation,
        classes=CLASSES, malignant=CLASSES[1:], preprocessing=bench.preprocessing, start=None, cache=tmp_path,
        blocks=BLOCKS, trial_epochs=5,
    )  # fmt: skip
    trial = run(coarse, study)
    assert np.isfinite(trial.value)
    assert trial.user_attrs["epochs"] == 5


# --- cached features ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    return build_network(4, size=SIDE, blocks=BLOCKS)


def features(network, cache, **others):
    return cached_features(
        Frozen(network),
        patches(6).images,
        preprocessing=Preprocessing(size=SIDE),
        size=SIDE,
        cache=cache,
        **others,
    )


def test_cached_features_are_the_networks_own(network, tmp_path):
    import keras

    found = features(network, tmp_path)
    assert found.pool4.shape[:2] == found.pooled.shape[:2] == (1, 6)
    images = np.stack([normalise(Preprocessing(size=SIDE).contrast(image)) for image in patches(6).images])
    whole = keras.Model(network.input, network.get_layer("pool").output)
    assert found.pooled[0] == pytest.approx(whole.predict(images, verbose=0), rel=2e-3, abs=2e-3)


def test_features_are_computed_once_for_each_way_to_vary(network, tmp_path):
    told: list[int] = []
    varied = {"augmentation": Augmentation(), "views": 2, "progress": lambda done, total: told.append(total)}
    found = features(network, tmp_path, **varied)
    assert found.pooled.shape[:2] == (2, 6)
    assert told == [12]
    assert not np.array_equal(found.pooled[0], found.pooled[1])
    assert np.array_equal(features(network, tmp_path, **varied).pooled, found.pooled)
    assert told == [12], "a second call computes nothing"
    features(network, tmp_path, **{**varied, "augmentation": Augmentation().scaled(0.5)})
    assert told == [12, 12]


@contextmanager
def no_file_above(size: int):
    """The system refuses to let a file grow further, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_leaves_nothing_behind(network, tmp_path):
    with no_file_above(2000), pytest.raises(TrainingProblem, match="no room left on the disk"):
        features(network, tmp_path, augmentation=Augmentation(), views=3)
    assert not list(tmp_path.iterdir())
    assert features(network, tmp_path).pooled.shape == (1, 6, found_width(network))


def found_width(network) -> int:
    return int(network.get_layer("pool").output.shape[-1])


def test_an_error_that_is_no_disks_stays_itself(tmp_path):
    assert storage_problem(ValueError("something else"), tmp_path) is None
    wrapped = RuntimeError("Unable to write")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "no room" in str(storage_problem(wrapped, tmp_path))


# --- how long it will take ----------------------------------------------------------------------------------


def test_the_expected_time_is_the_work_over_the_pace():
    pace = Pace(training=10.0, judging=50.0, tracing=30.0)
    plan = Plan(stages=(Stage(128, 2, 1e-3), Stage(256, 1, 1e-3)))
    common = {"training": 100, "validation": 50, "sizes": (128,)}
    alone = expected_seconds(pace, plan, trials=0, **common)
    assert alone["search"] == alone["features"] == 0
    # 11 s an epoch at 128 px, four times as long at 256.
    assert alone["refit"] == pytest.approx(30 + 2 * 11 + 30 + 4 * 11)
    whole = expected_seconds(pace, plan, trials=6, depths=("all",), trial_epochs=3, **common)
    assert whole["search"] == pytest.approx(30 + 6 * 3 * 11)
    assert whole["features"] == 0
    heads = expected_seconds(pace, plan, trials=300, depths=("head",), **common)
    assert 0 < heads["features"] <= (4 * 3 * 100 + 50) / 50
    assert heads["total"] == pytest.approx(
        sum(heads[part] for part in ("features", "search", "refit", "bundle"))
    )


def test_the_pace_is_measured_on_this_machine():
    pace = measure_pace(classes=4, blocks=BLOCKS, steps=1)
    assert pace.tracing > 0
    assert pace.judging > pace.training > 0, "forward alone is less work"
