"""The worklist in a browser: keys, taking and giving a case, and a list that renews itself under the reader's hands."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from diagnosis.models import Analysis, Case, SecondOpinion, SmearImage
from diagnosis.services import consultation, intake
from diagnosis.services.assignment import assign
from diagnosis.services.review import record_review
from tests.browser.conftest import Person

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]

LOOK = os.environ.get("LEUKOSCOPE_LOOK", "")
"""A folder for pictures of what a test saw, for people."""


@pytest.fixture
def day(cast: Any, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]) -> dict[str, Case]:
    """Three open cases: a suspected one, a disputed one that Ada reads, and one that Hedy is asked about."""
    images = {}
    for number, label in (("W-1", "early"), ("W-2", "benign"), ("W-3", "benign")):
        case = intake.create_case(user=cast.technician, accession_number=number, patient_code=f"P-{number}")
        images[number] = add_image(to=case)
        judge(images[number], label)
    second = images["W-2"]
    assign(user=cast.administrator, case=second.case, to=cast.administrator, expected=None)
    for user, verdict, label in [
        (cast.administrator, "agree", None),
        (cast.laboratory_head, "overrule", "other"),
    ]:
        record_review(
            user=user,
            image=second,
            analysis=second.newest_analysis,
            verdict=verdict,
            label=label,
            comment="Large cells with azurophilic granules.",
        )
    third = images["W-3"]
    consultation.ask(
        user=cast.administrator, case=third.case, of=cast.hematologist, image=third, question="Hematogones?"
    )
    return {number: image.case for number, image in images.items()}


def look(person: Person, name: str) -> None:
    if LOOK:
        person.page.screenshot(path=Path(LOOK) / f"{name}.png", full_page=True)


def reader_of(person: Person, case: Case) -> Any:
    return person.page.locator(f"#row-{case.pk} .reader")


def settled(person: Person) -> None:
    """The list is drawn, and its forms are htmx's: a key pressed before would send one as a page of its own."""
    expect(
        person.page.locator("#cases.htmx-request, #cases.htmx-swapping, #cases.htmx-settling")
    ).to_have_count(0)


def test_a_day_by_keys(hedy: Person, cast: Any, day: dict[str, Case]) -> None:
    first, second = day["W-1"], day["W-2"]
    page = hedy.page
    hedy.goto("/")
    look(hedy, "worklist")
    expect(page.locator(".asked")).to_contain_text("Ada Administrator asks for a second opinion")

    page.keyboard.press("j")
    expect(page.locator(f"#case-{first.pk}")).to_be_focused()
    page.keyboard.press("t")
    expect(reader_of(hedy, first)).to_contain_text("Hedy Hematologist")
    expect(page.locator("#announce")).to_have_text("W-1 is read by Hedy Hematologist now.")
    expect(page.locator(f"#case-{first.pk}")).to_be_focused()
    settled(hedy)
    page.keyboard.press("t")
    expect(reader_of(hedy, first)).to_contain_text("nobody")
    settled(hedy)

    page.keyboard.press("g")
    page.locator("#give-to").select_option(label="Lena Head")
    look(hedy, "worklist-give")
    page.locator("#give button", has_text="Assign").click()
    expect(reader_of(hedy, first)).to_contain_text("Lena Head")
    settled(hedy)

    page.keyboard.press("j")
    expect(page.locator(f"#case-{second.pk}")).to_be_focused()
    assign(user=cast.administrator, case=second, to=None, expected=cast.administrator.pk)
    assign(user=cast.laboratory_head, case=second, to=cast.laboratory_head, expected=None)
    page.keyboard.press("t")
    expect(page.locator(".said")).to_contain_text("Lena Head reads it now")
    expect(reader_of(hedy, second)).to_contain_text("Lena Head")

    page.keyboard.press("?")
    expect(page.locator("#keys")).to_contain_text("take the case, or release it")


def test_the_list_renews_itself_and_keeps_focus_and_scroll(
    sit_down: Callable[..., Person], cast: Any, day: dict[str, Case]
) -> None:
    hedy = sit_down(cast.hematologist, viewport={"width": 1440, "height": 320})
    page, third = hedy.page, day["W-3"]
    hedy.goto("/")
    page.locator(f"#take-{third.pk}").focus()
    page.evaluate("scrollTo(0, 200)")
    at = page.evaluate("scrollY")
    assert at > 0
    assign(user=cast.administrator, case=day["W-1"], to=cast.laboratory_head, expected=None)

    page.evaluate("htmx.trigger('#cases', 'refresh')")

    expect(reader_of(hedy, day["W-1"])).to_contain_text("Lena Head")
    expect(page.locator(f"#take-{third.pk}")).to_be_focused()
    assert page.evaluate("scrollY") == at


def test_an_asked_reader_answers_by_reading(hedy: Person, cast: Any, day: dict[str, Case]) -> None:
    page = hedy.page
    hedy.goto("/")
    page.locator(".asked a").click()
    expect(page.locator(".consultation")).to_contain_text("Ada Administrator asks you about this image")
    page.wait_for_load_state()  # with the scripts that bind keys
    look(hedy, "case-asked")
    page.keyboard.press("a")
    expect(page.locator(".consultation")).to_contain_text("answered")
    assert SecondOpinion.objects.get().answered_at is not None

    page.locator(".consultation summary").click()
    page.locator("#ask-question").fill("And these?")
    page.locator("#ask-of").select_option(label="Lena Head")
    page.locator(".ask button", has_text="Ask").click()
    expect(page.locator(".opinions")).to_contain_text("Hedy Hematologist asks Lena Head")
    page.locator(".opinions button", has_text="Withdraw").click()
    expect(page.locator(".opinions")).not_to_contain_text("Lena Head")

    page.locator(".assignment summary").click()
    page.locator("#assign-to").select_option(label="Hedy Hematologist (you)")
    look(hedy, "case-assign")
    page.locator(".assignment button").click()
    expect(page.locator(".assignment summary")).to_contain_text("Hedy Hematologist")


def test_a_view_is_saved_and_found_again(hedy: Person, day: dict[str, Case]) -> None:
    page = hedy.page
    hedy.goto("/")
    page.locator(".narrow summary").click()
    page.get_by_label("Reader").select_option(label="nobody")
    page.locator(".narrow button").click()
    page.locator(".views summary").click()
    page.locator("#view-name").fill("Nobody's")
    page.locator(".views button", has_text="Save").click()
    expect(page.locator(".views a[aria-current]")).to_have_text("Nobody's")
    expect(page.locator(".worktable tbody tr")).to_have_count(2)
    look(hedy, "worklist-view")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone(
    sit_down: Callable[..., Person], cast: Any, day: dict[str, Case], scheme: Any
) -> None:
    phone = sit_down(cast.hematologist, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    for name, path in (("worklist", "/"), ("history", "/history?q=W"), ("case", f"/cases/{day['W-2'].pk}")):
        phone.goto(path)
        look(phone, f"{name}-390-{scheme}")
        assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390, path
