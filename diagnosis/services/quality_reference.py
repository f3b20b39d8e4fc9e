"""What the held-out images of a model look like, as far as its bundle tells: the yardstick of drift, read once."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diagnosis.models import ModelVersion, QualityReference
from diagnosis.services import registry
from diagnosis.services.quality_tallies import Histogram, bin_of
from ml import input_reference

logger = logging.getLogger(__name__)


def keep_references() -> None:
    """Keep what the held-out images of each field model look like, as far as its bundle tells; read once a bundle."""
    known = dict(QualityReference.objects.values_list("version", "bundle_sha256"))
    versions = ModelVersion.objects.filter(task=ModelVersion.Task.FIELD, analyses__isnull=False)
    # Those of a drawn archive have no bundle, and nobody misses it.
    for version in versions.exclude(bundle_path="").distinct().defer("manifest"):
        if known.get(version.pk) == version.bundle_sha256:
            continue
        try:
            figures = reference(registry.bundle_folder(version))
        except (OSError, ValueError, KeyError) as problem:
            logger.warning("The held-out images of %s cannot be read: %s", version, problem)
            continue
        QualityReference.objects.update_or_create(
            version=version, defaults={"figures": figures, "bundle_sha256": version.bundle_sha256}
        )


def reference(folder: Path) -> dict[str, Any]:
    """{measure: {"histogram", "n", "of"}}: the test images' confidence, and how the validation images look.

    Domain percentiles need none: those of validation images are uniform by their making.
    """
    found: dict[str, Any] = {}
    manifest = json.loads((folder / "bundle.json").read_text())
    predictions = folder / "evidence" / "predictions.csv"
    if predictions.is_file():
        counts = Histogram()
        for confidence in _confidences(predictions):
            counts.put(bin_of(confidence, "confidence"))
        if counts.n:
            found["confidence"] = _of(counts, f"test images of {manifest['data'].get('name', folder.name)}")
    images = manifest.get("data", {}).get("validation_sha256", [])
    looks = input_reference.reference_of(images) if images else None
    if looks is not None:
        for name, values in looks.measures.items():
            counts = Histogram()
            for value in values:
                counts.put(bin_of(value, name))
            found[name] = _of(counts, f"validation images of {looks.data}")
    return found


def _of(counts: Histogram, words: str) -> dict[str, Any]:
    return {"histogram": counts.kept(), "n": counts.n, "of": words}


def _confidences(predictions: Path) -> Iterator[float]:
    """Of the test images that got a class, as pages show it for such alone."""
    with predictions.open(newline="") as file:
        for row in csv.DictReader(file):
            if row.get("outcome") == "class":
                yield max(float(value) for key, value in row.items() if key.startswith("p_") and value)
