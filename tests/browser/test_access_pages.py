"""Second factors, passkeys and the locked screen in a real Chromium, under the strict policy."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from playwright.sync_api import expect

from diagnosis.models import AuditEvent, Laboratory, User
from tests.browser.conftest import Person, fall_asleep
from tests.diagnosis.conftest import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def code_of(secret: str, ahead: int = 0) -> str:
    return totp.format_hotp_value(totp.hotp_value(secret, int(time.time()) // 30 + ahead))


def type_login(person: Person, name: str = "hedy") -> None:
    person.goto("/accounts/login?next=/history")
    person.page.get_by_label("Username").fill(name)
    person.page.get_by_label("Password").fill(PASSWORD)
    person.page.get_by_role("button", name="Log in", exact=True).click()


@pytest.fixture
def somebody(sit_down: Callable[..., Person], cast: Any) -> Person:
    return sit_down()


@pytest.fixture
def at_localhost(somebody: Person) -> Person:
    """At a name where browsers have passkeys, with a key that always says yes."""
    somebody.address = re.sub(r"//[^:]+", "//localhost", somebody.address)
    devtools = somebody.page.context.new_cdp_session(somebody.page)
    devtools.send("WebAuthn.enable")
    devtools.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    return somebody


def test_a_compulsory_second_factor_is_set_up_and_asked_for(somebody: Person, cast: Any) -> None:
    Laboratory.objects.update(needs_second_factor=True)
    page = somebody.page
    type_login(somebody)
    expect(page.get_by_role("heading", name="Your laboratory asks for a second factor")).to_be_visible()
    page.get_by_role("link", name="Authenticator app").click()
    expect(page.get_by_alt_text("QR code with the key below")).to_be_visible()
    assert page.get_by_alt_text("QR code").evaluate("image => image.naturalWidth") > 0
    secret = page.locator("code").inner_text()
    page.get_by_label("Code").fill(code_of(secret))
    page.get_by_role("button", name="Set up").click()
    expect(page.locator(".codes li")).to_have_count(10)
    page.get_by_role("button", name="Log out").click()

    type_login(somebody)
    expect(page.get_by_role("heading", name="Your second factor")).to_be_visible()
    page.get_by_label("Code").fill(code_of(secret, 1))
    page.get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url(re.compile(r"//[^/]+/history$"))


def test_a_passkey_is_added_and_lets_in_alone(at_localhost: Person, cast: Any) -> None:
    page = at_localhost.page
    type_login(at_localhost)
    page.wait_for_url(re.compile(r"//[^/]+/history$"))
    at_localhost.goto("/account")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("Name", exact=True).fill("Ward laptop")
    page.get_by_label("Let me log in with it alone").check()
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".codes li")).to_have_count(10)
    at_localhost.goto("/account")
    expect(page.locator(".holdings b", has_text="Ward laptop")).to_be_visible()
    page.get_by_role("button", name="Log out", exact=True).click()

    at_localhost.goto("/accounts/login?next=/history")
    page.get_by_role("button", name="Log in with a passkey").click()
    page.wait_for_url(re.compile(r"//[^/]+/history$"))
    newest = AuditEvent.objects.filter(action="login").order_by("-pk").first()
    assert newest is not None
    assert newest.detail == {"with": ["webauthn"]}

    page.get_by_role("button", name="Log out", exact=True).click()
    type_login(at_localhost)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(re.compile(r"//[^/]+/history$"))

    at_localhost.goto("/account")
    page.get_by_role("link", name="Remove Ward laptop").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Your passkey is removed.")).to_be_visible()
    assert not Authenticator.objects.exists()


def test_a_screen_that_locks_keeps_what_was_typed(sit_down: Callable[..., Person], cast: Any) -> None:
    hedy = sit_down(cast.hematologist)
    page = hedy.page
    hedy.goto("/account")
    page.get_by_label("Title").fill("Prof. Dr.")
    fall_asleep()
    page.evaluate("document.dispatchEvent(new CustomEvent('leukoscope:locked'))")
    cover = page.get_by_role("dialog", name="The screen is locked")
    expect(cover).to_be_visible()
    expect(cover.get_by_label("Password of Hedy Hematologist")).to_be_focused()
    page.keyboard.press("Escape")
    expect(cover).to_be_visible()
    cover.get_by_label("Password").fill("a wrong guess")
    cover.get_by_role("button", name="Unlock").click()
    expect(cover.get_by_role("alert")).to_contain_text("Incorrect password.")
    cover.get_by_label("Password").fill(PASSWORD)
    cover.get_by_role("button", name="Unlock").click()
    expect(cover).to_be_hidden()
    expect(page.get_by_label("Title")).to_have_value("Prof. Dr.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Your name is changed.")).to_be_visible()
    assert User.objects.get(pk=cast.hematologist.pk).title == "Prof. Dr."


def test_the_page_locks_by_itself_when_the_time_is_over(sit_down: Callable[..., Person], cast: Any) -> None:
    Laboratory.objects.update(idle_minutes=1)
    hedy = sit_down(cast.hematologist)
    hedy.page.clock.install()
    hedy.goto("/history")
    fall_asleep()
    hedy.page.clock.fast_forward(62_000)

    expect(hedy.page.get_by_role("dialog", name="The screen is locked")).to_be_visible()


@pytest.fixture
def narrow(sit_down: Callable[..., Person], cast: Any) -> Person:
    return sit_down(cast.administrator, viewport={"width": 390, "height": 844})


@pytest.mark.parametrize("path", ["/account", "/laboratory"])
def test_the_pages_fit_a_telephone(narrow: Person, path: str) -> None:
    narrow.goto(path)

    assert narrow.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_head_changes_the_settings(sit_down: Callable[..., Person], cast: Any) -> None:
    lena = sit_down(cast.laboratory_head)
    lena.goto("/")
    lena.page.get_by_role("link", name="Laboratory", exact=True).click()
    lena.page.get_by_label("Idle minutes").fill("soon")
    lena.page.get_by_label("Address").fill("12 Blood Lane")
    lena.page.get_by_role("button", name="Save").click()
    expect(lena.page.get_by_text("Give a whole number from 1 to 720.")).to_be_visible()
    expect(lena.page.get_by_label("Address")).to_have_value("12 Blood Lane")
    lena.page.get_by_label("Idle minutes").fill("20")
    lena.page.get_by_role("button", name="Save").click()
    expect(lena.page.get_by_text("The settings are changed.")).to_be_visible()
