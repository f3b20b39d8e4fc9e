"""A day of the clinic in Chromium: from the technician's upload to a report that was signed, amended and audited.

Everybody has a browser of her own, and does there what her day asks. Only the model is a stand-in.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from playwright.sync_api import expect

from diagnosis.models import Analysis, Case, Dispute, Laboratory, SignOut, SmearImage
from ml.drawing import draw_field
from tests.browser.conftest import Person
from tests.diagnosis.conftest import PASSWORD, encoded
from tests.diagnosis.pdf_reading import pdfa_problems, words_of
from tests.diagnosis.told_sign_out import reader

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]

NUMBER = "26-20417"
FIRST, SECOND = (
    "Suspicious of B-ALL. Immunophenotyping is advised.",
    "Hematogones in image 1; image 2 as before.",
)

DEEDS = [
    ("tina", "logged in"),
    ("tina", "opened a new case"),
    ("tina", "added an image"),
    ("", "analysed an image"),
    ("hedy", "read an image blind"),
    ("hedy", "read an image"),
    ("hedy", "asked for a second opinion"),
    ("carl", "read an image blind"),
    ("carl", "gave a second opinion"),
    ("carl", "raised a dispute"),
    ("lena", "settled a dispute"),
    ("hedy", "signed a report out"),
    ("hedy", "downloaded a report"),
    ("hedy", "opened an amendment"),
    ("hedy", "signed an amendment"),
    ("hedy", "downloaded a report"),
    ("lena", "opened the audit"),
]
"""Account and deed, in the order of the day."""


def log_in_by_form(person: Person, username: str) -> None:
    person.goto("/")
    person.page.get_by_label("Username").fill(username)
    person.page.get_by_label("Password").fill(PASSWORD)
    person.page.get_by_role("button", name="Log in", exact=True).click()
    expect(person.page.get_by_role("heading", name="Worklist")).to_be_visible()


def upload_a_case(tina: Person) -> Case:
    """A new case with two images in one drop."""
    page = tina.page
    page.get_by_role("link", name="New case").first.click()
    page.get_by_label("Accession number").fill(NUMBER)
    page.get_by_label("Patient code").fill("P-4471")
    page.get_by_label("Age", exact=True).fill("4")
    fields = [draw_field(np.random.default_rng(seed), width=400, height=300) for seed in (0, 1)]
    tina.drop([(f"field {number}.png", encoded(pixels)) for number, pixels in enumerate(fields, 1)])
    page.locator("form[data-upload] button[type=submit]").click()
    expect(page.locator("a.frame")).to_have_count(2)
    expect(page.locator("#live")).to_contain_text("0 of 2")
    return Case.objects.get(accession_number=NUMBER)


def open_image(person: Person, image: SmearImage) -> None:
    person.goto(f"/cases/{image.case_id}?image={image.pk}")
    expect(person.page.locator("#panel")).to_have_attribute("data-image", str(image.pk))
    expect(person.page.locator("[data-tool=fit]")).to_be_enabled()  # the page's script has begun its work


def class_blind(person: Person, word: str, revealed: str) -> None:
    """Give the own class first, and see what the model says after it."""
    page = person.page
    expect(page.locator("#panel .figure")).to_have_text("Your class first")
    expect(page.locator("#panel")).not_to_contain_text("Confidence")
    page.locator("#own-class label", has_text=word).click()
    page.get_by_role("button", name="Give this class").click()
    expect(page.locator("#panel .figure")).to_contain_text(revealed)


def overrule(person: Person, word: str, comment: str) -> None:
    page = person.page
    page.locator("#comment").fill(comment)
    if page.locator("#overrule").get_attribute("open") is None:  # it is where her own class was another
        page.locator("#overrule summary").click()
    page.locator("#overrule label", has_text=word).click()
    page.locator("#overrule button").click()
    expect(page.locator(".reading.counts")).to_contain_text(f"Overruled: {word}")
    expect(page.locator(".reading.counts")).to_contain_text(comment)


def ask(person: Person, colleague: str, question: str) -> None:
    page = person.page
    page.locator(".consultation summary").click()
    page.get_by_label("Colleague").select_option(label=colleague)
    page.get_by_label("Question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".opinions")).to_contain_text(f"asks {colleague}")


def sign(person: Person, conclusion: str, button: str) -> None:
    page = person.page
    page.get_by_label("Conclusion").fill(conclusion)
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name=button).click()
    expect(page.locator(".conclusion")).to_have_text(conclusion)


def report(person: Person, version: int) -> str:
    """The words of the PDF that a click on its link brings."""
    with person.page.expect_download() as waiting:
        person.page.get_by_role("link", name="Report PDF").click()
    assert waiting.value.suggested_filename == f"report-{NUMBER}-version-{version}.pdf"
    content = Path(waiting.value.path()).read_bytes()
    assert pdfa_problems(content) == []
    return words_of(content)


def test_a_day(
    sit_down: Callable[..., Person], cast: Any, version: Any, judge: Callable[..., Analysis]
) -> None:
    Laboratory.objects.update(is_blind=True)
    colleague = reader("carl", cast.hematologist)

    # The technician uploads; the model judges.
    tina = sit_down()
    log_in_by_form(tina, "tina")
    case = upload_a_case(tina)
    first, second = case.images.order_by("position")
    judge(first, "early")
    judge(second, "benign")
    expect(tina.page.locator("#live")).not_to_contain_text("queued")
    expect(tina.page.locator("#strip .mark").first).to_contain_text("early pre-B")

    # The hematologist reads blind, agrees once, overrules once, and asks a colleague about that.
    hedy = sit_down()
    log_in_by_form(hedy, "hedy")
    hedy.page.locator(".worktable").get_by_role("link", name=NUMBER).click()
    expect(hedy.page.locator("#live")).to_contain_text("0 of 2 images read")
    open_image(hedy, first)
    class_blind(hedy, "early pre-B", revealed="Early pre-B")
    hedy.page.get_by_role("button", name="Agree").click()
    expect(hedy.page.locator(".reading.counts")).to_contain_text("Agrees: early pre-B")
    open_image(hedy, second)
    class_blind(hedy, "pro-B", revealed="Benign")
    overrule(hedy, "pro-B", "Blasts, no hematogones.")
    ask(hedy, "Carl", "Hematogones, as the model says?")
    expect(hedy.page.locator("#live")).to_contain_text("2 of 2 images read")

    # The colleague finds the question on his worklist, and differs.
    carl = sit_down(colleague)
    carl.goto("/")
    expect(carl.page.locator(".asked")).to_contain_text("Hedy Hematologist asks for a second opinion")
    carl.page.locator(".asked a").first.click()
    expect(carl.page.locator(".consultation")).to_contain_text("Hematogones, as the model says?")
    expect(carl.page.locator("#panel")).not_to_contain_text("Blasts, no hematogones.")
    class_blind(carl, "benign", revealed="Benign")
    carl.page.get_by_role("button", name="Agree").click()
    expect(carl.page.locator(".consultation")).to_contain_text("Readers differ")
    expect(carl.page.locator(".consultation")).to_contain_text("answered")

    # Nobody signs over a dispute; the laboratory head settles it.
    hedy.goto(f"/cases/{case.pk}/sign-out")
    expect(hedy.page.locator(".obstacles")).to_contain_text("disputed: two readers differ")
    expect(hedy.page.get_by_role("button", name="Sign out")).to_be_disabled()
    lena = sit_down(cast.laboratory_head)
    open_image(lena, second)
    class_blind(lena, "pro-B", revealed="Benign")
    expect(lena.page.locator(".consultation")).to_contain_text("Your review settles it")
    overrule(lena, "pro-B", "Settled with Hedy.")
    expect(lena.page.locator("#panel")).not_to_contain_text("Readers differ")
    assert Dispute.objects.get().settled_by.reviewer == cast.laboratory_head

    # Signed out, downloaded and read.
    hedy.page.reload()
    expect(hedy.page.get_by_role("heading", name="Nothing stands in the way")).to_be_visible()
    sign(hedy, FIRST, "Sign out")
    expect(hedy.page.get_by_role("status").first).to_contain_text("The report is final")
    words = report(hedy, 1)
    signed = SignOut.objects.get()
    for said in (
        NUMBER,
        "P-4471",
        FIRST,
        "Hedy Hematologist",
        "early pre-B",
        "pro-B",
        f"{signed.audit_sequence}",
    ):
        assert said in words, said
    assert signed.audit_head[:16] in words.replace(" ", "")

    # An amendment opens the case again; what was signed and what is new stand side by side.
    hedy.page.get_by_label("Why").fill("Flow cytometry shows hematogones in image 1.")
    hedy.page.get_by_role("button", name="Open an amendment").click()
    expect(hedy.page.get_by_label("Conclusion")).to_have_value(FIRST)
    open_image(hedy, first)
    overrule(hedy, "benign (hematogones)", "By flow cytometry.")
    hedy.goto(f"/cases/{case.pk}/sign-out")
    expect(hedy.page.locator(".changes")).to_contain_text("image 1, reading")
    sign(hedy, SECOND, "Sign amendment 2")
    reading = hedy.page.locator(".changes tr", has_text="image 1, reading")
    expect(reading.locator("del")).to_have_text(["agrees", "early", "pre-B"])
    expect(reading.locator("ins")).to_have_text(
        ["overruled", "benign", "(hematogones)", ". By flow cytometry."]
    )
    words = report(hedy, 2)
    for said in (
        SECOND,
        "Flow cytometry shows hematogones in image 1.",
        "Old",
        "New",
        "Suspicious of B-ALL.",
    ):
        assert said in words, said

    # The audit holds all of it, and is whole.
    told = io.StringIO()
    call_command("verify_audit", "--record", stdout=told)
    assert told.getvalue().startswith("The audit is whole")
    lena.goto(f"/audit?q={NUMBER}")
    expect(lena.page.locator(".verified")).to_contain_text("Whole when it was verified")
    lena.page.get_by_label("Action").select_option("settled a dispute")
    lena.page.get_by_role("button", name="Search").click()
    row = lena.page.locator("table.audit tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("Lena Head")
    lena.page.get_by_role("link", name="Clear").click()
    with lena.page.expect_download() as waiting:
        lena.page.get_by_role("link", name="Export CSV").click()
    events = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text())))
    deeds = [(one["account"], one["what was done"]) for one in reversed(events)]
    at = -1
    for deed in DEEDS:
        assert deed in deeds[at + 1 :], (deed, deeds)
        at = deeds.index(deed, at + 1)
