"""Which outcome marks its image as suspected: one rule for analyses and for shadows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diagnosis import wording
from diagnosis.models import ModelVersion

if TYPE_CHECKING:
    from diagnosis.services.cells import CellWork
    from ml.serving import Prediction


def is_suspected(prediction: Prediction, version: ModelVersion, *, cells: CellWork | None = None) -> bool:
    """Whether an outcome marks its image as suspected.

    Where the field model may judge: a malignant class, or malignant classes that together reach the threshold the
    bundle chose for sensitivity. Where it may not, its cells do, if their suspicion reaches the threshold that the
    cell bundle chose; a bundle that states none never marks an image.
    """
    if prediction.outcome != "class":
        return cells is not None and cells_are_suspicious(index=cells.suspicion, version=cells.version)
    malignant = version.manifest.get("malignant", wording.MALIGNANT)
    threshold = version.manifest.get("thresholds", {}).get("suspected", 1.0)
    together = sum(p for name, p in prediction.probabilities.items() if name in malignant)
    return prediction.label in malignant or together >= threshold


def cells_are_suspicious(*, index: float | None, version: ModelVersion | None) -> bool:
    """Whether the index of suspicion of an image's cells reaches the threshold of the version that judged them."""
    if version is None or index is None:
        return False
    threshold = version.manifest.get("thresholds", {}).get("suspicion")
    return threshold is not None and index >= threshold
