"""A report in the words and the order in which it is printed: strings alone, for the template to lay out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from diagnosis import wording
from diagnosis.services.report_schema import (
    CasePart,
    Content,
    CountPart,
    CountRow,
    Document,
    FigurePart,
    LeukocytesPart,
    ModelPart,
)
from diagnosis.services.report_sheet_images import image_sheet
from diagnosis.services.report_sheet_words import day, lines_of, moment, paragraphs_of, shortened

TITLE: Final = "Blood smear report"
TITLE_OF_MARROW: Final = "Bone marrow smear report"
NOT_SIGNED: Final = "Not signed: it may still change, and nothing may be concluded from it."
NOTHING_CONCLUDED: Final = "None yet: the report is not signed."


def sheet(document: Document) -> dict[str, Any]:
    """What the template prints, section by section; a section that has nothing to say is empty."""
    content = document["content"]
    return {
        "title": TITLE_OF_MARROW if content["case"]["specimen"] == "marrow" else TITLE,
        "laboratory": {
            "name": content["laboratory"]["name"],
            "lines": lines_of(content["laboratory"]["address"]),
        },
        "status": _status(document),
        "running": _running(content["case"]),
        "facts": _facts(content["case"]),
        "note": paragraphs_of(content["case"]["note"]),
        "alerts": [dict(alert) for alert in content["alerts"]],
        "conclusion": paragraphs_of(content["conclusion"]) or [[NOTHING_CONCLUDED]],
        "summary": _summary(content),
        "leukocytes": _leukocytes(content["leukocytes"]),
        "images": [image_sheet(one) for one in content["images"]],
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


def _running(case: CasePart) -> str:
    """For the head of every page."""
    return f"{shortened(case['accession_number'])} · patient {shortened(case['patient_code'])}"


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
        "reason": paragraphs_of(amendment["reason"]),
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
