"""What differs between two contents of a report: for the reader of an amendment, and to tell whether what was shown is
what is signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from diagnosis.services.report_content import canonical
from diagnosis.services.report_schema import (
    CasePart,
    ChangePart,
    Content,
    CountPart,
    ImagePart,
    LeukocytesPart,
)

_DIGITS: Final = 16

_FACTS: Final = {
    "accession_number": "accession number",
    "patient_code": "patient code",
    "specimen_word": "specimen",
    "age_years": "age in years",
    "white_cell_count": "white cell count, 10^9/l",
    "received_on": "received on",
    "note": "clinical note",
}


def parts(content: Content) -> dict[str, str]:
    """Every part of a content that a signer sees, by what it is called in a sentence, with a short hash of it. The
    conclusion, the signature and the times are hers, and are left out.
    """
    found: dict[str, Any] = {
        "the facts of the case": content["case"],
        "the letterhead": content["laboratory"],
        "the counts of leukocytes": [content["leukocytes"], content["alerts"]],
        "the figures of the models": [content["models"], content["limits"]],
    }
    for image in content["images"]:
        name = f"image {image['position']}"
        found[name] = [image["id"], image["sha256"]]
        found[f"the outcome of {name}"] = [image["outcome"], image["suspicion"], image["leukocytes"]]
        found[f"the reading of {name}"] = image["review"]
    return _hashed(found)


def substance(content: Content) -> dict[str, str]:
    """The parts that only a deed on the case changes: its facts, its images, which analysis and which reading of each
    stand, and readers' classes of cells. What the laboratory or a model's files say of themselves is left out.
    """
    leukocytes = content["leukocytes"]
    found: dict[str, Any] = {
        "the facts of the case": content["case"],
        "the counts of leukocytes": [leukocytes["reader"], leukocytes["read"]],
    }
    for image in content["images"]:
        name = f"image {image['position']}"
        found[name] = [image["id"], image["sha256"]]
        found[f"the outcome of {name}"] = image["outcome"]["analysis"]
        found[f"the reading of {name}"] = image["review"]["id"] if image["review"] else None
    return _hashed(found)


def _hashed(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: hashlib.sha256(canonical({"of": part})).hexdigest()[:_DIGITS] for name, part in found.items()
    }


def differing(shown: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not as it was shown, in words; an image that came or went is named once, without its parts."""
    images = {
        name for name in {**shown, **now} if name.startswith("image ") and (name in shown) != (name in now)
    }
    told = []
    for name in {**shown, **now}:
        if name in images:
            told.append(f"{name} was added" if name in now else f"{name} is gone")
        elif not any(name.endswith(f" of {image}") for image in images) and shown.get(name) != now.get(name):
            told.append(f"{name} changed")
    return told


def changes(old: Content, new: Content) -> list[ChangePart]:
    """Every difference that says something of the patient, in the order of the report: never none where `substance`
    differs, or the conclusion.
    """
    return list(_changes(old, new))


def _changes(old: Content, new: Content) -> Iterator[ChangePart]:
    yield from _where_other("conclusion", old["conclusion"], new["conclusion"])
    yield from _facts(old["case"], new["case"])
    before = {image["id"]: image for image in old["images"]}
    after = {image["id"]: image for image in new["images"]}
    for key, image in after.items():
        name = f"image {image['position']}"
        if key not in before:
            told = f"{image['name']}: {_outcome(image)}; {_reading(image)}"
            yield ChangePart(what=f"{name}, added", old="", new=told)
            continue
        yield from _outcomes(name, before[key], image)
        yield from _readings(name, before[key], image)
    for key, image in before.items():
        if key not in after:
            yield ChangePart(what=f"image {image['position']}, gone", old=image["name"], new="")
    yield from _leukocytes(old["leukocytes"], new["leukocytes"])
    yield from _where_other("alerts", _alerts(old), _alerts(new))
    yield from _where_other("models", _models(old), _models(new))


def _where_other(what: str, old: str, new: str) -> Iterator[ChangePart]:
    if old != new:
        yield ChangePart(what=what, old=old, new=new)


def _facts(old: CasePart, new: CasePart) -> Iterator[ChangePart]:
    for key, word in _FACTS.items():
        was, now = (dict(one).get(key) for one in (old, new))
        if was != now:
            yield ChangePart(
                what=word, old="" if was is None else str(was), new="" if now is None else str(now)
            )


def _outcomes(name: str, old: ImagePart, new: ImagePart) -> Iterator[ChangePart]:
    if _outcome(old) != _outcome(new):
        yield ChangePart(what=f"{name}, outcome", old=_outcome(old), new=_outcome(new))
    elif old["outcome"]["analysis"] != new["outcome"]["analysis"]:
        was, now = (one["outcome"]["finished_at"] or "" for one in (old, new))
        yield ChangePart(what=f"{name}, analysed anew with the same outcome", old=was, new=now)


def _readings(name: str, old: ImagePart, new: ImagePart) -> Iterator[ChangePart]:
    was, now = old["review"], new["review"]
    if _reading(old) != _reading(new):
        yield ChangePart(what=f"{name}, reading", old=_reading(old), new=_reading(new))
    elif was is not None and now is not None and was["id"] != now["id"]:
        yield ChangePart(what=f"{name}, read anew with the same class", old=was["at"], new=now["at"])


def _outcome(image: ImagePart) -> str:
    outcome = image["outcome"]
    return f"{outcome['sentence']} ({outcome['model']})" if outcome["model"] else outcome["sentence"]


def _reading(image: ImagePart) -> str:
    review = image["review"]
    if review is None:
        return "not read"
    told = f"{review['sentence']}, {review['reader']}"
    told = told if review["stands"] else f"{told} (before the image was analysed anew)"
    return f"{told}. {review['comment']}" if review["comment"] else told


def _leukocytes(old: LeukocytesPart, new: LeukocytesPart) -> Iterator[ChangePart]:
    yield from _where_other("leukocytes counted", _counted(old), _counted(new))
    yield from _where_other("blasts per 100 leukocytes", _blasts(old["reader"]), _blasts(new["reader"]))
    was, now = ({row["label"]: row for row in one["reader"]["classes"]} for one in (old, new))
    for label, row in {**was, **now}.items():
        counts = [str(one[label]["count"]) if label in one else "0" for one in (was, now)]
        yield from _where_other(f"{row['word']}, cells", *counts)
    for key, word in (
        ("erythroblasts", "erythroblasts"),
        ("smudge_cells", "smudge cells"),
        ("artefacts", "artefacts"),
    ):
        before, after = (str(dict(one["reader"])[key]) for one in (old, new))
        yield from _where_other(word, before, after)


def _counted(part: LeukocytesPart) -> str:
    if not part["found"]:
        return part["sentence"]
    read = f", {part['read']} read by hand" if part["read"] else ""
    return f"{part['reader']['counted']}{read}"


def _blasts(count: CountPart) -> str:
    if count["blasts_per_100"] is None:
        return "none counted"
    return f"{count['blasts_per_100']:.1f} (95 % interval {count['blasts_low']:.1f} to {count['blasts_high']:.1f})"


def _alerts(content: Content) -> str:
    return "; ".join(f"{one['word']}: {one['sentence']}" for one in content["alerts"])


def _models(content: Content) -> str:
    return ", ".join(f"{one['name']} ({one['bundle_sha256'][:12]})" for one in content["models"])
