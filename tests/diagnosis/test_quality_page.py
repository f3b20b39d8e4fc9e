"""The quality page: what it shows, what it withholds, when it raises the alarm, and what it costs."""

from __future__ import annotations

import datetime
import itertools

import pytest
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from diagnosis.models import Analysis, Laboratory, QualityDay, QualityReference, Training
from diagnosis.quality_page import PERIODS
from diagnosis.quality_selectors import quality_of
from diagnosis.services import proposals, quality
from diagnosis.services.quality_tallies import Histogram, bin_of
from ml.drift import distance_of_counts
from tests.diagnosis.told_quality import (
    add_analysis,
    add_blind,
    add_case,
    add_review,
    add_signature,
    checks,
)

pytestmark = pytest.mark.django_db


def count() -> None:
    today = timezone.localdate()
    quality.compute(since=today - datetime.timedelta(days=400), until=today)


def page(client, user, query: str = "") -> str:
    client.force_login(user)
    response = client.get(reverse("diagnosis:quality") + query)
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def work(cast, version):
    """Stores so many cases of two images each over the last days, every fifth overruled."""

    def add(cases: int, *, days: int = 20, focus: float = 0.7, each: int = 2) -> None:
        numbers = itertools.count()
        for number in range(cases):
            days_ago = 0.1 + days * number / cases
            # Signed 30 hours after it came: at least an hour ago, whatever the hour of the test.
            case = add_case(cast.technician, days_ago=days_ago + 1.2)
            for _ in range(each):
                place = next(numbers)
                analysis = add_analysis(
                    case,
                    version,
                    days_ago=days_ago,
                    quality=checks(focus=focus + 0.01 * (place % 7 - 3)),
                    domain_percentile=float(place * 37 % 100),
                )
                label = "pre" if place % 5 == 0 else "early"
                add_review(analysis, cast.hematologist, label, days_ago=days_ago, seconds=12)
            add_signature(case, cast.hematologist, after_hours=30)

    return add


def refer(version, middle: float = 0.7) -> None:
    """What the held-out images of the version look like: their focus."""
    held_out = Histogram()
    for step in range(-5, 6):
        held_out.put(bin_of(middle + 0.01 * step, "focus"), 50)
    figures = {"focus": {"histogram": held_out.kept(), "n": held_out.n, "of": "validation images of a set"}}
    QualityReference.objects.update_or_create(
        version=version, defaults={"figures": figures, "bundle_sha256": version.bundle_sha256}
    )


def test_nothing_read_yet(client, cast):
    text = page(client, cast.hematologist)
    assert "Nothing read yet" in text
    assert "data-chart" not in text


def test_few_readings_are_marked_and_not_shown(client, cast, version, work):
    work(4)
    count()
    text = page(client, cast.hematologist)
    assert "too few" in text
    assert "8 of 20 needed" in text
    found = quality_of(user=cast.hematologist, period=PERIODS["30"])
    assert found.agreement.n == 8
    assert found.agreement_chart is not None
    assert found.agreement_chart.is_empty


def test_agreement_by_class_reader_and_version_with_intervals(client, cast, version, work):
    work(30)
    count()
    found = quality_of(user=cast.hematologist, period=PERIODS["30"])
    assert (found.agreement.k, found.agreement.n, found.agreement.cases) == (48, 60, 30)
    low, high = found.agreement.interval
    assert low < 0.8 < high
    assert [row.name for row in found.by_class] == ["early pre-B"]
    assert [row.name for row in found.by_reader] == ["Hedy Hematologist"]
    assert [row.name for row in found.by_version] == [version.name]
    assert found.said == [("early pre-B", [48, 12])]
    assert found.late.k == 30  # each took 30 h, 24 are promised
    text = page(client, cast.hematologist)
    assert "80.0 %" in text
    assert "Hedy Hematologist" in text


def test_blind_reading_stands_before_and_after(client, cast, version):
    hedy, lena = cast.hematologist, cast.laboratory_head
    for number in range(24):
        case = add_case(cast.technician, days_ago=3)
        analysis = add_analysis(case, version)
        blind = add_blind(analysis, hedy, "pre" if number < 6 else "early", seconds=30)
        add_review(analysis, hedy, "early", blind_reading=blind, seconds=5)
        add_review(analysis, lena, "early")
        add_signature(case, lena, after_hours=10)
    count()
    (everybody, hers) = quality_of(user=lena, period=PERIODS["30"]).blind
    assert hers.name == "Hedy Hematologist"
    assert everybody.cells[0].startswith("75.0 %")
    assert everybody.cells[2].startswith("75.0 %")
    assert hers.cells[3].startswith("100.0 %")
    assert hers.before_seconds.seconds(0.5) == pytest.approx(30, rel=0.03)
    assert hers.cells[5] == "5.0 s"
    text = page(client, lena)
    assert "went over to it 6 times" in text


def test_a_laboratory_that_reads_blind_is_told_that_nobody_has(client, cast, version, work):
    work(3)
    count()
    assert "Blind reading" not in page(client, cast.hematologist)
    Laboratory.objects.filter(pk=cast.hematologist.laboratory_id).update(is_blind=True)
    assert "Nobody has read blind" in page(client, cast.hematologist)


def test_another_laboratory_sees_its_own_alone(client, cast, version, work):
    work(12)
    count()
    assert "Nothing read yet" in page(client, cast.outsider)
    assert quality_of(user=cast.outsider, period=PERIODS["365"]).is_empty


def test_the_period_is_in_the_address(client, cast, version):
    add_analysis(add_case(cast.technician), version, days_ago=200)
    count()
    assert "Nothing in this period" in page(client, cast.hematologist, "?period=30")
    found = {key: quality_of(user=cast.hematologist, period=period).images for key, period in PERIODS.items()}
    assert found == {"30": 0, "90": 0, "365": 1}
    assert "There is no such period" in page(client, cast.hematologist, "?period=7")


def test_every_day_of_a_period_falls_into_one_stretch(cast, version):
    for period in PERIODS.values():
        QualityDay.objects.all().delete()
        today = timezone.localdate()
        QualityDay.objects.bulk_create(
            QualityDay(
                laboratory=cast.hematologist.laboratory,
                day=today - datetime.timedelta(days=back),
                figures={"images": {str(version.pk): {"indeterminate": [1, 1, 0, 1, 0, 0]}}},
                computed_at=timezone.now(),
            )
            for back in range(period.days + 5)
        )
        quality.sum_up()
        found = quality_of(user=cast.hematologist, period=period)
        assert found.images == period.days
        chart = found.abstention_chart
        assert chart is not None
        assert {point.n for point in chart.series[0].points} == {period.step}
        assert chart.starts[0] == found.since == today - datetime.timedelta(days=period.days - 1)


# --- drift


def test_images_that_look_like_the_held_out_ones_raise_no_alarm(client, cast, version, work, laboratory):
    work(40)
    count()
    refer(version)
    found = quality_of(user=cast.hematologist, period=PERIODS["30"])
    focus = next(moved for _, moved, _, _ in found.drift if moved.measure == "focus")
    assert focus.distance is not None
    assert not found.alarms
    assert proposals.retraining_proposal(laboratory=laboratory) is None


def test_images_that_have_moved_propose_a_retraining_and_start_none(client, cast, version, work, laboratory):
    work(40, focus=0.55)
    count()
    refer(version)
    text = page(client, cast.hematologist)
    assert "The images have moved" in text
    assert "The focus of the last 80 images (40 cases) lies elsewhere" in text
    assert "ask an administrator" in text
    assert "manage.py retrain" in page(client, cast.administrator)
    proposal = proposals.retraining_proposal(laboratory=laboratory)
    assert proposal is not None
    assert proposal.kinds == ("inputs",)
    assert proposal.reasons == tuple(quality_of(user=cast.hematologist, period=PERIODS["30"]).alarms)
    assert not Training.objects.exists()


def test_few_cases_raise_no_alarm(cast, version, work):
    work(10, focus=0.4, each=8)
    count()
    refer(version)
    found = quality_of(user=cast.hematologist, period=PERIODS["30"])
    focus = next(moved for _, moved, _, _ in found.drift if moved.measure == "focus")
    assert focus.n == 80
    assert focus.why_not.startswith("too few")
    assert not found.alarms


def test_without_held_out_images_the_page_says_so(client, cast, version, work):
    work(30)
    count()
    assert "no held-out images to compare with" in page(client, cast.hematologist)


def test_the_distance_of_counts_is_that_of_their_sums():
    assert distance_of_counts({1: 5, 2: 5}, {1: 50, 2: 50}) == 0
    assert distance_of_counts({1: 10}, {3: 10}) == 1
    assert distance_of_counts({1: 5, 2: 5}, {1: 10}) == 0.5
    with pytest.raises(ValueError, match="No values"):
        distance_of_counts({}, {1: 1})


# --- what it costs


def test_the_page_asks_as_much_for_much_as_for_little(client, cast, version, work):
    from django.db import connection

    client.force_login(cast.hematologist)
    client.get(
        reverse("diagnosis:quality")
    )  # what is asked once and kept, such as whether the model's files are whole
    asked = []
    for cases in (3, 60):
        work(cases)
        count()
        with CaptureQueriesContext(connection) as queries:
            assert client.get(reverse("diagnosis:quality")).status_code == 200
        asked.append(len(queries))
        assert not any("smearimage" in query["sql"] and "finished_at" in query["sql"] for query in queries)
    assert asked[0] == asked[1]
    assert Analysis.objects.count() == 126
