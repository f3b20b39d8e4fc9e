"""The pages of sign-out: what they show of a case, what they send back, and what they never lose."""

from __future__ import annotations

import json
import re

import pytest
from django.core.cache import cache
from django.urls import reverse

from diagnosis.models import Case, SignOut
from diagnosis.services import sign_out
from diagnosis.views.differences import marked
from tests.diagnosis.conftest import PASSWORD
from tests.diagnosis.told_cells import add_cells
from tests.diagnosis.told_sign_out import read, sign

pytestmark = pytest.mark.django_db


@pytest.fixture
def ready(cast, case, image, judge) -> Case:
    """A case of one image with cells, analysed and read."""
    judge(image, "early")
    add_cells(image, ["blast"] * 3 + ["lymphocyte"] * 7)
    read(cast.hematologist, image, comment="A <b>typical</b> field")
    return case


@pytest.fixture
def signed(cast, ready) -> Case:
    sign(cast.hematologist, ready, "Early pre-B ALL is suspected.")
    return Case.objects.get(pk=ready.pk)


def page(client, user, case, **more):
    client.force_login(user)
    return client.get(reverse("diagnosis:sign-out", args=[case.pk]), **more)


def form_of(html: str) -> dict[str, str]:
    """What the page's form would send untouched."""
    found = dict(
        re.findall(r'<input type="hidden"(?: id="shown")? name="(shown|number)" value="([^"]*)"', html)
    )
    return {name: value.replace("&quot;", '"') for name, value in found.items()}


def post(client, user, case, conclusion="Early pre-B ALL.", form=None, **more):
    told = form or form_of(page(client, user, case).content.decode())
    return client.post(
        reverse("diagnosis:sign-out", args=[case.pk]),
        {**told, "conclusion": conclusion, "password": PASSWORD, **more},
    )


def test_a_ready_case_shows_what_would_be_signed_and_by_whom(client, cast, ready):
    cast.hematologist.title = "Prof."
    cast.hematologist.save()
    html = page(client, cast.hematologist, ready).content.decode()
    assert "Nothing stands in the way" in html
    assert "1 of 1 images read" in html
    assert "<b>30.0</b>, 95 % interval" in html
    assert "Agrees: early pre-B" in html
    assert "A &lt;b&gt;typical&lt;/b&gt; field" in html
    assert "<b>Prof. Hedy Hematologist</b>, hematologist" in html
    assert "I have examined the images of this case and I am responsible for this report." in html
    assert json.loads(form_of(html)["shown"])["image 1"]
    assert "disabled>Sign out" not in html


def test_what_stands_in_the_way_is_listed_with_links_and_the_button_is_off(
    client, cast, ready, add_image, judge
):
    second, third = add_image(), add_image()
    judge(second, "pre")
    html = page(client, cast.hematologist, ready).content.decode()
    assert "What stands in the way" in html
    assert "<b>Image 3 is still being analysed.</b>" in html
    assert "<b>Image 2 is not read.</b>" in html
    for image in (second, third):
        assert f'href="{reverse("diagnosis:case", args=[ready.pk])}?image={image.pk}">Image' in html
    assert "disabled>Sign out</button>" in html


def live(client, user, case):
    """What the page asks for to bring itself up to date; its address is taken from the page."""
    asked = re.search(r'hx-get="([^"]*)"', page(client, user, case).content.decode())
    return asked.group(1).replace("&amp;", "&")


def test_what_stands_in_the_way_follows_by_itself_until_nothing_does(client, cast, ready, add_image, judge):
    second = add_image()
    address = live(client, cast.hematologist, ready)
    assert 'hx-trigger="refresh, every 2s"' in page(client, cast.hematologist, ready).content.decode()
    assert client.get(address).status_code == 204
    judge(second, "pre")
    analysed = client.get(address).content.decode()
    assert "<b>Image 2 is not read.</b>" in analysed
    assert 'data-said="Image 2 is not read."' in analysed
    assert 'hx-trigger="refresh, every 30s"' in analysed
    read(cast.hematologist, second)
    html = client.get(address).content.decode()
    assert "Nothing stands in the way" in html
    assert "hx-trigger" not in html
    assert "disabled>Sign out" not in html
    assert post(client, cast.hematologist, ready, form=form_of(html)).status_code == 302


def test_a_live_page_names_who_signed_meanwhile_and_offers_no_signature(
    client, cast, ready, add_image, judge
):
    second = add_image()
    address = live(client, cast.administrator, ready)
    judge(second, "pre")
    read(cast.hematologist, second)
    sign(cast.hematologist, ready)
    html = client.get(address).content.decode()
    assert "Hedy Hematologist signed this case on" in html
    assert "<textarea" not in html
    assert 'id="sign" disabled' in html
    sign_out.open_amendment(user=cast.hematologist, case=ready, reason="x")
    assert "Hedy Hematologist signed this case on" in client.get(address).content.decode()


def test_a_live_page_keeps_from_a_blind_reader_what_the_page_keeps(client, cast, ready, add_image):
    ready.laboratory.is_blind = True
    ready.laboratory.save()
    address = live(client, cast.administrator, ready)
    add_image()
    html = client.get(address).content.decode()
    for told in ("early pre-B", "per 100 leukocytes", "Agrees", "▲"):
        assert told not in html


def test_a_live_page_leaves_messages_to_the_page_that_they_are_for(client, cast, ready, add_image, judge):
    second = add_image()
    address = live(client, cast.hematologist, ready)
    judge(second, "pre")
    client.post(reverse("diagnosis:sessions-end"))
    sentence = "You were logged in nowhere else."
    assert sentence not in client.get(address).content.decode()
    assert sentence in client.get(reverse("diagnosis:account")).content.decode()


def test_signing_makes_the_report_final_and_shows_the_signature(client, cast, ready):
    response = post(client, cast.hematologist, ready)
    assert response.status_code == 302
    made = SignOut.objects.get()
    html = client.get(response.url).content.decode()
    assert "The report is final: H-1001, signed by Hedy Hematologist." in html
    assert made.content_sha256 in html
    assert f"{made.audit_sequence}:{made.audit_head}" in html
    assert "Early pre-B ALL." in html
    assert "Open an amendment" in html


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({"password": "wrong"}, 422, "The password is not right"),
        ({"password": ""}, 422, "The password is not right"),
        ({"conclusion": "x" * 8001}, 422, "Keep the conclusion under 8000 characters"),
        ({"shown": "{}"}, 422, "no longer as this page showed it"),
        ({"shown": "[[["}, 422, "no longer as this page showed it"),
        ({"shown": "[" * 100_000}, 422, "no longer as this page showed it"),
        ({"shown": "x" * 300_000}, 422, "no longer as this page showed it"),
        ({"number": "2"}, 422, "No amendment of this case is open"),
        ({"number": "one"}, 422, "No amendment of this case is open"),
        ({"number": "9" * 400}, 422, "No amendment of this case is open"),
    ],
)
def test_what_is_refused_comes_back_with_all_that_was_typed_but_the_password(
    client, cast, ready, sent, status, words
):
    typed = sent.get("conclusion", "My <i>own</i> words.")
    response = post(client, cast.hematologist, ready, **{"conclusion": typed, **sent})
    html = response.content.decode()
    assert response.status_code == status
    assert words in html
    assert typed.replace("<", "&lt;").replace(">", "&gt;") in html
    assert PASSWORD not in html
    assert "wrong" not in html.replace("wrong password", "")
    assert not SignOut.objects.exists()


def test_after_too_many_wrong_passwords_it_says_how_long_to_wait_and_keeps_the_text(client, cast, ready):
    form = form_of(page(client, cast.hematologist, ready).content.decode())
    for _ in range(10):
        assert post(client, cast.hematologist, ready, form=form, password="wrong").status_code == 422
    response = post(client, cast.hematologist, ready, "Kept.", form=form)
    assert response.status_code == 429
    assert 0 < int(response["Retry-After"]) <= 600
    html = response.content.decode()
    assert "Too many wrong passwords: try again in 10 minutes." in html
    assert "Kept.</textarea>" in html
    cache.clear()
    assert post(client, cast.hematologist, ready, form=form).status_code == 302


def test_who_comes_second_is_told_and_sees_what_she_had_written(client, cast, ready):
    form = form_of(page(client, cast.administrator, ready).content.decode())
    sign(cast.hematologist, ready, "First.")
    response = post(client, cast.administrator, ready, "Mine, all of it.", form=form)
    html = response.content.decode()
    assert response.status_code == 422
    assert "Hedy Hematologist signed this case on" in html
    assert "Mine, all of it." in html
    assert SignOut.objects.get().conclusion == "First."


def test_an_image_added_between_page_and_signature_is_named(client, cast, ready, add_image, judge):
    form = form_of(page(client, cast.hematologist, ready).content.decode())
    added = add_image()
    judge(added, "pre")
    read(cast.hematologist, added)
    html = post(client, cast.hematologist, ready, form=form).content.decode()
    assert "The case is no longer as this page showed it: image 2 was added." in html
    assert post(client, cast.hematologist, ready, form=form_of(html)).status_code == 302


def test_who_cannot_tell_asks_for_a_tick(client, cast, case, image, judge):
    judge(image, "early")
    read(cast.hematologist, image, "unsure")
    html = page(client, cast.hematologist, case).content.decode()
    assert "The conclusion says what follows from image 1, where the reader cannot tell." in html
    assert post(client, cast.hematologist, case).status_code == 422
    assert post(client, cast.hematologist, case, addressed="1").status_code == 302


def test_a_blind_reader_is_not_told_where_a_colleague_cannot_tell(client, cast, case, image, judge):
    judge(image, "early")
    read(cast.hematologist, image, "unsure")
    case.laboratory.is_blind = True
    case.laboratory.save()
    blind = page(client, cast.administrator, case).content.decode()
    assert 'id="statements" class="stack" hidden></div>' in blind
    assert "cannot tell" not in blind
    assert "where the reader cannot tell." in page(client, cast.hematologist, case).content.decode()


def test_a_blind_reader_sees_nothing_of_the_report_before_her_own_class(client, cast, ready):
    ready.laboratory.is_blind = True
    ready.laboratory.save()
    html = page(client, cast.administrator, ready).content.decode()
    assert "You have not classed 1 image of this case yourself." in html
    for told in ("early pre-B", "per 100 leukocytes", "Agrees", "▲"):
        assert told not in html
    assert "early pre-B" in page(client, cast.hematologist, ready).content.decode()


def test_an_amendment_shows_old_and_new_and_both_versions_can_be_opened(client, cast, signed, image):
    client.force_login(cast.hematologist)
    address = reverse("diagnosis:amendment-open", args=[signed.pk])
    response = client.post(address, {"reason": ""})
    assert response.status_code == 422
    assert "Say why the report is amended." in response.content.decode()
    assert client.post(address, {"reason": "Second look."}).status_code == 302
    html = page(client, cast.hematologist, signed).content.decode()
    assert "Nothing differs from the signed report yet" in html
    assert "Abandon this amendment" in html
    assert "Early pre-B ALL is suspected.</textarea>" in html
    read(cast.hematologist, image, "overrule", label="benign")
    html = page(client, cast.hematologist, signed).content.decode()
    assert "Abandon this amendment" not in html
    assert "image 1, reading" in html
    response = post(client, cast.hematologist, signed, "Early pre-B ALL is excluded.")
    html = client.get(response.url).content.decode()
    assert "Second look." in html
    assert "Early pre-B ALL is <del>suspected</del>." in re.sub(r"</?td[^>]*>", "", html)
    assert "Early pre-B ALL is <ins>excluded</ins>." in html
    first = reverse("diagnosis:signed-report", args=[signed.pk, 1])
    assert f'href="{first}"' in html
    html = client.get(first).content.decode()
    assert "This is version 1, as it was signed." in html
    assert "Early pre-B ALL is suspected." in html
    assert "excluded" not in html


def test_an_amendment_is_abandoned_from_its_page(client, cast, signed):
    sign_out.open_amendment(user=cast.hematologist, case=signed, reason="By mistake.")
    client.force_login(cast.hematologist)
    address = reverse("diagnosis:amendment-abandon", args=[signed.pk])
    assert client.post(address).status_code == 302
    again = client.post(address)
    assert again.status_code == 422
    assert "No amendment of this case is open any more" in again.content.decode()


READERS = [
    ("technician", 403),
    ("hematologist", 200),
    ("laboratory_head", 200),
    ("administrator", 200),
    ("outsider", 404),
]


@pytest.mark.parametrize(("who", "status"), READERS)
def test_who_may_open_the_page(client, cast, ready, who, status):
    assert page(client, cast[who], ready).status_code == status


@pytest.mark.parametrize(
    ("who", "number", "status"),
    [("technician", 1, 200), ("hematologist", 1, 200), ("outsider", 1, 404), ("hematologist", 2, 404)],
)
def test_who_may_read_what_was_signed(client, cast, signed, who, number, status):
    client.force_login(cast[who])
    response = client.get(reverse("diagnosis:signed-report", args=[signed.pk, number]))
    assert response.status_code == status


@pytest.mark.parametrize("name", ["amendment-open", "amendment-abandon"])
def test_amendments_take_a_post(client, cast, signed, name):
    client.force_login(cast.hematologist)
    assert client.get(reverse(f"diagnosis:{name}", args=[signed.pk])).status_code == 405


@pytest.mark.parametrize("state", ["open", "signed", "amending"])
def test_the_number_of_queries_does_not_depend_on_the_images(
    client, cast, ready, add_image, judge, django_assert_max_num_queries, state
):
    client.force_login(cast.hematologist)
    counts = []
    for _ in range(2):
        if state != "open" and not SignOut.objects.exists():
            sign(cast.hematologist, ready)
        if state == "amending" and not Case.objects.get(pk=ready.pk).amending_since:
            sign_out.open_amendment(user=cast.hematologist, case=ready, reason="x")
        page(client, cast.hematologist, ready)
        with django_assert_max_num_queries(25) as asked:
            client.get(reverse("diagnosis:sign-out", args=[ready.pk]))
        counts.append(len(asked))
        if state != "signed":
            for _ in range(3):
                one = add_image()
                judge(one, "early")
                add_cells(one, ["blast", "lymphocyte"])
                read(cast.administrator, one)
    assert counts[0] == counts[1]


def test_words_that_both_texts_have_are_not_marked():
    old, new = marked("Early pre-B ALL is suspected.", "Early pre-B ALL is excluded.")
    assert [piece.text for piece in old if piece.is_other] == ["suspected"]
    assert [piece.text for piece in new if piece.is_other] == ["excluded"]
    assert "".join(piece.text for piece in new) == "Early pre-B ALL is excluded."
    assert marked("", "x") == ([], marked("", "x")[1])
    assert [piece.is_other for piece in marked("one two", "three four five six")[0]] == [True]


def test_the_page_of_a_signed_case_offers_nothing_that_is_closed(client, cast, ready):
    client.force_login(cast.hematologist)
    address = reverse("diagnosis:case", args=[ready.pk])
    assert 'id="add-images"' in client.get(address).content.decode()
    sign(cast.hematologist, ready)
    html = client.get(address).content.decode()
    assert 'id="add-images"' not in html
    assert "Signed report" in html
    gallery = client.get(reverse("diagnosis:cells", args=[ready.pk])).content.decode()
    assert "data-give" not in gallery
    assert "open an amendment on its sign-out page" in gallery
    response = client.post(reverse("diagnosis:sample", args=[ready.pk]), follow=True)
    assert "This case is signed out: open an amendment on its sign-out page" in response.content.decode()
    assert ready.images.count() == 1
