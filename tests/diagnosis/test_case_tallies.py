"""Tallies of open cases: the same as counting, whatever has changed; noted by the database, kept by the upkeep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from diagnosis import case_tallies as reads
from diagnosis import selectors
from diagnosis.models import Analysis, Case, CaseTally, Laboratory, SmearImage, StaleTally, User
from diagnosis.services import (
    analyze,
    blind,
    case_facts,
    case_tallies,
    intake,
    sign_out,
    tally_triggers,
    upkeep,
)
from diagnosis.services.case_facts import Facts
from diagnosis.services.cell_readings import re_class
from diagnosis.services.review import withdraw_review
from tests.diagnosis.told_sign_out import read, reader, sign
from tests.stand_in_cells import Told

pytestmark = pytest.mark.django_db

_VALUES = ("pk", "status", "specimen", *selectors.COUNTED)
PROMYELOCYTES = [Told("promyelocyte", 0.1)] * 10 + [Told("monocyte", 0.1)] * 50
"""As many as make a possible APL of blood, and none of marrow."""


def open_keys() -> list[int]:
    return sorted(Case.objects.filter(selectors.NOT_SIGNED).values_list("pk", flat=True))


def by_counting(user: User) -> list[dict[str, Any]]:
    cases = Case.objects.filter(pk__in=open_keys())
    return list(selectors.with_counts(cases, user).order_by("pk").values(*_VALUES))


def by_tallies(user: User) -> list[dict[str, Any]]:
    cases = Case.objects.filter(pk__in=open_keys())
    found = reads.counted(user=user, cases=cases)
    assert list(found) == list(cases.order_by("received_on", "created_at", "pk").values_list("pk", flat=True))
    return [found[key] for key in sorted(found)]


@pytest.fixture
def story(
    cast: Any, cell_version: Any, predictors: Any, add_image: Any, judge: Any
) -> dict[str, Callable[[], Any]]:
    """What may change a case's counts, one after the other, by name."""
    case = intake.create_case(user=cast.technician, accession_number="A", patient_code="P")
    other = intake.create_case(user=cast.technician, accession_number="B", patient_code="P")
    images: list[SmearImage] = []

    def judged(label: str, *cells: Told) -> Analysis:
        predictors.cells.cells = list(cells)
        return judge(images[-1], label)

    def fail() -> None:
        analyze.enqueue(image=images[0])
        analysis = Analysis.objects.get(image=images[0], state="queued")
        claim = analyze._claim(analysis.pk)
        assert claim
        analyze.fail(analysis=Analysis.objects.get(pk=analysis.pk), claim=claim, failure="No.")

    def re_class_all(label: str) -> None:
        cells = images[1].newest_analysis.cell_analysis.cells.values_list("pk", flat=True)
        re_class(user=cast.hematologist, cells=cells, label=label)

    def read_all() -> None:
        for image in SmearImage.objects.filter(case=case):
            read(cast.hematologist, image)

    def facts(specimen: str) -> None:
        case_facts.change(
            user=cast.technician,
            case=Case.objects.get(pk=case.pk),
            facts=Facts(
                patient_code="P", specimen=specimen, age_years=7, white_cell_count=None, received_on=case.received_on
            ),
        )  # fmt: skip

    return {
        "an image is added": lambda: images.append(add_image(to=case)),
        "it is analysed": lambda: judged("benign", Told("blast", 0.9)),
        "another one is added": lambda: images.append(add_image(to=case)),
        "it is full of promyelocytes": lambda: judged("benign", *PROMYELOCYTES),
        "the specimen is marrow": lambda: facts("marrow"),
        "it is blood after all": lambda: facts("blood"),
        "a reader corrects its cells": lambda: (images[1].refresh_from_db(), re_class_all("monocyte")),
        "she takes that back": lambda: re_class_all(""),
        "she overrules the model": lambda: read(cast.hematologist, images[0], "overrule", label="pro"),
        "she takes that back too": lambda: withdraw_review(user=cast.hematologist, image=images[0]),
        "she cannot tell": lambda: read(cast.hematologist, images[0], "unsure", comment="Too thick."),
        "a colleague can": lambda: read(reader("carl", cast.hematologist), images[0]),
        "it is analysed anew in vain": fail,
        "it is analysed again": lambda: (analyze.enqueue(image=images[0]), judge(images[0], "early")),
        "the other case gets an image": lambda: images.append(add_image(to=other)),
        "all is read": read_all,
        "it is signed": lambda: sign(cast.hematologist, case),
        "it is opened again": lambda: sign_out.open_amendment(
            user=cast.hematologist, case=Case.objects.get(pk=case.pk), reason="A typing mistake in the conclusion."
        ),
    }  # fmt: skip


def test_tallies_are_what_counting_gives_after_every_change(
    cast: Any, story: dict[str, Callable[[], Any]]
) -> None:
    for what, happens in story.items():
        case_tallies.refresh()
        before = by_counting(cast.hematologist)
        assert by_tallies(cast.hematologist) == before, f"counted anew, before {what}"
        happens()
        assert by_counting(cast.hematologist) != before, f"{what}: this changes nothing, so it shows nothing"
        assert by_tallies(cast.hematologist) == by_counting(cast.hematologist), what


def test_who_reads_blind_is_told_the_same_by_tallies(
    cast: Any, laboratory: Laboratory, cell_version: Any, predictors: Any, add_image: Any, judge: Any
) -> None:
    """Of a case of which she has seen nothing, of one of which she has seen an image, of one open for an amendment."""
    cases = [
        intake.create_case(user=cast.technician, accession_number=name, patient_code="P")
        for name in ("unseen", "half seen", "signed once")
    ]
    for case in cases:
        for label in ("early", "benign"):
            predictors.cells.cells = [Told("blast", 0.9)]
            judge(add_image(to=case), label)
    for image in cases[2].images.all():
        read(cast.laboratory_head, image)
    sign(cast.laboratory_head, cases[2])
    signed = Case.objects.get(pk=cases[2].pk)
    sign_out.open_amendment(
        user=cast.laboratory_head, case=signed, reason="A typing mistake in the conclusion."
    )
    laboratory.is_blind = True
    laboratory.save()
    cast.laboratory_head.refresh_from_db()
    blind_reader = User.objects.get(pk=cast.hematologist.pk)
    case_tallies.refresh()

    def veiled() -> list[int]:
        return [row["veiled_count"] for row in by_tallies(blind_reader)]

    assert by_tallies(blind_reader) == by_counting(blind_reader)
    assert veiled() == [2, 2, 0]
    blind.record_blind_reading(user=blind_reader, image=cases[1].images.first(), label="early", seconds=3.0)
    assert by_tallies(blind_reader) == by_counting(blind_reader)
    assert veiled() == [2, 1, 0]
    case_tallies.refresh()
    assert not StaleTally.objects.exists(), "else all of it is counted"
    assert by_tallies(blind_reader) == by_counting(blind_reader)
    assert veiled() == [2, 1, 0]
    assert by_tallies(cast.laboratory_head) == by_counting(cast.laboratory_head), (
        "she reviewed none of the first two"
    )
    assert by_tallies(cast.technician) == by_counting(cast.technician)


def test_a_sweep_keeps_tallies_also_of_signed_cases(cast: Any, image: SmearImage, judge: Any) -> None:
    judge(image, "early")
    read(cast.hematologist, image)
    assert StaleTally.objects.exists()
    upkeep.sweep()
    assert (CaseTally.objects.get().suspected_count, StaleTally.objects.count()) == (1, 0)
    sign(cast.hematologist, image.case)
    (case,) = reads.with_tallies(user=cast.hematologist, cases=Case.objects.all()).values()
    (counted,) = selectors.with_counts(Case.objects.all(), cast.hematologist)
    assert {name: getattr(case, name) for name in selectors.COUNTED} == {
        name: getattr(counted, name) for name in selectors.COUNTED
    }


def test_a_tally_that_holds_is_not_counted_again(cast: Any, image: SmearImage, judge: Any) -> None:
    judge(image, "early")
    case_tallies.refresh()
    assert case_tallies.refresh() == 0
    with CaptureQueriesContext(connection) as queries:
        by_tallies(cast.hematologist)
    asked = "".join(query["sql"] for query in queries)
    assert "diagnosis_smearimage" not in asked


def test_a_change_that_changes_no_count_makes_none_stale(image: SmearImage, judge: Any) -> None:
    analysis = judge(image, "early")
    case_tallies.refresh()
    Analysis.objects.filter(pk=analysis.pk).update(runtime="another", state=analysis.state)
    SmearImage.objects.filter(pk=image.pk).update(original_name="renamed.png")
    Case.objects.update(note="Written later.")
    assert not StaleTally.objects.exists()


def test_many_stale_rows_are_taken_in_batches(
    cast: Any, monkeypatch: pytest.MonkeyPatch, add_image: Any
) -> None:
    monkeypatch.setattr(case_tallies, "A_BATCH", 2)
    for number in range(5):
        add_image(
            to=intake.create_case(user=cast.technician, accession_number=f"C{number}", patient_code="P")
        )
    case_tallies.refresh(batches=2)
    assert CaseTally.objects.count() < 5, (
        "a round ends, though there is more: others wait for the same worker"
    )
    case_tallies.refresh(batches=100)
    assert CaseTally.objects.count() == 5
    assert not StaleTally.objects.exists()


def test_the_database_has_all_triggers_and_they_come_back(db: None) -> None:
    from diagnosis.apps import keep_triggers

    assert tally_triggers.missing(connection) == []
    tally_triggers.remove(connection)
    assert len(tally_triggers.missing(connection)) == 9
    keep_triggers(using="default")
    assert tally_triggers.missing(connection) == []


def test_while_the_triggers_were_away_anything_may_have_changed(image: SmearImage) -> None:
    from diagnosis.apps import keep_triggers

    case_tallies.refresh()
    keep_triggers(using="default")
    assert not StaleTally.objects.exists(), "nothing was away"
    tally_triggers.remove(connection)
    keep_triggers(using="default")
    assert list(StaleTally.objects.values_list("case_key", flat=True)) == [image.case_id]


def test_a_table_can_be_made_anew_while_migrations_run(image: SmearImage) -> None:
    """SQLite does so to change a table, and refuses where a trigger names it: they are put aside for as long."""
    from diagnosis.apps import put_aside_triggers

    put_aside_triggers(using="default", plan=[])
    assert tally_triggers.missing(connection) == []
    put_aside_triggers(using="default", plan=[("a migration", False)])
    assert len(tally_triggers.missing(connection)) == (9 if connection.vendor == "sqlite" else 0)


def test_the_order_is_that_of_urgency_and_then_as_they_came() -> None:
    usual = {
        "rank": 2, "is_disputed": False, "image_count": 1, "unread_count": 1, "unsure_count": 0, "suspicion": None,
    }  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"rank": 0, "suspicion": 0.9},
        {"rank": 0, "suspicion": 0.2},
        {"rank": 0},
        {"rank": 0, "unread_count": 0, "suspicion": 0.95},
        {"rank": 0, "unread_count": 0, "suspicion": 0.95},
        {"rank": 1},
        {"is_disputed": True, "unread_count": 0},
        {"image_count": 0, "unread_count": 0},
        {"unread_count": 0, "unsure_count": 1},
        {"unread_count": 0},
    ]
    numbered = [{**usual, **row, "pk": n} for n, row in enumerate(rows)]
    as_they_came = [numbered[n] for n in (9, 7, 3, 5, 0, 8, 6, 2, 4, 1)]
    assert [row["pk"] for row in reads.by_urgency(as_they_came)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
