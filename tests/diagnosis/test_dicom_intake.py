"""DICOM files that are uploaded: pixels and no names, every frame an image, and warnings that say what to check."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core import serializers
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from diagnosis.models import Analysis, AuditEvent, Case, Laboratory, SmearImage
from diagnosis.services import api_tokens, dicom_intake, intake
from diagnosis.services.intake import IntakeRefused
from ml.imaging.dicom_claims import BURNED_IN
from ml.imaging.reading import read_image
from tests.ml import dicom_files as dicom

SCRIPT = {"X-Requested-With": "leukoscope", "Accept": "application/json"}


@pytest.fixture
def technician(client: Client, cast: Any) -> Client:
    client.force_login(cast.technician)
    return client


def upload(client: Client, case: Case, data: bytes, **more: Any) -> Any:
    file = SimpleUploadedFile("SECRETNAME_SYBIL.dcm", data)
    return client.post(reverse("diagnosis:upload", args=[case.pk]), {"files": [file]}, **more)


def stack(field: np.ndarray, count: int) -> np.ndarray:
    return np.stack([np.roll(field, 10 * number, axis=1) for number in range(count)])


def test_it_becomes_a_queued_image_of_its_very_pixels(
    technician: Client, case: Case, field_pixels: np.ndarray
) -> None:
    response = upload(technician, case, dicom.file(field_pixels, PixelSpacing=[1e-4, 1e-4]), headers=SCRIPT)

    assert response.status_code == 201
    assert response.json()["message"] == "image 1, 400 × 300, DICOM, 0.1 µm a pixel by its file"
    image = SmearImage.objects.get()
    assert (image.format, image.stored_format, image.media_type) == ("DICOM", "PNG", "image/png")
    assert image.newest_analysis.state == Analysis.State.QUEUED
    with image.file.open("rb") as file:
        np.testing.assert_array_equal(read_image(file.read()).pixels, field_pixels)


def test_nothing_of_its_patient_is_kept_anywhere(
    technician: Client, case: Case, field_pixels: np.ndarray, media: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """File name, elements, private elements and the preamble."""
    made = dicom.dataset(field_pixels, PatientID="SECRETNAME-7", AccessionNumber="SECRETNAME-8")
    made.PatientComments = "Secretname"
    data = b"SECRETNAME".ljust(128, b"\0") + dicom.written(made)[128:]

    response = upload(technician, case, data, headers=SCRIPT)

    assert response.status_code == 201
    rows = [
        *Case.objects.all(),
        *SmearImage.objects.all(),
        *Analysis.objects.all(),
        *AuditEvent.objects.all(),
    ]
    kept = serializers.serialize("json", rows) + caplog.text + response.text
    kept += technician.get(reverse("diagnosis:case", args=[case.pk])).text
    files = [path for path in media.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert b"secret" not in path.read_bytes().lower()
    assert "secret" not in kept.lower()
    assert SmearImage.objects.get().original_name.startswith("DICOM ")


@pytest.mark.parametrize(
    ("elements", "notes"),
    [
        ({}, []),
        ({"PatientID": "p-17 ", "AccessionNumber": "h-1001"}, []),
        ({"PatientID": "", "AccessionNumber": None}, []),
        ({"PatientID": "P-18"}, [dicom_intake.OTHER_PATIENT]),
        ({"AccessionNumber": "H-1002"}, [dicom_intake.OTHER_ACCESSION]),
        ({"BurnedInAnnotation": "YES"}, [BURNED_IN]),
        ({"kind": dicom.CAPTURE, "BurnedInAnnotation": None}, [BURNED_IN]),
    ],
)
def test_what_a_person_should_check_is_told_in_words(
    technician: Client, case: Case, field_pixels: np.ndarray, elements: dict[str, Any], notes: list[str]
) -> None:
    response = upload(technician, case, dicom.file(field_pixels, **elements))

    assert SmearImage.objects.get().notes == notes
    technician.get(response["Location"])  # which shows the messages of the upload
    page = technician.get(response["Location"]).text.replace("&#x27;", "'")
    for note in notes:
        assert dicom_intake.CHECKS[note] in page
    assert [sentence for sentence in dicom_intake.CHECKS.values() if sentence in page] == [
        dicom_intake.CHECKS[note] for note in notes
    ]


def test_the_upload_says_it_at_once_and_a_reader_in_blind_mode_sees_it_too(
    client: Client, cast: Any, case: Case, field_pixels: np.ndarray
) -> None:
    client.force_login(cast.technician)
    sentence = dicom_intake.CHECKS[dicom_intake.OTHER_PATIENT].replace("'", "&#x27;")
    response = upload(client, case, dicom.file(field_pixels, PatientID="P-18"))
    assert client.get(response["Location"]).text.count(sentence) == 2  # the message, and the panel

    Laboratory.objects.update(is_blind=True)
    client.force_login(cast.hematologist)
    page = client.get(response["Location"]).text
    assert "Your class first" in page
    assert page.count(sentence) == 1


def test_every_frame_is_an_image_of_the_case(
    technician: Client, case: Case, field_pixels: np.ndarray
) -> None:
    frames = stack(field_pixels, 3)
    response = upload(technician, case, dicom.file(frames, frames=3), headers=SCRIPT)

    assert response.json()["message"] == "images 1 to 3, one a frame, 400 × 300, DICOM, frame 1 of 3"
    images = list(SmearImage.objects.order_by("position"))
    assert [image.notes for image in images] == [["frame 1 of 3"], ["frame 2 of 3"], ["frame 3 of 3"]]
    assert len({image.sha256 for image in images}) == 3
    assert Analysis.objects.filter(state=Analysis.State.QUEUED).count() == 3
    assert AuditEvent.objects.filter(action="upload_image").count() == 3
    for image, expected in zip(images, frames, strict=True):
        with image.file.open("rb") as file:
            np.testing.assert_array_equal(read_image(file.read()).pixels, expected)
    again = upload(technician, case, dicom.file(frames, frames=3), headers=SCRIPT)
    assert "in the case already, as image 1" in again.json()["message"]


def test_a_file_with_one_frame_that_is_damaged_leaves_nothing(cast: Any, case: Case) -> None:
    from pydicom.encaps import encapsulate

    good = dicom.encoded(np.full((32, 32, 3), 200, np.uint8), "JPEG", dicom.JPEG)
    start = good.rindex(b"\xff\xd8\xff")
    frame = good[start : good.rindex(b"\xff\xd9") + 2]
    made = dicom.dataset(
        np.zeros((2, 32, 32, 3), np.uint8),
        frames=2,
        PhotometricInterpretation="YBR_FULL_422",
        PixelData=encapsulate([frame, frame[: len(frame) // 2]]),
    )
    data = dicom.written(made, dicom.JPEG)

    with pytest.raises(IntakeRefused, match="DICOM file is incomplete or damaged"):
        intake.add_image(user=cast.technician, case=case, name="a.dcm", stream=io.BytesIO(data))
    assert not SmearImage.objects.exists()


def test_a_whole_slide_is_refused_with_what_to_do(
    technician: Client, case: Case, field_pixels: np.ndarray
) -> None:
    slide = dicom.file(field_pixels, kind="1.2.840.10008.5.1.4.1.1.77.1.6")
    response = upload(technician, case, slide, headers=SCRIPT)

    assert response.status_code == 422
    assert "whole slide in tiles" in response.json()["message"]
    assert "export single fields" in response.json()["message"]


def test_the_api_takes_it(client: Client, cast: Any, case: Case, field_pixels: np.ndarray) -> None:
    _, token = api_tokens.create(actor=None, user=cast.technician, name="scanner", scopes=["images:write"])
    response = client.post(
        reverse("api:images", args=[case.pk]),
        {"file": SimpleUploadedFile("a.dcm", dicom.file(field_pixels, PatientID="P-18"))},
        headers={"authorization": f"Bearer {token}"},
    )

    assert response.status_code == 201
    assert response.json()["format"] == "DICOM"
    assert dicom_intake.OTHER_PATIENT in response.json()["notes"]
    assert "P-18" not in json.dumps(response.json())
