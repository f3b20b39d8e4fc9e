"""The quality page in a real browser: charts are drawn, their tables open, and it fits a telephone."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from diagnosis.models import ModelVersion, QualityReference
from diagnosis.services import quality
from diagnosis.services.quality_tallies import Histogram, bin_of
from tests.browser.test_accessibility import Inspector
from tests.diagnosis.told_quality import (
    add_analysis,
    add_blind,
    add_case,
    add_review,
    add_signature,
    checks,
)

if TYPE_CHECKING:
    from tests.browser.conftest import Person

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]

# Whether anything but the background was drawn, and how many colours.
DRAWN = """
(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const colours = new Set();
  for (let at = 0; at < data.length; at += 4) if (data[at + 3]) colours.add(data.slice(at, at + 3).join());
  return colours.size;
}
"""


def work(cast: Any, version: ModelVersion) -> None:
    """A month of readings whose focus has moved, some of them blind first."""
    held_out = Histogram()
    for step in range(-5, 6):
        held_out.put(bin_of(0.7 + 0.01 * step, "focus"), 50)
    for number in range(40):
        days_ago = 0.1 + 27 * number / 40
        case = add_case(cast.technician, days_ago=days_ago + 1)
        for place in range(6):
            one = 6 * number + place
            more = {"outcome": "indeterminate", "reasons": ["out of focus"]} if one % 11 == 0 else {}
            looks = checks(
                focus=0.6 + 0.01 * (one % 9), brightness=240.0 + one % 12, stain=0.05 + 0.01 * (one % 7)
            )
            analysis = add_analysis(
                case, version, days_ago=days_ago, quality=looks, label=("early", "pre", "benign")[one % 3],
                domain_percentile=float(one * 37 % 100), confidence=0.8 + 0.01 * (one % 20), **more,
            )  # fmt: skip
            label = analysis.label if one % 6 else "pro"
            blind = add_blind(analysis, cast.hematologist, "pre", days_ago=days_ago, seconds=20 + one % 40)
            add_review(analysis, cast.hematologist, label, days_ago=days_ago, blind_reading=blind, seconds=6)
            if one % 2:
                add_review(analysis, cast.laboratory_head, "early", days_ago=days_ago, seconds=15)
        add_signature(case, cast.laboratory_head, after_hours=6 + number)
    today = timezone.localdate()
    quality.compute(since=today - datetime.timedelta(days=40), until=today)
    figures = {"focus": {"histogram": held_out.kept(), "n": held_out.n, "of": "validation images of a set"}}
    QualityReference.objects.filter(version=version).update(figures=figures)


def keep_picture(person: Person, name: str) -> None:
    """For people who want to look: into the folder that LEUKOSCOPE_PICTURES names."""
    if folder := os.environ.get("LEUKOSCOPE_PICTURES"):
        person.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_charts_are_drawn_and_each_has_its_table(
    sit_down: Callable[..., Person], cast: Any, version: ModelVersion
) -> None:
    work(cast, version)
    hedy = sit_down(cast.hematologist)
    hedy.goto("/")
    hedy.page.get_by_role("navigation", name="Main").get_by_role("link", name="Quality").click()
    page = hedy.page
    expect(page.get_by_role("heading", name="Quality", exact=True)).to_be_visible()
    page.get_by_role("link", name="30 days").click()
    expect(page).to_have_url(f"{hedy.address}/quality?period=30")
    expect(page.get_by_role("heading", name="The images have moved")).to_be_visible()
    charts = page.locator("figure.chart")
    expect(charts.locator("canvas")).to_have_count(charts.count())
    assert all(canvas.evaluate(DRAWN) > 3 for canvas in charts.locator("canvas").all())
    agreement = page.locator("#chart-agreement")
    agreement.get_by_text("Table", exact=True).click()
    expect(agreement.get_by_role("table").locator("tbody tr")).to_have_count(10)
    expect(agreement.get_by_role("table")).to_contain_text(" to ")
    page.emulate_media(color_scheme="dark")  # the pictures are drawn anew, in other colours
    expect(charts.locator("canvas")).to_have_count(charts.count())
    page.emulate_media(color_scheme="light")
    keep_picture(hedy, "quality")


def test_it_fits_a_telephone_in_the_dark(
    sit_down: Callable[..., Person], cast: Any, version: ModelVersion
) -> None:
    work(cast, version)
    hedy = sit_down(cast.hematologist, viewport={"width": 390, "height": 800}, color_scheme="dark")
    hedy.goto("/quality?period=30")
    expect(hedy.page.locator("#chart-agreement canvas")).to_be_visible()
    for summary in hedy.page.locator(".chart summary").all():
        summary.click()
    assert hedy.page.evaluate("document.documentElement.scrollWidth") <= 390
    keep_picture(hedy, "quality-telephone")


def test_nothing_stands_in_the_way_of_a_screen_reader(
    sit_down: Callable[..., Person], cast: Any, version: ModelVersion
) -> None:
    work(cast, version)
    inspector = Inspector(sit_down)
    inspector.open(cast.hematologist, "/quality?period=30")
    assert inspector.found == []


def test_a_laboratory_that_has_read_nothing(sit_down: Callable[..., Person], cast: Any) -> None:
    lena = sit_down(cast.laboratory_head)
    lena.goto("/quality")
    expect(lena.page.get_by_role("heading", name="Nothing read yet")).to_be_visible()
    keep_picture(lena, "quality-empty")
