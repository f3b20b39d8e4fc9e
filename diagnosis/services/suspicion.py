"""Which outcome marks its image as suspected: one rule for analyses and for shadows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diagnosis import wording
from diagnosis.models import ModelVersion

if TYPE_CHECKING:
    from ml.serving import Prediction


def is_suspected(prediction: Prediction, version: ModelVersion) -> bool:
    """Whether an outcome marks its image as suspected: judged at all, and a malignant class, or malignant
    classes that together reach the threshold the bundle chose for sensitivity.
    """
    if prediction.outcome != "class":
        return False
    malignant = version.manifest.get("malignant", wording.MALIGNANT)
    threshold = version.manifest.get("thresholds", {}).get("suspected", 1.0)
    together = sum(p for name, p in prediction.probabilities.items() if name in malignant)
    return prediction.label in malignant or together >= threshold
