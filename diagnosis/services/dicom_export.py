"""What goes back to an archive as DICOM: the report as Encapsulated PDF, an overlay as Secondary Capture.

Both are objects of a study of ours, one a case, under the patient code and the accession number. Their UIDs are made
from what they are of (2.25 and a UUID, PS3.5, B.2): the same report or overlay has the same UID whenever it is asked
for, and one that differs in anything has another. Whatever came in as DICOM has lost its UIDs, so nothing refers to it.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import uuid
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from django.db import transaction
from django.utils import timezone
from PIL import Image

from diagnosis import permissions, veil, wording
from diagnosis.models import Analysis, Case, SmearImage, User
from diagnosis.services import audit, reporting
from diagnosis.services.report_fhir_codes import LABORATORY_REPORT
from diagnosis.services.report_pictures import MOST_SLOW_PIXELS
from diagnosis.services.report_schema import Document
from diagnosis.services.reporting import Report
from ml.imaging.dicom_claims import BURNED_IN
from ml.saliency import METHOD_WORDS, METHODS, overlay_png

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MEDIA_TYPE: Final = "application/dicom"
ENCAPSULATED_PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT: Final = "1.2.840.10008.1.2.1"

RESEARCH: Final = "RESEARCH USE ONLY"
LONGER_SIDE: Final = 1024
"""Pixels of an overlay at most, as on the pages: a 7x7 map holds nothing that more would show."""

_OURS: Final = uuid.UUID("6f0b7a52-5c3c-4c53-9d4b-3f0a1f8f6d11")
_OF_REPORTS, _OF_OVERLAYS = 1, 101
"""Numbers of series: the reports of a case, and the first of one series a saliency method."""
_LONGEST_ACCESSION: Final = 16


class NoSuchOverlay(LookupError):
    """The analysis has no map of that method, or the file of its image is gone."""


def download_report(*, user: User, case: Case) -> Report:
    """The report that stands as Encapsulated PDF, in the audit.

    Raises what `permissions.require`, `veil.require_case` and `reporting.printed` raise.
    """
    permissions.require(user, permissions.VIEW, case)
    veil.require_case(user, case)
    document, printed = reporting.printed(case=case)
    content = document["content"]
    which = f"version-{content['number']}" if content["number"] else content["status"]
    made = Report(
        content=_written(_report(case, document, printed)),
        name=f"report-{content['case']['accession_number']}-{which}.dcm",
        media_type=MEDIA_TYPE,
        status=content["status"],
        number=content["number"],
    )
    told = {"status": made.status, "number": made.number, "sha256": made.sha256}
    with transaction.atomic():
        audit.record(
            action="report",
            actor=user,
            laboratory=case.laboratory,
            obj=case,
            detail={"format": "dicom", **told},
        )
    return made


def download_overlay(*, user: User, image: SmearImage, analysis: Analysis, method: str) -> Report:
    """An image under one method's overlay as Secondary Capture, in the audit.

    Raises NoSuchOverlay, and what `permissions.require` and `veil.require_image` raise.
    """
    permissions.require(user, permissions.VIEW, image)
    veil.require_image(user, image)
    if method not in METHODS or method not in analysis.maps:
        raise NoSuchOverlay("There is no such overlay of this image.")
    made = Report(
        content=_written(_overlay(image, analysis, method)),
        name=f"overlay-{image.case.accession_number}-image-{image.position}-{method}.dcm",
        media_type=MEDIA_TYPE,
        status=image.case.status,
        number=0,
    )
    with transaction.atomic():
        audit.record(
            action="export_overlay",
            actor=user,
            laboratory=image.case.laboratory,
            obj=image,
            detail={"format": "dicom", "method": method, "analysis": str(analysis.pk), "sha256": made.sha256},
        )
    return made


# --- the two objects ----------------------------------------------------------------------------------------


def _report(case: Case, document: Document, printed: bytes) -> Dataset:
    """Encapsulated PDF (PS3.3, A.45.1) of what was frozen."""
    content, part = document["content"], document["content"]["case"]
    signature = content["signature"]
    made = _object(
        case,
        kind=ENCAPSULATED_PDF,
        accession_number=part["accession_number"],
        patient_code=part["patient_code"],
        age_years=part["age_years"],
        laboratory=content["laboratory"]["name"],
        models=[one["name"] for one in content["models"]],
    )
    made.Modality = "DOC"
    made.SeriesInstanceUID = _uid(made.StudyInstanceUID, "reports")
    made.SeriesNumber = _OF_REPORTS
    made.SeriesDescription = f"{RESEARCH}: report of a smear"
    made.InstanceNumber = content["number"]
    signed_at = datetime.datetime.fromisoformat(signature["signed_at"]) if signature is not None else None
    _date(made, "Content", signed_at)
    made.AcquisitionDateTime = ""
    made.BurnedInAnnotation = "YES"  # its pages name the patient code and the dates
    made.DocumentTitle = f"Smear report {part['accession_number']}, {_version(document)}"
    made.ConceptNameCodeSequence = [_code(*LABORATORY_REPORT)]
    made.VerificationFlag = "VERIFIED" if signature is not None else "UNVERIFIED"
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(printed)
    made.EncapsulatedDocument = printed + b"\x00" * (len(printed) % 2)
    return made


def _version(document: Document) -> str:
    content = document["content"]
    return (
        f"{content['status']}, version {content['number']}"
        if content["number"]
        else "preliminary, not signed"
    )


def _overlay(image: SmearImage, analysis: Analysis, method: str) -> Dataset:
    """Secondary Capture (PS3.3, A.8.1) of an image under its map."""
    case = image.case
    picture = _picture(image, analysis.maps[method])
    made = _object(
        case,
        kind=SECONDARY_CAPTURE,
        accession_number=case.accession_number,
        patient_code=case.patient_code,
        age_years=case.age_years,
        laboratory=case.laboratory.name,
        models=[analysis.model_version.name] if analysis.model_version else [],
    )
    made.Modality = "GM"
    made.SeriesInstanceUID = _uid(made.StudyInstanceUID, "overlays", method)
    made.SeriesNumber = _OF_OVERLAYS + METHODS.index(method)
    made.SeriesDescription = _short(f"{RESEARCH}: influence on the score, {METHOD_WORDS[method]}")
    made.InstanceNumber = image.position
    _date(made, "Content", analysis.finished_at)
    made.PatientOrientation = ""
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.ImageComments = f"{RESEARCH}. Regions that influenced the score; not a lesion outline."
    made.DerivationDescription = f"Image {image.position}, made smaller, under its {method} map."
    if BURNED_IN in image.notes:
        made.BurnedInAnnotation = "YES"
    if image.stored_format == "JPEG":
        made.LossyImageCompression = "01"
        made.LossyImageCompressionRatio = round(image.width * image.height * 3 / max(image.byte_size, 1), 2)
        made.LossyImageCompressionMethod = "ISO_10918_1"
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.Columns, made.Rows = picture.size
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    pixels = picture.tobytes()
    made.add_new(0x7FE00010, "OB", pixels + b"\x00" * (len(pixels) % 2))
    return made


def _picture(image: SmearImage, saliency: Any) -> Image.Image:
    """The image under its map, no larger than needed."""
    is_quick = image.stored_format == "JPEG" or image.width * image.height <= MOST_SLOW_PIXELS
    file = image.file if is_quick or not image.thumbnail else image.thumbnail
    try:
        with cast(BinaryIO, file.storage.open(str(file.name), "rb")) as opened, Image.open(opened) as picture:
            picture.draft("RGB", (LONGER_SIDE, LONGER_SIDE))
            small = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's of a broken file
        raise NoSuchOverlay("The file of this image is gone.") from error
    small.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    with Image.open(io.BytesIO(overlay_png(saliency, small.size))) as overlay:
        shown = overlay.convert("RGBA")
    small.paste(shown, mask=shown)
    return small


# --- what both have -----------------------------------------------------------------------------------------


def _object(
    case: Case,
    *,
    kind: str,
    accession_number: str,
    patient_code: str,
    age_years: int | None,
    laboratory: str,
    models: list[str],
) -> Dataset:
    """Patient, study, equipment and capture device; elements of type 2 that are not known stay empty."""
    from pydicom.dataset import Dataset

    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = kind
    # The code is a pseudonym: nothing else is known of the patient, and nothing more is told.
    made.PatientName = _short(patient_code.replace("\\", " ").replace("=", " "))
    made.PatientID = "" if "\\" in patient_code else patient_code
    made.PatientBirthDate = ""
    made.PatientSex = ""
    if age_years is not None:
        made.PatientAge = f"{age_years:03}Y"
    made.StudyInstanceUID = _uid("case", str(case.pk), case.created_at.isoformat(), case.laboratory.slug)
    made.StudyDate = case.received_on.strftime("%Y%m%d")
    made.StudyTime = ""
    made.StudyID = str(case.pk)[:16]
    made.StudyDescription = f"{RESEARCH}: smear of {wording.SPECIMEN_WORDS[case.specimen]}"
    # A number that DICOM has no room for would be another one if it were cut off.
    has_room = len(accession_number) <= _LONGEST_ACCESSION and "\\" not in accession_number
    made.AccessionNumber = accession_number if has_room else ""
    made.ReferringPhysicianName = ""
    made.Manufacturer = "Leukoscope"
    made.ManufacturerModelName = "Leukoscope"
    made.InstitutionName = _short(laboratory)
    if models:
        made.SoftwareVersions = [_short(name) for name in models]
    made.ConversionType = "WSD"
    return made


def _date(made: Dataset, what: str, at: datetime.datetime | None) -> None:
    """Date and time of something, empty where it is not known: when a file is asked for changes nothing in it."""
    local = timezone.localtime(at) if at is not None else None
    setattr(made, f"{what}Date", local.strftime("%Y%m%d") if local is not None else "")
    setattr(made, f"{what}Time", local.strftime("%H%M%S") if local is not None else "")


def _code(value: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "LN", meaning
    return code


def _short(text: str) -> str:
    """A text that an element of 64 characters and one value takes."""
    return text.replace("\\", "/")[:64]


def _uid(*parts: str) -> str:
    return f"2.25.{uuid.uuid5(_OURS, '|'.join(parts)).int}"


def _written(made: Dataset) -> bytes:
    """The object as a file, with a UID made from all that is in it."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset
    from pydicom.uid import UID

    plain = DicomBytesIO()
    plain.is_little_endian, plain.is_implicit_VR = True, False
    write_dataset(plain, made)
    made.SOPInstanceUID = _uid("object", hashlib.sha256(plain.getvalue()).hexdigest())
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = UID(made.SOPClassUID)
    made.file_meta.MediaStorageSOPInstanceUID = UID(made.SOPInstanceUID)
    made.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()
