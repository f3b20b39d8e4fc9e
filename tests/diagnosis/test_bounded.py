"""Counts that stop, of whatever the outer row names."""

from __future__ import annotations

import pytest
from django.db.models import OuterRef

from diagnosis import bounded, model_selectors
from diagnosis.bounded import BoundedCount, counted
from diagnosis.models import Case, Laboratory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (999, "999"), (1000, "1,000"), (1001, "more than 1,000")]
)
def test_how_a_page_says_it(number: int, words: str) -> None:
    assert counted(number) == words


@pytest.mark.parametrize(("there", "found"), [(0, 0), (1, 1), (3, 3), (4, 4), (5, 4)])
def test_it_counts_each_row_s_own_and_stops(cast, monkeypatch, there: int, found: int) -> None:
    monkeypatch.setattr(bounded, "MOST", 3)
    other = Laboratory.objects.create(name="Elsewhere", slug="elsewhere")
    for owner, count in ((cast.technician.laboratory, there), (other, 2)):
        Case.objects.bulk_create(
            Case(laboratory=owner, accession_number=str(n), patient_code="P", created_by=cast.technician)
            for n in range(count)
        )
    rows = Laboratory.objects.annotate(many=BoundedCount(Case.objects.filter(laboratory=OuterRef("pk"))))
    assert {one.pk: one.many for one in rows if one.pk in (cast.technician.laboratory_id, other.pk)} == {
        cast.technician.laboratory_id: found,
        other.pk: 2,
    }


def test_pages_of_models_and_sites_count_so(cast, version) -> None:
    """Neither joins what it counts, which of a million analyses took twelve seconds."""
    for rows in (
        model_selectors.model_versions(user=cast.administrator),
        model_selectors.sites(user=cast.administrator),
    ):
        assert "GROUP BY" not in str(rows.query)
        assert f"LIMIT {bounded.MOST + 1}" in str(rows.query)
