"""How long it takes to find the leukocytes of a field of 2592x1944 pixels with 40 of them, drawn."""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.measuring import Report, at_least, at_most
from ml.cells.detection import detect
from ml.cells.drawn import drawn_with_truth
from ml.cells.scale import measure_scale

WIDTH, HEIGHT, LEUKOCYTES = 2592, 1944, 40
WANTED_MS = 500.0
_FIELDS = 3


def run(options: argparse.Namespace) -> Report:
    """Measure."""
    report = Report(f"Detection of leukocytes, {WIDTH}x{HEIGHT} pixels, {LEUKOCYTES} drawn")
    fields = [
        drawn_with_truth(
            np.random.default_rng((21, index)),
            width=WIDTH,
            height=HEIGHT,
            kind="drawn_a",
            leukocytes=LEUKOCYTES,
        )
        for index in range(_FIELDS)
    ]
    detect(fields[0][0])  # loads the network
    whole, scale, found = [], [], []
    for index in range(options.repeats):
        pixels, truth = fields[index % _FIELDS]
        start = time.perf_counter()
        detection = detect(pixels)
        middle = time.perf_counter()
        measure_scale(pixels)
        scale.append((time.perf_counter() - middle) * 1000)
        whole.append((middle - start) * 1000)
        leukocytes = sum(cell.kind == "leukocyte" for cell in detection.cells)
        found.append(leukocytes / len(truth.leukocytes))
    report.figures += [
        at_most("detection of a field", whole, "ms", WANTED_MS),
        at_most("of which the scale", scale, "ms"),
        at_least("leukocytes found over drawn", found, ""),
    ]
    return report
