"""A real Chromium on a live server, as one person; every test ends with a look at the browser's console."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from diagnosis.middleware_access import ACTIVE_AT
from diagnosis.models import User
from tests.diagnosis.conftest import (  # noqa: F401 - fixtures
    add_image,
    bundles,
    case,
    cast,
    field_pixels,
    field_png,
    image,
    judge,
    laboratory,
    media,
    predictors,
    sealed_bundle,
    version,
)
from tests.faults.conftest import workers  # noqa: F401 - fixture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# What Chromium itself says of an answer that a test asks for on purpose (a refused file, an ended session).
EXPECTED = ("the server responded with a status of 4", "net::ERR_FAILED", "net::ERR_ABORTED")

# A machine that trains beside its tests is slow, and waiting costs a passing test nothing.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)

DROP = """
([files, target]) => {
  const transfer = new DataTransfer();
  for (const [name, data] of files) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name));
  }
  for (const type of ["dragenter", "dragover", "drop"]) {
    document.querySelector(target).dispatchEvent(
      new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  }
}
"""


@dataclass
class Person:
    """Somebody at a browser: a page, and what the browser complained of or asked the server."""

    page: Page
    address: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def goto(self, path: str) -> None:
        self.page.goto(self.address + path)

    def drop(self, files: list[tuple[str, bytes]], target: str = "body") -> None:
        """Drop files from outside the browser on an element."""
        self.page.locator("form[data-upload][data-ready]").wait_for(state="attached")
        encoded = [(name, base64.b64encode(data).decode()) for name, data in files]
        self.page.evaluate(DROP, [encoded, target])

    def polls(self, milliseconds: int) -> int:
        """How many live fragments the page asks for in this time."""
        before = len([url for url in self.asked if "/live" in url])
        self.page.wait_for_timeout(milliseconds)
        return len([url for url in self.asked if "/live" in url]) - before


def session_cookie(user: User) -> str:
    """A session of `user`, as logging in would make it."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = django_settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def log_in(context: BrowserContext, user: User, address: str) -> None:
    """Give a browser a session without the form."""
    context.add_cookies(
        [{"name": django_settings.SESSION_COOKIE_NAME, "value": session_cookie(user), "url": address}]
    )


def fall_asleep() -> None:
    """Let every session's last work lie an hour ago."""
    for held in Session.objects.all():
        store = held.get_session_store_class()(held.session_key)
        store[ACTIVE_AT] = time.time() - 3600
        for record in store.get("account_authentication_methods", []):
            record["at"] -= 3600
        store.save()


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests without a worker: nothing waits for a broker that is not there."""
    monkeypatch.setattr("diagnosis.services.queue.send_analysis", lambda key: False)


@pytest.fixture
def sit_down(chromium: Browser, live_server: Any) -> Iterator[Callable[..., Person]]:
    """Puts a person before a browser; options are those of Playwright's `new_context`."""
    opened: list[tuple[BrowserContext, Person]] = []

    def sit(user: User | None = None, **options: Any) -> Person:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        options.setdefault("reduced_motion", "reduce")
        context = chromium.new_context(**options)
        context.set_default_timeout(30_000)
        if user is not None:
            log_in(context, user, live_server.url)
        page = context.new_page()
        person = listen_to(Person(page, live_server.url))
        opened.append((context, person))
        return person

    yield sit
    complaints = [text for _, person in opened for text in person.said]
    for context, _ in opened:
        context.close()
    assert not complaints, complaints


def listen_to(person: Person) -> Person:
    """Write down from now on what the browser complains of and what it asks for."""
    person.page.on("console", lambda message: _hear(person, message.type, message.text))
    person.page.on("pageerror", lambda error: person.said.append(str(error)))
    person.page.on("request", lambda request: person.asked.append(request.url))
    return person


def _hear(person: Person, kind: str, text: str) -> None:
    if kind in ("error", "warning") and not any(expected in text for expected in EXPECTED):
        person.said.append(text)


@pytest.fixture
def hedy(sit_down: Callable[..., Person], cast: Any) -> Person:  # noqa: F811
    """The hematologist, logged in."""
    return sit_down(cast.hematologist)
