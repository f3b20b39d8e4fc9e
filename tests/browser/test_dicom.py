"""A DICOM file dropped as a person does it, its warnings read, and the report taken away as DICOM."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from playwright.sync_api import expect

from diagnosis.models import Analysis, Case
from tests.browser.conftest import Person
from tests.diagnosis.told_sign_out import read, sign
from tests.ml import dicom_files as dicom

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]


def test_a_dicom_file_goes_in_with_its_warnings_and_comes_back_signed(
    sit_down: Callable[..., Person],
    cast: Any,
    case: Case,
    judge: Callable[..., Analysis],
    field_pixels: np.ndarray,
) -> None:
    tina = sit_down(cast.technician)
    tina.goto(f"/cases/{case.pk}")
    data = dicom.file(field_pixels, PatientID="P-18", BurnedInAnnotation="YES")
    tina.drop(
        [("SECRETNAME.dcm", data), ("slide.dcm", dicom.file(field_pixels, TotalPixelMatrixColumns=9000))]
    )
    lines = tina.page.locator(".uploads li")
    expect(lines.filter(has_text="SECRETNAME.dcm")).to_contain_text("may show burned-in text")
    expect(lines.filter(has_text="slide.dcm")).to_contain_text("whole slide in tiles")

    image = case.images.get()
    judge(image, "pro")
    hedy = sit_down(cast.hematologist, viewport={"width": 390, "height": 844})
    hedy.goto(f"/cases/{case.pk}")
    panel = hedy.page.locator("#panel")
    expect(panel.get_by_text("Look for burned-in text")).to_be_visible()
    expect(panel.get_by_text("patient ID is not this case's patient code")).to_be_visible()
    assert "SECRETNAME" not in hedy.page.content()
    assert hedy.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    read(cast.hematologist, image)
    sign(cast.hematologist, case)
    hedy.goto(f"/cases/{case.pk}")
    with hedy.page.expect_download() as waiting:
        hedy.page.get_by_role("link", name="DICOM", exact=True).click()
    assert waiting.value.suggested_filename == "report-H-1001-version-1.dcm"
    found = pydicom.dcmread(io.BytesIO(Path(waiting.value.path()).read_bytes()))
    assert found.EncapsulatedDocument.startswith(b"%PDF-")
