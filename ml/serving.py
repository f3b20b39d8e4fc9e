"""Predictor: a bundle and an image in, a prediction out. The worker and every command judge images through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ml.bundle import Bundle, BundleCorrupt, read_bundle
from ml.calibration import apply_temperature
from ml.domain import pooled_features
from ml.imaging.preprocessing import normalise
from ml.imaging.quality import QualityReport, assess_quality
from ml.pictures import picture_of
from ml.runtimes import Runtime, describe_runtimes, open_runtime
from ml.saliency import METHODS, saliency_map

__all__ = ["Prediction", "Predictor", "describe_runtimes", "load_predictor"]

OUT_OF_DOMAIN = "the field is unlike those the model was validated on"
CELL_OUT_OF_DOMAIN = "the cell is unlike those the model was validated on"


@dataclass(frozen=True)
class Prediction:
    """What a model version says of one image.

    Attributes:
        outcome: "class", or "indeterminate" with `reasons` in words.
        label: the class; None when indeterminate. top_label: the network's first choice in any case.
        probabilities: calibrated, by class, summing to 1. confidence: the largest of them; None when indeterminate.
        confidence_interval: Wilson's 95 % interval of the share right among held-out images scored like this one;
            None outside the domain or where too few were held out.
        domain_score: at most `domain_threshold` is inside. domain_percentile: share of held-out fields nearer, 0..100.
        maps: saliency method -> (h, w) float32 in 0..1, for `top_label`.
        embedding: (d,) float32, what images are compared by: near ones look alike to this very network.
        timings_ms: by step, in milliseconds.
    """

    outcome: Literal["class", "indeterminate"]
    label: str | None
    top_label: str
    probabilities: dict[str, float]
    confidence: float | None
    confidence_interval: tuple[float, float] | None
    domain_score: float
    domain_threshold: float
    domain_percentile: float
    inside_domain: bool
    reasons: tuple[str, ...]
    quality: QualityReport
    maps: dict[str, NDArray[np.float32]]
    timings_ms: dict[str, float]
    model_version: str
    preprocessing_version: int
    runtime: str
    device: str
    embedding: NDArray[np.float32] | None = None


class Predictor:
    """A loaded bundle. Not for two threads at once: give each worker its own."""

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        self.bundle = bundle
        self._runtime = runtime
        self._head = np.asarray(bundle.arrays["head_kernel"], np.float32)
        if self._head.shape[1] != len(bundle.classes):
            raise BundleCorrupt(f"The model {bundle.name} is damaged: its head does not fit its classes.")
        bundle.domain  # noqa: B018 - read now, so that a damaged bundle is refused at loading

    @property
    def runtime(self) -> str:
        return self._runtime.name

    @property
    def device(self) -> str:
        return self._runtime.device

    def predict(self, pixels: NDArray[np.uint8], um_per_pixel: float | None = None) -> Prediction:
        """Judge one picture: (H, W, 3) RGB uint8, as `read_image` gives it; of a `cell` bundle, the cell in its middle.

        Args:
            um_per_pixel: of a single-cell picture; None measures it. Of a field it says nothing.
        """
        bundle = self.bundle
        timings: dict[str, float] = {}
        began = perf_counter()
        with _timed(timings, "quality"):
            quality = assess_quality(pixels)
        with _timed(timings, "preprocess"):
            picture = picture_of(bundle.preparation, pixels, um_per_pixel)
        with _timed(timings, "predict"):
            feature_maps, logits = self._runtime.run(normalise(picture.prepared)[None])
        with _timed(timings, "domain"):
            pooled = pooled_features(feature_maps[0])
            score = float(bundle.domain.score(pooled[None], picture.plain[None])[0])
            probabilities = apply_temperature(logits[0], bundle.temperature)
        top = int(probabilities.argmax())
        with _timed(timings, "saliency"):
            maps = {method: saliency_map(feature_maps[0], self._head[:, top], method) for method in METHODS}
        timings["total"] = (perf_counter() - began) * 1000

        inside = score <= bundle.domain.threshold
        # Quality is a field's: a single-cell picture has neither the glass nor the cells that it is read off.
        reasons = list(quality.reasons) if bundle.task == "field" else []
        if picture.problem:
            reasons.append(picture.problem)
        if not inside:
            reasons.append(CELL_OUT_OF_DOMAIN if bundle.task == "cell" else OUT_OF_DOMAIN)
        judged = not reasons
        confidence = float(probabilities[top])
        return Prediction(
            outcome="class" if judged else "indeterminate",
            label=bundle.classes[top] if judged else None,
            top_label=bundle.classes[top],
            probabilities={name: float(p) for name, p in zip(bundle.classes, probabilities, strict=True)},
            confidence=confidence if judged else None,
            confidence_interval=self._interval(confidence) if judged else None,
            domain_score=score,
            domain_threshold=bundle.domain.threshold,
            domain_percentile=bundle.domain.percentile(score),
            inside_domain=inside,
            reasons=tuple(reasons),
            quality=quality,
            maps=maps,
            timings_ms={key: round(value, 3) for key, value in timings.items()},
            model_version=bundle.name,
            preprocessing_version=bundle.preparation.version,
            runtime=self.runtime,
            device=self.device,
            embedding=bundle.domain.features.embedded(pooled),
        )

    def _interval(self, confidence: float) -> tuple[float, float] | None:
        if self.bundle.confidence_bins is None:
            return None
        low, high, _ = self.bundle.confidence_bins.interval(confidence)
        return low, high


def load_predictor(path: Path | str, *, runtime: str = "auto", threads: int | None = None) -> Predictor:
    """Verify a bundle and load its network; of a `cell` bundle, an `ml.cells.serving.CellPredictor`.

    Args:
        runtime: "openvino", "tensorflow", or "auto" (TensorFlow where a GPU is visible, else OpenVINO).
        threads: CPU threads of the runtime; None leaves it to the runtime.

    Raises:
        BundleError: the bundle cannot serve. RuntimeUnavailable: the runtime is not there.
    """
    bundle = read_bundle(path)
    if bundle.task == "cell":
        from ml.cells.serving import CellPredictor  # it is a Predictor itself

        return CellPredictor(bundle, open_runtime(bundle, runtime, threads=threads))
    return Predictor(bundle, open_runtime(bundle, runtime, threads=threads))


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    began = perf_counter()
    yield
    timings[step] = (perf_counter() - began) * 1000
