"""A bundle is read only when it is whole, and refused by name when it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ml.bundle import BundleCorrupt, BundleMissing, BundleTooNew, read_bundle, seal
from ml.domain import fit_domain
from ml.imaging.preprocessing import Preprocessing

CLASSES = ("benign", "early", "pre", "pro")


def facts(**changes) -> dict:
    return {
        "task": "field",
        "name": "field-test",
        "version": "test",
        "classes": list(CLASSES),
        "malignant": ["early", "pre", "pro"],
        "preprocessing": Preprocessing(size=64).as_dict(),
        "temperature": 1.5,
        "thresholds": {"suspected": 0.4, "domain": 1.0},
        "prevalence": dict.fromkeys(CLASSES, 0.25),
        "confidence_bins": None,
        "data": {"train_sha256": [], "validation_sha256": [], "test_sha256": []},
        "code_version": "test",
        "libraries": {},
        **changes,
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    """A sealed bundle whose graphs are placeholders: reading checks hashes, serving loads graphs."""
    place = tmp_path / "field-test"
    place.mkdir()
    rng = np.random.default_rng(0)
    domain = fit_domain(
        training=(rng.random((40, 8), np.float32), rng.random((40, 24), np.float32)),
        held_out=(rng.random((20, 8), np.float32), rng.random((20, 24), np.float32)),
    )
    np.savez(place / "serving.npz", head_kernel=rng.random((8, 4)), head_bias=np.zeros(4), **domain.arrays())
    (place / "model.keras").write_bytes(b"keras")
    (place / "model.onnx").write_bytes(b"onnx")
    (place / "evidence").mkdir()
    (place / "evidence" / "metrics.json").write_text("{}")
    seal(place, facts())
    return place


def change_manifest(folder: Path, **changes) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, **changes}))


def test_it_reads_what_it_sealed(folder):
    bundle = read_bundle(folder)
    assert (bundle.name, bundle.task, bundle.classes) == ("field-test", "field", CLASSES)
    assert bundle.preprocessing.size == 64
    assert set(bundle.manifest["files"]) == {
        "model.keras",
        "model.onnx",
        "serving.npz",
        "evidence/metrics.json",
    }
    assert bundle.arrays["head_kernel"].shape == (8, 4)
    assert bundle.confidence_bins is None
    assert len(bundle.sha256) == 64


@pytest.mark.parametrize("name", ["model.onnx", "model.keras", "serving.npz", "evidence/metrics.json"])
def test_one_changed_byte_is_found_and_nothing_is_deleted(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleCorrupt, match=f"{name} has changed"):
        read_bundle(folder)
    assert (folder / name).exists()
    assert read_bundle(folder, verify=False).name == "field-test"


def test_a_missing_file_is_named(folder):
    (folder / "model.onnx").unlink()
    with pytest.raises(BundleCorrupt, match=r"model.onnx is missing"):
        read_bundle(folder)


def test_a_missing_bundle_is_missing_not_corrupt(tmp_path, folder):
    with pytest.raises(BundleMissing):
        read_bundle(tmp_path / "nowhere")
    (folder / "bundle.json").unlink()
    with pytest.raises(BundleMissing):
        read_bundle(folder)


def test_a_later_format_is_refused_as_too_new(folder):
    change_manifest(folder, format=2)
    with pytest.raises(BundleTooNew, match="Update Leukoscope"):
        read_bundle(folder)


def test_an_unknown_preprocessing_is_refused_as_too_new(folder):
    change_manifest(folder, preprocessing={**Preprocessing().as_dict(), "version": 7})
    with pytest.raises(BundleTooNew, match="version 7"):
        read_bundle(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"format": "1"}', b'{"format": 1}'])
def test_a_manifest_that_is_not_one_is_corrupt(folder, content):
    (folder / "bundle.json").write_bytes(content)
    with pytest.raises(BundleCorrupt):
        read_bundle(folder)


@pytest.mark.parametrize("files", [{}, {"../secret": "00"}])
def test_a_manifest_cannot_leave_out_a_graph_or_reach_outside(folder, files):
    listed = read_bundle(folder).manifest["files"]
    change_manifest(folder, files={**listed, **files} if files else {})
    with pytest.raises(BundleCorrupt):
        read_bundle(folder)


def test_broken_confidence_bins_are_corrupt(folder):
    change_manifest(folder, confidence_bins={"bins": []})
    with pytest.raises(BundleCorrupt):
        _ = read_bundle(folder).confidence_bins


def test_a_copy_is_the_same_bundle(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert read_bundle(copy).sha256 == read_bundle(folder).sha256
