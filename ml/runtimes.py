"""Two ways to run a bundle's network, behind one interface. Neither library is imported before it is needed."""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ml.bundle import Bundle, BundleCorrupt

FloatArray = NDArray[np.float32]
RUNTIMES = ("auto", "openvino", "tensorflow")


class RuntimeUnavailable(Exception):
    """The runtime asked for is not there; the text says what to do."""


class Runtime(Protocol):
    """(n, S, S, 3) normalised float32 -> feature map (n, h, w, c) and logits (n, k), float32."""

    name: str
    device: str

    def run(self, images: FloatArray) -> tuple[FloatArray, FloatArray]: ...


class OpenVinoRuntime:
    """`model.onnx` on the CPU, in float32: bf16, which OpenVINO would take by itself on some CPUs, moves the maps."""

    name = "openvino"

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        import openvino

        core = openvino.Core()
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        size = bundle.preparation.size
        try:
            graph = core.read_model(bundle.path / "model.onnx")
            graph.reshape([1, size, size, 3])
            compiled = core.compile_model(graph, "CPU", settings)
        except RuntimeError as error:
            raise BundleCorrupt(
                f"The model {bundle.name} cannot be loaded: model.onnx is not usable."
            ) from error
        self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
        self._request = compiled.create_infer_request()

    def run(self, images: FloatArray) -> tuple[FloatArray, FloatArray]:
        maps, logits = [], []
        for image in images:
            self._request.infer({0: image[None]})
            maps.append(self._request.get_output_tensor(0).data.copy())
            logits.append(self._request.get_output_tensor(1).data.copy())
        return np.concatenate(maps), np.concatenate(logits)


class TensorFlowRuntime:
    """`model.keras` under TensorFlow: on a GPU when there is one."""

    name = "tensorflow"

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        import keras
        import tensorflow as tf

        from ml.network import with_feature_map

        if threads:
            try:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
            except RuntimeError:  # TensorFlow is running already, and its threads are what they are
                pass
        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:  # a worker must leave room for its neighbours
            tf.config.experimental.set_memory_growth(gpu, True)
        details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
        self.device = str(details.get("device_name", "GPU")) if gpus else "CPU"
        try:
            model = with_feature_map(keras.saving.load_model(bundle.path / "model.keras", compile=False))
        except (OSError, ValueError, TypeError) as error:
            raise BundleCorrupt(
                f"The model {bundle.name} cannot be loaded: model.keras is not usable."
            ) from error
        self._call = tf.function(lambda x: model(x, training=False))

    def run(self, images: FloatArray) -> tuple[FloatArray, FloatArray]:
        feature_map, logits = self._call(images)
        return feature_map.numpy(), logits.numpy()


def choose_runtime(wanted: str = "auto") -> str:
    """The runtime's name for "auto": TensorFlow where an NVIDIA device is visible, else OpenVINO."""
    if wanted not in RUNTIMES:
        raise RuntimeUnavailable(f"There is no runtime {wanted}; choose one of {', '.join(RUNTIMES)}.")
    if wanted != "auto":
        return wanted
    return "tensorflow" if _has_gpu() and _installed("tensorflow") else "openvino"


def open_runtime(bundle: Bundle, wanted: str = "auto", *, threads: int | None = None) -> Runtime:
    """Load the bundle's network.

    Raises:
        RuntimeUnavailable: unknown or not installed. BundleCorrupt: the graph cannot be loaded.
    """
    name = choose_runtime(wanted)
    if not _installed(name):
        raise RuntimeUnavailable(f"The runtime {name} is not installed.")
    if name == "tensorflow":
        return TensorFlowRuntime(bundle, threads=threads)
    return OpenVinoRuntime(bundle, threads=threads)


def describe_runtimes() -> dict[str, Any]:
    """What could serve here: versions by runtime (None: not installed), whether a GPU is seen, and the choice."""
    versions: dict[str, str | None] = {}
    for name in ("openvino", "tensorflow"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {"versions": versions, "gpu": _has_gpu(), "auto": choose_runtime(), "cpus": os.cpu_count()}


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _has_gpu() -> bool:
    """Whether the NVIDIA driver shows a device; asked without loading TensorFlow."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible not in ("", "-1") and any(Path("/dev").glob("nvidia[0-9]*"))
