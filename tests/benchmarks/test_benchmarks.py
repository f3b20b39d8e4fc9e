"""The benchmarks count and show what they measured; how fast anything is stays theirs to say, not a
test's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fields import as_jpeg, drawn_fields
from benchmarks.installation import Browser
from benchmarks.measuring import Figure, Report, at_least, at_most, busy_warning, machine
from benchmarks.upload import _Live
from ml.imaging.reading import read_image

ROOT = Path(__file__).resolve().parents[2]


def test_the_median_and_quartiles_of_the_values() -> None:
    figure = at_most("time", [5.0, 1.0, 2.0, 3.0, 4.0], "ms", 3)
    assert (figure.low, figure.value, figure.high, figure.n) == (2.0, 3.0, 4.0, 5)
    assert figure.wanted == "at most 3 ms"
    assert figure.met is True


@pytest.mark.parametrize(
    ("make", "value", "met"), [(at_most, 2, True), (at_most, 4, False), (at_least, 4, True)]
)
def test_an_aim_is_met_on_its_own_side(make, value: float, met: bool) -> None:  # type: ignore[no-untyped-def]
    assert make("x", [value], "s", 3).met is met
    assert make("x", [value], "s").met is None


def test_a_report_is_shown_and_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(
        "Speed", [at_most("time", [0.5, 0.7], "s", 1), Figure("same class", 0.0, wanted="all", met=False)]
    )
    report.notes.append("Drawn fields alone.")
    report.show()
    shown = capsys.readouterr().out
    assert "0.6 s" in shown
    assert "wanted at most 1 s: yes" in shown
    assert "wanted all: NO" in shown
    assert "Drawn fields alone." in shown
    report.write(tmp_path / "bench" / "speed.json")
    stored = json.loads((tmp_path / "bench" / "speed.json").read_text())
    assert [figure["name"] for figure in stored["figures"]] == ["time", "same class"]


def test_a_busy_machine_is_told() -> None:
    circumstances = machine()
    assert circumstances["cores"] >= 1
    assert busy_warning({"load": [3.5, 0, 0], "cores": 2})
    assert not busy_warning({"load": [0.4, 0, 0], "cores": 2})


def test_the_fields_are_jpegs_of_a_field_camera() -> None:
    (pixels,) = drawn_fields(1)
    image = read_image(as_jpeg(pixels))
    assert (image.format, image.width, image.height) == ("JPEG", 1024, 768)
    assert np.abs(image.pixels.astype(int) - pixels).mean() < 5


def test_the_live_fragment_says_where_and_when_to_ask_again() -> None:
    waiting = _Live(
        '<div id="live" data-unfinished hx-get="/cases/1/live?state=ab&amp;last=2" hx-trigger="refresh, every 500ms">'
    )
    assert (waiting.address, waiting.interval, waiting.finished) == (
        "/cases/1/live?state=ab&last=2",
        0.5,
        False,
    )
    done = _Live('<div id="live" data-live hx-get="/cases/1/live?state=cd" hx-trigger="refresh">')
    assert done.finished
    with pytest.raises(RuntimeError, match="does not hold"):
        _Live("<p>log in first</p>")


@pytest.mark.django_db
def test_the_browser_logs_in_and_reads_pages(live_server, django_user_model) -> None:  # type: ignore[no-untyped-def]
    from diagnosis.models import Laboratory

    laboratory = Laboratory.objects.create(name="Bench", slug="bench")
    django_user_model.objects.create_superuser("admin", password="a good password", laboratory=laboratory)
    browser = Browser(live_server.url)
    browser.log_in("admin", "a good password")
    status, page = browser.get("/cases/new")
    assert status == 200
    assert "accession_number" in page
    with pytest.raises(RuntimeError, match="could not log in"):
        Browser(live_server.url).log_in("admin", "a wrong password")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "upload to visible result"),
        (["speed"], "there is no benchmark speed"),
        (["--repeats", "0"], "at least 1"),
    ],
)
def test_the_command_line_explains_itself(arguments: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    if arguments != ["--help"]:
        command += ["--bundle", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said in " ".join((done.stdout + done.stderr).split())
