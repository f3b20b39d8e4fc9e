"""Intake: new cases, and the checks a file passes before it becomes a smear image."""

from __future__ import annotations

import datetime
import hashlib
import io
import logging
import re
import unicodedata
from decimal import Decimal
from typing import BinaryIO

import numpy as np
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from diagnosis import permissions
from diagnosis.models import Case, Site, SmearImage, User
from diagnosis.services import analyze, audit, case_facts, dicom_intake
from diagnosis.services.case_facts import FactRefused, Facts
from diagnosis.services.dicom_intake import Picture
from diagnosis.services.signed import require_open
from diagnosis.storage import content_name, smear_storage
from ml.imaging.metadata import strip_metadata
from ml.imaging.reading import MAX_BYTES, DecodedImage, UnreadableImage, read_image, sniff_format

logger = logging.getLogger(__name__)

CHUNK = 1024 * 1024
LONGEST_NAME = 255
NOT_STORED = "The server could not store the file: tell an administrator, then send it again."
_PNG_BIT_DEPTH_AT = 24


class IntakeRefused(Exception):
    """A case or file that isn't taken; the text is the one sentence to show for it."""


def create_case(
    *,
    user: User,
    accession_number: str,
    patient_code: str,
    specimen: str = Case.Specimen.BLOOD,
    age_years: int | None = None,
    white_cell_count: Decimal | None = None,
    note: str = "",
    received_on: datetime.date | None = None,
) -> Case:
    """Open a case in the user's laboratory. `white_cell_count` is in 10^9/l.

    Raises IntakeRefused for values that are not taken or an accession number that is in use, and
    PermissionDenied for an account that may not.
    """
    permissions.require(user, permissions.UPLOAD)
    accession_number = _code(accession_number, "accession number")
    patient_code = _code(patient_code, "patient code")
    note = note.replace("\x00", "").strip()
    if len(note) > 4000:
        raise IntakeRefused("Keep the note under 4000 characters.")
    facts = Facts(specimen=specimen, age_years=age_years, white_cell_count=white_cell_count)
    try:
        case_facts.check(facts)
    except FactRefused as refusal:
        raise IntakeRefused(str(refusal)) from refusal
    today = timezone.localdate()
    if received_on is not None and received_on > today:
        raise IntakeRefused("The day a specimen was received can't lie in the future.")
    try:
        with transaction.atomic():
            case = Case.objects.create(
                laboratory=user.laboratory,
                accession_number=accession_number,
                patient_code=patient_code,
                **facts,
                note=note,
                received_on=received_on or today,
                created_by=user,
            )
            audit.record(action="create_case", actor=user, laboratory=user.laboratory, obj=case)
    except IntegrityError as error:
        raise IntakeRefused(
            f"There is a case {accession_number} already: open it, or check the accession number."
        ) from error
    return case


def _code(value: str, what: str) -> str:
    value = " ".join(value.split())
    if not value:
        raise IntakeRefused(f"Enter the {what}.")
    if len(value) > 64:
        raise IntakeRefused(f"Keep the {what} under 65 characters.")
    if not value.isprintable():
        raise IntakeRefused(f"The {what} holds characters that can't be shown; type it anew.")
    return value


def add_image(
    *, user: User, case: Case, name: str, stream: BinaryIO, is_drawn: bool = False, site: Site | None = None
) -> SmearImage:
    """`add_images` for a file of one picture; of a DICOM file with several frames it returns the first."""
    return add_images(user=user, case=case, name=name, stream=stream, is_drawn=is_drawn, site=site)[0]


def add_images(
    *, user: User, case: Case, name: str, stream: BinaryIO, is_drawn: bool = False, site: Site | None = None
) -> list[SmearImage]:
    """Take one file into a case, and queue its analysis; every frame of a DICOM file is an image of its own.
    `site` is that of the case's laboratory where it was made.

    The file is read in pieces and never beyond the limit, decoded for real, freed of its metadata and stored
    under the hash of what is stored; then image, analysis and audit event are added in one transaction. What
    a crash in between leaves behind is a file no row points to, which the upkeep removes.

    Raises IntakeRefused with the sentence for its owner, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.UPLOAD, case)
    if site is not None and site.laboratory_id != case.laboratory_id:
        raise IntakeRefused(no_site(site.name))
    data = _read_limited(stream)
    sha256 = hashlib.sha256(data).hexdigest()
    _refuse_duplicate(case, sha256)
    try:
        if sniff_format(data) == "DICOM":
            pictures = dicom_intake.pictures(data=data, sha256=sha256, case=case)
        else:
            pictures = [Picture(read_image(data), sha256, clean_name(name))]
    except UnreadableImage as error:
        raise IntakeRefused(str(error)) from error
    images = [_stored(data, one, user=user, case=case, is_drawn=is_drawn, site=site) for one in pictures]
    with transaction.atomic():
        return [_add(image, user=user, case=case) for image in images]


def _stored(
    data: bytes, picture: Picture, *, user: User, case: Case, is_drawn: bool, site: Site | None
) -> SmearImage:
    """Store the pixels of a picture; its row, which is not saved."""
    decoded = picture.decoded
    stored, stored_format = _without_metadata(data, decoded)
    stored_sha256 = hashlib.sha256(stored).hexdigest()
    try:
        file_name = smear_storage().save(content_name("images", stored_sha256), ContentFile(stored))
    except OSError as error:
        logger.exception("A file could not be stored")
        raise IntakeRefused(NOT_STORED) from error
    return SmearImage(
        case=case,
        site=site,
        original_name=picture.name,
        sha256=picture.sha256,
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
        byte_size=len(data),
        file=file_name,
        stored_sha256=stored_sha256,
        stored_format=stored_format,
        notes=list(decoded.notes),
        is_drawn=is_drawn,
        uploaded_by=user,
    )


def add_drawn_sample(*, user: User, case: Case, seed: int | None = None) -> SmearImage:
    """Draw a field, and take it into the case marked as drawn. `seed` makes the drawing repeatable."""
    from PIL import Image

    from ml.drawing import draw_field

    permissions.require(user, permissions.UPLOAD, case)
    field = draw_field(np.random.default_rng(seed))
    buffer = io.BytesIO()
    Image.fromarray(field).save(buffer, "PNG", compress_level=3)
    buffer.seek(0)
    number = case.images.filter(is_drawn=True).count() + 1
    return add_image(user=user, case=case, name=f"drawn sample {number}.png", stream=buffer, is_drawn=True)


def clean_name(name: str) -> str:
    """The last part of a file name, without control or direction characters, at most 255 characters long."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C").strip()
    return name[-LONGEST_NAME:] or "unnamed"


def _read_limited(stream: BinaryIO) -> bytes:
    """All of a stream, or IntakeRefused as soon as it turns out larger than an image may be."""
    data = bytearray()
    while chunk := stream.read(CHUNK):
        data += chunk
        if len(data) > MAX_BYTES:
            raise IntakeRefused(too_large())
    return bytes(data)


def no_site(name: str) -> str:
    """The sentence for a site that the laboratory of a case does not have; another's is none."""
    return f"Your laboratory has no site called {name!r}: the page Models, Sites, lists those there are."


def too_large() -> str:
    """The sentence for a file beyond the limit, also for whoever sees its size before reading it."""
    return f"The file has more than the {MAX_BYTES // 2**20} MB allowed: save it as JPEG, or crop it."


def _refuse_duplicate(case: Case, sha256: str) -> None:
    earlier = case.images.filter(sha256=sha256).first()
    if earlier is not None:
        raise IntakeRefused(
            f"This very image is in the case already, as image {earlier.position} ({earlier.original_name})."
        )


def _without_metadata(data: bytes, decoded: DecodedImage) -> tuple[bytes, str]:
    """The bytes to store and their format: the upload with its metadata cut out, or its pixels as PNG.

    PNG is taken when the format is not cut in place (TIFF, BMP, DICOM), when the metadata turned the picture, and
    for 16-bit files, of which a browser would show other tones than those that are analysed.
    """
    is_deep = decoded.format == "PNG" and data[_PNG_BIT_DEPTH_AT] == 16
    stripped = None if is_deep else strip_metadata(data, decoded.format)
    if stripped is not None:
        try:
            if np.array_equal(read_image(stripped).pixels, decoded.pixels):
                return stripped, decoded.format
        except UnreadableImage:
            logger.warning("A %s file could not be read once its metadata was cut out", decoded.format)
    return _as_png(decoded), "PNG"


def _as_png(decoded: DecodedImage) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(decoded.pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _add(image: SmearImage, *, user: User, case: Case) -> SmearImage:
    """Add the row, its analysis and audit event; the case is locked, as files of a drop arrive together."""
    try:
        with transaction.atomic():
            require_open(case, IntakeRefused)
            _refuse_duplicate(case, image.sha256)
            highest = case.images.aggregate(highest=Max("position"))["highest"] or 0
            image.position = highest + 1
            image.save(force_insert=True)
            audit.record(
                action="upload_image",
                actor=user,
                laboratory=case.laboratory,
                obj=image,
                detail={"case": case.pk, "sha256": image.sha256, "drawn": image.is_drawn},
            )
            analyze.enqueue(image=image, user=user)
    except IntegrityError as error:
        raise IntakeRefused("The same image was just added to this case; reload the page.") from error
    return image
