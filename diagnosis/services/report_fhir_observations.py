"""What was found, as FHIR observations: counts, outcomes of images, readings, alerts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from diagnosis import wording
from diagnosis.services import report_fhir_codes as codes
from diagnosis.services.report_schema import Content, CountPart, CountRow, ImagePart, ReviewPart

Resource = dict[str, Any]


@dataclass(frozen=True)
class Refers:
    """Addresses of the resources that observations point to, by what they stand for."""

    patient: str
    specimen: str
    organization: str
    devices: dict[str, str]
    media: dict[str, str]
    practitioners: dict[int, str]

    def device_of(self, task: str) -> dict[str, Any]:
        """The model of a task, where the report names one alone."""
        found = [url for name, url in self.devices.items() if name.startswith(f"{task}/")]
        return {"device": {"reference": found[0]}} if len(found) == 1 else {}


@dataclass(frozen=True)
class Observed:
    """An observation with the name by which its identity is derived; `in_panel`: a member of the differential."""

    name: str
    resource: Resource
    in_panel: bool = False


def observations(content: Content, refers: Refers) -> Iterator[Observed]:
    """Every observation of a report but the panel itself, in the order of reading."""
    case = content["case"]
    base = _base(content, refers)
    if case["age_years"] is not None:
        age = codes.quantity(case["age_years"], "years", "a")
        yield Observed("age", base | {"code": _known(codes.AGE, "Age"), "valueQuantity": age})
    if case["white_cell_count"] is not None:
        yield Observed("white-cell-count", base | _white_cells(case["white_cell_count"], case["specimen"]))
    yield from _counts(content, refers, base)
    for number, alert in enumerate(content["alerts"]):
        yield Observed(
            f"alert-{number}",
            base
            | {
                "code": _ours("alert", alert["word"]),
                "valueString": " ".join(filter(None, [alert["sentence"], alert["advice"]])),
                "note": [{"text": alert["limits"]}],
            },
        )
    for image in content["images"]:
        yield Observed(f"outcome-{image['id']}", base | _outcome(image, refers))
        if image["review"] is not None:
            yield Observed(f"reading-{image['id']}", base | _reading(image, image["review"], refers))


def _base(content: Content, refers: Refers) -> Resource:
    return {
        "resourceType": "Observation",
        "status": content["status"],
        "category": [
            codes.concept("Laboratory", codes.coding(codes.CATEGORY_SYSTEM, "laboratory", "Laboratory"))
        ],
        "subject": {"reference": refers.patient},
        "effectiveDateTime": content["case"]["received_on"],
        "specimen": {"reference": refers.specimen},
        "performer": [{"reference": refers.organization}],
    }


def _ours(code: str, text: str) -> dict[str, Any]:
    return codes.concept(text, codes.coding(codes.OURS, code))


def _known(term: tuple[str, str], text: str) -> dict[str, Any]:
    return codes.concept(text, codes.loinc(term))


def _white_cells(count: str, specimen: str) -> Resource:
    """As it was given with the case: a blood count, whatever the smear is of."""
    note = "As stated with the case; not counted on the smear."
    code = codes.concept("White cell count", codes.loinc(codes.WHITE_CELL_COUNT))
    found: Resource = {
        "code": code,
        "valueQuantity": codes.quantity(float(count), "10^9/l", "10*9/L"),
        "note": [{"text": note}],
    }
    return found if specimen == "blood" else found | {"specimen": None}


# --- the count ----------------------------------------------------------------------------------------------


def _counts(content: Content, refers: Refers, base: Resource) -> Iterator[Observed]:
    """The reader's count as observations of their own, and the model's as one with components: a system that charts
    what it knows by LOINC must find every class once, with the value that the reader stands for."""
    found, specimen = content["leukocytes"], content["case"]["specimen"]
    if not found["found"]:
        return
    count, device = found["reader"], refers.device_of("cell")
    by = {"method": {"text": "Classes of the model with the reader's corrections"}, **device}
    for row in count["classes"]:
        yield Observed(f"class-{row['label']}", base | by | _class(row, count, specimen), in_panel=True)
    if count["blasts_per_100"] is not None:
        yield Observed(
            "blasts-per-100", base | by | _blasts(count, found["sufficiency_words"]), in_panel=True
        )
    if count["erythroblasts_per_100"] is not None:
        known = [codes.loinc(codes.ERYTHROBLASTS)] if specimen == "blood" else []
        code = codes.concept(
            "Erythroblasts per 100 leukocytes", *known, codes.coding(codes.OURS, "erythroblasts_per_100")
        )
        value = {"valueQuantity": codes.per_100(count["erythroblasts_per_100"])}
        yield Observed("erythroblasts", base | by | {"code": code} | value, in_panel=True)
    beside = (
        ("smudge_cells", "Smudge cells, counted beside"),
        ("unclassified", "Leukocytes without a class"),
    )
    for key, text in beside:
        value = {"code": _ours(key, text), "valueInteger": count[key]}  # type: ignore[literal-required]
        yield Observed(key, base | by | value, in_panel=True)
    if found["suspicion"] is not None:
        index: Resource = {
            "code": _ours("index_of_suspicion", "Index of suspicion, 0 to 1; no probability"),
            "valueQuantity": codes.quantity(found["suspicion"], "index", "1"),
            "note": [{"text": found["suspicion_words"]}],
        }
        yield Observed("suspicion", base | by | index)
    yield Observed("model-count", base | device | _model_count(found["model"]))


def _class(row: CountRow, count: CountPart, specimen: str) -> Resource:
    return {
        "code": codes.of_class(row["label"], row["word"], specimen),
        "valueQuantity": codes.percent(row["percent"]),
        "note": [
            {"text": f"{row['count']} of {count['counted']} leukocytes; {_interval(row['low'], row['high'])}"}
        ],
    }


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"95 % interval {low:g} to {high:g}"


def _blasts(count: CountPart, sufficiency: str) -> Resource:
    said = [
        f"{count['blasts']} of {count['counted']} leukocytes",
        _interval(count["blasts_low"], count["blasts_high"]),
    ]
    return {
        "code": _ours("blasts_per_100", "Blasts and promonocytes per 100 leukocytes"),
        "valueQuantity": codes.per_100(count["blasts_per_100"] or 0.0),
        "note": [{"text": ". ".join(filter(None, ["; ".join(filter(None, said)), sufficiency]))}],
    }


def _model_count(count: CountPart) -> Resource:
    components = [
        {
            "code": _ours(row["label"], f"{row['word']} per 100 leukocytes"),
            "valueQuantity": codes.percent(row["percent"]),
        }
        for row in count["classes"]
    ]
    return {
        "code": _ours("model_differential", "Differential count by the model alone"),
        "valueInteger": count["counted"],
        **({"component": components} if components else {}),
        "note": [{"text": "The value is the number of leukocytes counted. Not corrected by a reader."}],
    }


# --- images -------------------------------------------------------------------------------------------------


def _outcome(image: ImagePart, refers: Refers) -> Resource:
    outcome = image["outcome"]
    notes = [*outcome["reasons"], outcome["scope"], outcome["subtype_notice"], wording.RESEARCH_NOTICE]
    if outcome["interval"] is not None:
        notes.insert(0, f"Confidence: {_interval(outcome['interval']['low'], outcome['interval']['high'])}")
    found: Resource = {
        "code": _ours("image_outcome", "Outcome of the analysis of a smear image"),
        "derivedFrom": [{"reference": refers.media[image["id"]]}],
        "note": [{"text": text} for text in notes if text],
    }
    device = refers.devices.get(f"field/{outcome['model']}")
    if device is not None:
        found["device"] = {"reference": device}
    if outcome["state"] != "done":
        reason = (
            ("error", "Error") if outcome["state"] == "failed" else ("temp-unknown", "Temporarily Unknown")
        )
        return found | {
            "dataAbsentReason": codes.concept(outcome["sentence"], codes.coding(codes.ABSENT_SYSTEM, *reason))
        }
    found["valueCodeableConcept"] = _ours(outcome["label"] or "indeterminate", outcome["sentence"])
    suspected = {"code": _ours("suspected", "Leukemia suspected"), "valueBoolean": outcome["suspected"]}
    return found | {"component": [suspected, *_probabilities(image)]}


def _probabilities(image: ImagePart) -> list[Resource]:
    outcome = image["outcome"]
    if outcome["kind"] != "class":
        return []
    rows = [(one, one["probability"], "as calibrated") for one in outcome["probabilities"]]
    rows += [
        (one, one["reweighted"], "at the laboratory's prevalence")
        for one in outcome["probabilities"]
        if one["reweighted"] is not None
    ]
    return [
        {
            "code": _ours(one["label"], f"Probability of {one['word']}, {which}"),
            "valueQuantity": codes.quantity(value, "probability", "1"),
        }
        for one, value, which in rows
        if value is not None
    ]


def _reading(image: ImagePart, review: ReviewPart, refers: Refers) -> Resource:
    earlier = "" if review["stands"] else "Read before the newest analysis."
    return {
        "code": _ours("image_reading", "Reading of a smear image"),
        "valueCodeableConcept": codes.concept(
            review["sentence"], codes.coding(codes.OURS, review["label"] or review["verdict"], review["word"])
        ),
        "derivedFrom": [{"reference": refers.media[image["id"]]}],
        "performer": [{"reference": refers.practitioners[review["reader_id"]]}],
        "issued": review["at"],
        "note": [{"text": text} for text in (review["comment"], earlier) if text],
    }
