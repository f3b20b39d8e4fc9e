"""The report of a case of 40 images through the running application: made anew, from the store, and as FHIR.

The images are JPEG files of 2592x1944 pixels, which a reader would have uploaded, and every one of them is analysed
before. What was made is taken from the store before each measurement, so that the PDF is set anew with all its
pictures. The last one stays as `var/bench/report.pdf`, to be looked at.
"""

from __future__ import annotations

import argparse
import re
import shutil
import time
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil
from PIL import Image

from benchmarks.fields import as_jpeg, drawn_fields
from benchmarks.installation import PATIENCE, Browser, Installation
from benchmarks.measuring import Report, at_most
from benchmarks.upload import open_case

FOLDER = "reports"  # diagnosis.services.reporting.FOLDER, which needs a running Django
IMAGES = 40
WIDTH, HEIGHT = 2592, 1944
MOST_REPEATS = 10
WANTED_SECONDS = 2.0
KEPT = Path("var/bench/report.pdf")


def run(options: argparse.Namespace) -> Report:
    """The benchmark as the command line asks for it."""
    repeats = min(options.repeats, MOST_REPEATS)
    with Installation(options.bundle) as place, place.serving() as (address, pid):
        browser = Browser(address)
        browser.log_in("admin", place.password)
        case = open_case(browser)
        _fill(browser, case)
        anew, busy, kept, told = [], [], [], []
        pdf = b""
        for _ in range(repeats):
            shutil.rmtree(place.var / "media" / FOLDER, ignore_errors=True)
            before = _processor_seconds(pid)
            seconds, pdf = _fetched(browser, f"{case}/report.pdf")
            busy.append(_processor_seconds(pid) - before)
            anew.append(seconds)
            kept.append(_fetched(browser, f"{case}/report.pdf")[0])
            told.append(_fetched(browser, f"{case}/report.json")[0])
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_bytes(pdf)
    report = Report(f"Report of a case of {IMAGES} images of {WIDTH}x{HEIGHT} ({options.bundle.name})")
    report.figures.append(at_most("PDF/A made anew", anew, "s", WANTED_SECONDS))
    report.figures.append(at_most("processor time of that, all cores", busy, "s"))
    report.figures.append(at_most("PDF/A from the store", kept, "s"))
    report.figures.append(at_most("FHIR document", told, "s"))
    report.figures.append(at_most("size of the PDF", [len(pdf) / 2**20], "MB"))
    report.notes.append(f"The last PDF lies in {KEPT}.")
    return report


def _fill(browser: Browser, case: str) -> None:
    """Upload the images and wait until all have ended."""
    for number, pixels in enumerate(drawn_fields(IMAGES, seed=3), 1):
        large = np.asarray(Image.fromarray(pixels).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        browser.get(case)
        status, answer = browser.upload(f"{case}/images", f"field {number}.jpg", as_jpeg(large))
        if status != 201:
            raise RuntimeError(f"Image {number} was not taken in: {status} {answer[:300]}")
    deadline = time.monotonic() + PATIENCE + 10 * IMAGES
    while re.search(r'<div id="live"[^>]*data-unfinished', browser.get(case)[1]):
        if time.monotonic() > deadline:
            raise RuntimeError("The images were not analysed in time.")
        time.sleep(1)


def _processor_seconds(supervisor: int) -> float:
    """What all processes of the installation, and those they have waited for, have used until now."""
    root = psutil.Process(supervisor)
    return sum(sum(one.cpu_times()[:4]) for one in [root, *root.children(recursive=True)])


def _fetched(browser: Browser, path: str) -> tuple[float, bytes]:
    """Seconds and content of a download."""
    began = perf_counter()
    status, content = browser.fetch(path)
    if status != 200:
        raise RuntimeError(f"{path} answered {status}: {content[:300]!r}")
    return perf_counter() - began, content
