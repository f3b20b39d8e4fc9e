"""Reading in a browser: blind by keys, taken back, several at once, and beside reviewed images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from diagnosis.models import Analysis, BlindReading, Case, Laboratory, Review, SmearImage
from diagnosis.services import intake
from diagnosis.services.review import record_review
from tests.browser.conftest import Person

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]


@pytest.fixture
def images(
    case: Case, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]
) -> list[SmearImage]:
    """Three analysed images."""
    made = []
    for label in ("early", "benign", "early"):
        image = add_image()
        judge(image, label)
        made.append(image)
    return made


def open_case(person: Person, case: Case, image: SmearImage) -> None:
    person.goto(f"/cases/{case.pk}?image={image.pk}")
    expect(person.page.locator(".zoom")).not_to_be_empty()


def test_blind_by_keys_and_revealed_by_her_own_class(
    hedy: Person, case: Case, images: list[SmearImage]
) -> None:
    Laboratory.objects.update(is_blind=True)
    page = hedy.page
    open_case(hedy, case, images[0])
    expect(page.locator("#panel .figure")).to_have_text("Your class first")
    expect(page.locator("[data-tool=overlay]")).to_be_disabled()
    expect(page.locator("[data-tool=cells]")).to_be_disabled()
    expect(page.locator("#strip .mark").first).to_have_text("your class first")
    page.fill("#comment", "Half a thought")
    page.locator("#panel").focus()
    page.wait_for_timeout(1100)
    page.keyboard.press("2")
    expect(page.locator("#own-class input:checked")).to_have_value("early")
    page.keyboard.press("Enter")

    expect(page.locator("#panel .figure")).to_contain_text("Early pre-B")
    expect(page.locator(".blindword")).to_contain_text("as the model says")
    expect(page.locator("#comment")).to_have_value("Half a thought")
    expect(page.locator("[data-tool=overlay]")).to_be_enabled()
    expect(page.locator("#strip .mark").first).to_contain_text("early pre-B")
    expect(page.locator("#live")).to_contain_text("2 to be read blind")
    reading = BlindReading.objects.get()
    assert reading.label == "early"
    assert 1 <= reading.seconds < 600
    page.locator("#panel").focus()
    page.keyboard.press("a")
    expect(page.locator(".reading.counts")).to_contain_text("read blind as early pre-B")
    assert Review.objects.get().seconds < 600
    overlays = [url for url in hedy.asked if "/overlay/" in url]
    assert all(str(images[0].pk) in url for url in overlays)


def test_cannot_tell_is_taken_back_by_a_key(hedy: Person, case: Case, images: list[SmearImage]) -> None:
    page = hedy.page
    open_case(hedy, case, images[0])
    page.keyboard.press("u")
    expect(page.locator(".reading.counts")).to_contain_text("Cannot tell")
    expect(page.locator("#live")).to_contain_text("1 of 3 images read · 1 where the reader cannot tell")
    page.keyboard.press("Control+z")
    expect(page.locator(".reading.takenback")).to_contain_text("taken back")
    expect(page.locator("#live")).to_contain_text("0 of 3 images read")
    assert [review.verdict for review in Review.objects.order_by("pk")] == ["unsure", "withdraw"]


def test_several_are_picked_read_and_undone(
    hedy: Person, case: Case, images: list[SmearImage], tmp_path: Path
) -> None:
    page = hedy.page
    open_case(hedy, case, images[0])
    expect(page.locator("#several")).to_be_hidden()
    page.keyboard.press("x")
    page.keyboard.press("j")
    expect(page.locator("#panel .figure")).to_contain_text("Benign")
    page.keyboard.press("x")
    expect(page.locator("#several .picked")).to_have_text("2 selected")
    page.select_option("#several select", "early")
    page.click("#several [data-verdict=overrule]")
    expect(page.locator("#several .said")).to_have_text("2 images read.")
    expect(page.locator("#live")).to_contain_text("2 of 3 images read")
    expect(page.locator(".reading.counts")).to_contain_text("Overruled: early pre-B")
    assert sorted(review.verdict for review in Review.objects.all()) == ["agree", "overrule"]
    page.click("#several [data-does=undo]")
    expect(page.locator("#several .said")).to_have_text("2 images taken back.")
    expect(page.locator("#live")).to_contain_text("0 of 3 images read")
    page.locator("input.pick").nth(0).click()
    page.locator("input.pick").nth(2).click(modifiers=["Shift"])
    expect(page.locator("#several .picked")).to_have_text("3 selected")
    page.keyboard.press("Escape")
    page.click("#several [data-does=none]")
    expect(page.locator("#several")).to_be_hidden()


def test_an_image_beside_reviewed_ones(
    hedy: Person, cast: Any, case: Case, images: list[SmearImage], add_image: Any, judge: Any
) -> None:
    elsewhere = intake.create_case(user=cast.technician, accession_number="H-2", patient_code="P-2")
    for label in ("benign", "early"):
        image = add_image(to=elsewhere)
        judge(image, label)
        record_review(user=cast.hematologist, image=image, analysis=image.newest_analysis, verdict="agree")
    page = hedy.page
    open_case(hedy, case, images[0])
    page.keyboard.press("r")
    page.wait_for_url("**/compare")
    expect(page.locator("#pair .zoom").nth(1)).not_to_be_empty()
    first = page.locator("#beside").inner_text()
    page.keyboard.press("j")
    expect(page.locator("#beside")).not_to_have_text(first)
    assert "with=" in page.url
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.wait_for_url(f"**/cases/{case.pk}?image={images[0].pk}")
