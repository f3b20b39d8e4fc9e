"""Second opinions and disputes on the pages of a case, and in the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from diagnosis.models import Analysis, BlindReading, SecondOpinion, SmearImage
from diagnosis.services import consultation
from diagnosis.services.review import record_review

SCRIPT = {"X-Requested-With": "leukoscope"}


@pytest.fixture
def done(image: SmearImage, judge: Callable[..., Analysis]) -> SmearImage:
    judge(image, "early")
    return image


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def ask(client: Client, image: SmearImage, **more: Any) -> Any:
    headers = more.pop("headers", {})
    data = {"image": image.pk, "about": "image", "question": "Blasts?", **more}
    return client.post(reverse("diagnosis:opinion-ask", args=[image.case_id]), data, headers=headers)


def panel(client: Client, image: SmearImage) -> str:
    url = reverse("diagnosis:case", args=[image.case_id])
    return client.get(url, {"image": str(image.pk)}, headers=SCRIPT).text


def differ(cast: Any, image: SmearImage) -> None:
    """Two readers of one image: the administrator agrees with "early", the laboratory head reads "pro"."""
    for user, verdict, label in [
        (cast.administrator, "agree", None),
        (cast.laboratory_head, "overrule", "pro"),
    ]:
        record_review(user=user, image=image, analysis=image.newest_analysis, verdict=verdict, label=label)


def test_asking_from_the_panel_shows_the_question_there(
    reader: Client, client: Client, cast: Any, done: SmearImage
) -> None:
    assert "Ask a colleague" in panel(reader, done)
    answer = ask(reader, done, of=cast.administrator.pk, headers=SCRIPT)
    assert answer.status_code == 200
    assert "Hedy Hematologist asks Ada Administrator" in answer.text
    assert "Withdraw" in answer.text

    client.force_login(cast.administrator)
    asked = panel(client, done)
    assert "Hedy Hematologist asks you" in asked
    assert "Blasts?" in asked
    assert "Withdraw" not in asked


def test_asking_about_the_whole_case_by_a_plain_form(reader: Client, cast: Any, done: SmearImage) -> None:
    answer = ask(reader, done, of=cast.administrator.pk, about="case")
    assert answer.status_code == 302
    assert SecondOpinion.objects.get().image is None
    assert "is asked for a second opinion" in reader.get(answer["Location"]).text


def test_a_refused_question_comes_back_with_what_was_typed(
    reader: Client, cast: Any, done: SmearImage
) -> None:
    answer = ask(reader, done, of=cast.technician.pk, about="case", question="Are these <blasts>?")
    assert answer.status_code == 422
    assert "Choose a colleague of your laboratory" in answer.text
    assert "Are these &lt;blasts&gt;?</textarea>" in answer.text
    assert 'value="case" checked' in answer.text

    told = ask(reader, done, of="nonsense", headers=SCRIPT)
    assert told.status_code == 409
    assert "Choose a colleague" in told.json()["message"]
    assert not SecondOpinion.objects.exists()


def test_withdrawing(reader: Client, client: Client, cast: Any, done: SmearImage) -> None:
    opinion = consultation.ask(user=cast.hematologist, case=done.case, of=cast.administrator, image=done)
    url = reverse("diagnosis:opinion-withdraw", args=[opinion.pk])
    client.force_login(cast.administrator)
    told = client.post(url, {"image": done.pk}, headers=SCRIPT)
    assert (told.status_code, "Only Hedy" in told.json()["message"]) == (409, True)

    client.force_login(cast.hematologist)
    answer = client.post(url, {"image": done.pk}, headers=SCRIPT)
    assert answer.status_code == 200
    assert "asks Ada" not in answer.text


def test_a_technician_sees_the_question_and_asks_none(client: Client, cast: Any, done: SmearImage) -> None:
    consultation.ask(user=cast.hematologist, case=done.case, of=cast.administrator, image=done)
    client.force_login(cast.technician)
    page = panel(client, done)
    assert "Hedy Hematologist asks Ada Administrator" in page
    assert "Ask a colleague" not in page


def test_a_dispute_says_who_reads_what_and_who_can_settle_it(
    reader: Client, client: Client, cast: Any, done: SmearImage
) -> None:
    differ(cast, done)
    third = panel(reader, done)
    assert "Readers differ" in third
    assert "Ada Administrator: <b>early pre-B</b>. Lena Head: <b>pro-B</b>." in third
    assert "Your review settles it" in third
    page = reader.get(reverse("diagnosis:case", args=[done.case_id])).text
    assert "1 disputed" in page

    client.force_login(cast.administrator)
    assert "A third reader&#x27;s review settles it" in panel(client, done).replace("'", "&#x27;")

    record_review(
        user=cast.hematologist, image=done, analysis=done.newest_analysis, verdict="overrule", label="pro"
    )
    assert "Readers differ" not in panel(client, done)
    assert "disputed" not in client.get(reverse("diagnosis:case", args=[done.case_id])).text


def test_where_the_laboratory_reads_blind_the_third_reader_gives_her_class_first(
    reader: Client, cast: Any, done: SmearImage
) -> None:
    differ(cast, done)
    laboratory = done.case.laboratory
    laboratory.is_blind = True
    laboratory.save()
    before = panel(reader, done)
    assert "Two colleagues differ about this image." in before
    assert "Ada Administrator" not in before.split("Ask a colleague")[0]
    assert "<b>pro-B</b>" not in before

    BlindReading.objects.create(
        image=done, analysis=done.newest_analysis, reader=cast.hematologist, label="pro"
    )
    assert "Lena Head: <b>pro-B</b>." in panel(reader, done)


@pytest.mark.parametrize("name", ["worklist", "history"])
def test_disputed_cases_are_found(reader: Client, cast: Any, done: SmearImage, name: str) -> None:
    query = {"worklist": {"show": "disputed"}, "history": {"reading": "disputed"}}[name]
    url = reverse(f"diagnosis:{name}")
    assert not list(reader.get(url, query).context["page"])
    differ(cast, done)
    assert [case.pk for case in reader.get(url, query).context["page"]] == [done.case_id]
