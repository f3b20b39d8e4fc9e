"""Is the saliency true? Three measurements of a bundle's Grad-CAM++ maps, each against what chance would give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ml.bundle import Bundle
from ml.data.manifest import Item
from ml.evaluation.intervals import Figure
from ml.runtimes import Runtime

IMAGES = 60
Track = Callable[[Iterable[Any], int, str], Iterable[Any]]


@dataclass(frozen=True)
class Faithfulness:
    """What was measured: `figures` go into the evidence as `saliency`, the curves are for the plots."""

    figures: tuple[Figure, ...]


def measure_faithfulness(
    bundle: Bundle,
    items: Sequence[Item],
    *,
    seed: int,
    images: int = IMAGES,
    progress: Track = lambda things, total, description: things,
    runtime: Runtime | None = None,
    split: str = "",
) -> Faithfulness:
    """Measure the maps of a bundle on labelled images of its test part. Imports TensorFlow."""
    raise NotImplementedError
