"""The audit in a real browser: found, narrowed, exported, and readable on a telephone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from diagnosis.models import AuditEvent, Case
from diagnosis.services import audit, audit_verification

if TYPE_CHECKING:
    from tests.browser.conftest import Person

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]


def test_an_administrator_finds_and_exports_what_was_done(
    sit_down: Callable[..., Person], cast: Any, case: Case
) -> None:
    audit.record(
        action="change_case", actor=cast.technician, laboratory=case.laboratory, obj=case,
        old={"specimen": "blood"}, new={"specimen": "marrow"},
    )  # fmt: skip
    audit_verification.run()
    ada = sit_down(cast.administrator)
    ada.goto("/")
    ada.page.get_by_role("navigation", name="Main").get_by_role("link", name="Audit").click()
    page = ada.page
    expect(page.get_by_role("heading", name="Audit")).to_be_visible()
    expect(page.locator(".verified")).to_contain_text("Whole when it was verified")
    page.get_by_label("Search").fill("H-1001")
    page.get_by_label("Action").select_option("changed a case")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("table.audit tbody tr")).to_have_count(1)
    expect(page.locator("table.audit")).to_contain_text("Tina Technician")
    expect(page.locator("table.audit ins")).to_contain_text("marrow")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    table = download.value.path().read_bytes().decode()
    assert table.count("\r\n") == 2
    assert "H-1001" in table
    assert AuditEvent.objects.filter(action="export", actor=cast.administrator).count() == 1
    page.get_by_role("link", name="H-1001").click()
    expect(page.get_by_role("heading", name="H-1001")).to_be_visible()


def test_it_fits_a_telephone(sit_down: Callable[..., Person], cast: Any, case: Case) -> None:
    ada = sit_down(cast.administrator, viewport={"width": 390, "height": 800}, color_scheme="dark")
    ada.goto("/audit")
    expect(ada.page.locator("table.audit tbody tr").first).to_be_visible()
    assert ada.page.evaluate("document.documentElement.scrollWidth") <= 390
