"""What a report says of the newest analysis of an image."""

from __future__ import annotations

import datetime
from typing import Final

from diagnosis import wording
from diagnosis.models import Analysis, Laboratory, ModelVersion
from diagnosis.services import prevalence
from diagnosis.services.report_schema import ClassProbability, DomainPart, Interval, OutcomePart

HELD_OUT: Final = "Wilson, over held-out images scored like this"


def outcome_part(analysis: Analysis | None, laboratory: Laboratory) -> OutcomePart:
    """The outcome with its probabilities as calibrated, and re-weighted to the laboratory's own share of malignant
    fields where it set one. Nothing is said of a class that an indeterminate outcome does not give.
    """
    version = analysis.model_version if analysis is not None else None
    done = analysis is not None and analysis.state == Analysis.State.DONE
    is_class = analysis is not None and done and analysis.outcome == Analysis.Outcome.CLASS
    malignant = prevalence.malignant_classes(version) if version is not None else wording.MALIGNANT
    moved = prevalence.of_analysis(analysis=analysis, laboratory=laboratory) if done else None
    label = analysis.label if analysis is not None and is_class else ""
    return OutcomePart(
        analysis=str(analysis.pk) if analysis is not None else "",
        state=analysis.state if analysis is not None else "none",
        kind=analysis.outcome if analysis is not None and done else "",
        label=label,
        word=wording.class_word(label) if label else "",
        sentence=wording.outcome_sentence(analysis),
        suspected=analysis is not None and analysis.suspected,
        confidence=rounded(analysis.confidence) if analysis is not None and is_class else None,
        interval=_interval(analysis.confidence_low, analysis.confidence_high, HELD_OUT)
        if analysis is not None and is_class
        else None,
        confidence_reweighted=rounded(moved.confidence) if moved else None,
        interval_reweighted=_interval(moved.low, moved.high, f"{HELD_OUT}, re-weighted") if moved else None,
        malignant_share_calibrated=rounded(prevalence.calibrated_share(version)),
        malignant_share_here=rounded(prevalence.own_share(laboratory)),
        probabilities=[
            ClassProbability(
                label=name,
                word=wording.class_word(name),
                malignant=name in malignant,
                probability=round(float(value), 4),
                reweighted=rounded(moved.probabilities.get(name)) if moved else None,
            )
            for name, value in _probabilities(analysis if done else None, version)
        ],
        domain=_domain(analysis if done else None),
        reasons=list(analysis.reasons) if analysis is not None and done else [],
        failure=analysis.failure if analysis is not None else "",
        scope=f"{wording.SCOPE_NOTICE}." if is_class else "",
        subtype_notice=f"The subtype {wording.SUBTYPE_NOTICE}." if label in malignant else "",
        model=version.name if version is not None else "",
        finished_at=utc(analysis.finished_at) if analysis is not None and analysis.finished_at else None,
    )


def utc(at: datetime.datetime) -> str:
    """A time as the content has it: to the second, in UTC."""
    return at.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(float(value), digits)


def _probabilities(analysis: Analysis | None, version: ModelVersion | None) -> list[tuple[str, float]]:
    if analysis is None:
        return []
    return wording.ordered_probabilities(analysis.probabilities, version.classes if version else [])


def _interval(low: float | None, high: float | None, method: str) -> Interval | None:
    if low is None or high is None:
        return None
    return Interval(low=round(low, 4), high=round(high, 4), method=method)


def _domain(analysis: Analysis | None) -> DomainPart:
    if analysis is None:
        return DomainPart(inside=None, percentile=None, score=None, threshold=None)
    return DomainPart(
        inside=analysis.inside_domain,
        percentile=rounded(analysis.domain_percentile, 1),
        score=rounded(analysis.domain_score),
        threshold=rounded(analysis.domain_threshold),
    )
