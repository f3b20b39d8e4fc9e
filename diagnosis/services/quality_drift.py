"""Whether what comes in, and what the model says of it, has moved away from its held-out images.

Read from the days that are counted already (`diagnosis.services.quality`), in one query or from a sum at hand. A
measure counts as moved where a shift is both large and no chance: nobody retrains for a significant trifle.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from diagnosis.models import Laboratory, ModelVersion, QualityDay, QualityReference
from diagnosis.services.quality_tallies import WIDTHS, Histogram, Share, merged
from ml import drift

LEAST_IMAGES = 50
LEAST_CASES = 20
"""As in `proposals`: images of fewer cases say nothing about a stain or a camera."""
SIGNIFICANCE = 0.01
"""Shared out over the measures: the chance that any of them is called moved while none has."""
LEAST_DISTANCE = 0.2
"""Kolmogorov-Smirnov distance: a shift of half a standard deviation of a normal distribution."""
PROPOSAL_DAYS = 30

WORDS: dict[str, str] = {
    "focus": "focus",
    "brightness": "background brightness",
    "stain": "stained nuclei",
    "confidence": "confidence",
    "domain": "place in the domain",
}


@dataclass(frozen=True)
class Moved:
    """How one measure lies against its held-out images.

    `distance` (0 to 1) and `p_value` are None where nothing is known of them or too little came in; then `why_not` is a
    sentence. `middle` and `expected` are medians, `of` says which images are held against it, `expected_n` how many.
    """

    measure: str
    n: int
    cases: int
    middle: float | None
    expected: float | None
    expected_n: int
    of: str
    distance: float | None = None
    p_value: float | None = None
    why_not: str = ""

    @property
    def is_alarm(self) -> bool:
        return (
            self.distance is not None
            and self.p_value is not None
            and self.distance >= LEAST_DISTANCE
            and self.p_value < SIGNIFICANCE / len(WIDTHS)
        )

    @property
    def sentence(self) -> str:
        """Of an alarm."""
        return (
            f"The {WORDS[self.measure]} of the last {self.n} images ({self.cases} cases) lies elsewhere than that of "
            f"the {self.of} (Kolmogorov-Smirnov distance {self.distance:.2f}, p "
            f"{'< 0.001' if (self.p_value or 0) < 0.001 else f'= {self.p_value:.3f}'})."
        )


def expected_of(measure: str, reference: Mapping[str, Any]) -> tuple[Histogram, int, str] | None:
    """The histogram that a measure is held against, of how many images, and which; None where nobody knows one."""
    if measure == "domain":  # by their making
        return Histogram(dict.fromkeys(range(round(100 / WIDTHS["domain"])), 1)), 0, "validation images"
    kept = reference.get(measure)
    return None if kept is None else (Histogram.read(kept["histogram"]), kept["n"], kept["of"])


def moved(figures: Mapping[str, Any], reference: Mapping[str, Any]) -> list[Moved]:
    """Every measure of the images of one version: `figures` is the sum of its days (key "images", the version)."""
    cases = Share.read(figures.get("indeterminate", [0] * 6)).cases
    measures = figures.get("measures", {})
    return [
        _moved(name, Histogram.read(measures.get(name, {})), cases, expected_of(name, reference))
        for name in WIDTHS
    ]


def _moved(measure: str, seen: Histogram, cases: int, expected: tuple[Histogram, int, str] | None) -> Moved:
    cases = min(cases, seen.n)
    middle = seen.quantile(0.5, measure)
    if expected is None:
        return Moved(
            measure, seen.n, cases, middle, None, 0, "", why_not="no held-out images to compare with"
        )
    histogram, n, of = expected
    common = (measure, seen.n, cases, middle, histogram.quantile(0.5, measure), n, of)
    if seen.n < LEAST_IMAGES or cases < LEAST_CASES:
        return Moved(*common, why_not=f"too few: {LEAST_IMAGES} images of {LEAST_CASES} cases are needed")
    counts = dict(seen.counts)
    if measure == "domain":  # 100 itself would lie beyond the last bin
        last = max(histogram.counts)
        counts = {}
        for place, count in seen.counts.items():
            counts[min(place, last)] = counts.get(min(place, last), 0) + count
    distance = drift.distance_of_counts(counts, histogram.counts)
    return Moved(*common, distance=distance, p_value=drift.distance_p_value(distance, cases))


def reasons(*, laboratory: Laboratory, version: ModelVersion) -> list[str]:
    """Why a retraining may be worth it, a sentence each: what has moved among the images of the last days.

    The place in the domain is left out: `proposals` looks at that image by image.
    """
    since = timezone.localdate() - datetime.timedelta(days=PROPOSAL_DAYS - 1)
    key = str(version.pk)
    total: dict[str, Any] = {}
    days = QualityDay.objects.filter(laboratory=laboratory, day__gte=since).order_by()
    for images in days.values_list("figures__images", flat=True):
        merged(total, (images or {}).get(key, {}))
    if not total:
        return []
    kept = QualityReference.objects.filter(version=version).values_list("figures", flat=True).first()
    return [one.sentence for one in moved(total, kept or {}) if one.is_alarm and one.measure != "domain"]
