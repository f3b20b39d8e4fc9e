"""A report and a table downloaded as a person does it, on a desk and on a telephone."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from diagnosis.models import Analysis, AuditEvent, Case, SmearImage
from tests.browser.conftest import Person
from tests.diagnosis.pdf_reading import pdfa_problems, words_of
from tests.diagnosis.told_sign_out import read, sign

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]


@pytest.fixture
def signed(cast: Any, case: Case, image: SmearImage, judge: Callable[..., Analysis]) -> Case:
    judge(image, "pro")
    read(cast.hematologist, image)
    sign(cast.hematologist, case, "ALL is suspected.")
    return case


def downloaded(person: Person, name: str | re.Pattern[str]) -> tuple[str, bytes]:
    with person.page.expect_download() as waiting:
        person.page.get_by_role("link", name=name).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_a_signed_report_and_the_history_are_downloaded(hedy: Person, signed: Case) -> None:
    hedy.goto(f"/cases/{signed.pk}")
    name, content = downloaded(hedy, "Report PDF")
    assert name == "report-H-1001-version-1.pdf"
    assert pdfa_problems(content) == []
    assert "ALL is suspected." in words_of(content)
    name, _ = downloaded(hedy, "FHIR")
    assert name == "report-H-1001-version-1.json"

    hedy.goto("/history?q=H-1001")
    name, content = downloaded(hedy, re.compile("CSV"))
    assert name.startswith("history-")
    (row,) = csv.DictReader(io.StringIO(content.decode()))
    assert (row["accession number"], row["report"]) == ("H-1001", "final")
    assert sorted(AuditEvent.objects.filter(action__in=["report", "export"]).values_list("action", flat=True)) == [
        "export", "report", "report"
    ]  # fmt: skip


def test_the_links_stay_on_a_telephone(sit_down: Callable[..., Person], cast: Any, signed: Case) -> None:
    person = sit_down(cast.hematologist, viewport={"width": 390, "height": 844})
    for path, link in ((f"/cases/{signed.pk}", "Report PDF"), ("/history", re.compile("CSV"))):
        person.goto(path)
        expect(person.page.get_by_role("link", name=link)).to_be_visible()
        assert person.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
