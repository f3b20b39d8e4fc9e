"""The case page: what the panel says for each outcome, the live fragment, and how many queries it takes."""

from __future__ import annotations

import html
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from diagnosis.models import Analysis, Case, SmearImage
from diagnosis.services import consultation
from diagnosis.services.assignment import assign
from diagnosis.services.review import record_review
from diagnosis.views.frames import mark_of, poll_interval
from tests.diagnosis.told_cells import add_cells
from tests.diagnosis.told_sign_out import read
from tests.diagnosis.told_sign_out import reader as told_reader

SCRIPT = {"X-Requested-With": "leukoscope"}
Judge = Callable[..., Analysis]
AddImage = Callable[..., SmearImage]


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def panel(client: Client, image: SmearImage) -> str:
    url = reverse("diagnosis:case", args=[image.case_id])
    response = client.get(url, {"image": image.pk}, headers=SCRIPT)
    assert response.status_code == 200
    assert "<html" not in response.text
    return html.unescape(response.text)


def test_a_suspected_class_is_said_with_its_calibration_and_its_limits(
    reader: Client, image: SmearImage, judge: Judge
) -> None:
    judge(image, "pre")
    said = panel(reader, image)

    assert "▲" in said
    assert "Pre-B" in said
    assert "calibrated: of 100 held-out images scored like this" in said
    assert "B-ALL only: does not exclude AML, T-ALL, CLL, CML, MDS or lymphoma" in said
    assert "needs immunophenotyping" in said
    assert "Not validated at your site" in said


def test_a_benign_class_under_the_suspected_mark_is_no_subtype(
    reader: Client, image: SmearImage, judge: Judge
) -> None:
    judge(image, "benign")
    Analysis.objects.filter(image=image).update(suspected=True)
    said = panel(reader, image)

    assert "Suspected all the same" in said
    assert "The subtype" not in said
    assert "needs immunophenotyping" not in said


def test_benign_is_neutral_and_never_a_tick(reader: Client, image: SmearImage, judge: Judge) -> None:
    judge(image, "benign")
    said = panel(reader, image)
    mark = mark_of(image.newest_analysis)

    assert "Benign (hematogones)" in said
    assert "suspect" not in said
    assert "needs immunophenotyping" not in said
    assert (mark.sign, mark.tone) == ("○", "")


def test_indeterminate_gives_reasons_and_no_confidence(
    reader: Client, image: SmearImage, judge: Judge
) -> None:
    analysis = judge(image)
    Analysis.objects.filter(pk=analysis.pk).update(
        outcome="indeterminate",
        label="",
        confidence=None,
        confidence_low=None,
        confidence_high=None,
        inside_domain=False,
        suspected=False,
        reasons=["out of focus", "the field is unlike those the model was validated on"],
    )
    said = panel(reader, image)
    before, hidden = said.split("What the network would have said")

    assert "Indeterminate" in before
    assert "Out of focus" in before
    assert "The field is unlike those" in before
    assert "Confidence" not in said
    assert "early pre-B" not in before.replace("read instead", "").split("You read")[0]
    assert "Not a result" in hidden
    assert "data-reserved" in said
    assert "outside its domain" in said


def test_failed_says_why_and_offers_another_try(reader: Client, image: SmearImage) -> None:
    Analysis.objects.update(state="failed", failure="The stored file can't be read.")
    said = panel(reader, image)

    assert "The stored file can't be read." in said
    assert "Try again" in said
    assert reverse("diagnosis:retry", args=[image.pk]) in said
    assert 'value="agree"' not in said


@pytest.mark.parametrize(("state", "word"), [("queued", "Waiting"), ("running", "Being analysed")])
def test_unfinished_is_calm_and_can_not_be_reviewed(
    reader: Client, image: SmearImage, state: str, word: str
) -> None:
    Analysis.objects.update(state=state, started_at=timezone.now())
    said = panel(reader, image)

    assert word in said
    assert 'name="verdict"' not in said
    assert reverse("diagnosis:review", args=[image.pk]) not in said
    assert reverse("diagnosis:retry", args=[image.pk]) not in said


def test_what_waits_for_long_sends_to_the_administrator(reader: Client, image: SmearImage) -> None:
    assert "an administrator sees why" not in panel(reader, image)
    Analysis.objects.update(queued_at=timezone.now() - timedelta(minutes=5))

    assert "an administrator sees why" in panel(reader, image)


def test_the_panel_shows_where_the_result_comes_from(reader: Client, image: SmearImage, judge: Judge) -> None:
    analysis = judge(image)
    said = panel(reader, image)

    assert "field-test" in said
    assert analysis.runtime in said
    assert analysis.input_sha256[:16] in said
    assert "Calibrated where" in said
    assert "75 % of fields were malignant" in said
    for step in ("Reading the file", "Network", "Saliency", "In all"):
        assert step in said


def test_a_technician_reads_and_does_not_review(
    client: Client, cast: Any, image: SmearImage, judge: Judge
) -> None:
    judge(image)
    client.force_login(cast.technician)
    said = panel(client, image)

    assert "Hematologists read; your account does not." in said
    assert 'name="verdict"' not in said


# --- which image is selected ------------------------------------------------------------------------------------


def selected(client: Client, case: Case, **query: Any) -> SmearImage:
    return client.get(reverse("diagnosis:case", args=[case.pk]), query).context["reading"].image


def test_the_address_selects_an_image(reader: Client, case: Case, add_image: AddImage) -> None:
    images = [add_image() for _ in range(3)]

    assert selected(reader, case, image=images[2].pk) == images[2]


@pytest.mark.parametrize("wrong", ["", "nonsense", "00000000-0000-0000-0000-000000000000"])
def test_a_wrong_address_selects_what_needs_a_reader(
    reader: Client, case: Case, add_image: AddImage, judge: Judge, cast: Any, wrong: str
) -> None:
    images = [add_image() for _ in range(3)]
    judge(images[0], "benign")
    judge(images[2], "early")

    assert selected(reader, case, image=wrong) == images[2]
    record_review(
        user=cast.hematologist, image=images[2], analysis=images[2].newest_analysis, verdict="agree"
    )
    assert selected(reader, case, image=wrong) == images[0]


def test_a_case_without_images_says_what_to_do(reader: Client, case: Case) -> None:
    page = reader.get(reverse("diagnosis:case", args=[case.pk])).text

    assert "No images yet" in page
    assert 'class="tray open"' in page


# --- live -------------------------------------------------------------------------------------------------------


def live(client: Client, case: Case, **query: Any) -> Any:
    return client.get(reverse("diagnosis:case-live", args=[case.pk]), query, headers={"HX-Request": "true"})


def state_of(client: Client, case: Case) -> str:
    return client.get(reverse("diagnosis:case", args=[case.pk])).context["progress"].state


def test_nothing_new_is_204_without_a_body(reader: Client, case: Case, image: SmearImage) -> None:
    response = live(reader, case, state=state_of(reader, case), last=1)

    assert response.status_code == 204
    assert not response.content


def test_an_unfinished_case_asks_again_and_a_finished_one_does_not(
    reader: Client, case: Case, image: SmearImage, judge: Judge
) -> None:
    page = reader.get(reverse("diagnosis:case", args=[case.pk])).text
    assert 'hx-trigger="refresh, every 500ms"' in page

    judge(image)
    fragment = live(reader, case, state="old", last=1, open=1).text

    assert 'hx-trigger="refresh"' in fragment
    assert "every" not in fragment
    assert "All images analysed: 1 suspected, 0 indeterminate." in fragment
    assert f'id="mark-{image.pk}"' in fragment
    assert ", every" not in reader.get(reverse("diagnosis:case", args=[case.pk])).text


def test_the_fragment_brings_frames_the_page_does_not_have(
    reader: Client, case: Case, add_image: AddImage
) -> None:
    old, new = add_image(), add_image()
    fragment = live(reader, case, state="old", last=1).text

    assert f'id="mark-{old.pk}"' in fragment
    assert f'id="frame-{old.pk}"' not in fragment
    assert f'id="frame-{new.pk}"' in fragment
    assert 'hx-swap-oob="beforeend:#strip ol"' in fragment


def test_a_review_changes_the_state(
    reader: Client, cast: Any, case: Case, image: SmearImage, judge: Judge
) -> None:
    judge(image)
    before = state_of(reader, case)
    record_review(user=cast.hematologist, image=image, analysis=image.newest_analysis, verdict="agree")

    assert live(reader, case, state=before, last=1).status_code == 200


@pytest.mark.parametrize(
    ("waited", "expected"), [(1, "500ms"), (119, "500ms"), (180, "2s"), (3600, "10s"), (86400, "10s")]
)
def test_what_waits_for_longer_is_asked_for_less_often(waited: int, expected: str) -> None:
    analysis = Analysis(queued_at=timezone.now() - timedelta(seconds=waited))

    assert poll_interval([analysis]) == expected
    assert poll_interval([]) == ""


# --- queries ----------------------------------------------------------------------------------------------------


def queries(client: Client, url: str, **more: Any) -> int:
    with CaptureQueriesContext(connection) as context:
        response = client.get(url, **more)
    assert response.status_code == 200
    return len(context)


def test_a_case_takes_as_many_queries_for_thirty_images_as_for_one(
    reader: Client, cast: Any, case: Case, add_image: AddImage, judge: Judge
) -> None:
    def add() -> SmearImage:
        image = add_image()
        judge(image)
        record_review(user=cast.hematologist, image=image, analysis=image.newest_analysis, verdict="agree")
        return image

    image = add()

    def counts() -> list[int]:
        page = reverse("diagnosis:case", args=[case.pk])
        fragment = reverse("diagnosis:case-live", args=[case.pk])
        panel_url = f"{page}?image={image.pk}"
        return [queries(reader, page), queries(reader, panel_url, headers=SCRIPT), queries(reader, fragment)]

    counts()  # the first request of a session writes down that somebody works
    of_one = counts()
    for _ in range(29):
        add()
    add_cells(image, ["blast"] * 30)
    carl = told_reader("carl", cast.hematologist)
    read(carl, image, "overrule", label="benign")
    consultation.ask(user=carl, case=case, of=cast.laboratory_head, image=image)
    assign(user=carl, case=case, to=carl, expected=None)

    assert counts() == of_one
    # Who asks takes two, and that she was shown the case is written down by three. Of the page's other ten each is
    # of another table: the case, its images, the versions that judged them, reviews, sheets of cells, cells, disputes,
    # and second opinions, the patient's other cases, colleagues.
    assert of_one[0] <= 17  # of which one on PostgreSQL alone: the audit holds whom its event names
    assert max(of_one[1:]) <= 8
