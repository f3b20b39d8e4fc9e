"""From measurements to a sealed bundle: labels that stand for several classes, and a folder whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from ml import assemble as assembling
from ml.assemble import Measured, assemble, fit_membership_temperature, one_hot, prevalence
from ml.bundle import read_bundle
from ml.calibration import apply_temperature, fit_temperature
from ml.data.manifest import Item, Manifest
from ml.data.splits import Split
from ml.imaging.preprocessing import Preprocessing
from ml.saving import TrainingProblem

CLASSES = ("benign", "early", "pre", "pro")
MALIGNANT = np.array([0, 1, 1, 1], np.float32)


def measured(n: int = 120, *, coarse: bool, seed: int = 0) -> Measured:
    """Logits three times too sure of labels that they get right in three of four images."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    seen = np.where(rng.random(n) < 0.75, labels, rng.integers(4, size=n))
    logits = (np.eye(4)[seen] * 6 + rng.normal(0, 1, (n, 4))).astype(np.float32)
    membership = np.eye(4, dtype=np.float32)[labels]
    if coarse:
        membership[labels > 0] = MALIGNANT
    return Measured(
        logits,
        rng.normal(size=(n, 16)).astype(np.float32),
        rng.normal(size=(n, 8)).astype(np.float32),
        membership,
    )


def test_the_temperature_of_ordinary_labels_is_the_usual_one():
    held = measured(coarse=False)
    found = fit_membership_temperature(held.logits, held.membership)
    assert found == fit_temperature(held.logits, held.membership.argmax(axis=1))


def test_the_temperature_of_coarse_labels_makes_their_sums_likely():
    held = measured(coarse=True)
    found = fit_membership_temperature(held.logits, held.membership)

    def loss(temperature: float) -> float:
        return -np.log((apply_temperature(held.logits, temperature) * held.membership).sum(axis=1)).mean()

    assert all(loss(found) <= loss(found * factor) + 1e-9 for factor in (0.5, 0.95, 1.05, 2))


def test_a_coarse_label_is_shared_out_by_what_the_network_thinks():
    chances = np.array([[0.1, 0.6, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1]])
    found = prevalence(chances, np.stack([MALIGNANT, np.eye(4)[0]]))
    assert found == pytest.approx([0.5, 0.5 * 0.6 / 0.9, 0.5 * 0.2 / 0.9, 0.5 * 0.1 / 0.9])
    ordinary = np.eye(4)[[0, 1, 1, 3]]
    assert prevalence(np.full((4, 4), 0.25), ordinary) == pytest.approx([0.25, 0.5, 0, 0.25])


# --- the folder ---------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path, monkeypatch):
    """`assemble` with the network's files and measurements stood in for; returns (call, folder)."""
    items = tuple(Item(tmp_path / f"{i}.png", f"{i}.png", CLASSES[i % 4], str(i)) for i in range(240))
    for item in items:
        item.path.write_bytes(item.path.name.encode())

    def export(model, folder):
        (folder / "model.keras").write_bytes(b"network")
        (folder / "model.onnx").write_bytes(b"graph")
        return {"head_kernel": np.zeros((16, 4), np.float32), "head_bias": np.zeros(4, np.float32)}

    def measure(runtime, preprocessing, chosen, membership, *, progress):
        found = measured(len(chosen), coarse=False, seed=len(chosen))
        for done in range(len(chosen)):
            progress(done + 1)
        return Measured(found.logits, found.features, found.appearance, membership)

    monkeypatch.setattr(assembling, "export_network", export)
    monkeypatch.setattr(assembling, "measure", measure)
    monkeypatch.setattr(assembling, "_exported_runtime", lambda *_: None)
    folder = tmp_path / "bundles" / "field-9"

    def call(**others):
        return assemble(
            None, folder, task="field", name="field-9", version_text="9", classes=CLASSES, malignant=CLASSES[1:],
            manifest=Manifest("drawn", items),
            split=Split("s", tuple(range(120)), tuple(range(120, 240)), (), ()),
            preprocessing=Preprocessing(), training={"history": {}}, **others,
        )  # fmt: skip

    return call, folder


def test_a_bundle_of_coarse_labels_is_calibrated_on_what_they_say(made):
    call, folder = made
    labels = np.arange(240) % 4
    membership = np.eye(4, dtype=np.float32)[labels]
    membership[labels > 0] = MALIGNANT
    counted: list[tuple[int, int]] = []
    bundle = call(membership=membership, progress=lambda *counts: counted.append(counts))
    assert bundle == read_bundle(folder)
    facts = bundle.manifest
    assert facts["confidence_bins"] is None, "30 images of a known class are too few for an interval"
    assert sum(facts["prevalence"].values()) == pytest.approx(1)
    assert facts["prevalence"]["benign"] == pytest.approx(0.25)
    assert min(facts["prevalence"].values()) > 0
    assert 0 < facts["thresholds"]["suspected"] < 1
    assert counted[-1] == (240, 240)


def test_an_assembly_that_fails_leaves_the_bundle_that_was_there(made, monkeypatch):
    call, folder = made
    before = call().sha256
    monkeypatch.setattr(assembling, "seal", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(TrainingProblem, match="no room left on the disk"):
        call()
    assert read_bundle(folder).sha256 == before
    assert [path.name for path in folder.parent.iterdir()] == ["field-9"]


def test_a_bundle_is_replaced_as_a_whole(made):
    call, folder = made
    call()
    (folder / "stale.txt").write_text("of the bundle before")
    assert "stale.txt" not in call().manifest["files"]
    assert [path.name for path in folder.parent.iterdir()] == ["field-9"]


def test_without_a_malignant_image_no_threshold_can_be_set(made):
    call, folder = made
    with pytest.raises(TrainingProblem, match="No validation image is malignant"):
        call(membership=np.eye(4, dtype=np.float32)[np.zeros(240, int)])
    assert not folder.exists()


def test_labels_become_rows_of_ones():
    items = [Item(None, "a", "pre", "a"), Item(None, "b", "benign", "b")]  # type: ignore[arg-type]
    assert one_hot(items, CLASSES).tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
