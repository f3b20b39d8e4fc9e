"""Signing out in a browser: what is typed outlives an ended session, and an amendment shows old and new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from diagnosis.models import Analysis, Case, SignOut, SmearImage
from diagnosis.services.review import record_review
from tests.browser.conftest import Person, log_in
from tests.diagnosis.conftest import PASSWORD
from tests.diagnosis.told_cells import add_cells
from tests.diagnosis.told_sign_out import sign

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]
CONCLUSION = "Suspicious of B-ALL.\nImmunophenotyping is advised."


@pytest.fixture
def ready(case: Case, image: SmearImage, judge: Callable[..., Analysis], cast: Any) -> Case:
    """A case of one image with cells, analysed and read."""
    judge(image, "early")
    add_cells(image, ["blast"] * 6 + ["lymphocyte"] * 4)
    record_review(user=cast.hematologist, image=image, analysis=image.newest_analysis, verdict="agree")
    return case


def test_a_case_is_signed_from_its_page_and_amended(
    hedy: Person, ready: Case, image: SmearImage, cast: Any
) -> None:
    page = hedy.page
    hedy.goto(f"/cases/{ready.pk}")
    page.get_by_role("link", name="Sign out").click()
    expect(page.get_by_role("heading", name="Nothing stands in the way")).to_be_visible()
    page.get_by_label("Conclusion").fill(CONCLUSION)
    page.get_by_label("Your password").fill("not it")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("alert")).to_contain_text("The password is not right")
    expect(page.get_by_label("Conclusion")).to_have_value(CONCLUSION)
    expect(page.get_by_label("Your password")).to_have_value("")
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_label("Your password").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("The report is final")
    expect(page.locator(".conclusion")).to_have_text(CONCLUSION)
    assert SignOut.objects.get().conclusion == CONCLUSION

    page.get_by_label("Why").fill("A second look.")
    page.get_by_role("button", name="Open an amendment").click()
    expect(page.get_by_label("Conclusion")).to_have_value(CONCLUSION)
    record_review(
        user=cast.hematologist,
        image=image,
        analysis=image.newest_analysis,
        verdict="overrule",
        label="benign",
    )
    page.reload()
    expect(page.locator(".changes ins").first).to_be_visible()
    page.get_by_label("Conclusion").fill("Hematogones. No sign of B-ALL.")
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Sign amendment 2").click()
    expect(page.locator(".changes")).to_contain_text("image 1, reading")
    page.get_by_role("link", name="Version 1").click()
    expect(page.get_by_role("status").first).to_contain_text("as it was signed")
    expect(page.locator(".conclusion")).to_have_text(CONCLUSION)


def test_a_conclusion_outlives_an_ended_session(hedy: Person, ready: Case, cast: Any) -> None:
    page = hedy.page
    hedy.goto(f"/cases/{ready.pk}/sign-out")
    page.get_by_label("Conclusion").fill(CONCLUSION)
    page.get_by_label("Your password").fill(PASSWORD)
    page.context.clear_cookies()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Conclusion")).to_have_count(0)
    assert not SignOut.objects.exists()
    log_in(page.context, cast.hematologist, hedy.address)
    hedy.goto(f"/cases/{ready.pk}/sign-out")
    expect(page.get_by_label("Conclusion")).to_have_value(CONCLUSION)
    expect(page.get_by_label("Your password")).to_have_value("")


def test_the_reason_of_an_amendment_outlives_an_ended_session(hedy: Person, ready: Case, cast: Any) -> None:
    sign(cast.hematologist, ready)
    page = hedy.page
    hedy.goto(f"/cases/{ready.pk}/sign-out")
    page.get_by_label("Why").fill("The flow cytometry came.")
    page.context.clear_cookies()
    page.get_by_role("button", name="Open an amendment").click()
    expect(page.get_by_label("Why")).to_have_count(0)
    log_in(page.context, cast.hematologist, hedy.address)
    hedy.goto(f"/cases/{ready.pk}/sign-out")
    expect(page.get_by_label("Why")).to_have_value("The flow cytometry came.")
    page.get_by_role("button", name="Open an amendment").click()
    expect(page.locator(".reason")).to_have_text("The flow cytometry came.")
    # The script of the page that came drops it, which may be later than the page's text is there.
    page.wait_for_function("!Object.keys(sessionStorage).some((key) => key.includes('amend-'))")


def test_the_page_follows_a_running_analysis_and_leaves_what_is_typed_alone(
    hedy: Person, ready: Case, image: SmearImage, add_image: Callable[..., SmearImage],
    judge: Callable[..., Analysis], cast: Any,
) -> None:  # fmt: skip
    page = hedy.page
    record_review(user=cast.hematologist, image=image, analysis=image.newest_analysis, verdict="unsure")
    second = add_image()
    hedy.goto(f"/cases/{ready.pk}/sign-out")
    way = page.locator("#way")
    expect(way).to_contain_text("Image 2 is still being analysed.")
    page.get_by_label("The conclusion says what follows from image 1").check()
    page.get_by_label("Your password").fill(PASSWORD)
    conclusion = page.get_by_label("Conclusion", exact=True)
    conclusion.fill(CONCLUSION)
    judge(second, "early")
    expect(way).to_contain_text("Image 2 is not read.")
    record_review(user=cast.hematologist, image=second, analysis=second.newest_analysis, verdict="agree")
    page.evaluate("htmx.trigger('#way', 'refresh')")  # as when the tab comes back from behind
    expect(page.get_by_role("heading", name="Nothing stands in the way")).to_be_visible()
    expect(page.locator("#announce")).to_have_text("Nothing stands in the way of the signature any more.")
    expect(conclusion).to_be_focused()
    expect(page.get_by_label("The conclusion says what follows from image 1")).to_be_checked()
    assert hedy.polls(1500) == 0
    page.get_by_label("Your password").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("The report is final")
    assert SignOut.objects.get().conclusion == CONCLUSION


def test_what_stands_in_the_way_leads_to_its_image_and_fits_a_telephone(
    sit_down: Callable[..., Person], cast: Any, ready: Case, add_image: Callable[..., SmearImage],
    judge: Callable[..., Analysis],
) -> None:  # fmt: skip
    unread = add_image()
    judge(unread, "pre")
    person = sit_down(cast.hematologist, viewport={"width": 390, "height": 844})
    page = person.page
    person.goto(f"/cases/{ready.pk}/sign-out")
    expect(page.get_by_role("button", name="Sign out")).to_be_disabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".obstacles").get_by_role("link", name="Image 2").click()
    expect(page.locator("#panel")).to_have_attribute("data-image", str(unread.pk))
