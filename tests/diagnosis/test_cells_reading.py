"""Readers class cells, many at once, and take it back: who may, what is kept, and with how many queries."""

from __future__ import annotations

import uuid

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404
from django.test.utils import CaptureQueriesContext

from diagnosis.models import AuditEvent, Cell, CellReading
from diagnosis.models.immutable import ImmutableRow
from diagnosis.services import analyze, cell_readings, intake
from diagnosis.services.cell_readings import ReadingRefused, re_class, undo
from tests.stand_in_cells import Told

pytestmark = pytest.mark.django_db


@pytest.fixture
def cells(image, cell_version, judge) -> list[int]:
    """Primary keys of the cells of one image, in order."""
    return [cell.pk for cell in judge(image).cell_analysis.cells.all()]


def labels(keys) -> list[str]:
    found = dict(Cell.objects.filter(pk__in=keys).values_list("pk", "newest_reading__label"))
    return [found[key] or "" for key in keys]


def test_a_reading_is_added_for_every_cell_and_counts(cast, case, cells):
    batch = re_class(user=cast.hematologist, cells=cells[:3], label="monocyte")
    assert labels(cells) == ["monocyte"] * 3 + [""] * 4
    readings = CellReading.objects.filter(batch=batch)
    assert {(one.reader, one.label, one.undoes) for one in readings} == {
        (cast.hematologist, "monocyte", None)
    }
    again = re_class(user=cast.administrator, cells=cells[1:2], label="blast")
    assert labels(cells)[:3] == ["monocyte", "blast", "monocyte"]
    assert again != batch
    assert CellReading.objects.count() == 4


def test_the_model_s_word_is_left_as_it_was(cast, cells):
    before = list(Cell.objects.values("pk", "label", "top_label", "blast_probability"))
    re_class(user=cast.hematologist, cells=cells, label="lymphocyte")
    assert list(Cell.objects.values("pk", "label", "top_label", "blast_probability")) == before


def test_a_reading_is_never_edited(cast, cells):
    re_class(user=cast.hematologist, cells=cells[:1], label="blast")
    reading = CellReading.objects.get()
    reading.label = "monocyte"
    with pytest.raises(ImmutableRow):
        reading.save()
    with pytest.raises(ImmutableRow):
        CellReading.objects.update(label="monocyte")


def test_an_empty_label_takes_back_what_a_reader_gave(cast, cells):
    re_class(user=cast.hematologist, cells=cells[:2], label="blast")
    batch = re_class(user=cast.hematologist, cells=cells[:5], label="")
    assert labels(cells) == [""] * 7
    assert CellReading.objects.filter(batch=batch).count() == 2, "cells that nobody had read are left alone"
    with pytest.raises(ReadingRefused, match="to take back"):
        re_class(user=cast.hematologist, cells=cells, label="")


def test_one_audit_event_a_batch_counts_the_cells(cast, case, cells):
    re_class(user=cast.hematologist, cells=cells[:1], label="blast")
    batch = re_class(user=cast.hematologist, cells=cells[:4], label="monocyte")
    made = undo(user=cast.hematologist, batch=batch)
    undone, read, _ = AuditEvent.objects.filter(action__in=["read_cells", "undo_cell_readings"])
    assert (read.actor, read.laboratory, read.object_type, read.object_id) == (
        cast.hematologist, case.laboratory, "case", str(case.pk),
    )  # fmt: skip
    assert read.detail == {
        "batch": str(batch), "label": "monocyte", "cells": 4, "before": {"": 3, "blast": 1},
    }  # fmt: skip
    assert undone.detail == {
        "batch": str(made), "undoes": str(batch), "cells": 4, "labels": {"": 3, "blast": 1},
    }  # fmt: skip


# --- undo


def test_undo_gives_back_what_each_cell_had_before(cast, cells):
    re_class(user=cast.administrator, cells=cells[:1], label="blast")
    batch = re_class(user=cast.hematologist, cells=cells[:3], label="monocyte")
    made = undo(user=cast.hematologist, batch=batch)
    assert labels(cells)[:3] == ["blast", "", ""]
    assert {one.undoes for one in CellReading.objects.filter(batch=made)} == {batch}


def test_undoing_an_undo_does_it_again(cast, cells):
    batch = re_class(user=cast.hematologist, cells=cells[:3], label="monocyte")
    first = undo(user=cast.hematologist, batch=batch)
    second = undo(user=cast.hematologist, batch=first)
    assert labels(cells)[:3] == ["monocyte"] * 3
    undo(user=cast.hematologist, batch=second)
    assert labels(cells)[:3] == [""] * 3


def test_deeds_are_undone_one_after_the_other(cast, cells):
    first = re_class(user=cast.hematologist, cells=cells[:3], label="monocyte")
    second = re_class(user=cast.hematologist, cells=cells[2:4], label="blast")
    with pytest.raises(ReadingRefused, match="read again since"):
        undo(user=cast.hematologist, batch=first)
    undo(user=cast.hematologist, batch=second)
    assert labels(cells)[:4] == ["monocyte"] * 3 + [""]


def test_deeds_are_undone_back_to_the_first(cast, cells):
    first = re_class(user=cast.hematologist, cells=cells[:3], label="monocyte")
    second = re_class(user=cast.hematologist, cells=cells[1:4], label="blast")
    undone = undo(user=cast.hematologist, batch=second)
    undo(user=cast.hematologist, batch=first)
    assert labels(cells)[:4] == [""] * 4
    with pytest.raises(ReadingRefused, match="read again since"):
        undo(user=cast.hematologist, batch=undone)


def test_a_deed_is_undone_once(cast, cells):
    batch = re_class(user=cast.hematologist, cells=cells[:1], label="monocyte")
    undo(user=cast.hematologist, batch=batch)
    with pytest.raises(ReadingRefused, match="read again since"):
        undo(user=cast.hematologist, batch=batch)


def test_another_reader_s_deed_is_not_undone(cast, cells):
    batch = re_class(user=cast.hematologist, cells=cells[:1], label="monocyte")
    with pytest.raises(ReadingRefused, match="Only the reader"):
        undo(user=cast.administrator, batch=batch)


# --- what is refused


@pytest.mark.parametrize("label", ["leukocyte", "early", "BLAST", "a" * 100])
def test_a_label_that_is_no_class_of_cells_is_refused(cast, cells, label):
    with pytest.raises(ReadingRefused, match="classes of cells"):
        re_class(user=cast.hematologist, cells=cells, label=label)
    assert not CellReading.objects.exists()


def test_no_cell_and_too_many_are_refused(cast, cells, monkeypatch):
    with pytest.raises(ReadingRefused, match="Choose a cell"):
        re_class(user=cast.hematologist, cells=[], label="blast")
    monkeypatch.setattr(cell_readings, "MOST_CELLS", 3)
    with pytest.raises(ReadingRefused, match="at most"):
        re_class(user=cast.hematologist, cells=cells, label="blast")


def test_cells_of_an_earlier_analysis_are_refused(cast, image, cells, judge):
    batch = re_class(user=cast.hematologist, cells=cells[:1], label="blast")
    analyze.enqueue(image=image)
    judge(image)
    with pytest.raises(ReadingRefused, match="earlier analysis"):
        re_class(user=cast.hematologist, cells=cells[:1], label="monocyte")
    with pytest.raises(ReadingRefused, match="earlier analysis"):
        undo(user=cast.hematologist, batch=batch)


def test_cells_of_two_cases_are_refused(cast, add_image, cells, judge):
    other = intake.create_case(user=cast.technician, accession_number="H-1002", patient_code="P-18")
    more = [cell.pk for cell in judge(add_image(to=other)).cell_analysis.cells.all()]
    with pytest.raises(ReadingRefused, match="one case at a time"):
        re_class(user=cast.hematologist, cells=[cells[0], more[0]], label="blast")


@pytest.mark.parametrize(
    ("who", "outcome"),
    [
        ("hematologist", None),
        ("administrator", None),
        ("technician", PermissionDenied),
        ("outsider", Http404),
    ],
)
def test_who_may_class_cells(cast, cells, who, outcome):
    if outcome is None:
        batch = re_class(user=cast[who], cells=cells, label="blast")
        undo(user=cast[who], batch=batch)
        return
    with pytest.raises(outcome):
        re_class(user=cast[who], cells=cells, label="blast")
    batch = re_class(user=cast.hematologist, cells=cells, label="blast")
    with pytest.raises(outcome):
        undo(user=cast[who], batch=batch)
    assert labels(cells) == ["blast"] * 7


def test_who_is_no_longer_active_may_not(cast, cells):
    cast.hematologist.is_active = False
    with pytest.raises(PermissionDenied):
        re_class(user=cast.hematologist, cells=cells, label="blast")


def test_cells_and_batches_that_are_not_there_are_not_found(cast, cells):
    for keys in ([cells[-1] + 1], [*cells, cells[-1] + 1]):
        with pytest.raises(Http404):
            re_class(user=cast.hematologist, cells=keys, label="blast")
    with pytest.raises(Http404):
        undo(user=cast.hematologist, batch=uuid.uuid4())


def test_a_cell_of_another_laboratory_among_one_s_own_is_not_found(cast, add_image, cells, judge):
    theirs = intake.create_case(user=cast.outsider, accession_number="O-1", patient_code="P-1")
    image = add_image(to=theirs, user=cast.outsider)
    more = [cell.pk for cell in judge(image).cell_analysis.cells.all()]
    with pytest.raises(Http404):
        re_class(user=cast.hematologist, cells=[*cells, more[0]], label="blast")
    assert not CellReading.objects.exists()


# --- how many queries


def test_three_cells_and_three_hundred_take_the_same_queries(
    cast, image, add_image, cell_version, predictors, judge, monkeypatch
):
    monkeypatch.setattr(connection.features, "max_query_params", 30_000)  # SQLite's parts what is added

    def asked(count: int, picture) -> tuple[int, int]:
        predictors.cells.cells = [Told("lymphocyte")] * count
        keys = [cell.pk for cell in judge(picture).cell_analysis.cells.all()]
        assert len(keys) == count
        with CaptureQueriesContext(
            connection,
        ) as classed:
            batch = re_class(user=cast.hematologist, cells=keys, label="blast")
        with CaptureQueriesContext(connection) as undone:
            undo(user=cast.hematologist, batch=batch)
        return len(classed), len(undone)

    few, many = asked(3, image), asked(300, add_image())
    assert few == many
    assert max(few) <= 15  # on PostgreSQL one more: the audit holds whom its event names
