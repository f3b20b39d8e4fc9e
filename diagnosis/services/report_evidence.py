"""The key figures of a model version for a report: read from its bundle, whose hashes were verified on loading."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from diagnosis import wording
from diagnosis.models import Laboratory, ModelVersion, SiteValidation
from diagnosis.services import registry
from diagnosis.services.report_schema import FigurePart, ModelPart
from ml.evaluation.words import ABSTAINING_METRICS, CLASS_METRICS

KEY_FIGURES: Final = (
    "balanced_accuracy", "sensitivity_malignant", "specificity_malignant", "auroc_malignant", "ece", "coverage",
)  # fmt: skip
"""The figures a report prints, in this order; those that set versions side by side on the page of models."""

NOT_READ = "The evidence of this version can't be read any more."
NOT_VALIDATED = "Not validated at a site of this laboratory."
LARGEST = 8 * 2**20

_WORDS = {**CLASS_METRICS, **ABSTAINING_METRICS}


def model_parts(*, versions: Iterable[ModelVersion], laboratory: Laboratory) -> list[ModelPart]:
    """What a report says of these versions, fields' before cells'; one query."""
    listed = sorted(
        {one.pk: one for one in versions}.values(), key=lambda one: (one.task != "field", one.name)
    )
    validations: dict[int, SiteValidation] = {}
    if listed:
        found = SiteValidation.objects.select_related("site").filter(
            model_version__in=listed, site__laboratory=laboratory
        )
        for validation in found.order_by("created_at", "pk"):
            validations[validation.model_version_id] = validation
    return [_model_part(one, validations.get(one.pk)) for one in listed]


def _model_part(version: ModelVersion, validation: SiteValidation | None) -> ModelPart:
    figures, problem = _figures_of(version)
    here, here_figures = NOT_VALIDATED, []
    if validation is not None:
        here = (
            f"Measured at {validation.site.name} on {validation.created_at:%Y-%m-%d}, "
            f"on {validation.n} images it did not learn from."
        )
        here_figures = _section(validation.after)
    return ModelPart(
        name=version.name,
        task=version.task,
        task_word=version.get_task_display(),
        bundle_sha256=version.bundle_sha256,
        figures=figures,
        here=here,
        here_figures=here_figures,
        problem=problem,
    )


def _figures_of(version: ModelVersion) -> tuple[list[FigurePart], str]:
    """The figures, or why there are none. Another bundle may lie where this one lay: its figures are not this one's."""
    if registry.file_problem(version) is not None:
        return [], NOT_READ
    path = registry.bundle_folder(version) / "evidence" / "metrics.json"
    try:
        stat = path.stat()
        own = _own_section(path, stat.st_mtime_ns, stat.st_size)
        return (_section(own), "") if own else ([], NOT_READ)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return [], NOT_READ


@lru_cache(maxsize=64)
def _own_section(path: Path, _changed: int, size: int) -> Mapping[str, Any]:
    """What the evidence says of the bundle itself, or nothing; parsed once for each state of the file."""
    if size > LARGEST:
        raise ValueError("too large")
    sections = json.loads(path.read_text(encoding="utf-8")).get("sections")
    return dict(sections[0]) if sections else {}


def _section(section: Mapping[str, Any]) -> list[FigurePart]:
    """The key figures of an evidence section; a figure that was not measured is left out."""
    by_name = {row["name"]: row for row in section.get("figures", [])}
    rows = [by_name[name] for name in KEY_FIGURES if name in by_name]
    return [
        FigurePart(
            name=row["name"],
            word=_WORDS.get(row["name"], row["name"].replace("_", " ")),
            value=round(float(row["value"]), 4),
            low=_rounded(row.get("low")),
            high=_rounded(row.get("high")),
            n=int(row["n"]),
            groups=int(row.get("groups", 0)),
            data=str(section.get("data", "")),
            split=str(row.get("split", "")),
        )
        for row in rows
        if _rounded(row.get("value")) is not None
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


LIMITS: Final = (
    wording.RESEARCH_NOTICE,
    f"Field classes: {wording.SCOPE_NOTICE}.",
    "A subtype of B-ALL needs immunophenotyping.",
    "An indeterminate outcome rules nothing out.",
    "A probability holds at the prevalence the model was calibrated at; where a re-weighted one stands beside it, at "
    "the laboratory's own.",
    "Figures of a model hold for images like those of its test part: the same microscopes, stains and patients.",
    f"Saliency shows {wording.SALIENCY_PHRASE}; it is not an outline of a lesion.",
    "The index of suspicion is an index and no probability.",
)
"""What every report says of its limits."""
