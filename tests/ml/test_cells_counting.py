"""From classified leukocytes to the differential, blasts per 100 and the index of suspicion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.cells.cell import Cell, Kind
from ml.cells.counting import (
    BLASTS,
    DIAGNOSTIC,
    FEW,
    FEW_CELLS,
    NOT_LEUKOCYTES,
    Counted,
    differential,
    index_of_suspicion,
)
from ml.cells.findings import CellFinding
from ml.tasks import CELL

COUNTED = st.builds(
    Counted,
    label=st.none() | st.sampled_from(CELL.classes),
    is_leukocyte=st.booleans(),
    on_border=st.booleans(),
    blast_probability=st.none() | st.floats(0, 1),
)


def cells(**counts):
    return [Counted(label) for label, count in counts.items() for _ in range(count)]


def test_blasts_are_per_100_leukocytes_with_an_interval():
    found = differential(cells(blast=15, promonocyte=5, lymphocyte=180))
    assert (found.total, found.blasts, found.blasts_per_100) == (200, 20, 10.0)
    low, high = found.blasts_interval
    assert 6 < low < 10 < high < 15.5
    assert (found.is_insufficient, found.is_diagnostic) == (False, True)
    assert list(found.counts) == ["lymphocyte", "blast", "promonocyte"], "the commonest first"


def test_erythroblasts_stand_beside_and_smudges_and_platelets_do_not_count():
    found = differential(cells(lymphocyte=50, erythroblast=5, smudge_cell=7, platelet_or_artefact=9))
    assert (found.total, found.erythroblasts, found.smudges, found.others) == (50, 5, 7, 9)
    assert found.erythroblasts_per_100 == 10.0
    assert found.is_insufficient


def test_nothing_counted_has_no_share():
    found = differential([])
    assert found.total == 0
    assert (found.blasts_per_100, found.blasts_interval, found.erythroblasts_per_100) == (None, None, None)
    assert found.interval("blast") is None
    assert found.share("blast") == 0.0
    assert found.promyelocytes == 0


def test_what_touches_the_border_is_not_counted_and_what_has_no_class_is_said():
    seen = [
        Counted("blast", on_border=True),
        Counted(None),
        Counted(None, is_leukocyte=False),
        Counted("blast"),
    ]
    found = differential(seen)
    assert (found.total, found.unclassified, found.on_border) == (1, 1, 1)


def test_a_reader_s_class_counts_whatever_the_finder_took_it_for():
    assert differential([Counted("monocyte", is_leukocyte=False)]).total == 1


@given(st.lists(COUNTED, max_size=60))
def test_every_thing_is_in_one_place_of_the_count_at_most(seen):
    found = differential(seen)
    assert found.total == sum(found.counts.values())
    beside = found.erythroblasts + found.smudges + found.others + found.unclassified + found.on_border
    neither = sum(not one.is_leukocyte and (one.on_border or one.label is None) for one in seen)
    assert found.total + beside + neither == len(seen)
    assert not NOT_LEUKOCYTES & set(found.counts)
    assert found.blasts == sum(one.label in BLASTS and not one.on_border for one in seen)
    if found.total:
        low, high = found.blasts_interval
        assert 0 <= low <= found.blasts_per_100 <= high <= 100 or high == pytest.approx(found.blasts_per_100)
        assert sum(found.share(label) for label in found.counts) == pytest.approx(1.0)
    assert found.is_insufficient == (found.total < FEW)
    assert found.is_diagnostic == (found.total >= DIAGNOSTIC)


@given(st.lists(COUNTED, max_size=60))
def test_the_index_is_the_mean_drawn_towards_0_where_cells_are_few(seen):
    index = index_of_suspicion(seen)
    weighed = [
        one.blast_probability
        for one in seen
        if one.is_leukocyte and not one.on_border and one.blast_probability is not None
    ]
    assert (index is None) == (not weighed)
    if index is not None:
        assert index == pytest.approx(sum(weighed) / (len(weighed) + FEW_CELLS))
        assert 0 <= index < max(weighed) + 1e-9
        sure = [Counted("blast", blast_probability=1.0)]
        assert index_of_suspicion([*seen, *sure]) >= index - 1e-9, "one more blast never lowers it"


def test_a_finding_outside_the_domain_weighs_nothing_and_is_counted_as_unclassified():
    mask = np.ones((4, 4), bool)
    cell = Cell((0, 0, 4, 4), mask, mask, 100.0, 80.0, 0.9, Kind.LEUKOCYTE, touches_border=False)
    outside = CellFinding(cell, None, "blast", {"blast": 1.0}, 1.0, domain_score=3.0, inside_domain=False)
    assert outside.counted == Counted(None, True, False, None)
    assert index_of_suspicion([outside.counted]) is None
    assert differential([outside.counted]).unclassified == 1
