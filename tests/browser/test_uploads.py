"""Uploads in a browser: many files at once, refused ones beside good ones, folders, broken connections."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from allauth.mfa.totp.internal import auth as totp
from django.contrib.sessions.models import Session
from PIL import Image
from playwright.sync_api import Route, expect

from diagnosis.models import Case, Laboratory, SmearImage
from ml.drawing import draw_field
from tests.browser.conftest import Person, fall_asleep, log_in
from tests.diagnosis.conftest import PASSWORD

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]


@pytest.fixture
def tina(sit_down: Callable[..., Person], cast: Any) -> Person:
    return sit_down(cast.technician)


def field(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw_field(np.random.default_rng(seed), width=400, height=300)).save(buffer, "PNG")
    return buffer.getvalue()


def line(person: Person, name: str) -> Any:
    return person.page.locator(".uploads li", has_text=name)


def fill(person: Person, number: str = "26-1") -> None:
    person.page.fill("#id_accession_number", number)
    person.page.fill("#id_patient_code", "P-1")


def test_a_new_case_takes_a_drop_of_good_and_bad_files(tina: Person) -> None:
    good = [(f"field {seed}.png", field(seed)) for seed in range(6)]
    bad = [
        ("notes.jpg", b"just text"),
        ("empty.png", b""),
        ("cut.png", field(50)[:2000]),
        ("again.png", good[0][1]),
        ("moving.gif", b"GIF89a" + bytes(40)),
    ]
    tina.goto("/cases/new")
    tina.drop(bad[:2] + good + bad[2:])
    expect(tina.page.locator(".uploadsum span")).to_have_text("11 files chosen")
    fill(tina)
    tina.page.click("button[type=submit]")

    expect(tina.page.locator(".uploadsum span")).to_have_text("6 of 11 files uploaded, 5 refused")
    for name, _ in bad:
        sentence = line(tina, name).locator(".what").inner_text()
        assert sentence.endswith("."), (name, sentence)
    expect(line(tina, "field 3.png")).to_contain_text("400 × 300")
    case = Case.objects.get()
    assert case.images.count() == 6
    assert tina.page.url.endswith(f"/cases/{case.pk}")
    tina.page.click("text=Go to the case")
    expect(tina.page.locator("a.frame")).to_have_count(6)


def test_all_good_goes_on_to_the_case_by_itself(tina: Person) -> None:
    tina.goto("/cases/new")
    fill(tina)
    tina.drop([("a.png", field(1))])
    tina.page.click("button[type=submit]")

    expect(tina.page.locator("a.frame")).to_have_count(1)


def test_a_refused_field_keeps_the_chosen_files(tina: Person, case: Case) -> None:
    tina.goto("/cases/new")
    fill(tina, case.accession_number)
    tina.drop([("a.png", field(1))])
    tina.page.click("button[type=submit]")
    expect(tina.page.locator(".field .error")).to_contain_text("There is a case H-1001 already")
    expect(tina.page.locator("#id_accession_number")).to_be_focused()

    tina.page.fill("#id_accession_number", "26-2")
    tina.page.click("button[type=submit]")
    expect(tina.page.locator("a.frame")).to_have_count(1)


def test_two_hundred_files_at_once(tina: Person, case: Case) -> None:
    tina.goto(f"/cases/{case.pk}")
    tina.drop([(f"{number:03}.png", field(number % 3)) for number in range(200)])

    expect(tina.page.locator(".uploadsum span")).to_have_text(
        "3 of 200 files uploaded, 197 refused", timeout=120_000
    )
    expect(tina.page.locator("a.frame")).to_have_count(3)


def test_images_added_to_a_case_appear_without_a_reload(tina: Person, case: Case) -> None:
    tina.goto(f"/cases/{case.pk}")
    expect(tina.page.locator("#stage .word")).to_contain_text("No images yet")
    tina.page.evaluate("window.sameDocument = true")
    tina.drop([("a.png", field(1)), ("b.png", field(2))])

    expect(tina.page.locator("a.frame")).to_have_count(2)
    expect(tina.page.locator("#panel .figure")).to_contain_text("Waiting")
    expect(tina.page.locator("#live")).to_contain_text("0 of 2 analysed")
    expect(tina.page.locator("#add-images")).to_be_hidden()
    assert tina.page.evaluate("window.sameDocument")


def test_a_chosen_folder_is_read_to_its_depth(tina: Person, case: Case, tmp_path: Path) -> None:
    (tmp_path / "slide" / "deeper").mkdir(parents=True)
    (tmp_path / "slide" / "a.png").write_bytes(field(1))
    (tmp_path / "slide" / "deeper" / "b.png").write_bytes(field(2))
    (tmp_path / "slide" / ".DS_Store").write_bytes(b"litter")
    tina.goto(f"/cases/{case.pk}")
    tina.page.set_input_files("input.folder", tmp_path / "slide")

    expect(tina.page.locator("a.frame")).to_have_count(2)
    assert sorted(SmearImage.objects.values_list("original_name", flat=True)) == ["a.png", "b.png"]


def test_an_interrupted_upload_can_be_tried_again(tina: Person, case: Case) -> None:
    tina.goto(f"/cases/{case.pk}")
    tina.page.route("**/images", lambda route: route.abort())
    tina.drop([("a.png", field(1))])
    expect(line(tina, "a.png")).to_contain_text("can't be reached")

    tina.page.unroute("**/images")
    tina.page.get_by_role("button", name="Try again: a.png").click()
    expect(tina.page.locator("a.frame")).to_have_count(1)


def end_sessions(route: Route) -> None:
    """The session ends while a request is on its way."""
    Session.objects.all().delete()
    route.continue_()


def test_an_ended_session_loses_no_file(tina: Person, cast: Any, case: Case) -> None:
    """It ends while files are on their way: the page stays, though it polls, and all go on after one button."""
    page = tina.page
    tina.goto(f"/cases/{case.pk}")
    tina.drop([("a.png", field(1))])
    expect(page.locator("a.frame")).to_have_count(1)
    page.evaluate("window.sameDocument = true")
    page.route("**/images", end_sessions)
    tina.drop([(f"{seed}.png", field(seed)) for seed in range(2, 7)])
    expect(page.get_by_role("alert").filter(has_text="Your session has ended")).to_be_visible()
    expect(page.locator(".uploadsum span")).to_have_text("1 of 6 files uploaded, 5 not sent yet")
    assert tina.polls(2500) >= 1  # and none of them leaves the page
    assert page.evaluate("window.sameDocument")
    sent = [url for url in tina.asked if url.endswith("/images")]
    assert len(sent) <= 3  # the first one, and the two that were on their way when the session ended

    page.unroute("**/images")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert").filter(has_text="Your session has ended")).to_be_visible()
    with page.expect_popup() as other:
        page.get_by_role("link", name="Log in again in a new tab").click()
    other.value.fill("#id_username", "tina")
    other.value.fill("#id_password", PASSWORD)
    other.value.get_by_role("button", name="Log in", exact=True).click()
    expect(other.value.get_by_role("heading", name="Worklist")).to_be_visible()
    other.value.close()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".uploadsum span")).to_have_text("6 of 6 files uploaded")
    expect(page.locator("a.frame")).to_have_count(6)
    expect(page.get_by_role("alert").filter(has_text="Your session has ended")).to_have_count(0)
    assert page.evaluate("window.sameDocument")


def test_a_screen_that_locks_during_an_upload_loses_no_file(tina: Person, case: Case) -> None:
    page = tina.page
    tina.goto(f"/cases/{case.pk}")
    fall_asleep()
    tina.drop([(f"{seed}.png", field(seed)) for seed in range(1, 4)])
    cover = page.get_by_role("dialog", name="The screen is locked")
    expect(page.locator(".uploadsum span")).to_have_text("0 of 3 files uploaded, 3 not sent yet")
    cover.get_by_label("Password").fill(PASSWORD)
    cover.get_by_role("button", name="Unlock").click()
    expect(page.locator("a.frame")).to_have_count(3)


def test_a_case_opened_after_the_session_ended_keeps_its_fields_and_files(
    tina: Person, cast: Any, live_server: Any
) -> None:
    page = tina.page
    tina.goto("/cases/new")
    fill(tina)
    tina.drop([("a.png", field(1))])
    Session.objects.all().delete()
    page.click("button[type=submit]")
    expect(page.get_by_role("alert").filter(has_text="Your session has ended")).to_be_visible()

    log_in(page.context, cast.technician, live_server.url)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("a.frame")).to_have_count(1)
    assert Case.objects.get().accession_number == "26-1"


def test_a_case_that_waits_to_be_opened_is_covered_when_the_idle_time_is_over_and_not_forgotten(
    tina: Person, cast: Any, live_server: Any
) -> None:
    """The page then finds by itself, a second time, that the session has ended, and nobody may be in front of it."""
    Laboratory.objects.update(idle_minutes=1)
    page = tina.page
    page.clock.install()
    tina.goto("/cases/new")
    fill(tina)
    tina.drop([("a.png", field(1))])
    Session.objects.all().delete()
    page.click("button[type=submit]")
    expect(page.get_by_role("alert").filter(has_text="Your session has ended")).to_be_visible()
    page.clock.fast_forward(62_000)
    cover = page.get_by_role("dialog", name="The screen is locked")
    told = cover.get_by_role("alert")
    expect(told).to_have_text(
        "Your session has ended: log in again in a new tab, then go on here. Nothing is lost."
    )
    expect(cover.locator("input")).to_have_count(0)
    expect(cover.get_by_role("link")).to_have_attribute("target", "_blank")
    go_on = cover.get_by_role("button", name="Go on")

    log_in(page.context, cast.hematologist, live_server.url)
    go_on.click()
    expect(told).to_contain_text("Another account is logged in now")
    log_in(page.context, cast.technician, live_server.url)
    go_on.click()
    expect(cover).to_have_count(0)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("a.frame")).to_have_count(1)
    assert Case.objects.get().accession_number == "26-1"


@pytest.mark.parametrize("has_code", [False, True])
def test_who_has_no_password_is_told_how_a_locked_page_goes_on(
    sit_down: Callable[..., Person], cast: Any, live_server: Any, has_code: bool
) -> None:
    cast.technician.set_unusable_password()
    cast.technician.save()
    if has_code:
        totp.TOTP.activate(cast.technician, totp.generate_totp_secret())
    tina = sit_down(cast.technician)
    page = tina.page
    tina.goto("/cases/new")
    tina.drop([("a.png", field(1))])
    fall_asleep()
    page.evaluate("document.dispatchEvent(new CustomEvent('leukoscope:locked'))")
    cover = page.get_by_role("dialog", name="The screen is locked")
    cover.get_by_label("Password").fill("none at all")
    cover.get_by_role("button", name="Unlock").click()
    told = cover.get_by_role("alert")
    sentence = "A password does not unlock this account: log in again in a new tab, then go on here."
    expect(told).to_contain_text(sentence)
    cover.get_by_role("button", name="Go on").click()
    expect(told).to_contain_text(sentence)

    log_in(page.context, cast.technician, live_server.url)
    cover.get_by_role("button", name="Go on").click()
    expect(cover).to_have_count(0)
    expect(line(tina, "a.png")).to_be_visible()


def test_a_file_that_is_too_large_is_not_sent(tina: Person, case: Case) -> None:
    tina.goto(f"/cases/{case.pk}")
    tina.page.evaluate("document.querySelector('form[data-upload]').dataset.maxBytes = '1000'")
    tina.drop([("large.png", field(1))])

    expect(line(tina, "large.png")).to_contain_text("more than the 100 MB allowed")
    assert not [url for url in tina.asked if url.endswith("/images")]


def test_a_drawn_sample_is_one_click(tina: Person, case: Case) -> None:
    tina.goto(f"/cases/{case.pk}")
    tina.page.click("text=Try a drawn sample")

    expect(tina.page.locator(".drawn")).to_have_text("drawn")
    expect(tina.page.locator("#panel")).to_contain_text("drawn")


def expect_own_field(person: Person) -> None:
    """The browser's own field and its label are there to be seen and clicked."""
    files = person.page.locator("#files")
    expect(files).to_have_css("position", "static")
    expect(files).to_have_css("visibility", "visible")
    assert files.evaluate("(one) => one.offsetWidth > 100 && getComputedStyle(one).opacity === '1'")
    expect(person.page.locator(".nojs-only:visible")).to_have_count(1)


def test_with_a_script_the_browsers_own_field_stands_aside(
    sit_down: Callable[..., Person], cast: Any
) -> None:
    tina = sit_down(cast.technician)
    tina.goto("/cases/new")
    tina.page.locator("form[data-upload][data-ready]").wait_for(state="attached")
    assert tina.page.locator("#files").evaluate("(one) => one.offsetWidth === 1")
    expect(tina.page.locator(".nojs-only:visible")).to_have_count(0)
    expect(tina.page.locator(".drop .pick")).to_be_visible()
    expect(tina.page.locator(".drop .pick-folder")).to_be_visible()


def test_on_a_case_its_buttons_are_as_wide_as_their_words(
    sit_down: Callable[..., Person], cast: Any, case: Case
) -> None:
    tina = sit_down(cast.technician)
    tina.goto(f"/cases/{case.pk}")
    tina.page.locator("form[data-upload][data-ready]").wait_for(state="attached")
    for button in tina.page.locator(".drop button:visible").all():
        assert button.evaluate("(one) => one.scrollWidth <= one.clientWidth"), button.inner_text()
    expect(tina.page.locator(".drop .pick")).to_be_visible()


def test_where_the_script_does_not_come_the_field_comes_back(
    sit_down: Callable[..., Person], cast: Any
) -> None:
    tina = sit_down(cast.technician)
    tina.page.route("**/upload*.js", lambda route: route.abort())
    tina.goto("/cases/new")
    expect(tina.page.locator(".nojs-only:visible")).to_have_count(0)
    expect_own_field(tina)
    tina.said.clear()  # the browser complains of the script that was kept from it


def test_uploading_works_without_a_script(sit_down: Callable[..., Person], cast: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(field(1))
    (tmp_path / "notes.jpg").write_bytes(b"just text")
    plain = sit_down(cast.technician, java_script_enabled=False)
    plain.goto("/cases/new")
    expect_own_field(plain)
    expect(plain.page.locator(".drop .js-only:visible")).to_have_count(0)
    fill(plain)
    plain.page.set_input_files("#files", [tmp_path / "a.png", tmp_path / "notes.jpg"])
    plain.page.click("button[type=submit]")

    expect(plain.page.locator("a.frame")).to_have_count(1)
    expect(plain.page.locator(".messages")).to_contain_text("Taken in: a.png.")
    expect(plain.page.locator(".messages")).to_contain_text("notes.jpg: ")
