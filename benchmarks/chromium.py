"""A headless Chromium that measures what a user waits for, each time with an empty cache."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
VIEW = {"width": 1440, "height": 900}


class SignedIn:
    """A person who is signed in at an installation; every page of hers is opened with nothing in the cache."""

    def __init__(self, browser: Any, address: str, password: str) -> None:
        self._browser, self._address = browser, address.rstrip("/")
        context = browser.new_context(viewport=VIEW)
        page = context.new_page()
        page.goto(address)
        page.fill("[name=login], [name=username]", "admin")
        page.fill("[name=password]", password)
        page.press("[name=password]", "Enter")
        page.wait_for_url(f"{self._address}/")
        self._state = context.storage_state()
        context.close()

    @contextmanager
    def opening(self, path: str) -> Iterator[Any]:
        """A page that has just begun to come."""
        with self._browser.new_context(viewport=VIEW, storage_state=self._state) as context:
            page = context.new_page()
            page.goto(f"{self._address}{path}", wait_until="commit")
            yield page


@contextmanager
def signed_in(address: str, password: str) -> Iterator[SignedIn]:
    """The administrator of an installation in a Chromium; RuntimeError where there is none."""
    from playwright.sync_api import sync_playwright

    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError("Chromium is not installed: no page can be opened.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        try:
            yield SignedIn(browser, address, password)
        finally:
            browser.close()
