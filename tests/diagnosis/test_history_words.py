"""Words of the history: the page finds what an export goes through, however it was found and wherever it ends."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from diagnosis import history_selectors, selectors
from diagnosis.history_selectors import MOST_FOUND, Found
from diagnosis.models import Analysis, Case, CaseTally, Laboratory, Review, SmearImage, StaleTally, User
from diagnosis.selectors import HistoryFilters
from diagnosis.services import archive, case_tallies, search_indexes

pytestmark = pytest.mark.django_db


def numbers(cases: Any) -> list[str]:
    return [case.accession_number for case in cases]


def found(user: User, **filters: Any) -> list[str]:
    return numbers(Found(user=user, filters=HistoryFilters(**filters))[0:1000])


def all_of(user: User, **filters: Any) -> list[str]:
    return numbers(selectors.history(user=user, filters=HistoryFilters(**filters)))


@pytest.fixture
def drawn() -> User:
    """A laboratory with a drawn archive of signed and unsigned cases; one of its readers."""
    archive.seed(cases=90, images_per_case=4, seed=5)
    return User.objects.get(username=f"{archive.SLUG}-reader-1")


@pytest.fixture
def named(cast: Any) -> dict[str, Case]:
    """Cases by their accession number, all of them with the same two letters somewhere."""
    cases = [
        Case(accession_number="X1-7", patient_code="P-1", note=""),
        Case(accession_number="7-B", patient_code="x1", note=""),
        Case(accession_number="7-X1", patient_code="P-2", note=""),
        Case(accession_number="7-D", patient_code="P-X1", note=""),
        Case(accession_number="7-E", patient_code="P-3", note="X1 is in the note alone."),
    ]
    for case in cases:
        case.laboratory, case.created_by = cast.hematologist.laboratory, cast.technician
    return {case.accession_number: case for case in Case.objects.bulk_create(cases)}


def test_two_letters_find_what_accessions_and_patients_begin_with(cast: Any, named: dict[str, Case]) -> None:
    for query, expected in (
        ("x1", {"X1-7", "7-B"}),
        ("x", {"X1-7", "7-B"}),
        ("x1 P-", {"X1-7"}),
        ("x1 7-B", {"7-B"}),
        ("-X1", {"7-X1", "7-D"}),  # three letters are found within
        ("x1 note", set()),
    ):
        assert set(found(cast.hematologist, q=query)) == expected
        assert set(all_of(cast.hematologist, q=query)) == expected
    assert found(cast.outsider, q="x1") == []


def test_the_page_says_what_two_letters_find(client: Client, cast: Any) -> None:
    client.force_login(cast.hematologist)

    assert "One or two letters" in client.get(reverse("diagnosis:history")).text


WORDS = (
    "petechiae", "vacuoles", "immunophenotyping", "drawn", "auer rods", "marrow bruises", "D26", "P-0", "the",
    "drawn 00001", "fever the", "nowhere",
)  # fmt: skip


@pytest.mark.parametrize("most", [5, MOST_FOUND])
@pytest.mark.parametrize("is_blind", [False, True])
@pytest.mark.parametrize("by_index", [False, True])
def test_it_finds_the_first_of_what_an_export_goes_through(
    drawn: User, monkeypatch: pytest.MonkeyPatch, most: int, is_blind: bool, by_index: bool
) -> None:
    """By the search that a database with indexes of texts gets, too: any database can run it."""
    monkeypatch.setattr(history_selectors, "MOST_FOUND", most)
    monkeypatch.setattr(history_selectors, "_has_text_indexes", lambda: by_index)
    Laboratory.objects.filter(pk=drawn.laboratory_id).update(is_blind=is_blind)
    user = User.objects.get(pk=drawn.pk)
    lately = timezone.localdate() - datetime.timedelta(days=400)
    narrowings: tuple[dict[str, Any], ...] = (
        {}, {"sort": "received"}, {"sort": "patient"}, {"status": "final"}, {"date_from": lately},
        {"date_to": lately}, {"date_to": datetime.date(1, 1, 15)},
        {"date_from": timezone.localdate() - datetime.timedelta(days=20)},
        {"outcome": "suspected"}, {"label": "pro", "disagreement": True}, {"disputed": True},
    )  # fmt: skip

    for word in WORDS:
        for narrowing in narrowings:
            expected = all_of(user, q=word, **narrowing)
            assert found(user, q=word, **narrowing) == expected[:most], (word, narrowing)
            assert Found(user=user, filters=HistoryFilters(q=word, **narrowing)).is_cut == (
                len(expected) > most
            )
    assert sum(bool(all_of(user, q=word)) for word in WORDS) >= len(WORDS) - 3


def test_comments_of_today_on_cases_of_old_hide_no_case(
    cast: Any, add_image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the newest comments are on the oldest cases, they do not tell which cases are the newest."""
    monkeypatch.setattr(history_selectors, "MOST_FOUND", 2)
    today, now = timezone.localdate(), timezone.now()
    arrivals = {"NEW-1": 5, "NEW-2": 6, "OLD-1": 300, "OLD-2": 301, "OLD-3": 302}
    for name, days in arrivals.items():
        case = Case.objects.create(
            laboratory=cast.hematologist.laboratory, created_by=cast.technician, accession_number=name,
            patient_code="P", received_on=today - datetime.timedelta(days=days),
        )  # fmt: skip
        is_old = name.startswith("OLD")
        Review.objects.create(
            image=add_image(to=case), reviewer=cast.hematologist, verdict="overrule", label="pro",
            comment="Large nucleoli.", created_at=now - datetime.timedelta(hours=1, days=0 if is_old else 4),
        )  # fmt: skip

    assert found(cast.hematologist, q="nucleoli") == ["NEW-1", "NEW-2"]
    assert Found(user=cast.hematologist, filters=HistoryFilters(q="nucleoli")).is_cut


@pytest.mark.parametrize("is_blind", [False, True])
@pytest.mark.parametrize("are_tallied", [False, True])
def test_a_row_counts_what_an_export_counts(drawn: User, is_blind: bool, are_tallied: bool) -> None:
    Laboratory.objects.filter(pk=drawn.laboratory_id).update(is_blind=is_blind)
    user = User.objects.get(pk=drawn.pk)
    Case.objects.filter(pk__in=list(Case.objects.order_by("pk").values_list("pk", flat=True)[:5])).update(
        status=Case.Status.PRELIMINARY
    )
    CaseTally.objects.all().delete()
    if are_tallied:
        case_tallies.refresh()

    def counts(cases: Any) -> list[list[Any]]:
        return [[case.pk, *(getattr(case, name) for name in selectors.COUNTED)] for case in cases]

    shown = counts(Found(user=user, filters=HistoryFilters())[0:100])

    assert shown == counts(selectors.history(user=user))
    veiled = 1 + selectors.COUNTED.index("veiled_count")
    assert {row[veiled] > 0 for row in shown} == ({False, True} if is_blind else {False})


def test_an_outcome_is_found_however_old_the_tallies_are(drawn: User) -> None:
    case_tallies.refresh()
    image = (
        SmearImage.objects.filter(case__status="preliminary", case__tally__suspected_count=0)
        .filter(newest_analysis__state=Analysis.State.DONE, newest_review=None)
        .select_related("case")
        .first()
    )
    assert image is not None
    assert image.case.accession_number not in found(drawn, outcome="suspected")

    Analysis.objects.filter(pk=image.newest_analysis_id).update(suspected=True)

    assert StaleTally.objects.filter(case_key=image.case_id).exists()
    assert image.case.accession_number in found(drawn, outcome="suspected")
    CaseTally.objects.all().delete()
    assert image.case.accession_number in found(drawn, outcome="suspected")


def test_postgresql_has_the_indexes_and_compiles_nothing() -> None:
    is_there = search_indexes.install(connection)

    if connection.vendor != "postgresql":
        assert not is_there
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'search%'")
        assert len(cursor.fetchall()) == 9
        cursor.execute("SHOW jit")
        assert cursor.fetchone() == ("off",)


def test_an_index_over_other_rows_is_replaced() -> None:
    """As an installation has it that was made before the newest comments were asked for with what they hold."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        search_indexes.remove(connection)
        cursor.execute(
            "CREATE INDEX search_comment_newest ON diagnosis_review (created_at DESC) WHERE comment <> ''"
        )
        search_indexes.install(connection)
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '%created_at DESC) WHERE%'"
        )
        ((name, definition),) = cursor.fetchall()
    assert name == "search_comment_lately"
    assert "> ''" in definition
    assert "<> ''" not in definition
