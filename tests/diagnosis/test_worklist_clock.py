"""The turnaround clock: when it begins, when a case is late, and that the filter says the same."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from diagnosis import turnaround
from diagnosis.models import Case

pytestmark = pytest.mark.django_db


def at(day: int, hour: int) -> datetime:
    return timezone.make_aware(datetime(2026, 3, day, hour))


# Received on this day of March, opened on that day and hour; when the clock began.
BEGINS = [
    (10, (10, 9), at(10, 9)),
    (9, (10, 9), at(9, 0)),
    (12, (10, 9), at(10, 9)),  # received on a day to come: a slip of the pen
]


@pytest.mark.parametrize(("received", "opened", "begins"), BEGINS)
def test_the_clock_begins_with_receipt(case, received, opened, begins):
    case.received_on, case.created_at = at(received, 0).date(), at(*opened)
    assert turnaround.received_at(case) == begins


@pytest.mark.parametrize(
    ("after", "word", "late"),
    [
        (timedelta(minutes=1), "due in 24 h", False),
        (timedelta(hours=20), "due in 4 h", False),
        (timedelta(hours=23, minutes=30), "due in 30 min", False),
        (timedelta(hours=24, minutes=10), "late by 10 min", True),
        (timedelta(hours=54), "late by 30 h", True),
        (timedelta(days=5), "late by 4 days", True),
    ],
)
def test_what_it_says_while_nobody_has_signed(case, after, word, late):
    case.received_on, case.created_at = at(10, 0).date(), at(10, 9)
    clock = turnaround.clock_of(case=case, hours=24, signed_at=None, now=at(10, 9) + after)
    assert (clock.word, clock.is_late) == (word, late)
    assert "11 Mar 2026, 09:00" in clock.title


@pytest.mark.parametrize(("hours", "word"), [(5, "signed after 5 h"), (30, "signed after 30 h, late")])
def test_a_signature_stops_it(case, hours, word):
    case.received_on, case.created_at = at(10, 0).date(), at(10, 9)
    signed = at(10, 9) + timedelta(hours=hours)
    clock = turnaround.clock_of(case=case, hours=24, signed_at=signed, now=at(20, 0))
    assert (clock.word, clock.is_late) == (word, hours > 24)


@pytest.mark.parametrize("received", [6, 8, 9, 10, 12])
@pytest.mark.parametrize("opened", [(9, 0), (9, 10), (10, 8), (10, 13)])
@pytest.mark.parametrize("hours", [6, 24, 72])
def test_the_filter_finds_what_the_clock_calls_late(case, received, opened, hours):
    Case.objects.update(received_on=at(received, 0).date(), created_at=at(*opened))
    case.refresh_from_db()
    now = at(10, 14)
    late = turnaround.clock_of(case=case, hours=hours, signed_at=None, now=now).is_late
    assert Case.objects.filter(turnaround.is_late(hours=hours, now=now)).exists() is late
