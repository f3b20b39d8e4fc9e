"""A report in the words and the order in which it is printed: strings alone, for the template to lay out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from diagnosis import wording
from diagnosis.services.report_schema import (
    CasePart,
    Content,
    CountPart,
    CountRow,
    Document,
    FigurePart,
    ImagePart,
    LeukocytesPart,
    ModelPart,
    OutcomePart,
    ReviewPart,
)

TITLE: Final = "Blood smear report"
TITLE_OF_MARROW: Final = "Bone marrow smear report"
NOT_SIGNED: Final = "Not signed: it may still change, and nothing may be concluded from it."
NOTHING_CONCLUDED: Final = "None yet: the report is not signed."
SHORT: Final = 24
NO_RESULT: Final = "regions that influenced a score that is not a result"
_MARKS: Final = {"class": "○", "indeterminate": "?", "": "!"}


def sheet(document: Document) -> dict[str, Any]:
    """What the template prints, section by section; a section that has nothing to say is empty."""
    content = document["content"]
    return {
        "title": TITLE_OF_MARROW if content["case"]["specimen"] == "marrow" else TITLE,
        "laboratory": {
            "name": content["laboratory"]["name"],
            "lines": _lines(content["laboratory"]["address"]),
        },
        "status": _status(document),
        "running": f"{_short(content['case']['accession_number'])} · patient {_short(content['case']['patient_code'])}",
        "facts": _facts(content["case"]),
        "note": _paragraphs(content["case"]["note"]),
        "alerts": [dict(alert) for alert in content["alerts"]],
        "conclusion": _paragraphs(content["conclusion"]) or [[NOTHING_CONCLUDED]],
        "summary": _summary(content),
        "leukocytes": _leukocytes(content["leukocytes"]),
        "images": [_image(one) for one in content["images"]],
        "readers": [_reader(one) for one in content["readers"]],
        "models": [_model(one) for one in content["models"]],
        "limits": list(content["limits"]),
        "amendment": _amendment(content),
        "versions": _versions(document),
        "signature": _signature(content),
        "seal": _seal(document),
        "notice": wording.RESEARCH_NOTICE,
    }


def _status(document: Document) -> dict[str, str]:
    content = document["content"]
    status, newer = content["status"], document["superseded_by"]
    words = {
        "preliminary": "Preliminary report",
        "final": "Final report",
        "amended": f"Amended report, version {content['number']}",
    }
    said = {
        "preliminary": NOT_SIGNED,
        "final": "",
        "amended": f"It takes the place of version {content['number'] - 1}.",
    }[status]
    watermark = "PRELIMINARY" if status == "preliminary" else ""
    if newer is not None:
        said, watermark = f"No longer valid: version {newer} has taken its place.", "SUPERSEDED"
    elif document["amending"]:
        said = f"{said} An amendment is being written and not signed yet.".strip()
    return {"name": status, "word": words[status], "said": said, "watermark": watermark}


def _facts(case: CasePart) -> list[list[str]]:
    count = case["white_cell_count"]
    return [
        ["Accession number", case["accession_number"]],
        ["Patient code", case["patient_code"]],
        ["Specimen", case["specimen_word"]],
        ["Age", "not given" if case["age_years"] is None else f"{case['age_years']} years"],
        ["White cell count", "not given" if count is None else f"{count} × 10⁹/l"],
        ["Received on", day(case["received_on"])],
    ]


def _summary(content: Content) -> list[list[str]]:
    """The figures that a reader looks for first, each with what must stand beside it."""
    found, images = content["leukocytes"], content["images"]
    count = found["reader"]
    rows = []
    suspected = [str(one["position"]) for one in images if one["outcome"]["suspected"]]
    read = sum(one["review"] is not None and one["review"]["stands"] for one in images)
    if suspected:
        rows.append([f"{wording.SUSPECTED_MARK} Leukemia suspected", _in_images(suspected), "suspect"])
    if found["found"]:
        rows.append(["Blasts per 100 leukocytes", _per_100(count), ""])
        rows.append(["Leukocytes counted", f"{count['counted']}. {found['sufficiency_words']}".strip(), ""])
    rows.append(["Images read", f"{read} of {len(images)}", ""])
    return rows


def _in_images(positions: Sequence[str]) -> str:
    return f"by the model, in image{'s' if len(positions) > 1 else ''} {', '.join(positions)}"


def _per_100(count: CountPart) -> str:
    if count["blasts_per_100"] is None:
        return "no leukocyte with a class"
    return (
        f"{count['blasts_per_100']:.1f} (95 % interval {count['blasts_low']:.1f} to {count['blasts_high']:.1f}; "
        f"{count['blasts']} of {count['counted']})"
    )


def _leukocytes(found: LeukocytesPart) -> dict[str, Any]:
    model = {row["label"]: row for row in found["model"]["classes"]}
    reader = {row["label"]: row for row in found["reader"]["classes"]}
    labels = [*model, *(label for label in reader if label not in model)]
    words = {label: (model.get(label) or reader[label])["word"] for label in labels}
    rows = [[words[label], *_counted(model.get(label)), *_counted(reader.get(label))] for label in labels]
    beside = [
        [name, _beside(found["model"], key, rate), _beside(found["reader"], key, rate)]
        for name, key, rate in (
            ("Erythroblasts", "erythroblasts", "erythroblasts_per_100"),
            ("Smudge cells", "smudge_cells", ""),
            ("Platelets, artefacts", "artefacts", ""),
            ("Leukocytes without a class", "unclassified", ""),
            ("Cut by an edge, not counted", "on_border", ""),
        )
    ]
    suspicion = found["suspicion"]
    return {
        "sentence": found["sentence"],
        "rows": rows if found["found"] else [],
        "total": [str(found["model"]["counted"]), str(found["reader"]["counted"])],
        "blasts": [_per_100(found["model"]), _per_100(found["reader"])],
        "beside": beside,
        "read": f"{found['read']} given a class by a reader",
        "sufficiency": found["sufficiency_words"],
        "enough": found["sufficiency"] == "diagnostic",
        "suspicion": "" if suspicion is None else f"{suspicion:.2f} ({found['suspicion_words']})",
        "problems": list(found["problems"]),
    }


def _counted(row: CountRow | None) -> list[str]:
    if row is None:
        return ["0", ""]
    return [str(row["count"]), f"{row['percent']:.1f} ({row['low']:.1f} to {row['high']:.1f})"]


def _beside(count: CountPart, key: str, rate: str) -> str:
    number: int = count[key]  # type: ignore[literal-required]
    per_100: float | None = count[rate] if rate else None  # type: ignore[literal-required]
    return f"{number} ({per_100:.1f} per 100)" if number and per_100 is not None else str(number)


def _image(one: ImagePart) -> dict[str, Any]:
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
        "comment": _paragraphs(one["review"]["comment"]) if one["review"] is not None else [],
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


def _reader(reader: Any) -> list[str]:
    return [reader["name"], reader["role"], str(reader["images"]), str(reader["cells"])]


def _model(model: ModelPart) -> dict[str, Any]:
    first = model["figures"][0] if model["figures"] else None
    return {
        "name": model["name"],
        "task": model["task_word"],
        "sha256": model["bundle_sha256"],
        "measured": f"{first['data']}, {first['split']}" if first else "",
        "figures": [_figure(one) for one in model["figures"]],
        "here": model["here"],
        "here_figures": [_figure(one) for one in model["here_figures"]],
        "problem": model["problem"],
    }


def _figure(one: FigurePart) -> list[str]:
    interval = "" if one["low"] is None or one["high"] is None else f"{one['low']:.3f} to {one['high']:.3f}"
    groups = f" in {one['groups']} groups" if one["groups"] else ""
    return [one["word"], f"{one['value']:.3f}", interval, f"{one['n']}{groups}"]


def _amendment(content: Content) -> dict[str, Any] | None:
    amendment = content["amendment"]
    if amendment is None:
        return None
    return {
        "head": f"Amends version {amendment['amends']} of {moment(amendment['amends_signed_at'])}, "
        f"signed by {amendment['amends_signer']}",
        "sha256": amendment["amends_sha256"],
        "reason": _paragraphs(amendment["reason"]),
        "changes": [
            [one["what"], one["old"] or "nothing", one["new"] or "nothing"] for one in amendment["changes"]
        ],
    }


def _versions(document: Document) -> list[list[str]]:
    return [
        [f"Version {one['number']}", moment(one["signed_at"]), one["signer"], one["reason"], one["sha256"]]
        for one in document["versions"]
    ]


def _signature(content: Content) -> dict[str, Any] | None:
    signature = content["signature"]
    if signature is None:
        return None
    return {
        "name": signature["name"],
        "role": signature["role"],
        "at": moment(signature["signed_at"]),
        "meaning": signature["meaning"],
        "statements": list(signature["statements"]),
    }


def _seal(document: Document) -> dict[str, str] | None:
    seal = document["seal"]
    if seal is None:
        return None
    link = "" if seal["audit_sequence"] is None else f"link {seal['audit_sequence']}"
    return {"sha256": seal["sha256"], "link": link, "head": seal["audit_head"]}


def day(value: str) -> str:
    """`2026-11-26` as `26 Nov 2026`."""
    found = date.fromisoformat(value)
    return f"{found.day} {found:%b %Y}"


def moment(value: str | None) -> str:
    """An ISO time as `26 Nov 2026, 10:20 UTC`."""
    if not value:
        return ""
    found = datetime.fromisoformat(value).astimezone(UTC)
    return f"{found.day} {found:%b %Y, %H:%M} UTC"


def _short(text: str) -> str:
    """For the head of every page, which has one line; the first page has it whole."""
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def _lines(text: str) -> list[str]:
    return [line for line in (line.strip() for line in text.splitlines()) if line]


def _paragraphs(text: str) -> list[list[str]]:
    """Paragraphs, which empty lines part, each as its lines."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            found[-1].append(line.rstrip())
        elif found[-1]:
            found.append([])
    return [lines for lines in found if lines]
