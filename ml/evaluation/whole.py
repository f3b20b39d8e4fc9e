"""The whole evidence of a bundle, of any task and classes, measured on its files as they lie there.

Imports TensorFlow (where the runtimes are compared and weights are drawn anew).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml.bundle import Bundle
from ml.data.manifest import Manifest

Track = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Hands on what it is given, and may draw progress: (things, how many, description); as `evaluate` takes it."""


def write_whole_evidence(
    bundle_path: Path,
    manifest: Manifest,
    *,
    progress: Track = lambda things, total, description: things,
    history: Mapping[str, Sequence[float]] | None = None,
    search_trials: Sequence[Mapping[str, Any]] = (),
    label_map: Mapping[str, str] | None = None,
    other_runtime: bool = True,
    repaint: bool = True,
    faithfulness: bool = True,
    baselines: bool = True,
    gate: bool = True,
) -> Bundle:
    """Measure a sealed bundle on its own test images in `manifest`, write evidence and card, and seal it again.

    Args:
        manifest: the data the bundle was made from; its test images are found by SHA-256.
        history: of the training, as Keras names it; None takes the one in `bundle.json`.
        search_trials: the search's trials as JSON holds them: number, state, value, setting, fidelity, seconds.
        label_map: data label -> class, `malignant` or `drop`, as in training.

    Raises:
        EvaluationError: the data hold none of the bundle's test images.
    """
    raise NotImplementedError
