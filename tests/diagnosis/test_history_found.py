"""The history's page: what it finds is what the images say, whether cases are signed or not; words; how it ends."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from diagnosis import history_selectors, selectors
from diagnosis.history_selectors import Found
from diagnosis.models import (
    Analysis,
    Case,
    CaseTally,
    Laboratory,
    Review,
    SignedFinding,
    SignOut,
    SmearImage,
    User,
)
from diagnosis.selectors import HistoryFilters
from diagnosis.services import archive, case_tallies, findings, intake
from diagnosis.services.blind import record_blind_reading

pytestmark = pytest.mark.django_db


def numbers(cases: Any) -> list[str]:
    return [case.accession_number for case in cases]


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


@pytest.fixture
def open_case(cast: Any) -> Callable[[str], Case]:
    def open_(number: str) -> Case:
        return intake.create_case(user=cast.technician, accession_number=number, patient_code="P-1")

    return open_


@pytest.fixture
def drawn() -> User:
    """A laboratory with a drawn archive of signed and unsigned cases; one of its readers."""
    archive.seed(cases=90, images_per_case=4, seed=5)
    Case.objects.filter(pk__in=list(Case.objects.order_by("pk").values_list("pk", flat=True)[:3])).update(
        has_findings=False
    )  # as a case has none that was signed before they were kept
    return User.objects.get(username=f"{archive.SLUG}-reader-1")


def narrowed(user: User) -> list[HistoryFilters]:
    """Every filter of images by itself, with the others, and with those of cases."""
    versions = selectors.version_names(user=user).values_list("pk", flat=True)
    single = [
        *(HistoryFilters(outcome=one) for one in ("suspected", "class", "indeterminate", "failed", "unfinished", "no")),
        *(HistoryFilters(label=one) for one in ("benign", "early", "pre", "pro")),
        *(HistoryFilters(reviewer=one.pk) for one in selectors.reviewers(user=user)),
        *(HistoryFilters(model_version=one) for one in versions),
        HistoryFilters(disagreement=True), HistoryFilters(unread=True), HistoryFilters(disputed=True),
    ]  # fmt: skip
    return [
        HistoryFilters(),
        *single,
        *(replace(one, disagreement=True) for one in single),
        *(replace(one, label="pro") for one in single),
        *(replace(one, status="final", sort="accession") for one in single),
        *(replace(one, q="petechiae", sort="-patient") for one in single[:8]),
        HistoryFilters(date_from=datetime.date.today() - datetime.timedelta(days=300), unread=True),
    ]


def test_what_has_changed_since_a_case_was_counted_is_found(drawn: User) -> None:
    image = SmearImage.objects.filter(
        case__has_findings=False, newest_review__isnull=True, newest_analysis__state="done"
    ).first()
    assert image is not None
    Analysis.objects.filter(pk=image.newest_analysis_id).update(label="changed")
    for refreshed in (False, True):
        if refreshed:
            case_tallies.refresh()
        filters = HistoryFilters(label="changed")
        assert numbers(Found(user=drawn, filters=filters)[0:9]) == [image.case.accession_number]
        assert numbers(selectors.history(user=drawn, filters=filters)) == [image.case.accession_number]
    Analysis.objects.filter(pk=image.newest_analysis_id).update(label="benign")
    assert not Found(user=drawn, filters=filters)[0:9]


@pytest.mark.parametrize("is_blind", [False, True])
def test_it_finds_what_a_count_of_all_images_finds(drawn: User, is_blind: bool) -> None:
    Laboratory.objects.filter(pk=drawn.laboratory_id).update(is_blind=is_blind)
    user = User.objects.get(pk=drawn.pk)
    asked = narrowed(user)
    found = [numbers(Found(user=user, filters=one)[0:1000]) for one in asked]
    counted = [numbers(selectors.history(user=user, filters=one)) for one in asked]

    assert found == counted
    assert len({tuple(one) for one in found}) > 20  # the filters tell cases apart


@pytest.mark.parametrize("outcome", ["suspected", "class"])
@pytest.mark.parametrize("unread", [False, True])
def test_cases_that_nobody_has_counted_yet_are_found(drawn: User, outcome: str, unread: bool) -> None:
    CaseTally.objects.all().delete()
    for is_blind in (False, True):
        Laboratory.objects.filter(pk=drawn.laboratory_id).update(is_blind=is_blind)
        user = User.objects.get(pk=drawn.pk)
        filters = HistoryFilters(outcome=outcome, unread=unread, status="preliminary")
        expected = numbers(selectors.history(user=user, filters=filters))
        assert numbers(Found(user=user, filters=filters)[0:1000]) == expected
        assert expected or is_blind


def test_who_has_seen_one_image_blind_is_not_told_of_another(
    cast: Any, add_image: Any, judge: Any, open_case: Callable[[str], Case]
) -> None:
    Laboratory.objects.filter(pk=cast.hematologist.laboratory_id).update(is_blind=True)
    user = User.objects.get(pk=cast.hematologist.pk)
    case = open_case("S-1")
    seen, unseen = add_image(to=case), add_image(to=case)
    judge(seen, label="benign")
    judge(unseen, label="pro")
    record_blind_reading(user=user, image=seen, label="benign")
    case_tallies.refresh()
    suspected = HistoryFilters(outcome="suspected")
    assert not numbers(Found(user=user, filters=suspected)[0:9])
    record_blind_reading(user=user, image=unseen, label="pro")
    assert numbers(Found(user=user, filters=suspected)[0:9]) == ["S-1"]


@pytest.mark.parametrize(("stored", "asked"), [("early pre", "early"), ("Pre", "pre"), ("a differs b", "a")])
def test_a_class_is_not_taken_for_another_whose_name_begins_alike(
    drawn: User, stored: str, asked: str
) -> None:
    reviewed = Review.objects.values("image__case")
    case = Case.objects.filter(has_findings=False).exclude(pk__in=reviewed).latest("pk")
    analyses = Analysis.objects.filter(image__case=case, state="done")
    assert analyses.update(label=stored)
    case_tallies.refresh()
    for filters, has_case in (
        (HistoryFilters(label=asked), False),
        (HistoryFilters(disagreement=True), False),
        (HistoryFilters(label=stored), True),
    ):
        found = numbers(Found(user=drawn, filters=filters)[0:1000])
        assert found == numbers(selectors.history(user=drawn, filters=filters))
        assert (case.accession_number in found) == has_case


def test_what_is_kept_is_what_the_images_say(drawn: User) -> None:
    before = sorted(SignedFinding.objects.values_list("case", *findings.COLUMNS), key=repr)
    assert before
    SignedFinding.objects.all().delete()

    kept = findings.keep_all(anew=True)

    signed = Case.objects.exclude(status=Case.Status.PRELIMINARY)
    assert kept == signed.count() == Case.objects.filter(has_findings=True).count()
    assert sorted(SignedFinding.objects.values_list("case", *findings.COLUMNS), key=repr) == before
    assert findings.keep_all() == 0


def test_a_case_that_is_open_is_kept_nothing_of(drawn: User) -> None:
    case = Case.objects.filter(has_findings=True).first()
    assert case is not None
    findings.forget(case=case)
    Case.objects.filter(pk=case.pk).update(amending_since=datetime.datetime.now(datetime.UTC))
    unsigned = Case.objects.filter(status=Case.Status.PRELIMINARY).first()
    assert unsigned is not None

    assert findings.keep(cases=[case.pk, unsigned.pk]) == 0
    assert not SignedFinding.objects.filter(case__in=[case.pk, unsigned.pk]).exists()


@pytest.mark.parametrize("word", ["H-77", "bruis", "NUCLEOLI", "marrow aspirate"])
def test_words_are_looked_for_in_all_that_people_wrote(
    cast: Any, image: SmearImage, other_texts: Case, word: str
) -> None:
    for user, expected in ((cast.hematologist, [other_texts.accession_number]), (cast.outsider, [])):
        filters = HistoryFilters(q=word)
        assert numbers(Found(user=user, filters=filters)[0:25]) == expected
        assert numbers(selectors.history(user=user, filters=filters)) == expected


@pytest.fixture
def other_texts(cast: Any, image: SmearImage) -> Case:
    """A case with one word each in its number, note, a reader's comment, and a conclusion."""
    case = image.case
    Case.objects.filter(pk=case.pk).update(accession_number="H-7710", note="Bruises on both legs.")
    Review.objects.create(
        image=image, reviewer=cast.hematologist, verdict="overrule", label="pro", comment="Large nucleoli."
    )
    SignOut.objects.create(
        case=case, number=1, signer=cast.hematologist, signer_name="H", signer_role="hematologist", meaning="m",
        conclusion="Marrow aspirate advised.", content={}, content_sha256="",
    )  # fmt: skip
    case.refresh_from_db()
    return case


def test_comments_on_images_that_are_kept_back_are_not_found(
    cast: Any, other_texts: Case, reader: Client
) -> None:
    Laboratory.objects.filter(pk=cast.hematologist.laboratory_id).update(is_blind=True)
    colleague = User.objects.create_user(
        "new", password="x", laboratory=cast.hematologist.laboratory, role=User.Role.HEMATOLOGIST
    )
    for user, expected in ((cast.hematologist, 1), (colleague, 0)):
        anew = User.objects.get(pk=user.pk)
        assert Found(user=anew, filters=HistoryFilters(q="nucleoli")).count() == expected


def test_a_search_ends_and_says_so(
    reader: Client, cast: Any, open_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_selectors, "MOST_FOUND", 30)
    for number in range(31):
        open_case(f"N-{number:02}")
    url = reverse("diagnosis:history")

    cut = reader.get(url, {"q": "N-", "sort": "accession", "page": "2"})
    whole = reader.get(url, {"page": "2"})
    exact = reader.get(url, {"q": "N-1"})

    assert "26 to 30 of more than 30: narrow the search" in cut.text
    assert numbers(cut.context["page"]) == [f"N-{n}" for n in range(25, 30)]
    assert "26 to 31 of 31<" in whole.text
    assert "more than" not in exact.text
    assert exact.context["page"].paginator.count == 10


def test_the_status_is_a_filter(reader: Client, cast: Any, open_case: Callable[..., Case]) -> None:
    Case.objects.filter(pk=open_case("SIGNED").pk).update(status=Case.Status.FINAL)
    open_case("OPEN")

    found = reader.get(reverse("diagnosis:history"), {"status": "final"}).context["page"]

    assert numbers(found) == ["SIGNED"]


def test_it_takes_as_many_queries_whatever_matches(drawn: User, client: Client) -> None:
    client.force_login(drawn)

    def queries(**query: Any) -> int:
        with CaptureQueriesContext(connection) as context:
            assert client.get(reverse("diagnosis:history"), query).status_code == 200
        return len(context)

    queries()  # what a session asks once
    plain = {
        queries(),
        queries(page=3),
        queries(since="2020-01-01"),
        queries(status="final", sort="accession"),
    }
    version = selectors.version_names(user=drawn).get(name="drawn-field-2")
    chosen = queries(version=version.pk) - 1  # the form asks whether there is such a version
    images = {queries(outcome="suspected"), queries(label="benign"), chosen}

    assert len(plain) == len(images) == 1
    assert max(images) - max(plain) <= 3
