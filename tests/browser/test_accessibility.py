"""Every page a person meets, in light and dark, looked at by axe-core: nothing serious, nothing critical.

Which pages there are is read from the table of permissions, so that a new page is looked at without a word here; what
the table cannot know, the states that a page can be in, stands in STATES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from diagnosis.models import Analysis, Case, Laboratory, SecondOpinion, SmearImage
from diagnosis.services import audit_verification, consultation, intake, sign_out
from diagnosis.services.review import record_review
from tests.browser.conftest import Person
from tests.diagnosis.conftest import PASSWORD, done  # noqa: F401 - fixture
from tests.diagnosis.permission_table import OPEN, READS, WHO, address, open_address
from tests.diagnosis.told_cells import add_cells
from tests.diagnosis.told_sign_out import read, reader, sign

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]

AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
RUN = """
async (rules) => {
  const found = await axe.run(document, { runOnly: rules, resultTypes: ["violations"] });
  return found.violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .flatMap((one) => one.nodes.map((node) =>
      `${one.id}: ${node.target.join(" ")}: ${node.any.concat(node.all, node.none).map((c) => c.message).join(" ")}`));
}
"""
UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"


class Inspector:
    """Opens pages and keeps what axe-core finds on them."""

    def __init__(self, sit_down: Callable[..., Person]) -> None:
        self._sit_down, self._people = sit_down, {}
        self.found: list[str] = []
        self.seen: list[str] = []

    def person(self, user: Any) -> Person:
        key = user.username if user is not None else ""
        if key not in self._people:
            person = self._people[key] = self._sit_down(user)
            # Before the page's own scripts, by the debugger: what the policy of a page allows is left as it is.
            person.page.add_init_script(path=AXE)
        return self._people[key]

    def open(self, user: Any, path: str, *, status: int = 200) -> Person:
        person = self.person(user)
        answer = person.page.goto(person.address + path)
        assert answer is not None
        assert answer.status == status, (path, answer.status)
        self.look(person, path)
        return person

    def look(self, person: Person, name: str) -> None:
        """Look at the page as it stands, everything unfolded, in light and in dark."""
        page = person.page
        page.evaluate(UNFOLD)
        for scheme, rules in (("light", RULES), ("dark", None)):
            page.emulate_media(color_scheme=scheme)
            # What is dark differs in colours alone.
            only = (
                {"type": "tag", "values": list(rules)}
                if rules
                else {"type": "rule", "values": ["color-contrast"]}
            )
            self.found += [f"{name} ({scheme}): {one}" for one in page.evaluate(RUN, only)]
        self.seen.append(name)


@pytest.fixture
def inspector(sit_down: Callable[..., Person]) -> Iterator[Inspector]:
    """At the end nothing may have been found on what it was shown."""
    made = Inspector(sit_down)
    yield made
    assert made.seen
    assert not made.found, "\n".join(made.found)


def test_what_is_wrong_is_found(sit_down: Callable[..., Person]) -> None:
    blind = Inspector(sit_down)
    person = blind.open(None, reverse("login"))
    assert not blind.found
    person.page.evaluate("document.querySelector('#id_username').labels[0].remove()")
    person.page.evaluate("document.querySelector('main').style.color = 'rgb(128, 128, 128)'")
    blind.look(person, "spoilt")
    for rule in (
        "spoilt (light): label:",
        "spoilt (light): color-contrast:",
        "spoilt (dark): color-contrast:",
    ):
        assert any(one.startswith(rule) for one in blind.found), blind.found


def is_a_page(client: Client, url: str) -> bool:
    """Whether a URL answers with a page of its own: no picture, no table, no part of a page."""
    answer = client.get(url)
    said = answer.getvalue()
    kind = answer.headers.get("Content-Type", "")
    return answer.status_code == 200 and kind.startswith("text/html") and b"<html" in said


def test_every_page_of_the_table(
    inspector: Inspector,
    cast: Any,
    case: Case,
    done: SmearImage,  # noqa: F811
) -> None:
    audit_verification.run()
    for who in ("hematologist", "laboratory_head", "administrator"):
        client = Client()
        client.force_login(cast[who])
        for name, *statuses in READS:
            # Each once, by the first of these who may.
            first = next((one for one in WHO[1:4] if statuses[WHO.index(one)] == 200), None)
            if first == who and is_a_page(client, address(name, done)):
                inspector.open(cast[who], address(name, done))
    for path in (
        "/",
        "/cases/new",
        f"/cases/{case.pk}",
        "/history",
        "/audit",
        "/models",
        "/laboratory",
        "/account",
    ):
        assert path in inspector.seen


def test_logging_in_and_what_is_refused(inspector: Inspector, cast: Any, case: Case) -> None:
    for name, method, stranger, logged_in in OPEN:
        url = open_address(name)
        if method != "GET" or name in ("healthz", "account_login"):
            continue
        if stranger in (200, 401, 403):
            inspector.open(None, url, status=stranger)
        elif logged_in == 200:
            inspector.open(cast.technician, url)
    nobody = inspector.open(None, reverse("login"))
    nobody.page.get_by_label("Username").fill("hedy")
    nobody.page.get_by_label("Password").fill("not it")
    nobody.page.get_by_role("button", name="Log in", exact=True).click()
    nobody.page.get_by_role("alert").first.wait_for()
    inspector.look(nobody, "a wrong password")
    inspector.open(cast.technician, "/audit", status=403)
    inspector.open(cast.outsider, f"/cases/{case.pk}", status=404)
    inspector.open(cast.technician, "/no/such/page", status=404)
    Laboratory.objects.update(needs_second_factor=True)
    inspector.open(cast.hematologist, "/account/second-factor")


@pytest.fixture
def full(
    cast: Any, case: Case, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]
) -> dict[str, SmearImage]:
    """A case with an image in every state."""
    made = {name: add_image() for name in ("read", "disputed", "indeterminate", "failed", "queued")}
    for name, label in (("read", "early"), ("disputed", "benign"), ("indeterminate", "pro")):
        judge(made[name], label)
        add_cells(made[name], ["blast"] * 6 + ["promyelocyte"] * 8 + ["lymphocyte"] * 4)
    read(cast.hematologist, made["read"], comment="Typical.")
    read(cast.hematologist, made["disputed"])
    read(reader("carl", cast.hematologist), made["disputed"], "overrule", label="pro", comment="Blasts.")
    consultation.ask(
        user=cast.laboratory_head,
        case=case,
        of=cast.hematologist,
        image=made["indeterminate"],
        question="And this?",
    )
    Analysis.objects.filter(image=made["indeterminate"]).update(
        outcome="indeterminate", label="", confidence=None, inside_domain=False, suspected=False,
        reasons=["out of focus"],
    )  # fmt: skip
    Analysis.objects.filter(image=made["failed"]).update(
        state="failed", failure="The stored file can't be read."
    )
    return made


def test_a_case_in_every_state(
    inspector: Inspector, cast: Any, case: Case, full: dict[str, SmearImage]
) -> None:
    assert SecondOpinion.objects.exists()
    hedy = cast.hematologist
    inspector.open(hedy, "/")
    inspector.open(hedy, "/?show=all")
    inspector.open(hedy, "/history?q=H-1001")
    for image in full.values():
        person = inspector.open(hedy, f"/cases/{case.pk}?image={image.pk}")
    person.page.keyboard.press("?")
    person.page.locator("#keys").wait_for()
    inspector.look(person, "the keys of a case")
    person.page.keyboard.press("Escape")
    person.page.locator("input.pick").first.check()
    inspector.look(person, "an image selected")
    person.page.evaluate("document.dispatchEvent(new CustomEvent('leukoscope:locked'))")
    person.page.get_by_role("dialog").wait_for()
    inspector.look(person, "a locked screen")
    inspector.open(hedy, f"/cases/{case.pk}/sign-out")
    inspector.open(cast.technician, f"/cases/{case.pk}")
    Laboratory.objects.update(is_blind=True)
    inspector.open(hedy, f"/cases/{case.pk}?image={full['indeterminate'].pk}")
    inspector.open(hedy, f"/cases/{case.pk}/sign-out")
    empty = intake.create_case(user=cast.technician, accession_number="H-2", patient_code="P-17")
    inspector.open(hedy, f"/cases/{empty.pk}")
    typed = inspector.open(hedy, "/cases/new")
    typed.page.get_by_label("Accession number").fill("H-2")
    typed.page.evaluate("document.querySelector('form[data-upload]').requestSubmit()")
    inspector.look(typed, "a new case that was refused")


def test_signing_and_what_is_signed(
    inspector: Inspector, cast: Any, case: Case, image: SmearImage, judge: Callable[..., Analysis]
) -> None:
    hedy = cast.hematologist
    judge(image, "pro")
    add_cells(image, ["blast"] * 6 + ["lymphocyte"] * 4)
    read(hedy, image)
    person = inspector.open(hedy, f"/cases/{case.pk}/sign-out")
    person.page.get_by_label("Conclusion").fill("ALL is suspected.")
    person.page.get_by_label("Your password").fill("not it")
    person.page.get_by_role("button", name="Sign out").click()
    person.page.get_by_role("alert").first.wait_for()
    inspector.look(person, "a signature refused")
    sign(hedy, case, "ALL is suspected.")
    inspector.open(hedy, f"/cases/{case.pk}/sign-out")
    inspector.open(hedy, f"/cases/{case.pk}")
    sign_out.open_amendment(user=hedy, case=Case.objects.get(pk=case.pk), reason="A second look.")
    image.refresh_from_db()
    record_review(user=hedy, image=image, analysis=image.newest_analysis, verdict="overrule", label="benign")
    inspector.open(hedy, f"/cases/{case.pk}/sign-out")
    sign(hedy, case, "Hematogones.", password=PASSWORD)
    inspector.open(hedy, f"/cases/{case.pk}/sign-out")
    inspector.open(hedy, f"/cases/{case.pk}/sign-out/1")
