"""Putting another dense head into the stored graphs, without a training framework: weights are edited in place.

`model.keras` is a zip with an HDF5 file of float16 weights, `model.onnx` a graph whose second output is a dense
layer's; both are changed where the old head lies and nowhere else. Needs h5py and onnx, not TensorFlow.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ml.bundle import Bundle
from ml.runtimes import Runtime

FloatArray = NDArray[np.float32]
TOLERANCE = 2e-3
"""Largest difference of a logit, relative to the largest of them, that two runtimes may show on one image."""


class HeadProblem(Exception):
    """The head cannot be put into the bundle's files; the text is for an administrator."""


def rounded(weights: NDArray[np.floating]) -> FloatArray:
    """As the files store them: float16, in float32. Raises `HeadProblem` where float16 cannot hold a weight."""
    with np.errstate(over="ignore"):
        stored = weights.astype(np.float16).astype(np.float32)
    if not np.isfinite(stored).all():
        raise HeadProblem("A weight of the head is too large to be stored; the adaptation went astray.")
    return stored


def replace_head(
    folder: Path, old: tuple[FloatArray, FloatArray], new: tuple[FloatArray, FloatArray]
) -> None:
    """Replace kernel (c, k) and bias (k,) of the dense head in `model.keras` and `model.onnx` of a folder.

    `new` must be `rounded`; both files then hold the same numbers. `old` is how the head is found.

    Raises:
        HeadProblem: the old head is not where it should be.
    """
    _replace_keras(folder / "model.keras", old, new)
    _replace_onnx(folder / "model.onnx", old, new)


def check_head(bundle: Bundle, runtime: Runtime, images: FloatArray) -> float:
    """Largest difference between a runtime's logits and `serving.npz`'s head on the runtime's own feature maps.

    Relative to the largest logit, over (n, S, S, 3) normalised images.

    Raises:
        HeadProblem: the difference is more than rounding.
    """
    feature_maps, logits = runtime.run(images)
    told = feature_maps.mean(axis=(1, 2)) @ bundle.arrays["head_kernel"] + bundle.arrays["head_bias"]
    difference = float(np.abs(told - logits).max() / max(1.0, float(np.abs(logits).max())))
    if not difference <= TOLERANCE:
        raise HeadProblem(
            f"The head in the files of {bundle.name} is another than {runtime.name} computes with "
            f"(difference {difference:.2g}); the bundle was not kept."
        )
    return difference


def _replace_keras(
    path: Path, old: tuple[FloatArray, FloatArray], new: tuple[FloatArray, FloatArray]
) -> None:
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith(".weights.h5"):
                content = _edited(content, old, new)
            # A fixed date, so that the same weights give the same file.
            target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    os.replace(part, path)


def _edited(content: bytes, old: tuple[FloatArray, FloatArray], new: tuple[FloatArray, FloatArray]) -> bytes:
    held = io.BytesIO(content)
    with h5py.File(held, "r+") as weights:
        found: list[str] = []

        def is_old(layer: h5py.Group) -> bool:
            return {"0", "1"} <= set(layer.keys()) and all(
                layer[key].shape == value.shape and np.array_equal(layer[key][()].astype(np.float32), value)
                for key, value in zip(("0", "1"), old, strict=True)
            )

        def look(name: str, entry: h5py.Group | h5py.Dataset) -> None:
            if isinstance(entry, h5py.Group) and is_old(entry):
                found.append(name)

        weights.visititems(look)
        if len(found) != 1:
            raise HeadProblem("model.keras does not hold the head that serving.npz describes.")
        for key, value in zip(("0", "1"), new, strict=True):
            weights[found[0]][key][...] = value
    return held.getvalue()


def _replace_onnx(path: Path, old: tuple[FloatArray, FloatArray], new: tuple[FloatArray, FloatArray]) -> None:
    model = onnx.load(str(path))
    graph = model.graph
    made_by = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}

    def initialiser(name: str) -> onnx.TensorProto | None:
        node = made_by.get(name)
        while node is not None and node.op_type in ("Cast", "Identity"):
            name = node.input[0]
            node = made_by.get(name)
        return stored.get(name)

    def constant(node: onnx.NodeProto | None) -> onnx.TensorProto | None:
        return next(filter(None, map(initialiser, node.input)), None) if node is not None else None

    add = made_by.get(graph.output[1].name)
    multiply = (
        next((made_by[name] for name in add.input if name in made_by), None) if add is not None else None
    )
    tensors = (constant(multiply), constant(add))
    for tensor, before, after in zip(tensors, old, new, strict=True):
        held = numpy_helper.to_array(tensor) if tensor is not None else np.empty(0)
        if tensor is None or not np.array_equal(held.astype(np.float32).reshape(-1), before.reshape(-1)):
            raise HeadProblem("model.onnx does not hold the head that serving.npz describes.")
        tensor.CopyFrom(numpy_helper.from_array(after.reshape(held.shape).astype(held.dtype), tensor.name))
    part = path.with_name(path.name + ".part")
    part.write_bytes(model.SerializeToString(deterministic=True))
    os.replace(part, path)
