"""Reports and overlays as DICOM: what their kinds require, UIDs that stay, and who may have them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import pydicom
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pydicom.dataset import Dataset, validate_file_meta

from diagnosis.models import Analysis, AuditEvent, Case, Laboratory, SmearImage
from diagnosis.services import dicom_export, sign_out
from tests.diagnosis.told_sign_out import read, sign
from tests.ml import dicom_files as dicom

Judge = Callable[..., Analysis]

OF_BOTH = {
    # module of PS3.3: elements of type 1, then of type 2
    "patient (C.7.1.1)": ((), ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")),
    "general study (C.7.2.1)": (
        ("StudyInstanceUID",),
        ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
    ),
    "general equipment (C.7.5.1)": (("Manufacturer",), ()),
    "capture device (C.8.6.1)": (("ConversionType",), ()),
    "SOP common (C.12.1)": (("SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet"), ()),
}
OF_A_REPORT = {
    "encapsulated document series (C.24.1)": (("Modality", "SeriesInstanceUID", "SeriesNumber"), ()),
    "encapsulated document (C.24.2)": (
        ("InstanceNumber", "BurnedInAnnotation", "MIMETypeOfEncapsulatedDocument", "EncapsulatedDocument"),
        ("ContentDate", "ContentTime", "AcquisitionDateTime", "DocumentTitle", "ConceptNameCodeSequence"),
    ),
}
OF_AN_OVERLAY = {
    "general series (C.7.3.1)": (("Modality", "SeriesInstanceUID"), ("SeriesNumber",)),
    "general image (C.7.6.1)": (("ImageType",), ("InstanceNumber", "PatientOrientation", "ContentDate", "ContentTime")),
    "image pixel (C.7.6.3)": (
        (
            "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
            "PixelRepresentation", "PlanarConfiguration", "PixelData",
        ),
        (),
    ),
}  # fmt: skip


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


@pytest.fixture
def analysed(case: Case, image: SmearImage, judge: Judge) -> Case:
    judge(image, "pro")
    return case


@pytest.fixture
def signed(analysed: Case, cast: Any) -> Case:
    read(cast.hematologist, analysed.images.get())
    sign(cast.hematologist, analysed, "ALL is suspected.")
    return Case.objects.get(pk=analysed.pk)


def report(client: Client, case: Case, status: int = 200) -> Any:
    response = client.get(reverse("diagnosis:report-dicom", args=[case.pk]))
    assert response.status_code == status
    return response


def overlay(
    client: Client, image: SmearImage, method: str = "gradcam", status: int = 200, **query: Any
) -> Any:
    response = client.get(reverse("diagnosis:overlay-dicom", args=[image.pk, method]), query)
    assert response.status_code == status
    return response


def opened(content: bytes) -> Dataset:
    """A file as pydicom reads it, where nothing is amiss by its own validation of every value."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pydicom.dcmread(io.BytesIO(content))
        mode = pydicom.config.settings.reading_validation_mode
        pydicom.config.settings.reading_validation_mode = pydicom.config.RAISE
        try:
            validate_file_meta(found.file_meta, enforce_standard=True)
            for element in found.iterall():
                assert element.value is not None or element.is_empty
        finally:
            pydicom.config.settings.reading_validation_mode = mode
    return found


def check_required(found: Dataset, modules: dict[str, Any]) -> None:
    for module, (first, second) in {**OF_BOTH, **modules}.items():
        for keyword in first:
            assert keyword in found, (module, keyword)
            assert not found[keyword].is_empty, (module, keyword)
        for keyword in second:
            assert keyword in found, (module, keyword)


def pdf_in(found: Dataset) -> bytes:
    return bytes(found.EncapsulatedDocument[: found.EncapsulatedDocumentLength])


def test_a_signed_report_is_an_encapsulated_pdf(reader: Client, signed: Case) -> None:
    response = report(reader, signed)

    assert response["Content-Type"] == "application/dicom"
    assert response["Content-Disposition"] == 'attachment; filename="report-H-1001-version-1.dcm"'
    found = opened(response.content)
    check_required(found, OF_A_REPORT)
    assert found.SOPClassUID.name == "Encapsulated PDF Storage"
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID
    assert pdf_in(found) == reader.get(reverse("diagnosis:report-pdf", args=[signed.pk])).content
    assert (found.PatientID, str(found.PatientName), found.AccessionNumber) == ("P-17", "P-17", "H-1001")
    assert found.SeriesDescription.startswith("RESEARCH USE ONLY")
    assert (found.DocumentTitle, found.VerificationFlag, found.InstanceNumber) == (
        "Smear report H-1001, final, version 1", "VERIFIED", 1,
    )  # fmt: skip
    assert found.ContentDate
    code = found.ConceptNameCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("11502-2", "LN")


def test_a_preliminary_one_says_that_nobody_has_signed(reader: Client, analysed: Case) -> None:
    found = opened(report(reader, analysed).content)
    check_required(found, OF_A_REPORT)
    assert (found.VerificationFlag, found.InstanceNumber, found.ContentDate) == ("UNVERIFIED", 0, "")
    assert found.DocumentTitle == "Smear report H-1001, preliminary, not signed"


def test_an_overlay_is_a_secondary_capture_of_the_image_under_its_map(
    reader: Client, analysed: Case, field_pixels: np.ndarray
) -> None:
    image = analysed.images.get()
    found = opened(overlay(reader, image).content)

    check_required(found, OF_AN_OVERLAY)
    assert found.SOPClassUID.name == "Secondary Capture Image Storage"
    pixels = found.pixel_array
    assert pixels.shape == (300, 400, 3)
    difference = np.abs(pixels.astype(int) - field_pixels.astype(int)).max(axis=2)
    assert (difference > 8).any()
    weak = np.asarray(image.newest_analysis.maps["gradcam"])[0, 0] < 0.05
    assert not weak or difference[:8, :8].max() <= 8
    assert found.SeriesDescription == "RESEARCH USE ONLY: influence on the score, Grad-CAM"
    assert "not a lesion outline" in found.ImageComments
    assert "BurnedInAnnotation" not in found


def test_uids_are_of_the_content(reader: Client, signed: Case, cast: Any) -> None:
    image = signed.images.get()
    first, again = (opened(report(reader, signed).content) for _ in range(2))
    picture, once_more = (opened(overlay(reader, image).content) for _ in range(2))
    other = opened(overlay(reader, image, "layercam").content)
    sign_out.open_amendment(user=cast.hematologist, case=signed, reason="Typing error.")
    sign(cast.hematologist, signed, "AML is suspected.")
    amended = opened(report(reader, signed).content)

    assert first.SOPInstanceUID == again.SOPInstanceUID
    assert picture.SOPInstanceUID == once_more.SOPInstanceUID
    assert amended.SeriesInstanceUID == first.SeriesInstanceUID
    of_all = [first, picture, other, amended]
    assert len({one.StudyInstanceUID for one in of_all}) == 1
    assert len({one.SOPInstanceUID for one in of_all}) == 4
    assert len({one.SeriesInstanceUID for one in of_all}) == 3
    for one in of_all:
        for uid in (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID):
            assert uid.is_valid
            assert uid.startswith("2.25.")
            UUID(int=int(uid.removeprefix("2.25.")))


def test_two_cases_are_two_studies(case: Case, cast: Any) -> None:
    other = Case.objects.create(
        laboratory=case.laboratory, accession_number="H-2", patient_code="P-17", created_by=cast.technician
    )
    told = {
        "kind": "1.2",
        "accession_number": "",
        "patient_code": "",
        "age_years": None,
        "laboratory": "",
        "models": [],
    }
    studies = {dicom_export._object(one, **told).StudyInstanceUID for one in (case, other)}  # type: ignore[arg-type]
    assert len(studies) == 2


@pytest.mark.parametrize(
    ("accession", "code", "told"),
    [
        ("H" * 16, "P" * 64, ("H" * 16, "P" * 64)),
        ("H" * 17, "P=1=2=3", ("", "P=1=2=3")),  # no room for it: a part would be another number
        ("A\\B", "P\\1", ("", "")),  # a backslash parts values
        ("Ä-1", "Müller^7", ("Ä-1", "Müller^7")),
    ],
)
def test_what_dicom_has_no_room_for_is_left_out(
    reader: Client, analysed: Case, accession: str, code: str, told: tuple[str, str]
) -> None:
    Case.objects.filter(pk=analysed.pk).update(accession_number=accession, patient_code=code)
    found = opened(report(reader, analysed).content)
    check_required(found, OF_A_REPORT)
    assert (found.AccessionNumber, found.PatientID) == told
    assert len(str(found.PatientName)) <= 64


@pytest.mark.parametrize("what", ["report", "overlay"])
def test_every_download_is_in_the_audit(reader: Client, signed: Case, cast: Any, what: str) -> None:
    image = signed.images.get()
    (report(reader, signed) if what == "report" else overlay(reader, image))

    action = "report" if what == "report" else "export_overlay"
    event = AuditEvent.objects.get(action=action, detail__format="dicom")
    assert event.actor == cast.hematologist
    assert event.object_id == str(signed.pk if what == "report" else image.pk)
    assert len(event.detail["sha256"]) == 64


def test_a_reader_in_blind_mode_gets_none_before_her_own_class(
    client: Client, reader: Client, cast: Any, analysed: Case
) -> None:
    Laboratory.objects.filter(pk=analysed.laboratory_id).update(is_blind=True)
    image = analysed.images.get()
    assert "Give your own class" in report(reader, analysed, 403).text
    assert "Give your own class" in overlay(reader, image, status=403).text
    assert not AuditEvent.objects.filter(action__in=["report", "export_overlay"]).exists()

    client.force_login(cast.technician)
    report(client, analysed)
    overlay(client, image)


def test_what_there_is_not(reader: Client, analysed: Case, add_image: Callable[..., SmearImage]) -> None:
    image = analysed.images.get()
    overlay(reader, image, "telepathy", 404)
    overlay(reader, image, status=404, analysis="nonsense")
    overlay(reader, add_image(), status=404)  # not analysed yet
    image.file.storage.delete(image.file.name)
    overlay(reader, image, status=404)


def test_it_takes_as_many_queries_for_five_images_as_for_one(
    reader: Client, analysed: Case, add_image: Callable[..., SmearImage], judge: Judge
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as context:
            report(reader, analysed)
        return len(context)

    report(reader, analysed)
    judge(add_image())
    of_two = queries()
    for _ in range(3):
        judge(add_image())
    assert queries() == of_two


def test_the_whole_way(client: Client, cast: Any, case: Case, judge: Judge, field_pixels: np.ndarray) -> None:
    """A DICOM file is uploaded, analysed, read and signed out, and its report comes back as DICOM."""
    client.force_login(cast.technician)
    data = dicom.file(field_pixels, kind=dicom.CAPTURE, BurnedInAnnotation="YES", PixelSpacing=[1e-4, 1e-4])
    client.post(reverse("diagnosis:upload", args=[case.pk]), {"files": [SimpleUploadedFile("a.dcm", data)]})
    image = case.images.get()
    judge(image, "pro")
    read(cast.hematologist, image)
    sign(cast.hematologist, case)

    client.force_login(cast.hematologist)
    back = opened(report(client, case).content)
    picture = opened(overlay(client, image).content)

    printed = client.get(reverse("diagnosis:report-pdf", args=[case.pk])).content
    assert pdf_in(back) == printed
    assert printed.startswith(b"%PDF-")
    assert back.StudyInstanceUID == picture.StudyInstanceUID
    assert back.VerificationFlag == "VERIFIED"
    assert picture.BurnedInAnnotation == "YES"
    assert picture.pixel_array.shape == field_pixels.shape
    for content in (back, picture):
        assert "Secret" not in str(content)


def test_the_case_page_leads_to_it(reader: Client, signed: Case) -> None:
    page = reader.get(reverse("diagnosis:case", args=[signed.pk])).text
    assert reverse("diagnosis:report-dicom", args=[signed.pk]) in page
    assert reverse("diagnosis:overlay-dicom", args=[signed.images.get().pk, "gradcam"]) in page
