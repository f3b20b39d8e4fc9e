"""Our words for people: classes, states, outcomes, percentages. Pages and commands use these alone."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from diagnosis.models import Analysis, Review

CLASS_WORDS: dict[str, str] = {
    "benign": "benign (hematogones)",
    "early": "early pre-B",
    "pre": "pre-B",
    "pro": "pro-B",
}
MALIGNANT: frozenset[str] = frozenset({"early", "pre", "pro"})

# What a reviewer may say that no model says.
OTHER = "other"
NOT_JUDGEABLE = "not_judgeable"
REVIEW_WORDS: dict[str, str] = {
    **CLASS_WORDS,
    OTHER: "another finding (in the comment)",
    NOT_JUDGEABLE: "cannot be judged",
}
# What a reader who reads blind may say as well: a review has a verdict of its own for it.
UNSURE = "unsure"
BLIND_WORDS: dict[str, str] = {
    **REVIEW_WORDS,
    OTHER: "another finding",
    NOT_JUDGEABLE: "cannot be judged (the image)",
    UNSURE: "cannot tell",
}

SUSPECTED_MARK = "▲"
SCOPE_NOTICE = "B-ALL only: does not exclude AML, T-ALL, CLL, CML, MDS or lymphoma"
SUBTYPE_NOTICE = "needs immunophenotyping"
RESEARCH_NOTICE = "Research use only: it supports a reader and never replaces one."
SUSPICION_NOTICE = "index, not validated here"
SALIENCY_PHRASE = "regions that influenced the score"

STATE_WORDS: dict[str, str] = {
    Analysis.State.QUEUED: "waiting to be analysed",
    Analysis.State.RUNNING: "being analysed",
    Analysis.State.DONE: "analysed",
    Analysis.State.FAILED: "analysis failed",
}
SPECIMEN_WORDS: dict[str, str] = {"blood": "peripheral blood", "marrow": "bone marrow"}

_SAFEGUARD = 1e-9


def class_word(label: str) -> str:
    """The class as people read it; a class we have no word for is shown as the bundle names it."""
    return REVIEW_WORDS.get(label) or BLIND_WORDS.get(label, label.replace("_", " "))


def percent(probability: float | None, digits: int = 1) -> str:
    """A probability as `97.3 %`; what would round to 0 or 100 without being it: `< 0.1 %`, `> 99.9 %`."""
    if probability is None:
        return "n/a"
    step = 10.0**-digits
    value = 100.0 * probability
    if _SAFEGUARD < value < step / 2:
        return f"< {step:.{digits}f} %"
    if 100.0 - step / 2 < value < 100.0 - _SAFEGUARD:
        return f"> {100.0 - step:.{digits}f} %"
    return f"{value:.{digits}f} %"


def plain_number(value: Decimal) -> str:
    """A number without idle zeros: 5.2, 120."""
    return f"{value.normalize():f}"


def milliseconds(value: float | None) -> str:
    """A duration as `84 ms` or `1.3 s`."""
    if value is None:
        return ""
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"


def join_reasons(reasons: list[str] | tuple[str, ...]) -> str:
    return "; ".join(reasons)


def outcome_sentence(analysis: Analysis | None) -> str:
    """One line that says where an image stands: its class, why there is none, or what is still to come."""
    if analysis is None:
        return "not analysed"
    if analysis.state == Analysis.State.FAILED:
        return f"analysis failed: {analysis.failure}"
    if analysis.state != Analysis.State.DONE:
        return STATE_WORDS[analysis.state]
    if analysis.outcome == Analysis.Outcome.INDETERMINATE:
        return f"indeterminate: {join_reasons(analysis.reasons)}" if analysis.reasons else "indeterminate"
    return f"{class_word(analysis.label)}, {percent(analysis.confidence)}"


def review_sentence(review: Review | None) -> str:
    """One line for a reading: `agrees: pre-B`, `overruled: benign (hematogones)`, or `cannot tell`."""
    if review is None:
        return "not reviewed"
    if review.verdict == Review.Verdict.UNSURE:
        return "cannot tell"
    if review.verdict == Review.Verdict.WITHDRAW:
        return "took the reading back"
    if review.verdict == Review.Verdict.AGREE:
        return f"agrees: {class_word(review.label)}" if review.label else "agrees: indeterminate"
    return f"overruled: {class_word(review.label)}"


def ordered_probabilities(probabilities: Mapping[str, float], classes: list[str]) -> list[tuple[str, float]]:
    """Probabilities in the order of the model's classes (PostgreSQL does not keep the order of keys)."""
    known = [(name, probabilities[name]) for name in classes if name in probabilities]
    return known + [(name, value) for name, value in probabilities.items() if name not in classes]


def duration(seconds: float) -> str:
    """Seconds as one reads them: 40 s, 12 min, 2 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
