"""What worklist, history and case show, in which order, and with how many queries."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.http import Http404

from diagnosis import model_selectors, queue_selectors, selectors
from diagnosis.models import Analysis, Case, SmearImage
from diagnosis.selectors import HistoryFilters
from diagnosis.services import analyze, intake
from diagnosis.services.review import record_review
from diagnosis.worklist_selectors import with_work
from tests.diagnosis.told_worklist import listed

pytestmark = pytest.mark.django_db

DAY = datetime.date(2024, 5, 1)


@pytest.fixture
def new_case(cast):
    def make(number: str, *, day: int = 0, user=None, patient: str = "P-1", note: str = ""):
        return intake.create_case(
            user=user or cast.technician,
            accession_number=number,
            patient_code=patient,
            note=note,
            received_on=DAY + datetime.timedelta(days=day),
        )

    return make


@pytest.fixture
def with_images(new_case, add_image, judge):
    """A case whose images have the given outcomes: a class, "indeterminate", "failed", "queued"."""

    def make(number: str, *outcomes: str, **more):
        case = new_case(number, **more)
        for outcome in outcomes:
            image = add_image(to=case)
            if outcome == "failed":
                Analysis.objects.filter(image=image).update(state="failed", failure="No.")
            elif outcome == "indeterminate":
                judge(image)
                Analysis.objects.filter(image=image).update(
                    outcome="indeterminate", label="", suspected=False, confidence=None
                )
            elif outcome != "queued":
                judge(image, outcome)
        return case

    return make


def numbers(cases) -> list[str]:
    return [case.accession_number for case in cases]


def overrule(user, case, label: str, position: int = 1):
    image = case.images.get(position=position)
    return record_review(
        user=user, image=image, analysis=image.newest_analysis, verdict="overrule", label=label, comment="x"
    )


def agree(user, case, position: int = 1):
    image = case.images.get(position=position)
    return record_review(user=user, image=image, analysis=image.newest_analysis, verdict="agree")


# --- worklist


def test_suspected_cases_come_first_then_unjudged_then_by_age(cast, with_images):
    with_images("benign-old", "benign", day=0)
    with_images("empty", day=1)
    with_images("queued", "benign", "queued", day=5)
    with_images("failed", "failed", day=4)
    with_images("indeterminate", "indeterminate", day=3)
    with_images("suspected-new", "benign", "pre", day=9)
    with_images("suspected-old", "early", "indeterminate", day=8)
    assert numbers(listed(user=cast.hematologist)) == [
        "suspected-old",
        "suspected-new",
        "indeterminate",
        "failed",
        "queued",
        "benign-old",
        "empty",
    ]


def test_the_counts_say_what_a_case_holds(cast, with_images):
    case = with_images("mixed", "early", "benign", "indeterminate", "failed", "queued")
    overrule(cast.hematologist, case, "pro", position=2)
    (found,) = listed(user=cast.hematologist)
    counts = {name: getattr(found, name) for name in vars(found) if name.endswith("_count")}
    counts.pop("white_cell_count")  # of the patient, not of images
    assert counts == {
        "image_count": 5,
        "suspected_count": 2,
        "unjudged_count": 3,
        "indeterminate_count": 1,
        "failed_count": 1,
        "unfinished_count": 1,
        "reviewed_count": 1,
        "unread_count": 4,
        "overruled_count": 1,
        "unsure_count": 0,
        "veiled_count": 0,
        "promyelocyte_count": 0,
        "leukocyte_count": 0,
    }


def test_a_case_without_images_counts_nothing(cast, new_case):
    new_case("empty")
    (found,) = listed(user=cast.technician)
    names = [name for name in vars(found) if name.endswith("_count") and name != "white_cell_count"]
    assert [getattr(found, name) for name in names] == [0] * 13
    assert found.rank == selectors.RANK_OTHER


def test_what_the_reader_says_goes_before_what_the_model_says(cast, with_images):
    cleared = with_images("cleared", "early")
    raised = with_images("raised", "benign")
    settled = with_images("settled", "indeterminate")
    confirmed = with_images("confirmed", "pre")
    overrule(cast.hematologist, cleared, "benign")
    overrule(cast.hematologist, raised, "pro")
    overrule(cast.hematologist, settled, "not_judgeable")
    agree(cast.hematologist, confirmed)
    ranks = {c.accession_number: c.rank for c in listed(user=cast.hematologist)}
    assert ranks == {"cleared": 2, "raised": 0, "settled": 2, "confirmed": 0}


def test_only_the_newest_review_counts(cast, with_images):
    case = with_images("twice", "early")
    overrule(cast.hematologist, case, "benign")
    agree(cast.administrator, case)
    (found,) = listed(user=cast.hematologist)
    assert (found.suspected_count, found.overruled_count, found.reviewed_count) == (1, 0, 1)


def test_read_cases_come_after_unread_ones_of_the_same_urgency(cast, with_images):
    read = with_images("read", "early", day=0)
    with_images("unread", "early", day=5)
    agree(cast.hematologist, read)
    assert numbers(listed(user=cast.hematologist)) == ["unread", "read"]
    assert numbers(listed(user=cast.hematologist, unread_only=True)) == ["unread"]


@pytest.mark.parametrize(
    ("again", "rank", "differs"), [("early", 0, True), ("benign", 2, False), (None, 1, False)]
)
def test_an_agreement_holds_until_the_image_is_analysed_anew(cast, with_images, judge, again, rank, differs):
    case = with_images("again", "benign")
    agree(cast.hematologist, case)
    image = case.images.get()
    analyze.retry(user=cast.technician, image=image)
    if again is not None:
        judge(image, again)
    (found,) = listed(user=cast.hematologist, unread_only=True)
    assert (found.rank, found.reviewed_count, found.unread_count) == (rank, 0, 1)
    assert found.unjudged_count == (again is None)

    def finds(**filters) -> bool:
        return bool(selectors.history(user=cast.hematologist, filters=HistoryFilters(**filters)))

    assert finds(unread=True)
    assert finds(disagreement=True) == differs
    if again is not None:
        assert finds(label=again)
        agree(cast.hematologist, case)
        assert not listed(user=cast.hematologist, unread_only=True)


def test_another_label_outlives_a_new_analysis(cast, with_images, judge):
    case = with_images("again", "early")
    overrule(cast.hematologist, case, "benign")
    image = case.images.get()
    analyze.retry(user=cast.technician, image=image)
    judge(image, "pre")
    (found,) = listed(user=cast.hematologist)
    assert (found.rank, found.reviewed_count, found.unread_count) == (2, 1, 0)


def test_a_case_partly_read_or_empty_is_unread(cast, with_images, new_case):
    agree(cast.hematologist, with_images("partly", "early", "benign"))
    new_case("empty")
    assert numbers(listed(user=cast.hematologist, unread_only=True)) == ["partly", "empty"]


def test_each_laboratory_sees_its_own(cast, with_images, new_case):
    with_images("ours", "early")
    new_case("theirs", user=cast.outsider)
    assert numbers(listed(user=cast.technician)) == ["ours"]
    assert numbers(listed(user=cast.outsider)) == ["theirs"]
    assert numbers(selectors.history(user=cast.outsider)) == ["theirs"]
    assert queue_selectors.queue_counts(user=cast.outsider) == {"queued": 0, "running": 0}


# --- history


@pytest.fixture
def archive(cast, with_images):
    """Six cases that differ in what one can search for."""
    cases = {
        "H-1": with_images("H-1", "early", "benign", day=0, patient="P-RED", note="50% blasts, pale"),
        "H-2": with_images("H-2", "benign", day=1, patient="P-BLUE"),
        "H-3": with_images("H-3", "indeterminate", day=2, patient="P-RED"),
        "H-4": with_images("H-4", "failed", day=3, patient="P-GREEN"),
        "H-5": with_images("H-5", "queued", day=4, patient="P-GREEN"),
        "X-6": with_images("X-6", "pre", day=5, patient="P-BLUE", note="Follow-up"),
    }
    agree(cast.hematologist, cases["H-2"])
    overrule(cast.administrator, cases["X-6"], "benign")
    return cases


FINDS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["X-6", "H-5", "H-4", "H-3", "H-2", "H-1"]),
    ({"q": "h-"}, ["H-5", "H-4", "H-3", "H-2", "H-1"]),
    ({"q": "p-red"}, ["H-3", "H-1"]),
    ({"q": "follow"}, ["X-6"]),
    ({"q": "red h-1"}, ["H-1"]),
    ({"q": "50%"}, ["H-1"]),
    ({"q": "5_%"}, []),
    ({"outcome": "class"}, ["X-6", "H-2", "H-1"]),
    ({"outcome": "indeterminate"}, ["H-3"]),
    ({"outcome": "failed"}, ["H-4"]),
    ({"outcome": "unfinished"}, ["H-5"]),
    ({"outcome": "suspected"}, ["H-1"]),
    ({"outcome": "nonsense"}, []),
    ({"label": "benign"}, ["X-6", "H-2", "H-1"]),
    ({"label": "pre"}, []),
    ({"label": "early"}, ["H-1"]),
    ({"disagreement": True}, ["X-6"]),
    ({"unread": True}, ["H-5", "H-4", "H-3", "H-1"]),
    ({"date_from": DAY + datetime.timedelta(days=4)}, ["X-6", "H-5"]),
    ({"date_to": DAY}, ["H-1"]),
    ({"outcome": "indeterminate", "label": "early"}, []),
    ({"sort": "accession"}, ["H-1", "H-2", "H-3", "H-4", "H-5", "X-6"]),
    ({"sort": "-accession"}, ["X-6", "H-5", "H-4", "H-3", "H-2", "H-1"]),
    ({"sort": "received"}, ["H-1", "H-2", "H-3", "H-4", "H-5", "X-6"]),
    ({"sort": "patient"}, ["X-6", "H-2", "H-5", "H-4", "H-3", "H-1"]),
    ({"sort": "urgency"}, ["H-1", "H-3", "H-4", "H-5", "H-2", "X-6"]),
    ({"sort": "nonsense"}, ["X-6", "H-5", "H-4", "H-3", "H-2", "H-1"]),
]


def test_history_finds_what_is_asked_for(cast, archive):
    found = [
        (filters, numbers(selectors.history(user=cast.technician, filters=HistoryFilters(**filters))))
        for filters, _ in FINDS
    ]
    assert found == FINDS


def test_history_by_reader_and_by_model_version(cast, archive, version):
    def found(**filters):
        return numbers(selectors.history(user=cast.technician, filters=HistoryFilters(**filters)))

    assert found(reviewer=cast.hematologist.pk) == ["H-2"]
    assert found(reviewer=cast.administrator.pk) == ["X-6"]
    assert found(model_version=version.pk) == ["X-6", "H-3", "H-2", "H-1"]
    assert found(model_version=version.pk + 1) == []


def test_every_sort_gives_every_case_once(cast, archive):
    for sort in selectors.SORTS:
        found = numbers(selectors.history(user=cast.technician, filters=HistoryFilters(sort=sort)))
        assert sorted(found) == sorted(archive), sort


def test_all_conditions_hold_for_the_same_image(cast, with_images):
    case = with_images("both", "early", "benign")
    agree(cast.hematologist, case, position=2)

    def found(**filters):
        return numbers(selectors.history(user=cast.technician, filters=HistoryFilters(**filters)))

    assert found(label="early", unread=True) == ["both"]
    assert found(label="early", reviewer=cast.hematologist.pk) == []


def test_history_counts_all_images_of_a_case_it_finds_by_one(cast, archive):
    (case,) = selectors.history(user=cast.technician, filters=HistoryFilters(label="early"))
    assert case.image_count == 2


# --- how many queries


def test_lists_take_the_same_number_of_queries_whatever_they_show(
    cast, with_images, django_assert_num_queries
):
    def read_all() -> None:
        for case in with_work(listed(user=cast.hematologist), user=cast.hematologist):
            assert case.assigned_to.display_name
        for case in selectors.history(user=cast.hematologist):
            assert case.created_by.display_name

    with_images("one", "early")
    Case.objects.update(assigned_to=cast.hematologist)
    with django_assert_num_queries(10):
        read_all()
    for number in range(4):
        with_images(f"more {number}", "early", "benign")
    Case.objects.update(assigned_to=cast.laboratory_head)
    with django_assert_num_queries(10):
        read_all()


def test_a_case_takes_the_same_number_of_queries_however_many_images(
    cast, with_images, add_image, judge, django_assert_num_queries
):
    case = with_images("one", "early")
    overrule(cast.hematologist, case, "pro")

    def read_all() -> None:
        found = selectors.case_detail(user=cast.hematologist, case_id=case.pk)
        assert found.laboratory.name
        for image in found.images.all():
            assert image.newest_analysis.model_version.name
            assert image.uploaded_by.display_name
            assert image.case == found
            if image.newest_review:
                assert image.newest_review.reviewer.display_name
            for review in image.reviews_newest_first:
                assert review.reviewer.display_name

    with django_assert_num_queries(4):
        read_all()
    for _ in range(4):
        judge(add_image(to=case))
    with django_assert_num_queries(4):
        read_all()


def test_a_case_of_another_laboratory_is_not_found(cast, with_images):
    case = with_images("ours", "early")
    with pytest.raises(Http404):
        selectors.case_detail(user=cast.outsider, case_id=case.pk)


# --- live


def test_live_status_follows_the_analyses(cast, with_images, django_assert_num_queries):
    case = with_images("live", "early", "queued")
    with django_assert_num_queries(2):
        states = [image.newest_analysis.state for image in selectors.live_status(case=case)]
    assert states == ["done", "queued"]
    assert queue_selectors.queue_counts(user=cast.technician) == {"queued": 1, "running": 0}
    analyze._claim(SmearImage.objects.get(case=case, position=2).newest_analysis_id)
    assert queue_selectors.queue_counts(user=cast.technician) == {"queued": 0, "running": 1}
    Analysis.objects.filter(state="running").update(state="failed", failure="No.")
    assert queue_selectors.queue_counts(user=cast.technician) == {"queued": 0, "running": 0}


def test_reviewers_and_model_versions_for_the_filters(cast, archive, version):
    assert list(selectors.reviewers(user=cast.technician)) == [cast.administrator, cast.hematologist]
    assert list(selectors.reviewers(user=cast.outsider)) == []
    (found,) = model_selectors.model_versions(user=cast.technician)
    assert (found, found.analysis_count) == (version, 5)
    (found,) = model_selectors.model_versions(user=cast.outsider)
    assert found.analysis_count == 0
