"""The graph that serves, converted here or in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    from ml.network import build_network

    return build_network(4, size=64, blocks=(1, 1, 1, 1))


def answers(graph: bytes, images: np.ndarray) -> list[np.ndarray]:
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.array(value) for value in compiled(images).values()]


def test_a_process_of_its_own_gives_the_same_graph(network, tmp_path: Path, monkeypatch):
    from ml import export

    images = np.random.default_rng(3).normal(size=(2, 64, 64, 3)).astype(np.float32)
    made = []
    for weights, folder in ((10**9, tmp_path / "here"), (1, tmp_path / "apart")):
        folder.mkdir()
        monkeypatch.setattr(export, "APART_FROM", weights)
        arrays = export.export_network(network, folder)
        made.append((arrays, answers((folder / "model.onnx").read_bytes(), images)))
    (here, of_here), (apart, of_apart) = made
    assert here.keys() == apart.keys()
    assert [one.shape for one in of_apart] == [(2, 2, 2, network.get_layer("relu").output.shape[-1]), (2, 4)]
    for one, other in zip(of_here, of_apart, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_goes_wrong_in_that_process_is_said_here(tmp_path: Path):
    from ml import export

    (tmp_path / "model.keras").write_bytes(b"no network")
    with pytest.raises(RuntimeError, match="could not be converted"):
        export._onnx_graph_apart(tmp_path / "model.keras")
