"""Recording a reading from the page, and trying an analysis again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from diagnosis.models import Analysis, Review, SmearImage

SCRIPT = {"X-Requested-With": "leukoscope"}


@pytest.fixture
def done(image: SmearImage, judge: Callable[..., Analysis]) -> SmearImage:
    judge(image, "early")
    return image


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def post(client: Client, image: SmearImage, *, script: bool = True, **data: Any) -> Any:
    data = {"analysis": image.newest_analysis_id, **data}
    return client.post(reverse("diagnosis:review", args=[image.pk]), data, headers=SCRIPT if script else {})


def test_agreeing_is_recorded_and_shown(reader: Client, done: SmearImage) -> None:
    response = post(reader, done, verdict="agree", comment="Typical blasts.")

    review = Review.objects.get()
    assert (review.verdict, review.label, review.comment) == ("agree", "early", "Typical blasts.")
    assert review.analysis_id == done.newest_analysis_id
    assert response.status_code == 200
    assert "Agrees: early pre-B" in response.text
    assert "Hedy Hematologist" in response.text
    assert "Typical blasts." in response.text
    assert 'data-said="Recorded, agrees: early pre-B."' in response.text


def test_overruling_is_recorded_and_the_newest_counts(reader: Client, done: SmearImage) -> None:
    post(reader, done, verdict="agree")
    response = post(reader, done, verdict="overrule", label="benign")

    assert [review.verdict for review in Review.objects.all()] == ["overrule", "agree"]
    done.refresh_from_db()
    assert done.newest_review.label == "benign"
    assert response.text.index("Overruled: benign (hematogones)") < response.text.index("Agrees: early pre-B")
    assert "(counts)" in response.text


REFUSED = [
    ({"verdict": "overrule"}, "Choose the class that you read instead."),
    ({"verdict": "overrule", "label": "early"}, "That is the class the model gave"),
    ({"verdict": "overrule", "label": "other"}, "Say in the comment what you found."),
    ({"verdict": "shrug"}, "Choose to agree or to overrule, or say that you cannot tell."),
    ({"verdict": "agree", "analysis": "nonsense"}, "The page was out of date"),
    ({"verdict": "agree", "analysis": str(uuid4())}, "The page was out of date"),
]


@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
@pytest.mark.parametrize(("data", "sentence"), REFUSED)
def test_a_refused_review_comes_back_with_what_was_typed(
    reader: Client, done: SmearImage, data: dict[str, str], sentence: str, script: bool
) -> None:
    comment = "" if data.get("label") == "other" else "Long thoughts."
    response = post(reader, done, script=script, comment=comment, **data)

    assert response.status_code == 422
    assert sentence in response.text
    assert comment in response.text
    assert not Review.objects.exists()


def test_a_plain_form_goes_back_to_the_image(reader: Client, done: SmearImage) -> None:
    response = post(reader, done, script=False, verdict="agree")

    assert response.status_code == 302
    assert response["Location"] == f"/cases/{done.case_id}?image={done.pk}"
    assert "Recorded, agrees: early pre-B." in reader.get(response["Location"]).text


def test_agreeing_twice_is_not_offered(reader: Client, done: SmearImage) -> None:
    page = post(reader, done, verdict="agree").text

    assert "Agreed" in page
    assert 'value="agree" aria-keyshortcuts="a" disabled' in page


@pytest.mark.parametrize("third_is_queued", [False, True])
def test_an_agreement_with_a_replaced_outcome_comes_back_with_what_was_typed(
    reader: Client, done: SmearImage, judge: Callable[..., Analysis], third_is_queued: bool
) -> None:
    seen = done.newest_analysis_id
    reader.post(reverse("diagnosis:retry", args=[done.pk]))
    judge(done, "benign")
    if third_is_queued:
        reader.post(reverse("diagnosis:retry", args=[done.pk]))
    response = post(reader, done, script=False, verdict="agree", analysis=seen, comment="Long thoughts.")

    assert response.status_code == 422
    assert "A newer analysis exists: look at it before you agree." in response.text
    assert ">Long thoughts.</textarea>" in response.text


def test_a_new_analysis_asks_for_a_new_reading(
    reader: Client, done: SmearImage, judge: Callable[..., Analysis]
) -> None:
    post(reader, done, verdict="agree")
    case = reverse("diagnosis:case", args=[done.case_id])
    assert "1 of 1 image read" in reader.get(case).text
    reader.post(reverse("diagnosis:retry", args=[done.pk]))
    judge(done, "benign")
    page = reader.get(case).text

    assert "read before re-analysis" in page
    assert "0 of 1 image read" in page
    assert "of an earlier analysis: this one is to be read" in page


def test_a_comment_is_shown_as_text(reader: Client, done: SmearImage) -> None:
    response = post(reader, done, verdict="agree", comment="<img src=x onerror=alert(1)>")

    assert "<img src=x" not in response.text


def test_trying_again_queues_a_new_analysis(reader: Client, image: SmearImage) -> None:
    Analysis.objects.update(state="failed", failure="It broke.")
    response = reader.post(reverse("diagnosis:retry", args=[image.pk]), headers=SCRIPT)

    image.refresh_from_db()
    assert image.analyses.count() == 2
    assert image.newest_analysis.state == Analysis.State.QUEUED
    assert "Waiting" in response.text


def test_trying_again_twice_gives_one(reader: Client, image: SmearImage) -> None:
    response = reader.post(reverse("diagnosis:retry", args=[image.pk]), follow=True)

    assert image.analyses.count() == 1
    assert "being analysed already" in response.text
