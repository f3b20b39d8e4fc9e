"""The alert *possible APL*: on the worklist, the case page and the gallery, with what to do and what it can't say."""

from __future__ import annotations

import html
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnosis import selectors
from diagnosis.models import Analysis, Case, Cell, CellAnalysis, Laboratory, SmearImage
from diagnosis.services import apl, cell_readings, intake
from diagnosis.services.tallies import retally
from ml.cells.apl import is_possible_apl
from tests.diagnosis.told_cells import add_cells
from tests.diagnosis.told_worklist import listed

pytestmark = pytest.mark.django_db

Add = Callable[..., list[Cell]]


@pytest.fixture
def add(add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]) -> Add:
    """Adds a judged image with so many promyelocytes and lymphocytes to a case."""

    def to(case: Case, promyelocytes: int, others: int, *, label: str = "benign") -> list[Cell]:
        image = add_image(to=case)
        judge(image, label)
        labels = ["promyelocyte"] * promyelocytes + ["lymphocyte"] * others
        return add_cells(image, labels, with_sprite=False)

    return to


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def text(client: Client, name: str, **arguments: Any) -> str:
    response = client.get(reverse(f"diagnosis:{name}", **arguments))
    assert response.status_code == 200
    return " ".join(html.unescape(response.text).split())


def row(cast: Any, case: Case) -> Any:
    return next(one for one in listed(user=cast.hematologist) if one.pk == case.pk)


# --- the alert


def test_the_alert_adds_up_the_images_of_a_case(case: Case, add: Add) -> None:
    add(case, 4, 26)
    assert apl.alert_of(case) is None
    add(case, 6, 24)
    found = apl.alert_of(case)
    assert found is not None

    assert (found.promyelocytes, found.leukocytes) == (10, 60)
    assert found.sentence == (
        "10 promyelocytes among 60 leukocytes: 16.7 per 100 (95 % interval 9.3 to 28.0)."
    )
    assert "PML::RARA" in found.advice
    assert "excludes nothing" in found.limits


def test_a_reader_who_calls_them_otherwise_ends_it_and_undoing_that_brings_it_back(
    cast: Any, case: Case, add: Add
) -> None:
    cells = add(case, 10, 40)
    assert apl.alert_of(case) is not None
    batch = cell_readings.re_class(
        user=cast.hematologist, cells=[one.pk for one in cells[:8]], label="myelocyte"
    )
    assert apl.alert_of(case) is None
    cell_readings.undo(user=cast.hematologist, batch=batch)
    assert apl.alert_of(case) is not None


def test_marrow_has_promyelocytes_of_its_own(case: Case, add: Add) -> None:
    add(case, 12, 88)
    assert apl.alert_of(case) is not None
    case.specimen = Case.Specimen.MARROW

    assert apl.alert_of(case) is None


def test_nothing_counted_raises_nothing(case: Case, image: SmearImage) -> None:
    assert apl.alert_of(case) is None
    assert apl.alert(promyelocytes=None, leukocytes=None) is None
    assert apl.alert(promyelocytes=0, leukocytes=0) is None


def test_the_stored_counts_are_those_of_the_differential(case: Case, add: Add) -> None:
    add(case, 7, 20)
    stored = CellAnalysis.objects.values_list("leukocytes", "blasts", "promyelocytes")
    before = stored.get()
    CellAnalysis.objects.update(leukocytes=0, blasts=9, promyelocytes=0)
    retally(found=CellAnalysis.objects.all())

    assert before == (27, 0, 7)
    assert stored.get() == before


def test_an_installation_that_is_upgraded_gets_the_counts_of_what_it_has(
    cast: Any, case: Case, add: Add
) -> None:
    cells = add(case, 7, 20)
    cell_readings.re_class(user=cast.hematologist, cells=[cells[0].pk], label="blast")
    CellAnalysis.objects.update(leukocytes=0, blasts=0, promyelocytes=0)
    import_module("diagnosis.migrations.0009_tallies").count(apps, None)

    assert CellAnalysis.objects.values_list("leukocytes", "blasts", "promyelocytes").get() == (27, 1, 6)


# --- the worklist


def test_a_possible_apl_ranks_with_the_suspected_and_says_so(
    reader: Client, cast: Any, case: Case, add: Add
) -> None:
    add(case, 10, 40)
    said = text(reader, "worklist")

    assert row(cast, case).rank == selectors.RANK_SUSPECTED
    assert "Possible APL, urgent" in said
    assert "10 promyelocytes of 50 leukocytes" in said
    assert "excludes nothing" in said


def test_a_left_shift_does_not(reader: Client, cast: Any, case: Case, add: Add) -> None:
    add(case, 3, 97)

    assert row(cast, case).rank == selectors.RANK_OTHER
    assert "Possible APL" not in text(reader, "worklist")


def test_the_history_says_it_too(reader: Client, case: Case, add: Add) -> None:
    add(case, 10, 40)

    assert "Possible APL" in text(reader, "history")


def test_who_reads_blind_is_told_nothing_before_her_own_class(
    reader: Client, cast: Any, case: Case, add: Add
) -> None:
    add(case, 10, 40)
    Laboratory.objects.update(is_blind=True)
    cast.hematologist.laboratory.refresh_from_db()

    assert row(cast, case).rank != selectors.RANK_SUSPECTED
    assert "Possible APL" not in text(reader, "worklist")
    assert "Possible APL" not in text(reader, "case", args=[case.pk])


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 240)), min_size=30, max_size=30))
def test_the_database_knows_the_same_rule(counts: list[tuple[int, int]]) -> None:
    assert _by_database(counts) == [
        (some, of, specimen)
        for some, of in counts
        for specimen in ("blood", "marrow")
        if is_possible_apl(some, of, is_marrow=specimen == "marrow")
    ]


def _by_database(counts: list[tuple[int, int]]) -> list[tuple[int, int, str]]:
    """Which of these the condition finds, without a row of ours: as values of one laboratory's row."""
    from django.db.models import F, IntegerField, TextField, Value

    laboratory, _ = Laboratory.objects.get_or_create(slug="rule", defaults={"name": "Rule"})
    found = []
    for some, of in counts:
        for specimen in ("blood", "marrow"):
            query = Laboratory.objects.filter(pk=laboratory.pk).annotate(
                promyelocyte_count=Value(some, IntegerField()),
                leukocyte_count=F("pk") * 0 + of,
                specimen=Value(specimen, TextField()),
            )
            if query.filter(apl.condition()).exists():
                found.append((some, of, specimen))
    return found


def test_a_page_of_cases_asks_as_many_queries_with_alerts_as_without(
    reader: Client, cast: Any, case: Case, add: Add
) -> None:
    add(case, 0, 30)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            text(reader, "worklist")
        return len(asked)

    queries()  # what a session asks once
    plain = queries()
    for number in range(3):
        other = intake.create_case(user=cast.technician, accession_number=f"H-{number}", patient_code="P")
        add(other, 10, 30)
    assert queries() == plain


# --- the case page and the gallery


@pytest.mark.parametrize("name", ["case", "cells"])
def test_the_pages_of_a_case_say_what_to_do(reader: Client, case: Case, add: Add, name: str) -> None:
    add(case, 10, 40)
    said = text(reader, name, args=[case.pk])

    assert "Possible APL: urgent." in said
    assert "10 promyelocytes among 50 leukocytes: 20.0 per 100" in said
    assert "confirm by PML::RARA" in said
    assert "is not validated at this site" in said
