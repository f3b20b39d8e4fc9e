"""One field from the upload to its visible result, through everything a user has: web server, broker, worker.

The page's own steps are taken over HTTP: the file is sent as the drop zone sends it, then the page asks its
live fragment at once and again at the interval the fragment names, and when the result is there it fetches
the reading panel and the overlay. A browser adds its drawing, some tens of milliseconds.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import time
from time import perf_counter

from benchmarks.fields import as_jpeg, drawn_fields
from benchmarks.installation import PATIENCE, Browser, Installation
from benchmarks.measuring import Report, at_most

LEAST_UPLOADS = 20
WARM_UP = 6  # two for each of the workers a laptop runs, and some


def run(options: argparse.Namespace) -> Report:
    """The benchmark as the command line asks for it."""
    count = max(options.repeats, LEAST_UPLOADS)
    files = [as_jpeg(pixels) for pixels in drawn_fields(count + WARM_UP, seed=2)]
    with Installation(options.bundle) as place, place.serving() as (address, _):
        browser = Browser(address)
        browser.log_in("admin", place.password)
        case = open_case(browser)
        steps = [_upload_and_watch(browser, case, f"field-{n}.jpg", file) for n, file in enumerate(files)][
            WARM_UP:
        ]
    report = Report(f"Upload to visible result, 1024x768, warm worker ({options.bundle.name})")
    names = ("sent and taken in", "outcome in the film strip", "reading panel and overlay shown")
    for index, name in enumerate(names):
        values = [step[index] for step in steps]
        report.figures.append(at_most(name, values, "s", 1.0 if index == len(names) - 1 else None))
    report.notes.append(
        "Times are counted from the start of the upload; the page asks every 500 ms while it waits."
    )
    return report


def open_case(browser: Browser) -> str:
    """Open a case and return the path of its page."""
    browser.get("/cases/new")
    fields = {"accession_number": "BENCH-1", "patient_code": "BENCH", "specimen": "blood"}
    status, answer = browser.post("/cases/new", fields, script=True)
    if status != 201:
        raise RuntimeError(f"The case could not be opened: {status} {answer[:300]}")
    case = str(json.loads(answer)["case_url"])
    browser.get(case)
    return case


def _upload_and_watch(browser: Browser, case: str, name: str, content: bytes) -> tuple[float, float, float]:
    """Seconds from the start of the upload until each step was done."""
    _, page = browser.get(case)
    live = _Live(page)
    began = perf_counter()
    status, answer = browser.upload(f"{case}/images", name, content)
    if status != 201:
        raise RuntimeError(f"{name} was not taken in: {status} {answer[:300]}")
    taken = perf_counter() - began
    image = json.loads(answer)["image"]
    while True:
        status, fragment = browser.get(live.address, script=True)
        if status == 200:
            live = _Live(fragment)
        if live.finished and status == 200:
            break
        if perf_counter() - began > PATIENCE:
            raise RuntimeError(f"{name} got no result.")
        time.sleep(live.interval)
    marked = perf_counter() - began
    _, panel = browser.get(f"{case}?image={image}", script=True)
    overlays = json.loads(html.unescape(_only(r'data-overlays="([^"]+)"', panel)))
    status, _ = browser.fetch(next(iter(overlays.values())))
    if status != 200:
        raise RuntimeError(f"The overlay of {name} was not there: {status}")
    return taken, marked, perf_counter() - began


class _Live:
    """What the live fragment of a page says: where and when to ask again."""

    def __init__(self, text: str) -> None:
        tag = _only(r'<div id="live"([^>]*)>', text)
        self.address = html.unescape(_only(r'hx-get="([^"]+)"', tag))
        self.finished = "data-unfinished" not in tag
        every = re.search(r"every (\d+)(ms|s)", tag)
        self.interval = float(every[1]) / (1000 if every[2] == "ms" else 1) if every else 0.5


def _only(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"The page does not hold {pattern}: {text[:300]}")
    return found[1]
