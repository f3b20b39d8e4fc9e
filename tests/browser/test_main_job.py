"""The main job in a browser: log in, new case, one drop, every image read, overlay moved, one overruled, found again.

With drawn fields and a stand-in for the network, which gives classes without any data. `test_whole_job` does the
same as it is shipped: the whole of Leukoscope started with its one command, on the public demo fields.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ml.drawing import draw_field
from tests.browser.conftest import Person
from tests.diagnosis.conftest import PASSWORD
from tests.faults.conftest import Workers

pytestmark = [pytest.mark.browser, pytest.mark.broker, pytest.mark.slow]

BAD = [("notes.jpg", b"just text"), ("empty.png", b"")]
PATIENCE = 120_000


def log_in_by_form(person: Person, username: str, password: str) -> None:
    person.goto("/")
    person.page.wait_for_url("**/accounts/login?next=/")
    person.page.fill("#id_username", username)
    person.page.fill("#id_password", password)
    person.page.click("button")
    expect(person.page.locator("h1")).to_have_text("Worklist")


def open_case(person: Person, number: str, files: list[tuple[str, bytes]]) -> None:
    """New case with all files in one drop, and on to the case page."""
    page = person.page
    page.click("text=New case >> nth=0")
    page.fill("#id_accession_number", number)
    page.fill("#id_patient_code", "P-4471")
    person.drop([*files, *BAD])
    page.click("button[type=submit]")
    expect(page.locator(".uploadsum span")).to_have_text(
        f"{len(files)} of {len(files) + len(BAD)} files uploaded, {len(BAD)} refused", timeout=PATIENCE
    )
    page.click("text=Go to the case")
    expect(page.locator("a.frame")).to_have_count(len(files))


def read_everything(person: Person, count: int) -> list[str]:
    """What the panel says of each image, in the order of the strip, by one key an image."""
    page = person.page
    expect(page.locator("#live:not([data-unfinished])")).to_contain_text(
        f"0 of {count} images read", timeout=PATIENCE
    )
    expect(page.locator("[data-tool=fit]")).to_be_enabled()  # the page's script has begun its work
    page.locator("a.frame").first.click()
    outcomes = []
    for number in range(1, count + 1):
        expect(page.locator("#panel h2").first).to_contain_text(f"Image {number} of {count}")
        outcome = page.locator("#panel .figure").inner_text().replace("\n", " ").strip()
        if "Indeterminate" in outcome:
            assert page.locator(".uncertain li").count() > 0
        else:
            expect(page.locator("#panel .sure")).to_contain_text("calibrated")
        outcomes.append(outcome)
        page.keyboard.press("j")
    return outcomes


def overlay_moved(person: Person) -> None:
    page = person.page
    if page.locator("[data-tool=overlay]").get_attribute("aria-pressed") == "false":
        page.keyboard.press("h")
    expect(page.locator(".phrase")).to_be_visible()
    page.locator("[data-tool=opacity]").fill("40")
    expect(page.locator("output")).to_have_text("40 %")


def overruled(person: Person) -> None:
    page = person.page
    page.fill("#comment", "Seen otherwise.")
    page.click("#overrule summary")
    page.click("#overrule label:has-text('cannot be judged')")
    page.click("#overrule button")
    expect(page.locator(".reading.counts")).to_contain_text("Overruled: cannot be judged")
    expect(page.locator(".reading.counts")).to_contain_text("Seen otherwise.")


def found_in_history(person: Person, number: str) -> None:
    page = person.page
    page.click("text=History")
    page.fill("#id_q", number)
    page.select_option("#id_reading", "disagreement")
    page.click("button:has-text('Search')")
    page.wait_for_url("**/history?q=*")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.click(f"text={number}")
    expect(page.locator("h1")).to_have_text(number)


def do_the_main_job(person: Person, files: list[tuple[str, bytes]]) -> list[str]:
    """All of it; returns what was said of each image."""
    open_case(person, "26-11873", files)
    outcomes = read_everything(person, len(files))
    assert person.polls(2000) == 0, "a finished case still asks"
    overlay_moved(person)
    overruled(person)
    found_in_history(person, "26-11873")
    return outcomes


@pytest.mark.django_db(transaction=True)
def test_with_drawn_fields_and_a_stand_in(
    workers: Workers, sit_down: Callable[..., Person], cast: Any, version: Any
) -> None:
    workers.start()
    files = []
    for seed in range(5):
        buffer = io.BytesIO()
        Image.fromarray(draw_field(np.random.default_rng(seed), width=400, height=300)).save(buffer, "PNG")
        files.append((f"field {seed}.png", buffer.getvalue()))
    hedy = sit_down()
    log_in_by_form(hedy, cast.hematologist.username, PASSWORD)

    outcomes = do_the_main_job(hedy, files)

    assert "▲ Suspected: Early pre-B" in " ".join(outcomes)
