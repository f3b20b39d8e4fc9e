"""What a report says of the newest analysis of an image."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Final

from diagnosis import wording
from diagnosis.models import Analysis, Laboratory, ModelVersion
from diagnosis.services.report_schema import ClassProbability, DomainPart, Interval, OutcomePart
from ml.calibration import CalibrationError, reweight

HELD_OUT: Final = "Wilson, over held-out images scored like this"


def outcome_part(analysis: Analysis | None, laboratory: Laboratory) -> OutcomePart:
    """The outcome with its probabilities as calibrated, and re-weighted to the laboratory's own share of malignant
    fields where it set one."""
    version = analysis.model_version if analysis is not None else None
    done = analysis is not None and analysis.state == Analysis.State.DONE
    kind = analysis.outcome if analysis is not None and done else ""
    is_class = kind == Analysis.Outcome.CLASS
    malignant = _malignant(version)
    calibrated, here = _prevalence(version), laboratory.malignant_share
    probabilities = analysis.probabilities if analysis is not None and done else {}
    moved = _reweighted(probabilities, calibrated, malignant, here)
    label = analysis.label if analysis is not None and is_class else ""
    interval = _interval(analysis) if analysis is not None and is_class else None
    return OutcomePart(
        analysis=str(analysis.pk) if analysis is not None else "",
        state=analysis.state if analysis is not None else "none",
        kind=kind,
        label=label,
        word=wording.class_word(label) if label else "",
        sentence=wording.outcome_sentence(analysis),
        suspected=bool(analysis is not None and analysis.suspected),
        confidence=_rounded(analysis.confidence) if analysis is not None and is_class else None,
        interval=interval,
        confidence_reweighted=moved.get(label),
        interval_reweighted=_moved_interval(interval, label, probabilities, calibrated, malignant, here),
        malignant_share_calibrated=_rounded(sum(calibrated.get(n, 0.0) for n in malignant))
        if calibrated
        else None,
        malignant_share_here=_rounded(here),
        probabilities=[
            ClassProbability(
                label=name,
                word=wording.class_word(name),
                malignant=name in malignant,
                probability=round(value, 4),
                reweighted=moved.get(name),
            )
            for name, value in wording.ordered_probabilities(
                probabilities, version.classes if version else []
            )
        ],
        domain=_domain(analysis if done else None),
        reasons=list(analysis.reasons) if analysis is not None and done else [],
        failure=analysis.failure if analysis is not None else "",
        scope=f"{wording.SCOPE_NOTICE}." if is_class else "",
        subtype_notice=f"The subtype {wording.SUBTYPE_NOTICE}." if label in malignant else "",
        model=version.name if version is not None else "",
        finished_at=_finished(analysis),
    )


def utc(at: datetime.datetime) -> str:
    """A time as the content has it: to the second, in UTC."""
    return at.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _finished(analysis: Analysis | None) -> str | None:
    return utc(analysis.finished_at) if analysis is not None and analysis.finished_at else None


def _domain(analysis: Analysis | None) -> DomainPart:
    if analysis is None:
        return DomainPart(inside=None, percentile=None, score=None, threshold=None)
    return DomainPart(
        inside=analysis.inside_domain,
        percentile=_rounded(analysis.domain_percentile, 1),
        score=_rounded(analysis.domain_score),
        threshold=_rounded(analysis.domain_threshold),
    )


def _interval(analysis: Analysis) -> Interval | None:
    if analysis.confidence_low is None or analysis.confidence_high is None:
        return None
    return Interval(
        low=round(analysis.confidence_low, 4), high=round(analysis.confidence_high, 4), method=HELD_OUT
    )


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(float(value), digits)


# --- another prevalence -------------------------------------------------------------------------------------


def _malignant(version: ModelVersion | None) -> list[str]:
    named = version.manifest.get("malignant") if version is not None else None
    return [str(name) for name in named] if named else sorted(wording.MALIGNANT)


def _prevalence(version: ModelVersion | None) -> dict[str, float]:
    """The share of each class where the version was calibrated; empty where its bundle states none for some class."""
    stated = version.manifest.get("prevalence") if version is not None else None
    if version is None or not isinstance(stated, Mapping):
        return {}
    shares = {name: float(stated.get(name, 0.0)) for name in version.classes}
    return shares if shares and all(share > 0 for share in shares.values()) else {}


def _reweighted(
    probabilities: Mapping[str, float],
    calibrated: Mapping[str, float],
    malignant: list[str],
    here: float | None,
) -> dict[str, float]:
    """The probabilities at the laboratory's share of malignant fields, whose classes keep their shares among them."""
    together = sum(calibrated.get(name, 0.0) for name in malignant)
    if here is None or not calibrated or probabilities.keys() != calibrated.keys() or not 0 < together < 1:
        return {}
    names = list(calibrated)
    target = [
        calibrated[n] * (here / together if n in malignant else (1 - here) / (1 - together)) for n in names
    ]
    try:
        moved = reweight([probabilities[n] for n in names], [calibrated[n] for n in names], target)
    except CalibrationError:
        return {}
    return {name: round(float(value), 4) for name, value in zip(names, moved, strict=True)}


def _moved_interval(
    interval: Interval | None,
    label: str,
    probabilities: Mapping[str, float],
    calibrated: Mapping[str, float],
    malignant: list[str],
    here: float | None,
) -> Interval | None:
    """Both ends of the interval, re-weighted as the probability is; the other classes share what is left as before."""
    if interval is None or label not in probabilities:
        return None
    ends = []
    for end in (interval["low"], interval["high"]):
        rest = sum(value for name, value in probabilities.items() if name != label)
        scaled = {
            name: end
            if name == label
            else (1 - end) * (value / rest if rest else 1 / (len(probabilities) - 1))
            for name, value in probabilities.items()
        }
        moved = _reweighted(scaled, calibrated, malignant, here)
        if label not in moved:
            return None
        ends.append(moved[label])
    return Interval(low=ends[0], high=ends[1], method=f"{interval['method']}, re-weighted")
