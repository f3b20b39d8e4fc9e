"""Who and what a report is of, as FHIR: patient, specimen, laboratory, readers, model versions, images."""

from __future__ import annotations

from collections.abc import Iterator

from diagnosis import wording
from diagnosis.services import report_fhir_codes as codes
from diagnosis.services.report_fhir_observations import Refers, Resource
from diagnosis.services.report_schema import CasePart, Content, ImagePart, LaboratoryPart, ModelPart


def people(content: Content) -> dict[int, str]:
    """Readers and the signer: key -> name."""
    found = {one["id"]: one["name"] for one in content["readers"]}
    for image in content["images"]:
        if image["review"] is not None:
            found.setdefault(image["review"]["reader_id"], image["review"]["reader"])
    if (signature := content["signature"]) is not None:
        found[signature["user_id"]] = signature["name"]
    return found


def surroundings(content: Content, refers: Refers, base: str) -> Iterator[tuple[str, Resource]]:
    """Every resource that is pointed to, with the name by which its identity is derived."""
    case = content["case"]
    yield (
        "patient",
        {
            "resourceType": "Patient",
            "identifier": [{"system": f"{base}/patients", "value": case["patient_code"]}],
        },
    )
    yield "specimen", _specimen(case, refers, base)
    yield "organization", _organization(content["laboratory"])
    for key, name in people(content).items():
        yield (
            f"practitioner-{key}",
            {
                "resourceType": "Practitioner",
                "identifier": [{"system": f"{base}/users", "value": str(key)}],
                "name": [{"text": name}],
            },
        )
    for model in content["models"]:
        yield f"device-{model['bundle_sha256']}", _device(model, refers)
    for image in content["images"]:
        yield f"media-{image['id']}", _media(image, refers, base)


def _specimen(case: CasePart, refers: Refers, base: str) -> Resource:
    return {
        "resourceType": "Specimen",
        "accessionIdentifier": {"system": f"{base}/accessions", "value": case["accession_number"]},
        "status": "available",
        "type": codes.concept(
            case["specimen_word"], codes.coding(codes.SPECIMEN_SYSTEM, *codes.SPECIMENS[case["specimen"]])
        ),
        "subject": {"reference": refers.patient},
        "receivedTime": case["received_on"],
        "note": [{"text": case["note"]}] if case["note"] else [],
    }


def _organization(laboratory: LaboratoryPart) -> Resource:
    return {
        "resourceType": "Organization",
        "name": laboratory["name"],
        "address": [{"text": laboratory["address"]}] if laboratory["address"] else [],
    }


def _device(model: ModelPart, refers: Refers) -> Resource:
    figures = [
        f"{one['word']} {one['value']:g}"
        + (f" (95 % interval {one['low']:g} to {one['high']:g})" if one["low"] is not None else "")
        + f", n = {one['n']}, {one['data']}, {one['split']}"
        for one in model["figures"]
    ]
    notes = [wording.RESEARCH_NOTICE, *figures, model["problem"], model["here"]]
    return {
        "resourceType": "Device",
        "identifier": [{"system": "urn:leukoscope:bundle-sha256", "value": model["bundle_sha256"]}],
        "status": "active",
        "deviceName": [{"name": model["name"], "type": "model-name"}],
        "type": codes.concept(f"Software: {model['task_word']}"),
        "version": [{"value": model["name"]}],
        "owner": {"reference": refers.organization},
        "note": [{"text": text} for text in notes if text],
    }


def _media(image: ImagePart, refers: Refers, base: str) -> Resource:
    served = {} if base == codes.NOWHERE else {"url": f"{base}/images/{image['id']}/file"}
    return {
        "resourceType": "Media",
        "identifier": [{"system": "urn:leukoscope:image-sha256", "value": image["sha256"]}],
        "status": "completed",
        "type": codes.concept("Image", codes.coding(codes.MEDIA_TYPE_SYSTEM, "image", "Image")),
        "modality": codes.concept("Light microscopy of a smear"),
        "subject": {"reference": refers.patient},
        "createdDateTime": image["uploaded_at"],
        "width": image["width"],
        "height": image["height"],
        "content": {"title": image["name"], **served},
        "note": [{"text": "Drawn by software: no patient's."}] if image["is_drawn"] else [],
    }
