"""The history as CSV: what its page lists, in the same order, harmless in a spreadsheet, and in the audit."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from diagnosis.models import Analysis, AuditEvent, Case, SmearImage
from diagnosis.services import exports, intake
from diagnosis.services.exports import harmless

pytestmark = pytest.mark.django_db

URL = "diagnosis:history-csv"


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def rows(client: Client, **query: Any) -> list[dict[str, str]]:
    response = client.get(reverse(URL), query)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def three(cast: Any, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]) -> list[Case]:
    cases = [
        intake.create_case(
            user=cast.technician, accession_number=number, patient_code=patient,
            received_on=timezone.localdate() - timedelta(days=days),
        )
        for days, (number, patient) in enumerate([("=A1", "P,1"), ('B"2', "P-2"), ("Ç 3", "+P-3")])
    ]  # fmt: skip
    judge(add_image(to=cases[0]), "pro")
    judge(add_image(to=cases[1]), "benign")
    return cases


def test_the_rows_are_those_of_the_page_in_its_order(reader: Client, three: list[Case]) -> None:
    for query in ({}, {"outcome": "suspected"}, {"q": "P-2"}, {"sort": "accession"}, {"since": "2999-01-01"}):
        page = reader.get(reverse("diagnosis:history"), query).context["page"]
        told = [row["accession number"].removeprefix("'") for row in rows(reader, **query)]
        assert told == [case.accession_number for case in page], query


def test_a_row_says_what_is_known_of_a_case(reader: Client, three: list[Case]) -> None:
    first, second, third = rows(reader, sort="-received")
    assert (first["accession number"], first["patient code"]) == ("'=A1", "P,1")
    assert (first["images"], first["suspected"], first["unread"], first["report"]) == (
        "1",
        "1",
        "1",
        "preliminary",
    )
    assert (second["accession number"], second["suspected"]) == ('B"2', "0")
    assert (third["accession number"], third["patient code"], third["images"]) == ("Ç 3", "'+P-3", "0")
    assert first["opened by"] == "Tina Technician"
    assert first["received on"] == timezone.localdate().isoformat()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "＝", "＠"])
def test_no_cell_begins_a_formula(start: str) -> None:
    assert harmless(f"{start}HYPERLINK(1)") == f"'{start}HYPERLINK(1)"


@pytest.mark.parametrize(
    ("value", "told"), [("P-1", "P-1"), ("", ""), (None, ""), (-3, "-3"), (0.5, "0.5"), ("'=1", "'=1")]
)
def test_other_cells_stay_as_they_are(value: object, told: str) -> None:
    assert harmless(value) == told


def test_the_mark_for_excel_comes_when_asked_for(reader: Client, three: list[Case]) -> None:
    def beginning(**query: Any) -> bytes:
        return next(iter(reader.get(reverse(URL), query).streaming_content))[:3]

    assert beginning(bom=1) == b"\xef\xbb\xbf"
    assert beginning() == b"acc"


def test_an_export_is_in_the_audit_without_what_was_searched_for(
    reader: Client, cast: Any, three: list[Case]
) -> None:
    rows(reader, q="P-2", outcome="suspected", since="2020-01-01")
    event = AuditEvent.objects.get(action="export")
    assert event.actor == cast.hematologist
    assert event.laboratory == cast.hematologist.laboratory
    assert event.detail == {
        "what": "history.csv",
        "filters": {"searched": True, "outcome": "suspected", "date_from": "2020-01-01", "sort": "-received"},
    }


def test_another_laboratory_gets_its_own_cases_alone(client: Client, cast: Any, three: list[Case]) -> None:
    client.force_login(cast.outsider)
    assert rows(client) == []


def test_memory_and_queries_do_not_grow_with_the_cases(
    reader: Client, cast: Any, three: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as context:
            rows(reader)
        return len(context)

    queries()  # what the first request alone asks
    of_three = queries()
    for number in range(20):
        intake.create_case(user=cast.technician, accession_number=f"N-{number}", patient_code="P")
    assert queries() == of_three
    monkeypatch.setattr(exports, "A_BATCH", 5)
    assert len(rows(reader)) == 23


def test_at_most_so_many_cases_go_out_and_the_last_line_says_that_there_are_more(
    reader: Client, three: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    all_three = [row["accession number"] for row in rows(reader)]
    monkeypatch.setattr(exports, "MOST_CASES", 3)
    assert [row["accession number"] for row in rows(reader)] == all_three
    monkeypatch.setattr(exports, "MOST_CASES", 2)
    told = [row["accession number"] for row in rows(reader)]
    assert told == [*all_three[:2], "Not all: there are more cases. Narrow by dates; at most 2 go out."]
    page = reader.get(reverse("diagnosis:history")).content.decode()
    assert "first 2 cases; narrow by dates for others" in page
    monkeypatch.setattr(exports, "MOST_CASES", 3)
    assert "narrow by dates for others" not in reader.get(reverse("diagnosis:history")).content.decode()


def test_a_stranger_is_sent_to_log_in(client: Client) -> None:
    assert client.get(reverse(URL)).status_code == 302
