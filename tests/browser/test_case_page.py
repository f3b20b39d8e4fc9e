"""The case page in a browser: selecting, keys, the overlay, reading, and nothing lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from diagnosis.models import Analysis, Case, Review, SmearImage
from tests.browser.conftest import Person, log_in
from tests.diagnosis.conftest import PASSWORD

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]


@pytest.fixture
def images(
    hedy: Person, case: Case, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]
) -> list[SmearImage]:
    """Three analysed images, and the case page open at the first."""
    made = []
    for label in ("early", "benign", "pro"):
        image = add_image()
        judge(image, label)
        made.append(image)
    hedy.goto(f"/cases/{case.pk}?image={made[0].pk}")
    expect(hedy.page.locator("[data-tool=overlay]")).to_be_enabled()
    return made


def figure(person: Person) -> Any:
    return person.page.locator("#panel .figure")


def pressed(person: Person, selector: str) -> str | None:
    return person.page.locator(selector).get_attribute("aria-pressed")


def test_keys_go_from_image_to_image(hedy: Person, images: list[SmearImage]) -> None:
    steps = [("j", "Benign", 1), ("ArrowRight", "Pro-B", 2), ("k", "Benign", 1), ("ArrowLeft", "Early", 0)]
    for key, word, number in steps:
        hedy.page.keyboard.press(key)
        expect(figure(hedy)).to_contain_text(word)
        assert hedy.page.url.endswith(f"?image={images[number].pk}")
        expect(hedy.page.locator("a.frame[aria-current]")).to_have_attribute(
            "data-image", str(images[number].pk)
        )
    hedy.page.keyboard.press("k")
    expect(hedy.page.locator("#announce")).to_have_text("This is the first image.")


def test_the_back_button_goes_back(hedy: Person, images: list[SmearImage]) -> None:
    hedy.page.locator("a.frame").nth(2).click()
    expect(figure(hedy)).to_contain_text("Pro-B")
    hedy.page.go_back()

    expect(figure(hedy)).to_contain_text("Early pre-B")


def test_keys_are_silent_while_somebody_types(hedy: Person, images: list[SmearImage]) -> None:
    comment = hedy.page.locator("#comment")
    comment.click()
    hedy.page.keyboard.type("ajoha?")

    expect(comment).to_have_value("ajoha?")
    expect(figure(hedy)).to_contain_text("Early pre-B")
    assert pressed(hedy, "[data-tool=overlay]") == "true"
    assert not Review.objects.exists()


def test_the_overlay_is_switched_changed_and_moved(hedy: Person, images: list[SmearImage]) -> None:
    page = hedy.page
    page.keyboard.press("h")
    assert pressed(hedy, "[data-tool=overlay]") == "false"
    expect(page.locator(".phrase")).to_be_hidden()
    page.keyboard.press("h")
    assert pressed(hedy, "[data-tool=overlay]") == "true"
    assert pressed(hedy, "[data-method=gradcam]") == "true"
    expect(page.locator(".phrase")).to_have_text("Regions that influenced the score; not a lesion outline")

    with page.expect_response(lambda response: "/overlay/layercam.png" in response.url) as answer:
        page.click("[data-method=layercam]")
    assert answer.value.ok
    assert pressed(hedy, "[data-method=layercam]") == "true"
    page.locator("[data-tool=opacity]").fill("25")
    expect(page.locator("output")).to_have_text("25 %")

    page.reload()  # the reader's taste is kept
    expect(page.locator("[data-tool=overlay]")).to_be_enabled()
    expect(page.locator("output")).to_have_text("25 %")
    assert pressed(hedy, "[data-method=layercam]") == "true"


def test_the_overlay_changes_what_is_seen(hedy: Person, images: list[SmearImage]) -> None:
    page, canvas = hedy.page, hedy.page.locator(".canvas")
    page.locator("[data-tool=opacity]").fill("100")
    page.wait_for_timeout(700)
    with_overlay = canvas.screenshot()
    page.keyboard.press("h")
    page.wait_for_timeout(700)

    assert canvas.screenshot() != with_overlay


def test_the_page_shows_the_picture_until_the_viewer_does(hedy: Person, images: list[SmearImage]) -> None:
    page = hedy.page
    expect(page.locator(".openseadragon-canvas canvas").first).to_be_visible()
    expect(page.locator(".view .plain")).to_have_count(0)  # or it would lie behind what is zoomed
    page.route("**/viewer*.js", lambda route: route.abort())
    page.goto(page.url)
    expect(page.locator(".view .plain")).to_be_visible()
    page.wait_for_function("document.querySelector('.view .plain').naturalWidth > 0")
    hedy.said.clear()  # the browser complains of the script that was kept from it


def test_the_image_as_the_network_saw_it(hedy: Person, images: list[SmearImage]) -> None:
    with hedy.page.expect_response(lambda response: "/processed.png" in response.url) as answer:
        hedy.page.keyboard.press("p")
    assert answer.value.ok
    assert pressed(hedy, "[data-tool=processed]") == "true"

    hedy.page.keyboard.press("j")
    expect(figure(hedy)).to_contain_text("Benign")
    assert pressed(hedy, "[data-tool=processed]") == "false"


def test_zooming_and_fitting(hedy: Person, images: list[SmearImage]) -> None:
    zoom = hedy.page.locator(".zoom")
    expect(zoom).not_to_be_empty()
    hedy.page.wait_for_timeout(600)
    fitted = zoom.inner_text()
    hedy.page.keyboard.press("+")
    hedy.page.wait_for_timeout(600)
    assert zoom.inner_text() != fitted
    hedy.page.keyboard.press("z")
    expect(zoom).to_have_text(fitted)
    hedy.page.click("[data-tool=actual]")
    expect(zoom).to_have_text("100 %")


def test_agreeing_with_one_key(hedy: Person, images: list[SmearImage]) -> None:
    hedy.page.fill("#comment", "Typical.")
    hedy.page.locator("#panel").focus()
    hedy.page.keyboard.press("a")

    expect(hedy.page.locator(".reading.counts")).to_contain_text("Agrees: early pre-B")
    expect(hedy.page.locator("#comment")).to_have_value("")
    expect(hedy.page.locator("a.frame[aria-current] .isread")).to_have_text("read: agrees")
    expect(hedy.page.locator("#live")).to_contain_text("1 of 3 images read")
    hedy.page.keyboard.press("a")  # agreed already
    hedy.page.wait_for_timeout(300)
    assert Review.objects.get().comment == "Typical."


def test_overruling_with_keys_alone(hedy: Person, images: list[SmearImage]) -> None:
    page = hedy.page
    page.keyboard.press("o")
    expect(page.locator("#overrule input[name=label]").first).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")  # the browser's own Enter would press the first button of the form: Agree

    expect(page.locator(".reading.counts")).to_contain_text("Overruled: benign (hematogones)")
    review = Review.objects.get()
    assert (review.verdict, review.label) == ("overrule", "benign")


def test_overruling_without_a_class_keeps_the_comment(hedy: Person, images: list[SmearImage]) -> None:
    hedy.page.fill("#comment", "Not what it says.")
    hedy.page.click("#overrule summary")
    hedy.page.click("#overrule button")

    expect(hedy.page.locator(".formerror:visible")).to_have_text("Choose the class that you read instead.")
    expect(hedy.page.locator("#comment")).to_have_value("Not what it says.")


def test_a_draft_waits_while_another_image_is_read(hedy: Person, images: list[SmearImage]) -> None:
    hedy.page.fill("#comment", "Half a thought")
    hedy.page.locator("#panel").focus()
    hedy.page.keyboard.press("j")
    expect(figure(hedy)).to_contain_text("Benign")
    expect(hedy.page.locator("#comment")).to_have_value("")
    hedy.page.keyboard.press("k")

    expect(figure(hedy)).to_contain_text("Early")
    expect(hedy.page.locator("#comment")).to_have_value("Half a thought")


def test_an_ended_session_loses_no_comment(hedy: Person, images: list[SmearImage]) -> None:
    page = hedy.page
    page.fill("#comment", "Took me ten minutes.")
    Session.objects.all().delete()
    page.click("button[value=agree]")
    page.wait_for_url("**/accounts/login?next=*")
    assert not Review.objects.exists()

    page.fill("#id_username", "hedy")
    page.fill("#id_password", PASSWORD)
    page.click("button")
    page.wait_for_url(f"**/cases/*?image={images[0].pk}")
    expect(page.locator("#comment")).to_have_value("Took me ten minutes.")
    page.click("button[value=agree]")
    expect(page.locator(".reading.counts")).to_contain_text("Took me ten minutes.")


def test_an_ended_session_loses_no_question_to_a_colleague(
    hedy: Person, images: list[SmearImage], cast: Any
) -> None:
    page = hedy.page
    page.locator(".consultation summary").click()
    page.get_by_label("Question").fill("Are these promyelocytes?")
    Session.objects.all().delete()
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_url("**/accounts/login?next=*")

    log_in(page.context, cast.hematologist, hedy.address)
    hedy.goto(f"/cases/{images[0].case_id}?image={images[1].pk}")
    expect(page.locator("#ask-question")).to_have_value("")  # it was asked about another image
    hedy.goto(f"/cases/{images[0].case_id}?image={images[0].pk}")
    expect(page.get_by_label("Question")).to_be_visible()
    expect(page.get_by_label("Question")).to_have_value("Are these promyelocytes?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".opinions")).to_contain_text("Are these promyelocytes?")
    page.reload()
    expect(page.locator("#ask-question")).to_have_value("")


def test_a_broken_connection_loses_no_comment(hedy: Person, images: list[SmearImage]) -> None:
    page = hedy.page
    page.route("**/review", lambda route: route.abort())
    page.fill("#comment", "Kept.")
    page.click("button[value=agree]")
    expect(page.locator(".formerror:visible")).to_contain_text("can't be reached")
    expect(page.locator("#comment")).to_have_value("Kept.")

    page.unroute("**/review")
    page.click("button[value=agree]")
    expect(page.locator(".reading.counts")).to_contain_text("Kept.")


def test_single_keys_can_be_switched_off(hedy: Person, images: list[SmearImage]) -> None:
    page = hedy.page
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("j")  # not while the list is open
    page.locator("#shortcuts-switch").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.keyboard.press("j")
    page.wait_for_timeout(300)

    expect(figure(hedy)).to_contain_text("Early pre-B")
    assert not Review.objects.exists()
    page.keyboard.press("?")  # the way back is never switched off
    expect(page.locator("#keys")).to_be_visible()


def test_an_indeterminate_image_shows_no_overlay_unasked(hedy: Person, images: list[SmearImage]) -> None:
    Analysis.objects.filter(image=images[1]).update(
        outcome="indeterminate", label="", confidence=None, suspected=False, reasons=["out of focus"]
    )
    page = hedy.page
    page.keyboard.press("j")
    expect(figure(hedy)).to_contain_text("Indeterminate")
    assert pressed(hedy, "[data-tool=overlay]") == "false"
    page.keyboard.press("h")
    expect(page.locator(".phrase")).to_have_text("Regions that influenced a score that is not a result")

    page.keyboard.press("k")  # elsewhere the overlay is as it was liked
    expect(figure(hedy)).to_contain_text("Early")
    assert pressed(hedy, "[data-tool=overlay]") == "true"


def test_trying_again_from_the_page(hedy: Person, images: list[SmearImage]) -> None:
    Analysis.objects.filter(image=images[0]).update(state="failed", failure="It broke.")
    hedy.page.reload()
    hedy.page.click("text=Try again")

    expect(figure(hedy)).to_contain_text("Waiting")
    expect(hedy.page.locator("#live")).to_contain_text("2 of 3 analysed")


def test_a_finished_case_asks_nothing(hedy: Person, images: list[SmearImage]) -> None:
    assert hedy.polls(2000) == 0


def test_targets_are_large_enough_and_named(hedy: Person, images: list[SmearImage]) -> None:
    problems = hedy.page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, textarea, summary")]
          .filter((e) => e.checkVisibility() && e.type !== "hidden" && !e.matches(".skip, input[type=file]"))
          .flatMap((e) => {
            const box = (e.matches("input[type=radio], input[type=checkbox]") ? e.closest("label") : e)
              .getBoundingClientRect();
            const name = e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent || e.title
              || e.querySelector("img")?.alt;
            const inText = e.matches("p a, .casenote a, dd a");
            return (!inText && (box.width < 24 || box.height < 24)) || !name
              ? [`${e.outerHTML.slice(0, 80)} ${box.width}x${box.height} ${name}`] : [];
          })"""
    )

    assert problems == []


@pytest.mark.parametrize("path", ["/", "/?show=all", "/cases/new", "/history", "/models", "case", "/nowhere"])
def test_no_page_scrolls_sideways_on_a_phone(
    sit_down: Callable[..., Person],
    cast: Any,
    images: list[SmearImage],
    path: str,
) -> None:
    phone = sit_down(cast.administrator, viewport={"width": 390, "height": 844})
    phone.goto(f"/cases/{images[0].case_id}" if path == "case" else path)
    phone.page.wait_for_timeout(300)

    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_reading_works_without_a_script(
    sit_down: Callable[..., Person], cast: Any, images: list[SmearImage]
) -> None:
    plain = sit_down(cast.hematologist, java_script_enabled=False)
    plain.goto(f"/cases/{images[0].case_id}?image={images[0].pk}")
    plain.page.locator("a.frame").nth(2).click()
    expect(figure(plain)).to_contain_text("Pro-B")
    expect(plain.page.locator(".js-only:visible")).to_have_count(0)
    whole = plain.page.get_by_role("link", name="The image at full size")
    expect(whole).to_have_attribute("href", f"/images/{images[2].pk}/file")
    plain.page.fill("#comment", "By hand.")
    plain.page.click("button[value=agree]")

    expect(plain.page.locator(".messages")).to_contain_text("Recorded, agrees: pro-B.")
    expect(plain.page.locator(".reading.counts")).to_contain_text("By hand.")


def test_a_stranger_comes_back_to_where_she_wanted_to_go(
    sit_down: Callable[..., Person], cast: Any, images: list[SmearImage], live_server: Any
) -> None:
    stranger = sit_down()
    stranger.goto(f"/cases/{images[0].case_id}?image={images[2].pk}")
    stranger.page.wait_for_url("**/accounts/login?next=**")
    log_in(stranger.page.context, cast.outsider, live_server.url)
    stranger.goto(f"/cases/{images[0].case_id}")

    expect(stranger.page.locator("h1")).to_have_text("There is nothing here")
