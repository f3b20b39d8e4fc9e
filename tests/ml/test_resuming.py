"""A training that was stopped, killed or ran out of room goes on, and ends where it would have ended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.batches import Examples, batches, image_weights
from ml.callbacks import Keeper
from ml.data.manifest import Item
from ml.data.preparing import cached_corrected, corrected_images
from ml.imaging.preprocessing import Preprocessing
from ml.network import build_network, start_network, unfreeze
from ml.plan import Plan, Stage
from ml.saving import TrainingProblem
from ml.training import Stop, train
from tests.ml.test_tuning import BLOCKS, CLASSES, SIDE, no_file_above, patches


def plan(**others) -> Plan:
    """Few steps, of Adam: tracing them is most of these tests' time, and AdamW's takes twice as long."""
    stages = (Stage(SIDE, 2, 1e-3),)
    return Plan(**{"stages": stages, "batch_size": 8, "blocks": BLOCKS, "optimiser": "adam", **others})


def trained(work: Path, **others):
    others = {"plan": plan(), "start": None, **others}
    return train(
        patches(16), patches(8, 1), classes=CLASSES, preprocessing=Preprocessing(size=SIDE), work=work, verbose=0,
        **others,
    )  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    told: list[dict] = []
    model, history = trained(tmp_path_factory.mktemp("whole"), report=told.append)
    return model, history, told


def test_a_stopped_training_ends_where_it_would_have_ended(uninterrupted, tmp_path):
    """Stopped in the second epoch: order, variations, weights, moments and dropout all go on."""
    model, history, told = uninterrupted
    asked = iter(range(100))
    with pytest.raises(Stop):
        trained(tmp_path, should_stop=lambda: next(asked) >= 4)
    again, resumed = trained(tmp_path)
    assert resumed["loss"] == pytest.approx(history["loss"], rel=1e-3)
    assert resumed["val_loss"] == pytest.approx(history["val_loss"], rel=1e-3)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        assert one == pytest.approx(other, rel=1e-2, abs=1e-3)
    assert len(told) == 4, "two batches an epoch, two epochs"


def test_a_batch_in_parts_is_one_step_and_goes_on_where_it_was(tmp_path, monkeypatch):
    """Two halves a step: as many steps are told as of whole batches, and one that was stopped ends like another."""
    monkeypatch.setattr("ml.plan.MOST_PIXELS", 4 * SIDE**2)
    assert (plan().parts(SIDE), plan().parts(SIDE // 2), plan().parts(3 * SIDE)) == (2, 1, 8)
    told: list[dict] = []
    model, history = trained(tmp_path / "whole", report=told.append)
    assert [values["done"] for values in told] == [1, 2, 3, 4]
    asked = iter(range(100))
    with pytest.raises(Stop):
        trained(tmp_path / "stopped", should_stop=lambda: next(asked) >= 8)
    again, resumed = trained(tmp_path / "stopped")
    assert resumed["loss"] == pytest.approx(history["loss"], rel=1e-3)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        assert one == pytest.approx(other, rel=1e-2, abs=1e-3)


def test_the_mean_gradient_of_two_halves_is_that_of_the_batch():
    """Without normalisation, dropout and variation nothing tells the halves from the whole."""
    import keras

    from ml.training import make_optimiser

    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(8, 5)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)
    weights = []
    for parts in (1, 2):
        keras.utils.set_random_seed(7)
        model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(2, name="logits")])
        model.compile(optimizer=make_optimiser(plan(optimiser="adamw"), 1e-2, parts), loss="mse")
        model.fit(features, labels, batch_size=8 // parts, epochs=3, shuffle=False, verbose=0)
        assert int(model.optimizer.iterations) == 3
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_progress_counts_to_its_end(uninterrupted):
    _, history, told = uninterrupted
    assert [values["done"] for values in told] == list(range(1, 5))
    assert {values["total"] for values in told} == {4}
    assert told[0]["stage"] == "training, stage 1 of 1"
    assert told[-1]["fidelity"] == "64 px, all layers"
    assert told[-1]["history"]["val_loss"] == pytest.approx(history["val_loss"][:1])
    left = [values["seconds_left"] for values in told if values["seconds_left"] is not None]
    assert left
    assert min(left) >= 0


# --- what is kept of each epoch -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled():
    model = build_network(4, size=32, blocks=BLOCKS)
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def keeper(work: Path, model, *, patience: int = 2) -> Keeper:
    made = Keeper(work, 0, patience=patience)
    made.set_model(model)
    return made


def test_patience_counts_the_epochs_of_an_earlier_process(compiled, tmp_path):
    first = keeper(tmp_path, compiled)
    for epoch, loss in enumerate((3.0, 1.0, 2.0)):
        first.on_epoch_end(epoch, {"loss": 1.0, "val_loss": loss})
    assert not first.is_over
    second = keeper(tmp_path, compiled)
    assert (second.epochs, second.history["val_loss"]) == (3, [3.0, 1.0, 2.0])
    second.on_epoch_end(3, {"loss": 1.0, "val_loss": 1.5})
    assert second.is_over
    assert compiled.stop_training


def test_the_best_epoch_of_an_earlier_process_is_not_lost(compiled, tmp_path):
    first = keeper(tmp_path, compiled)
    first.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})
    best = first.best.read_bytes()
    keeper(tmp_path, compiled).on_epoch_end(1, {"loss": 1.0, "val_loss": 2.0})
    assert first.best.read_bytes() == best
    keeper(tmp_path, compiled).on_epoch_end(2, {"loss": 1.0, "val_loss": 0.5})
    assert first.best.exists()


def test_a_process_killed_while_it_saves_leaves_the_epoch_before(compiled, tmp_path, monkeypatch):
    kept = keeper(tmp_path, compiled)
    kept.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})
    before = [np.copy(weight) for weight in compiled.get_weights()]
    compiled.set_weights([weight + 1 for weight in before])
    monkeypatch.setattr("ml.callbacks.saved_whole", _killed)  # the state is written, the record is not
    with pytest.raises(KeyboardInterrupt):
        kept.on_epoch_end(1, {"loss": 1.0, "val_loss": 0.5})
    monkeypatch.undo()
    again = keeper(tmp_path, compiled)
    again.restore(compiled)
    assert again.epochs == 1
    assert all(np.array_equal(a, b) for a, b in zip(before, compiled.get_weights(), strict=True))


def _killed(target: Path):
    raise KeyboardInterrupt


def test_a_full_disk_is_said_and_the_epoch_before_is_kept(compiled, tmp_path):
    kept = keeper(tmp_path, compiled)
    kept.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})
    with no_file_above(50_000), pytest.raises(TrainingProblem, match="go on with --resume"):
        kept.on_epoch_end(1, {"loss": 1.0, "val_loss": 0.5})
    assert not list(tmp_path.glob("part-*"))
    again = keeper(tmp_path, compiled)
    again.restore(compiled)
    assert again.epochs == 1


def test_a_training_that_runs_away_is_ended_in_words(compiled, tmp_path):
    with pytest.raises(TrainingProblem, match="smaller learning rate"):
        keeper(tmp_path, compiled).on_epoch_end(0, {"loss": float("nan"), "val_loss": 1.0})


# --- what a training is fed, and where it starts ------------------------------------------------------------


def test_the_order_goes_on_after_the_images_that_were_seen():
    examples, common = patches(16), {"classes": 4, "size": 32, "preprocessing": Preprocessing(size=SIDE)}
    whole = iter(batches(examples, batch_size=4, plan=plan(), **common))
    later = iter(batches(examples, batch_size=4, plan=plan(), seen=20, **common))
    first = [next(whole) for _ in range(7)]
    for wanted, found in zip(first[5:], later, strict=False):
        assert np.array_equal(wanted[0], found[0])
        assert np.array_equal(wanted[1], found[1])


@pytest.mark.parametrize(("depth", "learns"), [("head", {"logits"}), ("block", {"conv5", "bn", "logits"})])
def test_frozen_layers_do_not_learn(depth, learns):
    model = build_network(4, size=32, blocks=BLOCKS)
    unfreeze(model, depth)
    found = {layer.name.partition("_")[0] for layer in model.layers if layer.trainable_weights}
    assert found == learns


def test_a_training_may_start_at_a_whole_network(tmp_path):
    old = build_network(4, size=32, blocks=BLOCKS)
    old.save(tmp_path / "model.keras")
    same = start_network(4, tmp_path / "model.keras", size=64, dropout=0.0, blocks=BLOCKS)
    assert all(np.array_equal(a, b) for a, b in zip(old.get_weights(), same.get_weights(), strict=True))
    other = start_network(2, tmp_path / "model.keras", size=64, dropout=0.0, blocks=BLOCKS)
    assert np.array_equal(old.get_weights()[0], other.get_weights()[0])
    assert other.output_shape == (None, 2)
    with pytest.raises(TrainingProblem, match="dense blocks"):
        start_network(4, tmp_path / "model.keras", size=64, dropout=0.0, blocks=(1, 1, 1, 2))
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    for name in ("broken.keras", "missing.keras", "missing.weights.h5"):
        with pytest.raises(TrainingProblem, match="cannot be read"):
            start_network(4, tmp_path / name, size=64, dropout=0.0, blocks=BLOCKS)


def test_images_count_by_how_rare_their_label_is():
    membership = np.eye(4, dtype=np.float32)[[0, 0, 0, 0, 1, 2]]
    membership[5] = [0, 1, 1, 1]
    weights = image_weights(membership, 0.5)
    assert weights.mean() == pytest.approx(1)
    assert weights[4] == weights[5] == pytest.approx(2 * weights[0])


def test_examples_need_labels_of_one_kind():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="not both"):
        Examples(images)
    with pytest.raises(ValueError, match="one label"):
        Examples(images, np.zeros(3, np.int64))


# --- decoded images -----------------------------------------------------------------------------------------


def drawn_items(folder: Path, n: int = 3) -> list[Item]:
    import cv2

    from ml.drawing import draw_field

    items = []
    for i in range(n):
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), draw_field(np.random.default_rng(i), width=160, height=120)[..., ::-1])
        items.append(Item(path, path.name, "benign", str(i)))
    return items


def test_decoded_images_are_kept_by_content(tmp_path):
    items, preprocessing = drawn_items(tmp_path), Preprocessing(size=SIDE)
    told: list[tuple[int, int]] = []

    def found(chosen=items, preprocessing=preprocessing):
        return cached_corrected(
            chosen, preprocessing, cache=tmp_path / "cache", progress=lambda *counts: told.append(counts)
        )

    first = found()
    assert np.array_equal(first, corrected_images(items, preprocessing))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(found(), np.memmap)
    assert len(told) == 3, "a second call decodes nothing"
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    assert not np.array_equal(found(items[::-1]), first)
    found(items, Preprocessing(size=48))
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_full_disk_leaves_no_half_of_the_decoded_images(tmp_path):
    items = drawn_items(tmp_path)
    with no_file_above(1000), pytest.raises(TrainingProblem, match="no room left"):
        cached_corrected(items, Preprocessing(size=SIDE), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
