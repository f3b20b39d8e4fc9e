"""One field predicted and explained: Leukoscope's way against `model.predict` and tf-keras-vis on the same
weights.

Both get the same pixels in turn, so that whatever else the machine does meets both. Two ratios are given: of
network and Grad-CAM++ alone, and of the whole way from pixels, where both prepare the image by the same code
and ours also checks its quality, asks the domain gate and draws the two other maps.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from benchmarks.fields import RGB, drawn_fields, real_fields
from benchmarks.measuring import Figure, Report, at_least, at_most
from ml.bundle import Bundle
from ml.calibration import apply_temperature
from ml.imaging.preprocessing import normalise
from ml.saliency import min_max, upsample
from ml.serving import Prediction, load_predictor

WARM_UP = 3
METHOD = "gradcam++"

Reference = Callable[[npt.NDArray[np.float32]], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


def keras_reference(bundle: Bundle) -> Reference:
    """(1, S, S, 3) normalised -> logits (k,) and Grad-CAM++ of the first choice (S, S), as most people write
    it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.utils.scores import CategoricalScore

    from ml.network import FEATURE_LAYER

    model = keras.saving.load_model(bundle.path / "model.keras", compile=False)
    visualise = GradcamPlusPlus(model, clone=False)

    def judge(image: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        logits = model.predict(image, verbose=0)[0]
        score = CategoricalScore(int(logits.argmax()))
        # By default tf-keras-vis takes another layer than the last ReLU.
        maps = visualise(score, image, penultimate_layer=FEATURE_LAYER, seek_penultimate_conv_layer=False)
        return logits, np.asarray(maps[0])

    return judge


def measure(bundle_path: Path, fields: list[RGB], *, threads: int | None) -> Report:
    """Time both ways on every field, and compare what they say."""
    predictor = load_predictor(bundle_path, runtime="openvino", threads=threads)
    bundle = predictor.bundle
    reference = keras_reference(bundle)
    times: dict[str, list[float]] = {key: [] for key in ("ours", "ours_core", "theirs", "theirs_core")}
    differences: dict[str, list[float]] = {"class": [], "probability": [], "map": []}
    for number, pixels in enumerate([*fields[:WARM_UP], *fields]):
        began = perf_counter()
        prediction = predictor.predict(pixels)
        ours = perf_counter() - began

        began = perf_counter()
        image = normalise(bundle.preprocessing.prepare(pixels))[None]
        prepared = perf_counter()
        logits, their_map = reference(image)
        ended = perf_counter()

        if number < WARM_UP:
            continue
        times["ours"].append(ours * 1000)
        times["ours_core"].append(prediction.timings_ms["predict"] + prediction.timings_ms["saliency"])
        times["theirs"].append((ended - began) * 1000)
        times["theirs_core"].append((ended - prepared) * 1000)
        _compare(differences, prediction, bundle, logits, their_map)
    report = Report(f"Predict + Grad-CAM++ for one field ({bundle.name}, {predictor.device})")
    report.figures = _figures(times, differences)
    report.notes.append(
        f"{len(fields)} fields; TensorFlow's threads as it chooses them, OpenVINO's {threads or 'too'}."
    )
    return report


def _compare(
    differences: dict[str, list[float]],
    prediction: Prediction,
    bundle: Bundle,
    logits: npt.NDArray[np.float32],
    their_map: npt.NDArray[np.float32],
) -> None:
    theirs = apply_temperature(logits, bundle.temperature)
    ours = np.array([prediction.probabilities[name] for name in bundle.classes])
    differences["class"].append(float(prediction.top_label == bundle.classes[int(theirs.argmax())]))
    differences["probability"].append(float(np.abs(ours - theirs).max()))
    our_map = upsample(prediction.maps[METHOD], their_map.shape[:2])
    if our_map.any() and np.ptp(min_max(their_map)) > 0:
        differences["map"].append(float(np.corrcoef(our_map.ravel(), their_map.ravel())[0, 1]))


def _figures(times: dict[str, list[float]], differences: dict[str, list[float]]) -> list[Figure]:
    def ratios(name: str) -> list[float]:
        return [
            theirs / ours for theirs, ours in zip(times[f"theirs{name}"], times[f"ours{name}"], strict=True)
        ]

    agreement = differences["class"]
    figures = [
        at_most("Leukoscope, pixels to prediction", times["ours"], "ms"),
        at_most("  network and maps alone", times["ours_core"], "ms"),
        at_most("model.predict + tf-keras-vis, with preparation", times["theirs"], "ms"),
        at_most("  network and map alone", times["theirs_core"], "ms"),
        at_least("times faster, network and map", ratios("_core"), "", 15),
        at_least("times faster, whole way", ratios(""), ""),
        Figure(
            "same class", float(np.mean(agreement)), n=len(agreement), wanted="all", met=min(agreement) == 1.0
        ),
        _worst("largest difference of a probability", differences["probability"], 0.02),
    ]
    maps = differences["map"]
    if maps:
        worst = min(maps)
        figures.append(
            Figure(
                "smallest correlation of maps", worst, n=len(maps), wanted="at least 0.99", met=worst >= 0.99
            )
        )
    return figures


def _worst(name: str, values: list[float], limit: float) -> Figure:
    return Figure(name, max(values), n=len(values), wanted=f"at most {limit:g}", met=max(values) <= limit)


def run(options: argparse.Namespace) -> Report:
    """The benchmark as the command line asks for it."""
    real = real_fields(options.repeats)
    drawn = drawn_fields(options.repeats if not real else max(options.repeats // 2, 1))
    report = measure(options.bundle, [*real, *drawn], threads=options.threads)
    if not real:
        report.notes.append("Drawn fields alone: LEUKOSCOPE_DATA names no folder with the public data.")
    return report
