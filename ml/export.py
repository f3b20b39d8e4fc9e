"""From a trained network to the files that serve: both graphs with their weights stored as float16.

The weights are rounded first, so that both graphs hold the same numbers; computing stays in float32. Imports
TensorFlow.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ml.network import head_weights, with_feature_map

OPSET = 15
APART_FROM = 1_000_000
"""Weights from which on the graph is converted in a process of its own: of a DenseNet-121 that takes 2 GB for a moment,
and a training has memory enough of its own."""

SMALLEST_SHARED = 256
"""Tensors of fewer elements (shapes, axes, scalars) stay as they are."""


def export_network(model: keras.Model, folder: Path) -> dict[str, NDArray[np.float32]]:
    """Write `model.keras` and `model.onnx`; returns head_kernel (c, k) and head_bias (k,) for `serving.npz`."""
    model.set_weights([_as_stored(weights) for weights in model.get_weights()])
    # Uncompiled: the optimiser's state would be twice the network's size.
    model = keras.Model(model.input, model.output, name=model.name)
    _write_keras(model, folder / "model.keras")
    is_small = model.count_params() < APART_FROM
    graph = _onnx_graph(model) if is_small else _onnx_graph_apart(folder / "model.keras")
    (folder / "model.onnx").write_bytes(graph)
    kernel, bias = head_weights(model)
    return {"head_kernel": kernel, "head_bias": bias}


def _as_stored(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to float16 and back; raises where float16 cannot hold a weight."""
    rounded = weights.astype(np.float16).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise OverflowError("A weight is too large for float16; the network cannot be stored.")
    return rounded


def _write_keras(model: keras.Model, path: Path) -> None:
    """Save as .keras, then store every weight in its HDF5 file as float16; Keras reads them back into float32."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole.keras"
        model.save(whole)
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            for name in source.namelist():
                content = source.read(name)
                if name.endswith(".weights.h5"):
                    content = _halved(content)
                # A fixed date, so that the same weights give the same file.
                target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)


def _halved(content: bytes) -> bytes:
    target_bytes = io.BytesIO()
    with (
        h5py.File(io.BytesIO(content), "r") as source,
        h5py.File(target_bytes, "w", track_order=False) as target,
    ):

        def copy(name: str, entry: h5py.Group | h5py.Dataset) -> None:
            if isinstance(entry, h5py.Group):
                made: h5py.Group | h5py.Dataset = target.require_group(name)
            else:
                values = entry[()]
                is_weight = isinstance(values, np.ndarray) and values.dtype == np.float32
                made = target.create_dataset(name, data=values.astype(np.float16) if is_weight else values)
            for key, value in entry.attrs.items():
                made.attrs[key] = value

        for key, value in source.attrs.items():
            target.attrs[key] = value
        source.visititems(copy)
    return target_bytes.getvalue()


def _onnx_graph(model: keras.Model) -> bytes:
    """The two-output graph: feature map, logits. Large float32 tensors become float16 followed by a Cast."""
    serving = with_feature_map(model)
    size = model.input_shape[1]
    call = tf.function(
        lambda x: tuple(serving(x, training=False)),
        input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32, name="image")],
    )
    graph, _ = tf2onnx.convert.from_function(call, input_signature=call.input_signature, opset=OPSET)
    _halve_initialisers(graph)
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString(deterministic=True))


def _onnx_graph_apart(network: Path) -> bytes:
    """As `_onnx_graph`, of a file that `_write_keras` wrote, in a process of its own.

    Raises:
        RuntimeError: it failed; the text ends with what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "ml.export", str(network.resolve())],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,  # Ctrl-C is for the training, which stops when this is done
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")[-2000:]
        raise RuntimeError(f"The network could not be converted to ONNX: {said}")
    return done.stdout


def _halve_initialisers(graph: onnx.ModelProto) -> None:
    casts = []
    for tensor in graph.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < SMALLEST_SHARED:
            continue
        name = tensor.name
        halved = numpy_helper.from_array(
            _as_stored(numpy_helper.to_array(tensor)).astype(np.float16), f"{name}_half"
        )
        tensor.CopyFrom(halved)
        casts.append(
            helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT)
        )
    nodes = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*casts, *nodes])


def main() -> None:
    """Convert the network of a `model.keras` and write its graph to standard output, and nothing else there."""
    out = os.dup(1)
    os.dup2(2, 1)
    graph = _onnx_graph(keras.models.load_model(sys.argv[1], compile=False))
    with os.fdopen(out, "wb") as target:
        target.write(graph)


if __name__ == "__main__":
    main()
