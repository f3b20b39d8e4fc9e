"""What is counted of a day, and that counting it again changes nothing."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from diagnosis.models import Dispute, Laboratory, ModelVersion, QualityDay, QualityReference, SmearImage
from diagnosis.services import quality, quality_reference
from diagnosis.services.quality_tallies import Histogram, Share, bin_of, duration_bin
from ml.calibration import wilson_interval
from tests.diagnosis.told_quality import (
    add_analysis,
    add_blind,
    add_case,
    add_review,
    add_signature,
    at,
    checks,
)

pytestmark = pytest.mark.django_db


def count(days: int = 10) -> dict:
    """Count the last days; the figures of yesterday."""
    today = timezone.localdate()
    quality.compute(since=today - datetime.timedelta(days=days), until=today)
    found = QualityDay.objects.filter(day=timezone.localdate(at(1))).first()
    return found.figures if found else {}


def share(kept: list[int]) -> tuple[int, int]:
    read = Share.read(kept)
    return read.k, read.n


# --- shares, histograms


def test_images_that_say_nothing_of_each_other_get_wilsons_interval():
    apart = Share.of({n: [1, n % 10 > 0] for n in range(200)})
    assert apart.independent == pytest.approx(199, abs=1)
    assert apart.interval == pytest.approx(wilson_interval(180, 200), abs=0.002)


def test_images_of_a_case_that_agree_count_as_one():
    alike = Share.of({n: [10, 10 if n % 10 else 0] for n in range(20)})
    assert alike.value == 0.9
    assert alike.independent == pytest.approx(19, abs=1)
    low, high = alike.interval
    assert low < 0.75
    assert high < 1


def test_where_all_agree_a_case_counts_once():
    assert Share.of({n: [10, 10] for n in range(5)}).interval == wilson_interval(5, 5)
    assert Share().interval == (0.0, 1.0)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        p = rng.beta(8, 2, size=60)  # each case has its own share, 0.8 on average
        counted = {n: [8, int(rng.binomial(8, p[n]))] for n in range(60)}
        low, high = Share.of(counted).interval
        held += low <= 0.8 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_quantiles_are_those_of_the_values():
    values = np.random.default_rng(1).normal(0.7, 0.05, size=2000)
    histogram = Histogram()
    for value in values:
        histogram.put(bin_of(float(value), "focus"))
    for wanted in (0.25, 0.5, 0.9):
        assert histogram.quantile(wanted, "focus") == pytest.approx(np.quantile(values, wanted), abs=0.01)


@pytest.mark.parametrize("seconds", [0.02, 2.0, 61.0, 86_400.0])
def test_a_duration_comes_back_within_three_percent(seconds):
    histogram = Histogram()
    histogram.put(duration_bin(seconds), 100)
    assert histogram.seconds(0.5) == pytest.approx(seconds, rel=0.03)
    assert not math.isnan(histogram.seconds(0.9))


# --- counting


def test_a_reading_counts_once_and_not_when_it_was_taken_back(cast, version):
    case = add_case(cast.technician)
    one, two, three, four = (add_analysis(case, version) for _ in range(4))
    add_review(one, cast.hematologist, "pre")
    add_review(one, cast.hematologist, "early")  # her newer one counts
    add_review(two, cast.hematologist, "benign")
    gone = add_review(three, cast.hematologist, "pro")
    add_review(three, cast.hematologist, "", verdict="withdraw", withdraws=gone)
    add_review(four, cast.hematologist, "")
    add_review(four, cast.laboratory_head, "early")

    found = count()["readings"]

    assert share(found["agree"]["all"]) == (2, 3)
    assert share(found["agree"]["reader"][str(cast.hematologist.pk)]) == (1, 2)
    assert share(found["agree"]["reader"][str(cast.laboratory_head.pk)]) == (1, 1)
    assert share(found["agree"]["class"]["early"]) == (2, 3)
    assert share(found["agree"]["version"][str(version.pk)]) == (2, 3)
    assert found["said"] == {"early": {"early": 2, "benign": 1}}
    assert found["unsure"] == 1


def test_an_image_without_a_class_counts_for_abstention_and_not_for_agreement(cast, version):
    case = add_case(cast.technician)
    blurred = add_analysis(
        case, version, outcome="indeterminate", reasons=["out of focus"], inside_domain=False
    )
    add_analysis(case, version)
    add_analysis(case, version, is_drawn=True)
    add_review(blurred, cast.hematologist, "early")
    add_analysis(case, version, state="failed", failure="no", outcome="", label="")

    found = count()

    images = found["images"][str(version.pk)]
    assert share(images["indeterminate"]) == (1, 2)
    assert share(images["outside"]) == (1, 2)
    assert images["reasons"] == {"out of focus": 1}
    assert images["classes"] == {"early": 1}
    assert found["failed"] == 1
    assert found["readings"] == {"of_indeterminate": 1}
    assert Histogram.read(found["took"]).seconds(0.5) == pytest.approx(3, rel=0.03)


def test_a_measure_of_another_kind_is_left_out(cast, version):
    grey = checks()
    grey["checks"][3] |= {"value": 4.0, "message": "no stain colour", "ok": False}
    grey["checks"][2] |= {"value": 0.6, "message": "too bright", "ok": False}
    add_analysis(add_case(cast.technician), version, quality=grey)
    measures = count()["images"][str(version.pk)]["measures"]
    assert set(measures) == {"focus", "confidence", "domain"}


def test_a_blind_reading_is_right_by_the_class_that_was_signed(cast, version):
    hedy, lena = cast.hematologist, cast.laboratory_head
    case = add_case(cast.technician, days_ago=2)
    followed, stayed, open_ = (add_analysis(case, version) for _ in range(3))
    for analysis, own, after in ((followed, "pre", "early"), (stayed, "pre", "pre")):
        add_blind(analysis, hedy, own, seconds=40)
        add_review(
            analysis, hedy, after, seconds=8, blind_reading=hedy.blind_readings.get(image=analysis.image)
        )
    add_blind(open_, hedy, "unsure")
    add_review(stayed, lena, "pre")

    before = count()["blind"]
    assert "before" not in before  # nobody has signed yet: nothing is settled
    assert share(before["agree"]["all"]) == (0, 2)
    assert (before["to_model"], before["no_class"]) == (1, 1)

    add_signature(case, lena, after_hours=20)
    found = count()

    assert share(found["blind"]["before"]["all"]) == (1, 2)
    assert share(found["blind"]["after"]["all"]) == (2, 2)
    # Of the one image that another reader settled she was right both times.
    assert share(found["blind"]["before"]["other"]) == (1, 1)
    assert share(found["blind"]["after"]["reader_other"][str(hedy.pk)]) == (1, 1)
    assert Histogram.read(found["seconds"]["blind"]["all"]).seconds(0.5) == pytest.approx(40, rel=0.03)
    assert Histogram.read(found["seconds"]["after"]["all"]).seconds(0.5) == pytest.approx(8, rel=0.03)


def test_a_dispute_that_was_settled_says_who_was_right(cast, version):
    analysis = add_analysis(add_case(cast.technician), version)
    add_blind(analysis, cast.hematologist, "pro")
    first = add_review(analysis, cast.hematologist, "pro")
    second = add_review(analysis, cast.laboratory_head, "early")
    third = add_review(analysis, cast.administrator, "early")
    Dispute.objects.create(
        image=analysis.image, first=first, second=second, settled_by=third, ended_at=timezone.now()
    )
    found = count()["blind"]
    assert share(found["before"]["other"]) == (0, 1)


def test_a_first_signature_stops_the_clock(cast, version):
    for hours in (20, 30):
        add_signature(add_case(cast.technician, days_ago=2), cast.hematologist, after_hours=hours)
    today = timezone.localdate()
    quality.compute(since=today - datetime.timedelta(days=3), until=today)
    lates = [share(day.figures["turnaround"]["late"]) for day in QualityDay.objects.all()]
    assert (sum(k for k, _ in lates), sum(n for _, n in lates)) == (1, 2)


# --- again and again


def test_counting_again_changes_nothing(cast, version):
    add_review(add_analysis(add_case(cast.technician), version), cast.hematologist)
    first = count()
    assert first
    assert count() == first
    assert QualityDay.objects.count() == 1


def test_a_day_on_which_nothing_stands_any_more_goes(cast, version):
    analysis = add_analysis(add_case(cast.technician), version, days_ago=5)
    add_review(analysis, cast.hematologist)
    count()
    assert QualityDay.objects.count() == 2
    SmearImage.objects.update(is_drawn=True)
    count()
    assert not QualityDay.objects.exists()


def test_laboratories_are_counted_apart(cast, version):
    add_analysis(add_case(cast.technician), version)
    add_analysis(add_case(cast.outsider), version)
    today = timezone.localdate()
    yesterday = today - datetime.timedelta(days=2)
    assert quality.compute(since=yesterday, until=today, laboratory=cast.outsider.laboratory) == 1
    assert QualityDay.objects.get().laboratory == cast.outsider.laboratory
    assert quality.compute(since=yesterday, until=today) == 2
    SmearImage.objects.filter(case__laboratory=cast.outsider.laboratory).update(is_drawn=True)
    assert quality.compute(since=yesterday, until=today, laboratory=cast.technician.laboratory) == 1
    assert QualityDay.objects.count() == 2  # the other's day is not this count's to remove


def test_the_clock_counts_everything_once_and_then_the_last_days(cast, version):
    add_analysis(add_case(cast.technician), version, days_ago=200)
    add_analysis(add_case(cast.technician), version, days_ago=1)
    assert quality.run() == 2
    assert quality.run() == 1
    QualityDay.objects.update(computed_at=at(2))
    add_analysis(add_case(cast.technician), version, days_ago=20)
    assert quality.run() == 2  # the day before yesterday's count is old: the last weeks are counted again
    assert QualityDay.objects.count() == 3


def test_an_installation_without_anything_is_counted_too(laboratory):
    assert quality.run() == 0


# --- what held-out images look like


def test_the_shipped_model_tells_what_its_held_out_images_look_like():
    from django.conf import settings

    found = quality_reference.reference(settings.BASE_DIR / "ml" / "bundles" / "field-1")
    assert {"confidence", "focus", "brightness", "stain"} == set(found)
    assert found["focus"]["n"] == 623
    assert found["confidence"]["n"] == 527  # the test images that got a class
    assert 0.6 < Histogram.read(found["focus"]["histogram"]).quantile(0.5, "focus") < 0.75


def test_a_bundle_without_evidence_has_no_reference_and_stops_nothing(cast, version):
    add_analysis(add_case(cast.technician), version)
    count()
    assert QualityReference.objects.get().figures == {}


# --- the command


def test_the_command_goes_back_as_far_as_it_is_told(cast, version, capsys):
    add_analysis(add_case(cast.technician), version, days_ago=300)
    add_analysis(add_case(cast.technician), version)
    call_command("quality")
    assert capsys.readouterr().out == "1 day counted.\n"
    call_command("quality", "--all", "--laboratory", "central")
    assert capsys.readouterr().out == "2 days counted.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--laboratory", "nowhere"], "There is no laboratory 'nowhere'; there are: central."),
        (["--since", "2026-02-01", "--until", "2026-01-01"], "lies behind"),
        (["--since", "2026-02-31"], "is no day"),
        (["--all", "--since", "2026-02-01"], "not both"),
    ],
)
def test_the_command_says_what_is_wrong(laboratory: Laboratory, arguments, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("quality", *arguments)


def test_a_bundle_that_is_gone_is_warned_of_and_one_that_never_was_is_not(
    image: SmearImage, judge: Any, caplog: pytest.LogCaptureFixture
) -> None:
    judge(image, "early")
    ModelVersion.objects.update(bundle_path="gone")
    quality_reference.keep_references()
    assert "The held-out images of" in caplog.text
    caplog.clear()
    ModelVersion.objects.update(bundle_path="")  # as in a drawn archive
    quality_reference.keep_references()
    assert caplog.text == ""
