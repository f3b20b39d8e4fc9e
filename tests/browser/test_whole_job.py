"""A working day on a new installation: one command, a first account, a hematologist, a case read to its end.

Nothing is replaced: the supervisor with its broker, workers and web server, the shipped model, a real browser.
"""

from __future__ import annotations

import io
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from diagnosis.wording import CLASS_WORDS
from ml.drawing import draw_field
from tests.browser.conftest import PATIENCE as USUAL_PATIENCE
from tests.browser.conftest import Person, listen_to
from tests.webapp.test_serve import Instance, alive

pytestmark = [pytest.mark.browser, pytest.mark.broker, pytest.mark.slow]

PATIENCE = 120  # seconds; a busy machine may take its time over each step
NUMBER, PATIENT, NOTE = "26-11873", "P-4471", "4-year-old, pallor and petechiae for two weeks."
HEDY, PASSWORD, COMMENT = "hedy", "a long enough password", "Small blasts among the red cells."
Files = list[tuple[str, bytes]]


def drawn(seed: int) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(draw_field(np.random.default_rng(seed))).save(buffer, "PNG")
    return f"drawn {seed}.png", buffer.getvalue()


@pytest.fixture
def instance(short_tmp: Path) -> Iterator[Instance]:
    """Leukoscope as `make run` starts it, for the first time, in an empty folder."""
    started = Instance(short_tmp / "var")
    yield started
    if started.process.poll() is None:
        started.stop(signal.SIGTERM)


@pytest.fixture
def person(instance: Instance, chromium: Browser) -> Iterator[Person]:
    """Somebody at a browser who has read the address on the console."""
    address = instance.wait_for(r"Leukoscope is ready at (http://\S+)/\s", PATIENCE)[1]
    expect.set_options(timeout=PATIENCE * 1000)
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE * 1000)
    yield listen_to(Person(context.new_page(), address))
    context.close()
    expect.set_options(timeout=USUAL_PATIENCE)


# --- the steps ----------------------------------------------------------------------------------------------


def log_in(person: Person, username: str, password: str) -> None:
    person.goto("/")
    person.page.fill("#id_username", username)
    person.page.fill("#id_password", password)
    person.page.click("button:has-text('Log in')")
    expect(person.page.locator("h1")).to_have_text("Worklist")


def make_the_hematologist(person: Person) -> None:
    """The administrator makes an account on the admin site, and leaves."""
    page = person.page
    person.goto("/admin/diagnosis/user/add/")
    for field, value in {"username": HEDY, "password1": PASSWORD, "password2": PASSWORD}.items():
        page.fill(f"#id_{field}", value)
    page.select_option("#id_role", "hematologist")
    page.click("input[name=_save]")
    expect(page.locator(".messagelist .success")).to_contain_text(HEDY)
    person.goto("/")
    page.click("button:has-text('Log out')")
    page.wait_for_url("**/accounts/login**")


def open_case(person: Person, files: Files) -> None:
    """New case with all files in one drop; every one is good, so the case page comes by itself."""
    page = person.page
    page.locator("a:has-text('New case')").first.click()
    page.fill("#id_accession_number", NUMBER)
    page.fill("#id_patient_code", PATIENT)
    page.fill("#id_note", NOTE)
    person.drop(files)
    page.click("button:has-text('Open case')")
    expect(page.locator("a.frame")).to_have_count(len(files))
    expect(page.locator("h1")).to_have_text(NUMBER)
    expect(page.locator(".casenote").first).to_contain_text(NOTE)
    page.evaluate("window.sameDocument = true")


def all_analysed(person: Person, count: int, read: int = 0) -> None:
    """The page says so by itself, and then asks no more."""
    live = person.page.locator("#live:not([data-unfinished])")
    expect(live).to_contain_text(f"{read} of {count} images read")
    assert person.page.evaluate("window.sameDocument"), "the page was loaded anew"
    person.page.wait_for_timeout(500)
    assert person.polls(2000) == 0, "a finished case still asks"


def outcome(person: Person) -> str:
    """The class that the panel shows, or "indeterminate", which never comes without a reason."""
    page = person.page
    shown = page.locator("#panel .figure").inner_text().replace("\n", " ").split(":")[-1].strip(" ?").lower()
    if shown == "indeterminate":
        assert page.locator("#panel .uncertain li").all_inner_texts()
    else:
        expect(page.locator("#panel .sure")).to_contain_text("calibrated")
    return shown


def outcomes(person: Person, count: int) -> dict[str, str]:
    """What is shown of each file, image by image with one key."""
    page, found = person.page, {}
    page.locator("a.frame").first.click()
    for number in range(1, count + 1):
        expect(page.locator("#panel h2").first).to_contain_text(f"Image {number} of {count}")
        found[str(page.locator("#panel").get_attribute("data-name"))] = outcome(person)
        page.keyboard.press("j")
    return found


def picture(person: Person, wanted: Callable[[bytes], bool]) -> bytes:
    """What the viewer shows, once it is as wanted."""
    deadline = time.monotonic() + PATIENCE
    while not wanted(seen := person.page.locator(".canvas").screenshot()):
        assert time.monotonic() < deadline, "the viewer never came to show it"
        person.page.wait_for_timeout(200)
    return seen


def use_the_overlay(person: Person) -> None:
    """Hidden and shown, another opacity, another method; every step is seen in the picture."""
    page, button = person.page, person.page.locator("[data-tool=overlay]")
    page.locator("a.frame").first.click()
    expect(page.locator("#panel h2").first).to_contain_text("Image 1 of")
    expect(button).to_be_enabled()
    if button.get_attribute("aria-pressed") == "true":
        page.keyboard.press("h")
    expect(page.locator(".phrase")).to_be_hidden()
    page.wait_for_timeout(1000)
    bare = picture(person, lambda seen: True)
    page.keyboard.press("h")
    expect(page.locator(".phrase")).to_be_visible()
    laid = picture(person, lambda seen: seen != bare)
    page.locator("[data-tool=opacity]").fill("30")
    expect(page.locator("output")).to_have_text("30 %")
    faint = picture(person, lambda seen: seen not in (bare, laid))
    with page.expect_response(lambda response: "/overlay/layercam.png" in response.url) as answer:
        page.click("[data-method=layercam]")
    assert answer.value.ok
    picture(person, lambda seen: seen not in (bare, laid, faint))
    page.keyboard.press("h")
    expect(page.locator(".phrase")).to_be_hidden()
    picture(person, lambda seen: seen == bare)


def overrule_the_next(person: Person, count: int) -> None:
    page = person.page
    page.keyboard.press("j")
    expect(page.locator("#panel h2").first).to_contain_text("Image 2 of")
    page.fill("#comment", COMMENT)
    page.click("#overrule summary")
    page.check("#overrule input[value=other]")
    page.click("#overrule button")
    expect(page.locator(".reading.counts")).to_contain_text("Overruled: another finding")
    expect(page.locator(".reading.counts")).to_contain_text(COMMENT)
    expect(page.locator("#live")).to_contain_text(f"1 of {count} images read")


def find_it_again(person: Person) -> None:
    """By its number, and by its number among what readers overruled; a case that nobody has is not found."""
    page = person.page
    page.click("nav a:has-text('History')")
    for number, reading, found in ((NUMBER, "", 1), (NUMBER, "disagreement", 1), ("26-9", "disagreement", 0)):
        page.fill("#id_q", number)
        page.select_option("#id_reading", reading)
        with page.expect_navigation():
            page.click("button:has-text('Search')")
        expect(page.locator("tbody tr")).to_have_count(found)
    page.go_back()
    expect(page.locator("tbody tr")).to_contain_text("1 overruled")
    page.click(f"tbody a:has-text('{NUMBER}')")
    expect(page.locator("h1")).to_have_text(NUMBER)
    page.evaluate("window.sameDocument = true")


def drop_good_and_bad(person: Person, files: Files) -> None:
    """A text and a copy get a sentence each; the drawn field between them is taken, and never gets a class."""
    page, name = person.page, "one more.png"
    person.drop([("notes.jpg", b"just text"), (name, drawn(99)[1]), ("again.jpg", files[0][1])])
    expect(page.locator(".uploadsum span")).to_have_text("1 of 3 files uploaded, 2 refused")
    sentences = page.locator(".uploads li.refused .what").all_inner_texts()
    assert "image" in sentences[0], sentences
    assert re.fullmatch(r"This very image is in the case already, as image \d+ \(.+\)\.", sentences[1])
    assert all(re.fullmatch(r"[A-Z][^\n]{10,160}\.", sentence) for sentence in sentences), sentences
    all_analysed(person, len(files) + 1, read=1)
    page.click(f"a.frame[data-name='{name}']")
    expect(page.locator("#panel")).to_have_attribute("data-name", name)
    assert outcome(person) == "indeterminate"


def do_the_job(instance: Instance, person: Person, files: Files) -> dict[str, str]:
    """All of it, to the stop; returns what was shown of each file."""
    account, password = instance.wait_for(r"First account:\s+(\S+)\n\s*Password:\s+(\S{12,})").groups()
    log_in(person, account, password)
    make_the_hematologist(person)
    log_in(person, HEDY, PASSWORD)
    open_case(person, files)
    all_analysed(person, len(files))
    shown = outcomes(person, len(files))
    use_the_overlay(person)
    overrule_the_next(person, len(files))
    find_it_again(person)
    drop_good_and_bad(person, files)
    assert person.said == []
    family = instance.family()
    assert instance.stop(signal.SIGINT) == 0
    assert alive(family) == []
    return shown


@pytest.mark.data
def test_the_public_fields_get_their_class_or_a_reason(
    instance: Instance, person: Person, data_dir: Path
) -> None:
    paths = sorted((data_dir / "demo-fields").rglob("*.jpg"))
    assert len(paths) == 13

    shown = do_the_job(instance, person, [(path.name, path.read_bytes()) for path in paths])

    labels = {path.name: CLASS_WORDS[path.parent.name].lower() for path in paths}
    assert {name: word for name, word in shown.items() if word not in (labels[name], "indeterminate")} == {}
    assert sum(word != "indeterminate" for word in shown.values()) >= 7, shown


def test_drawn_fields_get_no_class(instance: Instance, person: Person) -> None:
    files = [drawn(seed) for seed in range(4)]

    shown = do_the_job(instance, person, files)

    assert shown == {name: "indeterminate" for name, _ in files}
