"""DICOM files on their way in: their frames as images, and what there is to check of them, told in words.

Nothing that names anybody is kept (`ml.imaging.dicom` reads pixels and no more): an image that came as DICOM bears a
name of ours, as files are often named for their patients, and of whom the file speaks only stays whether that agrees
with the case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diagnosis.models import Case
from ml.imaging.dicom_claims import BURNED_IN
from ml.imaging.reading import DecodedImage, DicomImages, read_dicom

OTHER_PATIENT = "its file names another patient ID than this case's patient code"
OTHER_ACCESSION = "its file names another accession number than this case's"

CHECKS = {
    BURNED_IN: "Look for burned-in text, such as a patient's name, in the picture itself: it is not removed.",
    OTHER_PATIENT: "The file's patient ID is not this case's patient code: make sure that it is the same patient.",
    OTHER_ACCESSION: "The file's accession number is not that of this case: make sure that the image belongs here.",
}
"""Notes that ask a person to look -> the sentence that says so."""


@dataclass(frozen=True)
class Picture:
    """A frame to store, the hash it is known by, and its name."""

    decoded: DecodedImage
    sha256: str
    name: str


def pictures(*, data: bytes, sha256: str, case: Case) -> list[Picture]:
    """The frames of a DICOM file as images of a case; `sha256` is that of the file, and of its first frame.

    Raises UnreadableImage, if any of them can't be read.
    """
    read = read_dicom(data)
    notes = mismatches(read=read, case=case)
    return [
        Picture(
            replace(decoded, notes=(*decoded.notes, *notes)),
            sha256 if index == 0 else hashlib.sha256(f"{sha256} frame {index + 1}".encode()).hexdigest(),
            f"DICOM {sha256[:8]}" + (f" frame {index + 1}" if len(read.images) > 1 else "") + ".dcm",
        )
        for index, decoded in enumerate(read.images)
    ]


def mismatches(*, read: DicomImages, case: Case) -> list[str]:
    """What the file says of its patient and the case does not, without what it says."""
    found = []
    if _differs(read.claims.patient_id, case.patient_code):
        found.append(OTHER_PATIENT)
    if _differs(read.claims.accession_number, case.accession_number):
        found.append(OTHER_ACCESSION)
    return found


def checks(notes: Sequence[str]) -> list[str]:
    """The sentences for those notes of an image that ask a person to look."""
    return [CHECKS[note] for note in notes if note in CHECKS]


def _differs(told: str, ours: str) -> bool:
    """Whether a file says something else; one that says nothing does not."""
    return bool(told) and " ".join(told.split()).casefold() != " ".join(ours.split()).casefold()
