"""The pages about models in a browser: a training of another process followed live, promoting, rolling back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from diagnosis.models import ModelVersion, Promotion, Training
from diagnosis.services import registry
from ml.bundle import seal
from tests import stand_in
from tests.browser.conftest import Person
from tests.diagnosis import told
from tests.faults.conftest import database_url

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]

ROOT = Path(__file__).resolve().parents[2]
TRAINER = """
import os, sys, time
import django
django.setup()
from pathlib import Path
from diagnosis.services import trainings
from tests.diagnosis import told

live_for = 40
work = Path(sys.argv[1])
work.mkdir()
training = trainings.begin(task="field", name="field-9", work=work, options={"trials": 16}, data={})
print("begun", flush=True)
with trainings.Live(training) as live:
    for step in range(1, live_for):
        live.update({**told.searching(min(step + 1, 12)), "done": step, "total": live_for, "seconds_left": 60.0 - step})
        time.sleep(0.5)
        if (work / "end").exists():
            break
trainings.stop(training=training)
"""


@pytest.fixture
def ada(sit_down: Callable[..., Person], cast: Any) -> Person:
    """An administrator of the whole installation, logged in."""
    cast.administrator.is_superuser = True
    cast.administrator.save()
    return sit_down(cast.administrator)


@pytest.fixture
def candidate(version: ModelVersion, bundles: Path) -> ModelVersion:
    folder = stand_in.copy_bundle(bundles / version.name, bundles, name="field-2").path
    (folder / "evidence" / "metrics.json").write_text(json.dumps(told.metrics("field-2", loss=0.003)))
    manifest = json.loads((folder / "bundle.json").read_text())
    seal(folder, {key: value for key, value in manifest.items() if key not in ("files", "format")})
    return registry.register_bundle(folder)


@pytest.fixture
def trainer(version: ModelVersion, tmp_path: Path) -> Iterator[Path]:
    """A process of its own that trains, in name: it writes its row as `manage.py retrain` does, and ends when told.

    Yields the folder in which a file `end` tells it to.
    """
    work = tmp_path / "work"
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(work)],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": database_url()},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    yield work
    (work / "end").touch()
    try:
        process.wait(timeout=30)
    finally:
        process.kill()
        process.stdout.close()


def test_a_training_of_another_process_is_followed_without_a_reload(ada: Person, trainer: Path) -> None:
    page = ada.page
    ada.goto("/models")
    page.evaluate("window.stayed = true")
    bar = page.locator("#running progress").first
    expect(page.locator("#running")).to_contain_text("Training field-9")
    first = float(bar.get_attribute("value") or 0)
    page.wait_for_function(
        "(first) => Number(document.querySelector('#running progress').value) > first + 2", arg=first
    )
    expect(page.locator("#running")).to_contain_text("s left")
    page.wait_for_function("document.querySelectorAll('#running tbody tr').length >= 5")
    assert ada.polls(2_200) in (1, 2, 3)

    (trainer / "end").touch()
    expect(page.locator("#trained")).to_contain_text("field-9")
    expect(page.locator("#running article")).to_have_count(0)
    assert page.evaluate("window.stayed")
    assert ada.polls(2_500) == 0
    assert Training.objects.get().state == Training.State.STOPPED


def test_the_focus_stays_where_it_is_while_a_training_is_redrawn(ada: Person, trainer: Path) -> None:
    ada.goto("/models")
    link = ada.page.locator("#running h2 a")
    link.focus()
    value = ada.page.locator("#running progress").first.get_attribute("value")
    ada.page.wait_for_function(
        "(value) => document.querySelector('#running progress').getAttribute('value') !== value", arg=value
    )

    expect(link).to_be_focused()


def test_promoting_with_the_verdict_and_rolling_back_by_keys(
    ada: Person, version: ModelVersion, candidate: ModelVersion
) -> None:
    told.judged(candidate, version, passed=True)
    page = ada.page
    ada.goto(f"/models?open={candidate.pk}")
    page.get_by_role("link", name="Compare and promote").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Promote field-2?")
    expect(page.locator("h2").first).to_have_text("The gate lets it through")
    expect(page.locator(".verdict tbody tr")).to_have_count(7)
    page.fill("#why", "Better on the locked images.")
    page.get_by_role("button", name="Promote field-2").focus()
    page.keyboard.press("Enter")

    expect(page.locator(".messages")).to_contain_text("field-2 is active now.")
    expect(page.locator(f"#version-{candidate.pk} > summary .tag")).to_have_text("active")
    page.locator(f"#version-{candidate.pk} .actions summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("Pale slides since Monday.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.locator(".messages")).to_contain_text(f"Rolled back: {version.name} is active again.")
    expect(page.locator(".happened")).to_contain_text("Pale slides since Monday.")
    kinds = list(Promotion.objects.order_by("pk").values_list("kind", flat=True))
    assert kinds == ["first", "promote", "rollback"]


def test_a_comparison_that_ends_shows_its_verdict_by_itself(
    ada: Person, version: ModelVersion, candidate: ModelVersion
) -> None:
    judgement = told.judging(candidate, version)
    ada.goto(f"/models/versions/{candidate.pk}/promote")
    expect(ada.page.locator("#judging")).to_contain_text("211 of 532")
    judgement.delete()
    told.judged(candidate, version, passed=False)

    expect(ada.page.locator("h2").first).to_have_text("The gate refuses it")
    ada.page.get_by_text("Promote it all the same…").click()
    ada.page.get_by_role("button", name="Force the promotion").click()  # the browser asks for the reason
    assert not Promotion.objects.filter(kind="promote").exists()
    ada.page.fill("#why", "For teaching.")
    ada.page.get_by_role("button", name="Force the promotion").click()
    expect(ada.page.locator(".happened")).to_contain_text("! forced")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit_a_phone_and_every_control_can_be_hit(
    sit_down: Callable[..., Person], cast: Any, version: ModelVersion, candidate: ModelVersion, scheme: str
) -> None:
    from diagnosis.models import Site

    cast.administrator.is_superuser = True
    cast.administrator.save()
    told.judged(candidate, version, passed=False)
    training = told.training(progress=told.refitting())
    site = Site.objects.create(laboratory=cast.administrator.laboratory, name="Ward B")
    phone = sit_down(cast.administrator, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    for path in (
        f"/models?open={candidate.pk}",
        f"/models/versions/{candidate.pk}/promote",
        f"/models/trainings/{training.pk}",
        "/models/sites",
        f"/models/sites/{site.pk}",
    ):
        phone.goto(path)
        assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert phone.page.evaluate(SMALL) == [], path


SMALL = """
() => [...document.querySelectorAll("a, button, summary, select, textarea")]
  .filter((e) => e.checkVisibility() && !e.matches(".skip, p a, td a, th a, dd a, .sub a, .note a"))
  .map((e) => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
  .filter(([, box]) => box.width < 24 || box.height < 24)
  .map(([html, box]) => `${html} ${box.width}x${box.height}`)
"""
