"""Leukocytes through everything a user has: a large field from queue to stored result, then the gallery of 2,000.

Fields of 2592x1944 pixels with 40 drawn leukocytes are uploaded to one case, one after the other, with both shipped
models at work. What the queue and the worker took is read from the database. The gallery of that case is then opened
in Chromium, with an empty cache each time, and scrolled from end to end.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil

from benchmarks.chromium import signed_in
from benchmarks.detection import HEIGHT, LEUKOCYTES, WIDTH
from benchmarks.fields import as_jpeg
from benchmarks.installation import PATIENCE, Browser, Installation, megabytes
from benchmarks.measuring import Report, at_least, at_most
from benchmarks.upload import open_case
from ml.bundle import SHIPPED
from ml.cells.drawn import drawn_with_truth

CELLS = 2000
FIELDS = CELLS // LEUKOCYTES
WARM_UP = 2
OPENINGS = 10

# Resolves with the milliseconds from the start of the navigation until all tiles that came with the page were painted:
# as the browser's own record of the page's pictures has it, or where the script was faster, when it had drawn them.
FIRST_TILES = """() => new Promise((done) => {
  const painted = [];
  new PerformanceObserver((list) => {
    painted.push(...list.getEntries().map((paint) => paint.renderTime));
    const drawn = document.querySelectorAll("#grid [data-first], #grid [style*='data:image']").length;
    if (painted.length === drawn) done(Math.max(...painted));
  }).observe({ type: "element", buffered: true });
  const look = () => {
    const tile = document.querySelector("#grid [style*='data:image']");
    requestAnimationFrame(tile ? () => setTimeout((now) => done(now), 50, performance.now()) : look);
  };
  look();
})"""

# Scrolls from end to end in 120 steps, one a frame, and resolves with the milliseconds of each frame.
SCROLLED = """() => new Promise((done) => {
  const scroller = document.querySelector(".tilescroll");
  const most = scroller.scrollHeight - scroller.clientHeight;
  const frames = [];
  let before = performance.now();
  const step = (now) => {
    frames.push(now - before);
    before = now;
    if (frames.length > 120) return done(frames.slice(1));
    scroller.scrollTop = (most * frames.length) / 120;
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


def run(options: argparse.Namespace) -> Report:
    """The benchmark as the command line asks for it; `--bundle` names the field model, the cell model is the newest."""
    cell_bundle = max(SHIPPED.glob("cell-*"), key=lambda path: (len(path.name), path.name))
    report = Report(
        f"{FIELDS} fields of {WIDTH}x{HEIGHT} with {LEUKOCYTES} leukocytes ({options.bundle.name}, {cell_bundle.name})"
    )
    with Installation(options.bundle, cell_bundle) as place, place.serving() as (address, pid):
        browser = Browser(address)
        browser.log_in("admin", place.password)
        case = open_case(browser)
        for number in range(FIELDS + WARM_UP):
            pixels, _ = drawn_with_truth(
                np.random.default_rng((31, number)), width=WIDTH, height=HEIGHT, leukocytes=LEUKOCYTES
            )
            status, answer = browser.upload(f"{case}/images", f"field-{number}.jpg", as_jpeg(pixels))
            if status != 201:
                raise RuntimeError(f"field-{number}.jpg was not taken in: {status} {answer[:300]}")
            _wait_for(place.var, number + 1)
        rows = _stored(place.var)[WARM_UP:]
        report.figures += [
            at_most("from queue to stored result", [seconds for seconds, _, _ in rows], "s", 2.5),
            at_most("of which finding the cells", [timings["cells"] for _, _, timings in rows], "ms"),
            at_most("of which the network on them", [timings["classify"] for _, _, timings in rows], "ms"),
            at_least("leukocytes counted a field", [counted for _, counted, _ in rows], ""),
            at_most("memory of the largest process", [max(_memory(pid))], "MB", 700),
        ]
        opened, frames = _gallery(address, place.password, f"{case}/cells")
        report.figures += [
            at_most("first tiles of the gallery", opened, "ms", 500),
            at_most("a frame while scrolling through it", frames, "ms"),
            at_most("the slowest of 20 frames", [float(np.percentile(frames, 95))], "ms"),
        ]
    cells = sum(counted for _, counted, _ in rows)
    report.notes.append(f"The gallery held {cells} counted leukocytes and more things that do not count.")
    return report


def _wait_for(var: Path, count: int) -> None:
    began = perf_counter()
    while len(_stored(var)) < count:
        if perf_counter() - began > PATIENCE:
            raise RuntimeError(f"Field {count} got no result.")
        time.sleep(0.05)


def _stored(var: Path) -> list[tuple[float, int, dict[str, float]]]:
    """Seconds from queue to result, leukocytes counted and times of the steps, of each analysis that is done."""
    with sqlite3.connect(f"file:{var / 'db.sqlite3'}?mode=ro", uri=True) as database:
        rows = database.execute(
            "select a.queued_at, a.finished_at, c.counted, c.timings_ms from diagnosis_analysis a"
            " join diagnosis_cellanalysis c on c.analysis_id = a.id where a.state = 'done' order by a.queued_at"
        ).fetchall()
    return [
        (
            (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds(),
            counted,
            json.loads(timings),
        )
        for begin, end, counted, timings in rows
    ]


def _memory(supervisor: int) -> Iterator[float]:
    for process in psutil.Process(supervisor).children(recursive=True):
        yield megabytes(process)


def _gallery(address: str, password: str, path: str) -> tuple[list[float], list[float]]:
    """Milliseconds until its first tiles, of each opening, and of each frame of one scrolling."""
    opened, frames = [], []
    with signed_in(address, password) as person:
        for _ in range(OPENINGS):
            with person.opening(path) as page:
                opened.append(page.evaluate(FIRST_TILES))
                page.wait_for_selector("#gallery[data-ready]")
                frames = page.evaluate(SCROLLED)
                page.wait_for_load_state(
                    "networkidle"
                )  # what scrolling asked for must not delay the next opening
    return opened, frames
