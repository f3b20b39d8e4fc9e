"""When a retraining is worth proposing: many new reviews, or images that drift from those the model knows.

It is a sentence on the models page. Nothing here starts a training, and nothing here writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, Q

from diagnosis.models import Analysis, Laboratory, ModelVersion, Training
from diagnosis.services import quality_drift, registry, reviewed
from ml import drift as drifting

ENOUGH_REVIEWS = 100
NEWEST_ANALYSES = 200
LEAST_ANALYSES = 50
LEAST_CASES = 20
"""Images of one case look alike: fewer cases say nothing about a stain or a camera."""
SIGNIFICANCE = 0.01
DEFAULT_KEEP = 0.97
"""Share of held-out fields inside the domain, where a bundle does not state it."""


NEW_REVIEWS: dict[str, str] = {
    ModelVersion.Task.FIELD: "{} reviews have come in since the model was last trained.",
    ModelVersion.Task.CELL: "{} cells were given a class by readers since the cell model was last trained "
    "(--task cell).",
}


@dataclass(frozen=True)
class Proposal:
    """Why a retraining is worth it: `reasons` are sentences; `kinds` of them "reviews", "drift", "outside" and
    "inputs"."""

    version: ModelVersion
    kinds: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Drift:
    """How the newest images lie in the domain of the active version.

    `distance` is the Kolmogorov-Smirnov distance of their domain percentiles from uniform (0 to 1), `p_value` its
    significance for as many independent values as there are cases; `outside` the share outside the domain, where
    `expected` of held-out images are, and `outside_p_value` that of so many or more.
    """

    n: int
    cases: int
    distance: float
    p_value: float
    outside: float
    expected: float
    outside_p_value: float


def retraining_proposal(*, laboratory: Laboratory, task: str = ModelVersion.Task.FIELD) -> Proposal | None:
    """Why the laboratory's model is worth a retraining now; None where nothing speaks for it.

    Of a cell model reviews alone are looked at: its domain scores are kept a cell, and how they drift is not told yet.
    """
    active = registry.active_version(task=task, laboratory=laboratory)
    if active is None:
        return None
    found: list[tuple[str, str]] = []
    since = _last_training(active, laboratory)
    count = reviewed.new_reviews_since(laboratory=laboratory, since=since, task=task)
    if count >= ENOUGH_REVIEWS:
        found.append(("reviews", NEW_REVIEWS[task].format(count)))
    drift = measure_drift(laboratory=laboratory, version=active)
    if drift is not None:
        found += _drift_reasons(drift)
    found += [("inputs", words) for words in quality_drift.reasons(laboratory=laboratory, version=active)]
    if not found:
        return None
    return Proposal(active, tuple(kind for kind, _ in found), tuple(words for _, words in found))


def measure_drift(*, laboratory: Laboratory, version: ModelVersion) -> Drift | None:
    """Compare the domain percentiles of the newest images that `version` judged, drawn samples left out, with
    those of its held-out images, which are uniform; None for too few images or cases.

    Images of a case agree, so a distance counts as that of one image a case.
    """
    rows = list(
        Analysis.objects.filter(
            state=Analysis.State.DONE,
            model_version=version,
            image__case__laboratory=laboratory,
            image__is_drawn=False,
            domain_percentile__isnull=False,
        )
        .order_by("-finished_at")
        .values_list("domain_percentile", "inside_domain", "image__case")[:NEWEST_ANALYSES]
    )
    cases = len({case for _, _, case in rows})
    if len(rows) < LEAST_ANALYSES or cases < LEAST_CASES:
        return None
    keep = float(version.manifest.get("thresholds", {}).get("domain_keep", DEFAULT_KEEP))
    outside = sum(not inside for _, inside, _ in rows) / len(rows)
    return _drift([percentile or 0.0 for percentile, _, _ in rows], cases, outside, 1 - keep)


def _drift(percentiles: Sequence[float], cases: int, outside: float, expected: float) -> Drift:
    distance = drifting.distance_from_uniform([percentile / 100 for percentile in percentiles])
    return Drift(
        n=len(percentiles),
        cases=cases,
        distance=distance,
        p_value=drifting.distance_p_value(distance, cases),
        outside=outside,
        expected=expected,
        outside_p_value=drifting.at_least_p_value(round(outside * cases), cases, expected),
    )


def _drift_reasons(drift: Drift) -> list[tuple[str, str]]:
    found = []
    if drift.p_value < SIGNIFICANCE:
        found.append(
            (
                "drift",
                f"The last {drift.n} images ({drift.cases} cases) lie elsewhere in the model's domain than those it "
                f"was validated on (Kolmogorov-Smirnov distance {drift.distance:.2f}, p {_p(drift.p_value)}).",
            )
        )
    if drift.outside_p_value < SIGNIFICANCE:
        found.append(
            (
                "outside",
                f"{100 * drift.outside:.0f} % of the last {drift.n} images ({drift.cases} cases) lie outside the "
                f"model's domain, where {100 * drift.expected:.0f} % are expected (p {_p(drift.outside_p_value)}).",
            )
        )
    return found


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _last_training(active: ModelVersion, laboratory: Laboratory) -> datetime:
    """When the model last learnt something: its registration, or a later training that ended well."""
    trained = Training.objects.filter(
        Q(laboratory=laboratory) | Q(laboratory__isnull=True), task=active.task, state=Training.State.DONE
    )
    last: datetime | None = trained.aggregate(last=Max("finished_at"))["last"]
    return max(active.registered_at, last) if last is not None else active.registered_at
