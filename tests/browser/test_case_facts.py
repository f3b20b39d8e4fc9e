"""The facts of a case in a browser: changed and refused, the trend of a patient, the alert and the prevalence."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from diagnosis.models import Analysis, Case, Laboratory, SmearImage
from diagnosis.services import intake
from tests.browser.conftest import Person
from tests.diagnosis.told_cells import add_cells

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]

Counted = Callable[..., Case]


@pytest.fixture
def counted(cast: Any, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]) -> Counted:
    """Opens a case of one patient with counted leukocytes."""

    def add(number: str, received_on: datetime.date, labels: list[str], **facts: Any) -> Case:
        case = intake.create_case(
            user=cast.technician,
            accession_number=number,
            patient_code="P-17",
            received_on=received_on,
            **facts,
        )
        image = add_image(to=case)
        judge(image, "early")
        add_cells(image, labels)
        return case

    return add


def no_wider_than_the_window(person: Person) -> bool:
    return bool(
        person.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    )


def test_facts_are_changed_and_what_is_refused_stays_typed(hedy: Person, case: Case) -> None:
    page = hedy.page
    hedy.goto(f"/cases/{case.pk}")
    page.get_by_role("link", name="Change facts").click()
    page.get_by_label("Age").fill("54")
    page.get_by_label("White cell count").fill("5200")
    page.get_by_role("button", name="Save").click()

    expect(page.locator(".error")).to_contain_text("5200 in a microlitre are 5.2")
    expect(page.get_by_label("White cell count")).to_be_focused()
    expect(page.get_by_label("White cell count")).to_have_value("5200")
    expect(page.get_by_label("Age")).to_have_value("54")

    page.get_by_label("White cell count").fill("5,2")
    page.get_by_role("button", name="Save").click()

    expect(page.locator(".casehead .meta")).to_contain_text("54 years")
    expect(page.locator(".casehead .meta")).to_contain_text("white cells 5.2 × 10⁹/l")


def test_the_trend_opens_as_chart_and_table_and_leads_to_the_other_case(
    hedy: Person, counted: Counted
) -> None:
    first = counted("H-1", datetime.date(2026, 1, 5), ["blast"] * 60 + ["lymphocyte"] * 60)
    this = counted("H-2", datetime.date(2026, 2, 9), ["blast"] * 6 + ["lymphocyte"] * 140)
    hedy.goto(f"/cases/{this.pk}")
    summary = hedy.page.locator(".patient > summary")
    expect(summary).to_contain_text("1 other case of this patient")
    expect(summary).to_contain_text("50.0, here 4.1")
    summary.click()

    expect(hedy.page.get_by_role("img", name="Blasts per 100 leukocytes")).to_be_visible()
    expect(hedy.page.locator(".trend .point")).to_have_count(2)
    assert no_wider_than_the_window(hedy)
    hedy.page.locator(".patientcases").get_by_role("link", name="H-1").click()
    hedy.page.wait_for_url(f"**/cases/{first.pk}")


def test_a_telephone_shows_the_alert_the_trend_and_the_prevalence(
    sit_down: Callable[..., Person], cast: Any, counted: Counted
) -> None:
    Laboratory.objects.update(malignant_share=0.02)
    counted("H-1", datetime.date(2026, 1, 5), ["promyelocyte"] * 3 + ["lymphocyte"] * 60)
    this = counted("H-2", datetime.date(2026, 2, 9), ["promyelocyte"] * 20 + ["lymphocyte"] * 40)
    person = sit_down(cast.hematologist, viewport={"width": 390, "height": 844}, color_scheme="dark")
    person.goto(f"/cases/{this.pk}")

    expect(person.page.locator(".cellsummary .apl")).to_contain_text("Possible APL: urgent.")
    expect(person.page.locator("section.prevalence")).to_contain_text("Re-weighted, where 2.0 % are")
    person.page.locator(".patient > summary").click()
    expect(person.page.locator(".trend svg")).to_be_visible()
    assert no_wider_than_the_window(person)
    person.goto("/")
    expect(person.page.locator(".worktable")).to_contain_text("Possible APL, urgent")
    assert no_wider_than_the_window(person)
