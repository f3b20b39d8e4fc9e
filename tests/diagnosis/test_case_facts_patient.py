"""The cases of one patient and the trend of blasts over them: what is counted, drawn and kept back, in one query."""

from __future__ import annotations

import datetime
import html
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from diagnosis import case_selectors
from diagnosis.models import Analysis, Case, Cell, Laboratory, SmearImage
from diagnosis.services import intake
from diagnosis.services.cell_readings import re_class, undo
from diagnosis.views.trend import trend_of
from tests.diagnosis.told_cells import add_cells, cell

pytestmark = pytest.mark.django_db

Counted = Callable[..., tuple[Case, list[Cell]]]


@pytest.fixture
def counted(cast: Any, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]) -> Counted:
    """Opens a case of a patient received on a day of 2026, with so many blasts and other leukocytes."""

    def add(
        number: str, day: str, blasts: int = 0, others: int = 0, *, user: Any = None, **facts: Any
    ) -> tuple[Case, list[Cell]]:
        user = user or cast.technician
        received = datetime.date.fromisoformat(f"2026-{day}")
        facts.setdefault("patient_code", "P-RED")
        case = intake.create_case(user=user, accession_number=number, received_on=received, **facts)
        if not blasts + others:
            return case, []
        image = add_image(to=case, user=user)
        judge(image)
        return case, add_cells(image, ["blast"] * blasts + ["lymphocyte"] * others, with_sprite=False)

    return add


def of(cast: Any, case: Case) -> case_selectors.PatientCases:
    return case_selectors.cases_of_patient(user=cast.hematologist, case=case)


def page(client: Client, case: Case) -> str:
    response = client.get(reverse("diagnosis:case", args=[case.pk]))
    assert response.status_code == 200
    return " ".join(html.unescape(response.text).split())


def test_a_patients_cases_come_in_the_order_of_their_days(cast: Any, counted: Counted) -> None:
    third, _ = counted("H-3", "03-01", 1, 99)
    first, _ = counted("H-1", "01-01", 60, 40)
    this, _ = counted("H-2", "02-01", 10, 90)
    counted("H-4", "01-15", 5, 5, patient_code="P-BLUE")
    counted("H-5", "01-15", 5, 5, user=cast.outsider)
    found = of(cast, this)

    assert [one.accession_number for one in found.cases] == ["H-1", "H-2", "H-3"]
    assert [one.blasts_per_100 for one in found.cases] == [60.0, 10.0, 1.0]
    assert [one.is_this for one in found.cases] == [False, True, False]
    assert found.are_all
    assert [one.pk for one in found.others] == [first.pk, third.pk]
    low, high = found.cases[1].interval or (0, 0)
    assert (round(low, 1), round(high, 1)) == (5.5, 17.4)


def test_the_counts_are_those_of_the_newest_analysis_with_every_correction(
    cast: Any, counted: Counted, add_image: Any, judge: Any
) -> None:
    case, cells = counted("H-1", "01-01", 4, 6)
    batch = re_class(user=cast.hematologist, cells=[one.pk for one in cells[:3]], label="lymphocyte")
    assert of(cast, case).cases[0].blasts == 1
    re_class(user=cast.hematologist, cells=[cells[9].pk], label="smudge_cell")
    assert (of(cast, case).cases[0].blasts, of(cast, case).cases[0].leukocytes) == (1, 9)
    undo(user=cast.hematologist, batch=batch)
    assert (of(cast, case).cases[0].blasts, of(cast, case).cases[0].leukocytes) == (4, 9)

    second = add_image(to=case)
    judge(second)
    add_cells(
        second, ["promonocyte", "erythroblast", cell("blast", 2, touches_border=True)], with_sprite=False
    )
    assert (of(cast, case).cases[0].blasts, of(cast, case).cases[0].leukocytes) == (5, 10)

    from diagnosis.services import analyze

    analyze.retry(user=cast.technician, image=second)  # the newest analysis of it has found nothing yet
    assert (of(cast, case).cases[0].blasts, of(cast, case).cases[0].leukocytes) == (4, 9)


def test_the_newest_are_listed_and_the_case_itself_always(cast: Any, counted: Counted) -> None:
    oldest, _ = counted("H-OLD", "01-01")
    for number in range(case_selectors.MOST_CASES + 1):
        counted(f"H-{number}", f"02-{number + 1:02}")
    found = of(cast, oldest)

    assert len(found.others) == case_selectors.MOST_CASES
    assert not found.are_all
    assert found.cases[0].is_this
    assert [one.accession_number for one in found.cases[1:3]] == ["H-1", "H-2"]


def test_it_takes_one_query_whatever_there_is(cast: Any, counted: Counted) -> None:
    case, _ = counted("H-1", "01-01", 5, 5)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            of(cast, case)
        return len(asked)

    assert queries() == 1
    for number in range(2, 6):
        counted(f"H-{number}", f"02-{number:02}", 3, 3)
    assert queries() == 1


# --- the chart


def test_the_scale_holds_every_interval_and_the_line_of_acute_leukemia(cast: Any, counted: Counted) -> None:
    case, _ = counted("H-1", "01-01", 60, 140)
    counted("H-2", "01-31", 2, 198)
    trend = trend_of(of(cast, case))
    assert trend is not None
    first, last = trend.points

    assert (trend.top, float(first.x), float(last.x)) == (50, 48.0, 626.0)
    assert float(first.y) < float(trend.acute) < float(last.y)
    assert float(first.high) < float(first.y) < float(first.low)
    assert trend.lines == (f"{first.x},{first.y} {last.x},{last.y}",)
    assert "H-1 30.0, H-2 1.0" in trend.sentence


def test_small_shares_get_a_scale_of_their_own(cast: Any, counted: Counted) -> None:
    case, _ = counted("H-1", "01-01", 0, 400)
    counted("H-2", "01-31", 2, 398)
    trend = trend_of(of(cast, case))

    assert trend is not None
    assert (trend.top, trend.acute) == (5, "")


def test_blood_and_marrow_are_never_joined(cast: Any, counted: Counted) -> None:
    case, _ = counted("H-1", "01-01", 5, 5)
    counted("H-2", "01-11", 5, 5, specimen="marrow")
    counted("H-3", "01-21", 5, 5)
    trend = trend_of(of(cast, case))
    assert trend is not None
    one, _, three = trend.points

    assert trend.has_marrow
    assert [point.is_marrow for point in trend.points] == [False, True, False]
    assert trend.lines == (f"{one.x},{one.y} {three.x},{three.y}",)
    assert all(point.is_few for point in trend.points)


def test_cases_of_one_day_lie_side_by_side(cast: Any, counted: Counted) -> None:
    case, _ = counted("H-1", "01-01", 5, 5)
    counted("H-2", "01-01", 5, 5)
    trend = trend_of(of(cast, case))

    assert trend is not None
    assert [float(point.x) for point in trend.points] == [48.0, 626.0]


# --- the page


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def test_the_page_shows_the_trend_as_chart_and_table(reader: Client, counted: Counted) -> None:
    earlier, _ = counted("H-1", "01-01", 60, 40)
    this, _ = counted("H-2", "02-01", 10, 20)
    counted("H-3", "03-01")
    said = page(reader, this)

    assert "2 other cases of this patient" in said
    assert "Blasts per 100 leukocytes, by the day the specimen was received: H-1 60.0, H-2 33.3" in said
    assert '<td class="num">60.0</td><td class="num">50.2 to 69.1</td>' in said
    assert "30 (few)" in said
    assert "no leukocyte counted" in said
    assert reverse("diagnosis:case", args=[earlier.pk]) in said
    assert "H-2 (this case)" in said
    for inline in ("<style", " style=", "<script>", " onclick="):
        assert inline not in said


def test_a_patient_of_one_case_has_no_trend(reader: Client, counted: Counted) -> None:
    case, _ = counted("H-1", "01-01", 60, 40)

    assert "of this patient" not in page(reader, case)


def test_one_counted_case_makes_no_chart_and_still_a_table(reader: Client, counted: Counted) -> None:
    case, _ = counted("H-1", "01-01", 60, 40)
    counted("H-2", "02-01")
    said = page(reader, case)

    assert "1 other case of this patient" in said
    assert 'class="trend"' not in said


def test_who_reads_blind_is_told_no_count_before_her_own_class(
    reader: Client, cast: Any, counted: Counted
) -> None:
    counted("H-1", "01-01", 60, 40)
    this, _ = counted("H-2", "02-01", 10, 20)
    Laboratory.objects.update(is_blind=True)
    cast.hematologist.laboratory.refresh_from_db()
    found = of(cast, this)
    said = page(reader, this)

    assert [one.is_veiled for one in found.cases] == [True, True]
    assert [one.blasts_per_100 for one in found.cases] == [None, None]
    assert "shown once you have given your own class of its images" in said
    assert "33.3" not in said
    assert case_selectors.cases_of_patient(user=cast.technician, case=this).cases[0].blasts == 60
