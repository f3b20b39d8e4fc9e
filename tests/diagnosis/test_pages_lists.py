"""The worklist and the history: order, filters in the address, pages, and how many queries they take."""

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

from diagnosis.models import Analysis, Case, ModelVersion, SmearImage
from diagnosis.services import intake
from diagnosis.services.review import record_review

Judge = Callable[..., Analysis]
AddImage = Callable[..., SmearImage]


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


@pytest.fixture
def open_case(cast: Any) -> Callable[..., Case]:
    def open_(number: str, patient: str = "P-1", days: int = 0, **more: Any) -> Case:
        received = timezone.localdate() - timedelta(days=days)
        return intake.create_case(
            user=cast.technician, accession_number=number, patient_code=patient, received_on=received, **more
        )

    return open_


def shown(client: Client, name: str, **query: Any) -> list[str]:
    response = client.get(reverse(f"diagnosis:{name}"), query)
    assert response.status_code == 200
    return [case.accession_number for case in response.context["page"]]


@pytest.fixture
def three(
    open_case: Callable[..., Case], add_image: AddImage, judge: Judge, cast: Any
) -> dict[str, SmearImage]:
    """A benign case that was read, a suspected one, and one that waits."""
    images = {name: add_image(to=open_case(name)) for name in ("BENIGN", "SUSPECTED", "WAITING")}
    judge(images["BENIGN"], "benign")
    judge(images["SUSPECTED"], "pro")
    record_review(
        user=cast.hematologist,
        image=images["BENIGN"],
        analysis=images["BENIGN"].newest_analysis,
        verdict="agree",
    )
    return images


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        ("unread", ["SUSPECTED", "WAITING"]),
        ("suspected", ["SUSPECTED"]),
        ("unfinished", ["WAITING"]),
        ("all", ["SUSPECTED", "WAITING", "BENIGN"]),
        ("open", ["SUSPECTED", "WAITING", "BENIGN"]),
        ("nonsense", ["SUSPECTED", "WAITING", "BENIGN"]),
    ],
)
def test_the_worklist_shows_the_urgent_first(
    reader: Client, three: dict[str, SmearImage], show: str, expected: list[str]
) -> None:
    assert shown(reader, "worklist", show=show) == expected


def test_the_worklist_says_what_the_images_say(reader: Client, three: dict[str, SmearImage]) -> None:
    page = reader.get(reverse("diagnosis:worklist"), {"show": "all"}).text

    assert "1 suspected" in page
    assert "none suspected" in page
    assert "1 being analysed" in page
    assert "0 running · 1 queued" in page


def test_live_counts_stop_when_nothing_is_queued(
    reader: Client, three: dict[str, SmearImage], judge: Judge
) -> None:
    url = reverse("diagnosis:queue-live")
    fragment = reader.get(url, {"state": "0-0"})
    assert "every 2s" in fragment.text
    assert fragment["HX-Trigger"] == "leukoscope:queue"
    assert reader.get(url, {"state": "1-0"}).status_code == 204

    judge(three["WAITING"])
    fragment = reader.get(url, {"state": "1-0"})

    assert "every" not in fragment.text
    assert "nothing queued" in fragment.text


@pytest.mark.parametrize("name", ["worklist", "history"])
def test_other_laboratories_are_not_listed(client: Client, cast: Any, case: Case, name: str) -> None:
    client.force_login(cast.outsider)

    assert shown(client, name) == []


@pytest.mark.parametrize("name", ["worklist", "history"])
def test_empty_lists_say_what_to_do(reader: Client, name: str) -> None:
    page = reader.get(reverse(f"diagnosis:{name}")).text

    assert 'class="empty"' in page


FILTERS = [
    ({}, ["WAITING", "SUSPECTED", "BENIGN"]),
    ({"q": "susp"}, ["SUSPECTED"]),
    ({"q": "P-1"}, ["WAITING", "SUSPECTED", "BENIGN"]),
    ({"outcome": "suspected"}, ["SUSPECTED"]),
    ({"outcome": "unfinished"}, ["WAITING"]),
    ({"outcome": "class"}, ["SUSPECTED", "BENIGN"]),
    ({"label": "benign"}, ["BENIGN"]),
    ({"reading": "unread"}, ["WAITING", "SUSPECTED"]),
    ({"reading": "disagreement"}, []),
    ({"since": "2999-01-01"}, []),
    ({"until": "2000-01-01"}, []),
    ({"outcome": "nonsense"}, ["WAITING", "SUSPECTED", "BENIGN"]),
    ({"since": "nonsense", "q": "ben"}, ["BENIGN"]),
    ({"sort": "accession"}, ["BENIGN", "SUSPECTED", "WAITING"]),
    ({"sort": "-accession"}, ["WAITING", "SUSPECTED", "BENIGN"]),
    ({"sort": "nonsense"}, ["WAITING", "SUSPECTED", "BENIGN"]),
    ({"page": "99"}, ["WAITING", "SUSPECTED", "BENIGN"]),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS, ids=[str(query) for query, _ in FILTERS])
def test_the_history_is_narrowed_by_its_address(
    reader: Client, three: dict[str, SmearImage], query: dict[str, str], expected: list[str]
) -> None:
    assert shown(reader, "history", **query) == expected


def test_the_history_finds_readers_and_model_versions(
    reader: Client, cast: Any, three: dict[str, SmearImage], version: ModelVersion
) -> None:
    assert shown(reader, "history", reviewer=cast.hematologist.pk) == ["BENIGN"]
    assert shown(reader, "history", version=version.pk) == ["SUSPECTED", "BENIGN"]
    assert len(shown(reader, "history", reviewer=cast.outsider.pk)) == 3  # not an account one may filter by


def test_sorting_keeps_the_filters_and_says_its_direction(
    reader: Client, three: dict[str, SmearImage]
) -> None:
    page = reader.get(reverse("diagnosis:history"), {"q": "P-1", "sort": "accession"}).text

    assert 'aria-sort="ascending"' in page
    assert "?q=P-1&amp;sort=-accession" in page


def test_pages_keep_the_filters(reader: Client, open_case: Callable[..., Case]) -> None:
    for number in range(30):
        open_case(f"N-{number:02}")
    page = reader.get(reverse("diagnosis:history"), {"q": "N-", "sort": "accession"})

    assert len(page.context["page"]) == 25
    assert "?q=N-&amp;sort=accession&amp;page=2" in page.text
    assert shown(reader, "history", q="N-", sort="accession", page=2) == [f"N-{n}" for n in range(25, 30)]


@pytest.mark.parametrize("name", ["worklist", "history"])
def test_a_list_takes_as_many_queries_for_twenty_cases_as_for_one(
    reader: Client, open_case: Callable[..., Case], add_image: AddImage, judge: Judge, name: str
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as context:
            assert reader.get(reverse(f"diagnosis:{name}")).status_code == 200
        return len(context)

    judge(add_image(to=open_case("FIRST")))
    queries()  # what a session asks once
    of_one = queries()
    for number in range(20):
        judge(add_image(to=open_case(f"C-{number}")))

    assert queries() == of_one
    assert of_one <= 20
