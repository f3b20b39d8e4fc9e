"""One smear image in the printed report: its outcome, its leukocytes and its reader, line by line."""

from __future__ import annotations

from typing import Any, Final

from diagnosis import wording
from diagnosis.services.report_schema import ImagePart, OutcomePart, ReviewPart
from diagnosis.services.report_sheet_words import moment, paragraphs_of

NO_RESULT: Final = "regions that influenced a score that is not a result"
_MARKS: Final = {"class": "○", "indeterminate": "?", "": "!"}


def image_sheet(one: ImagePart) -> dict[str, Any]:
    """What the template prints of an image."""
    outcome = one["outcome"]
    lines = _outcome_lines(outcome)
    if one["leukocytes"] is not None:
        index = "" if one["suspicion"] is None else f"; index of suspicion {one['suspicion']:.2f}"
        lines.append(["Leukocytes", f"{one['leukocytes']} found whole{index}"])
    lines.append(["Reader", _review(one["review"])])
    drawn = "drawn by software, no patient's; " if one["is_drawn"] else ""
    notes = "".join(f"; {note}" for note in one["notes"])
    return {
        "key": str(one["position"]),
        "head": f"Image {one['position']}",
        "name": one["name"],
        "mark": wording.SUSPECTED_MARK if outcome["suspected"] else _MARKS[outcome["kind"]],
        "tone": "suspect" if outcome["suspected"] else "",
        "word": outcome["sentence"],
        "suspected": outcome["suspected"],
        "lines": lines,
        "comment": paragraphs_of(one["review"]["comment"]) if one["review"] is not None else [],
        "scope": " ".join(filter(None, [outcome["scope"], outcome["subtype_notice"]])),
        "caption": _caption(one),
        "file": f"{drawn}{one['format']}, {one['width']} × {one['height']}{notes}",
        "sha256": one["sha256"],
    }


def _caption(one: ImagePart) -> str:
    if not one["saliency"]:
        return ""
    words = one["saliency_words"] if one["outcome"]["kind"] == "class" else NO_RESULT
    return f"{one['saliency_word']}: {words}"


def _outcome_lines(outcome: OutcomePart) -> list[list[str]]:
    lines = []
    interval = outcome["interval"]
    if outcome["confidence"] is not None:
        beside = (
            "no interval"
            if interval is None
            else f"95 % interval {_range(interval['low'], interval['high'])}"
        )
        lines.append(["Probability", f"{wording.percent(outcome['confidence'])} ({beside})"])
    if outcome["confidence_reweighted"] is not None and outcome["malignant_share_here"] is not None:
        here = outcome["interval_reweighted"]
        beside = "" if here is None else f" (95 % interval {_range(here['low'], here['high'])})"
        share = wording.percent(outcome["malignant_share_here"])
        lines.append(
            [
                "Re-weighted",
                f"{wording.percent(outcome['confidence_reweighted'])}{beside} where {share} are malignant",
            ]
        )
    others = [one for one in outcome["probabilities"] if one["label"] != outcome["label"]]
    if outcome["kind"] == "class" and others:
        listed = sorted(others, key=lambda one: -one["probability"])
        lines.append(
            ["Others", "; ".join(f"{one['word']} {wording.percent(one['probability'])}" for one in listed)]
        )
    lines.append(["Domain", _domain(outcome)] if outcome["domain"]["score"] is not None else ["", ""])
    if outcome["model"]:
        lines.append(["Model", outcome["model"]])
    return [line for line in lines if line[1]]


def _domain(outcome: OutcomePart) -> str:
    domain = outcome["domain"]
    place = "inside" if domain["inside"] else "outside"
    if domain["percentile"] is None:
        return place
    return f"{place}; {domain['percentile']:.0f} % of held-out fields lie nearer"


def _range(low: float, high: float) -> str:
    return f"{wording.percent(low)} to {wording.percent(high)}"


def _review(review: ReviewPart | None) -> str:
    if review is None:
        return "not read"
    blind = f"; before the model's class was shown: {review['blind_word']}" if review["blind_label"] else ""
    earlier = "" if review["stands"] else "; read before the newest analysis"
    return f"{review['sentence']} ({review['reader']}, {moment(review['at'])}{blind}{earlier})"
