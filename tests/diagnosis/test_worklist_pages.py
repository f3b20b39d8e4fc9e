"""The worklist's page: filters in the address, rows that say who and until when, and assigning from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from diagnosis.models import Analysis, Case, SecondOpinion, Site, SmearImage
from diagnosis.services import consultation, intake
from diagnosis.services.assignment import assign
from diagnosis.services.review import record_review

HTMX = {"HX-Request": "true"}

AddImage = Callable[..., SmearImage]
Judge = Callable[..., Analysis]
OpenCase = Callable[..., Case]


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


@pytest.fixture
def open_case(cast: Any) -> OpenCase:
    def open_(number: str, **more: Any) -> Case:
        return intake.create_case(
            user=cast.technician, accession_number=number, patient_code=f"P-{number}", **more
        )

    return open_


@pytest.fixture
def day(cast: Any, open_case: OpenCase, add_image: AddImage, judge: Judge) -> dict[str, Case]:
    """A day's cases, each another kind."""
    site = Site.objects.create(laboratory=cast.hematologist.laboratory, name="Microscope 2")
    images = {name: add_image(to=open_case(name)) for name in ("MINE", "ADAS", "READ", "DISPUTED", "SIGNED")}
    images["MARROW"] = add_image(to=open_case("MARROW", specimen="marrow"))
    SmearImage.objects.filter(pk=images["MARROW"].pk).update(site=site)
    open_case("EMPTY")
    for name in ("ADAS", "READ", "DISPUTED", "SIGNED", "MARROW"):
        judge(images[name], "benign")
    judge(images["MINE"], "early")
    cases = {case.accession_number: case for case in Case.objects.all()}
    assign(user=cast.hematologist, case=cases["MINE"], to=cast.hematologist, expected=None)
    assign(user=cast.hematologist, case=cases["ADAS"], to=cast.administrator, expected=None)
    for name, user, label in [
        ("READ", cast.hematologist, None),
        ("DISPUTED", cast.administrator, None),
        ("DISPUTED", cast.hematologist, "pro"),
        ("SIGNED", cast.hematologist, None),
    ]:
        image = images[name]
        record_review(
            user=user,
            image=image,
            analysis=image.newest_analysis,
            verdict="overrule" if label else "agree",
            label=label,
        )
    consultation.ask(user=cast.administrator, case=cases["ADAS"], of=cast.hematologist, question="Really?")
    Case.objects.filter(accession_number="SIGNED").update(status="final")
    Case.objects.filter(accession_number="ADAS").update(created_at=timezone.now() - timedelta(hours=30))
    return {case.accession_number: case for case in Case.objects.all()}


def shown(client: Client, **query: Any) -> list[str]:
    response = client.get(reverse("diagnosis:worklist"), query)
    assert response.status_code == 200
    return [case.accession_number for case in response.context["page"]]


OPEN = {"MINE", "ADAS", "READ", "DISPUTED", "MARROW", "EMPTY"}
FILTERS: list[tuple[dict[str, str], set[str]]] = [
    ({}, OPEN),
    ({"show": "nonsense"}, OPEN),
    ({"show": "unread"}, {"MINE", "ADAS", "MARROW", "EMPTY"}),
    ({"show": "unsigned"}, {"READ", "DISPUTED"}),
    ({"show": "suspected"}, {"MINE", "DISPUTED"}),
    ({"show": "disputed"}, {"DISPUTED"}),
    ({"show": "unfinished"}, set()),
    ({"show": "asked"}, {"ADAS"}),
    ({"show": "all"}, OPEN | {"SIGNED"}),
    ({"status": "final"}, {"SIGNED"}),
    ({"status": "preliminary"}, OPEN),
    ({"status": "amended"}, set()),
    ({"reader": "mine"}, {"MINE"}),
    ({"reader": "nobody"}, OPEN - {"MINE", "ADAS"}),
    ({"reader": "nobody", "show": "all"}, (OPEN | {"SIGNED"}) - {"MINE", "ADAS"}),
    ({"reader": "nonsense"}, OPEN),
    ({"late": "on"}, {"ADAS"}),
    ({"specimen": "marrow"}, {"MARROW"}),
    ({"specimen": "blood", "reader": "mine"}, {"MINE"}),
    ({"site": "999"}, OPEN),
    ({"page": "99"}, OPEN),
]


def test_the_address_narrows_the_list(reader: Client, day: dict[str, Case]) -> None:
    found = [(query, sorted(shown(reader, **query))) for query, _ in FILTERS]
    assert found == [(query, sorted(expected)) for query, expected in FILTERS]


def test_by_site_and_by_colleague(reader: Client, cast: Any, day: dict[str, Case]) -> None:
    assert shown(reader, site=Site.objects.get().pk) == ["MARROW"]
    assert shown(reader, reader=cast.administrator.pk) == ["ADAS"]
    assert len(shown(reader, reader=cast.outsider.pk)) == len(OPEN)  # nobody one may filter by


def test_suspected_first_then_the_disputed_then_the_others_unread_before_read_and_signed_last(
    reader: Client, day: dict[str, Case], cast: Any
) -> None:
    order = shown(reader, show="all")
    assert order[:2] == ["MINE", "DISPUTED"]  # one reader of the disputed one says "pro"
    assert order[-2:] == ["READ", "SIGNED"]
    assert order.index("ADAS") < order.index("MARROW")  # received earlier


def test_pages_go_on_from_the_open_cases_into_the_signed(
    reader: Client, day: dict[str, Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shown(reader, show="all")
    monkeypatch.setattr("diagnosis.views.worklist.A_PAGE", 4)
    assert [*shown(reader, show="all"), *shown(reader, show="all", page=2)] == whole


def test_after_many_signed_cases_the_list_refers_to_the_history(
    reader: Client, day: dict[str, Case], open_case: OpenCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diagnosis.worklist_selectors.MOST_SIGNED", 1)
    url = reverse("diagnosis:worklist")
    monkeypatch.setattr("diagnosis.views.worklist.A_PAGE", 4)
    assert "the history" not in reader.get(url, {"show": "all"}).text
    Case.objects.filter(pk=open_case("LATER").pk).update(status="final")
    page = reader.get(url, {"show": "all", "page": 2})
    assert [case.accession_number for case in page.context["page"]][-1] == "LATER"
    assert "of those signed out the newest 1, <a" in page.text


def row_of(client: Client, number: str, **query: Any) -> str:
    page = client.get(reverse("diagnosis:worklist"), query).text
    return page[page.index(f">{number}</a></th>") :].split("</tr>")[0]


def test_a_row_says_how_it_stands(reader: Client, day: dict[str, Case]) -> None:
    assert "0 of 1 image read" in row_of(reader, "MINE")
    assert "Hedy Hematologist" in row_of(reader, "MINE")
    assert "Release" in row_of(reader, "MINE")
    assert "due in 24 h" in row_of(reader, "MINE")
    late = row_of(reader, "ADAS")
    assert "late by 6 h" in late
    assert "mark suspect" not in late
    assert "second opinion asked of you" in late
    assert "1 disputed" in row_of(reader, "DISPUTED")
    assert "1 of 1 image read" in row_of(reader, "READ")
    signed = row_of(reader, "SIGNED", show="all")
    assert "final" in signed
    assert "<button" not in signed


def test_what_is_asked_of_her_comes_first(
    reader: Client, client: Client, cast: Any, day: dict[str, Case]
) -> None:
    page = reader.get(reverse("diagnosis:worklist")).text
    asked = page[page.index("Asked of you") : page.index("<table")]
    assert "ADAS" in asked
    assert "Ada Administrator asks for a second opinion" in asked
    assert "Really?" in asked
    client.force_login(cast.administrator)
    assert "Asked of you" not in client.get(reverse("diagnosis:worklist")).text


def test_a_technician_sees_who_reads_but_assigns_nothing(
    client: Client, cast: Any, day: dict[str, Case]
) -> None:
    client.force_login(cast.technician)
    page = client.get(reverse("diagnosis:worklist")).text
    assert "Hedy Hematologist" in page
    assert "cases/assign" not in page
    assert 'class="assign"' not in page
    assert 'id="give"' not in page


def test_taking_giving_and_releasing_a_case(reader: Client, cast: Any, day: dict[str, Case]) -> None:
    case = day["MARROW"]
    url = reverse("diagnosis:case-assign", args=[case.pk])
    hedy, ada = cast.hematologist.pk, cast.administrator.pk

    fragment = reader.post(url, {"to": hedy, "expected": "", "query": "specimen=marrow"}, headers=HTMX)
    assert fragment.status_code == 200
    assert "MARROW is read by Hedy Hematologist now." in fragment.text
    assert [c.accession_number for c in fragment.context["page"]] == ["MARROW"]

    answer = reader.post(url, {"to": ada, "expected": hedy, "next": "/?show=all"})
    assert answer["Location"] == "/?show=all"
    case.refresh_from_db()
    assert case.assigned_to_id == ada

    told = reader.post(url, {"to": "", "expected": hedy}, headers=HTMX)
    assert "Ada Administrator reads it now" in told.text
    reader.post(url, {"to": "", "expected": ada, "next": "https://elsewhere.example/"})
    case.refresh_from_db()
    assert case.assigned_to is None


@pytest.mark.parametrize("to", ["nonsense", "99999999999999999999", "²"])
def test_nobody_is_no_nonsense(reader: Client, day: dict[str, Case], to: str) -> None:
    case = day["MINE"]
    answer = reader.post(
        reverse("diagnosis:case-assign", args=[case.pk]),
        {"to": to, "expected": case.assigned_to_id},
        headers=HTMX,
    )
    assert "Choose a colleague" in answer.text
    case.refresh_from_db()
    assert case.assigned_to is not None


def test_the_live_list_is_sent_only_when_it_has_changed(
    reader: Client, cast: Any, day: dict[str, Case]
) -> None:
    url = reverse("diagnosis:worklist-live")
    state = reader.get(url).context["state"]
    assert reader.get(url, headers={"X-Worklist": state}).status_code == 204

    assign(user=cast.administrator, case=day["MARROW"], to=cast.administrator, expected=None)
    changed = reader.get(url, headers={"X-Worklist": state})
    assert changed.status_code == 200
    assert '<div id="cases"' in changed.text
    assert "<html" not in changed.text

    consultation.ask(user=cast.administrator, case=day["MARROW"], of=cast.hematologist)
    assert reader.get(url, headers={"X-Worklist": changed.context["state"]}).status_code == 200


def test_it_asks_as_many_queries_whatever_it_shows(
    reader: Client, cast: Any, open_case: OpenCase, add_image: AddImage, judge: Judge
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as context:
            assert reader.get(reverse("diagnosis:worklist"), {"show": "all"}).status_code == 200
        return len(context)

    def add(number: str) -> None:
        case = open_case(number)
        judge(add_image(to=case))
        assign(user=cast.hematologist, case=case, to=cast.administrator, expected=None)
        consultation.ask(user=cast.administrator, case=case, of=cast.hematologist)

    add("FIRST")
    queries()  # what a session asks once
    of_one = queries()
    for number in range(6):
        add(f"C-{number}")
    assert SecondOpinion.objects.count() == 7
    assert queries() == of_one
    assert of_one <= 23  # on PostgreSQL one more: the audit holds whom its event names
