"""The viewer's first picture: from the opening of a case's page to its smear image in the viewer, in Chromium.

The image is a JPEG of 2592x1944 pixels, as microscope cameras make them; the browser's cache is empty each time. The
page shows it at half that size, which is more than the viewer's place on a screen of 1440x900 has, until the viewer has
drawn the file itself.
"""

from __future__ import annotations

import argparse
import re
import time

import numpy as np
from PIL import Image

from benchmarks.chromium import signed_in
from benchmarks.fields import as_jpeg, drawn_fields
from benchmarks.installation import PATIENCE, Browser, Installation
from benchmarks.measuring import Report, at_most
from benchmarks.upload import open_case

WIDTH, HEIGHT = 2592, 1944
OPENINGS = 12
WANTED_MS = 500.0

# Resolves with the milliseconds from the start of the navigation until the picture was painted: by the page itself, as
# the browser's own record of large paints has it, or by the viewer, which then takes the page's own away.
FIRST_PICTURE = """() => new Promise((done) => {
  new PerformanceObserver((list) => {
    const paint = list.getEntries().find((one) => one.element?.matches(".view .plain"));
    if (paint) done(paint.renderTime || paint.startTime);
  }).observe({ type: "largest-contentful-paint", buffered: true });
  const look = () => {
    const drawn = document.querySelector(".openseadragon-canvas canvas") && !document.querySelector(".view .plain");
    requestAnimationFrame(drawn ? () => done(performance.now()) : look);
  };
  look();
})"""


def run(options: argparse.Namespace) -> Report:
    """The benchmark as the command line asks for it."""
    report = Report(f"First picture in the viewer: an image of {WIDTH}x{HEIGHT} ({options.bundle.name})")
    with Installation(options.bundle) as place, place.serving() as (address, _):
        browser = Browser(address)
        browser.log_in("admin", place.password)
        case = open_case(browser)
        (pixels,) = drawn_fields(1, seed=5)
        large = np.asarray(Image.fromarray(pixels).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        status, answer = browser.upload(f"{case}/images", "field.jpg", as_jpeg(large))
        if status != 201:
            raise RuntimeError(f"The image was not taken in: {status} {answer[:300]}")
        _wait_for_result(browser, case)
        with signed_in(address, place.password) as person:
            shown = []
            for _ in range(OPENINGS):
                with person.opening(case) as page:
                    shown.append(page.evaluate(FIRST_PICTURE))
    report.figures.append(at_most("first picture", shown, "ms", WANTED_MS))
    return report


def _wait_for_result(browser: Browser, case: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while re.search(r'<div id="live"[^>]*data-unfinished', browser.get(case)[1]):
        if time.monotonic() > deadline:
            raise RuntimeError("The image was not analysed in time.")
        time.sleep(0.2)
