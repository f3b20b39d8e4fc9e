"""The page of interfaces: keys and secrets shown once, a sentence where something is not taken, nothing typed lost."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from diagnosis.models import ApiToken, User, Webhook, WebhookDelivery
from diagnosis.services import api_tokens, webhooks

pytestmark = pytest.mark.django_db

PAGE = "/laboratory/interfaces"
URL = "https://lis.example/hook"


@pytest.fixture
def head(client: Client, cast: Any) -> Client:
    client.force_login(cast.laboratory_head)
    return client


def test_a_key_is_shown_once_and_works(head: Client, cast: Any) -> None:
    answer = head.post(
        f"{PAGE}/tokens",
        {"name": "Scanner 1", "user": cast.technician.pk, "scopes": ["cases:read"], "days": "30"},
    )

    assert answer.status_code == 201
    (key,) = re.findall(r"lk_[\w-]{43}", answer.text)
    assert Client().get("/api/v1/cases", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    again = head.get(PAGE)
    assert key not in again.text
    assert key[:10] in again.text
    assert "Tina Technician" in again.text
    assert again["Cache-Control"] == answer["Cache-Control"] == "private, no-store"


def test_what_is_not_taken_is_said_and_stays_typed(head: Client, cast: Any) -> None:
    answer = head.post(
        f"{PAGE}/tokens", {"name": "Scanner 1", "user": cast.technician.pk, "scopes": [], "days": "7"}
    )
    assert answer.status_code == 422
    assert "Choose at least one thing" in answer.text
    assert 'value="Scanner 1"' in answer.text
    assert 'value="7"' in answer.text

    answer = head.post(f"{PAGE}/webhooks", {"url": "https://127.0.0.1/x", "events": ["case.amended"]})
    assert answer.status_code == 422
    assert "not on the public internet" in answer.text
    assert 'value="https://127.0.0.1/x"' in answer.text
    assert not Webhook.objects.exists()


def test_nobody_acts_for_those_who_may_more_or_work_elsewhere(head: Client, cast: Any) -> None:
    page = head.get(PAGE).text
    assert "Hedy Hematologist" in page
    assert "Ada Administrator" not in page
    for user in (cast.administrator, cast.outsider):
        answer = head.post(f"{PAGE}/tokens", {"name": "x", "user": user.pk, "scopes": ["cases:read"]})
        assert answer.status_code == 422
    assert not ApiToken.objects.exists()


def test_a_token_is_taken_back(head: Client, cast: Any) -> None:
    token, _ = api_tokens.create(actor=None, user=cast.technician, name="Scanner 1", scopes=["cases:read"])
    answer = head.post(f"{PAGE}/tokens/{token.pk}/revoke", follow=True)

    assert "lets nobody in any more" in answer.text
    assert "taken back" in answer.text
    assert ApiToken.objects.get().revoked_at is not None


def test_a_secret_is_shown_once(head: Client) -> None:
    answer = head.post(f"{PAGE}/webhooks", {"url": URL, "events": ["case.amended"]})

    assert answer.status_code == 201
    secret = Webhook.objects.get().secret
    assert secret in answer.text
    assert secret not in head.get(PAGE).text


def test_deliveries_are_shown_by_state_and_tried_again(head: Client, cast: Any) -> None:
    webhook, _ = webhooks.create(user=cast.administrator, url=URL, events=webhooks.EVENTS)
    given_up = WebhookDelivery.objects.create(
        webhook=webhook, event="case.amended", payload={"accession_number": "H-7"}, state="given_up", attempts=20,
        last_problem="The target answered 500.",
    )  # fmt: skip
    page = head.get(PAGE, {"state": "given_up"}).text
    assert "The target answered 500." in page
    assert "H-7" in page
    assert "Nothing in this state" in head.get(PAGE, {"state": "delivered"}).text

    assert "sent again" in head.post(f"{PAGE}/deliveries/{given_up.pk}/retry", follow=True).text
    given_up.refresh_from_db()
    assert (given_up.state, given_up.attempts) == ("waiting", 0)


def test_a_test_is_queued_and_not_sent_by_the_page(
    head: Client, cast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "socket.create_connection", lambda *_, **__: pytest.fail("a page opened a connection")
    )
    webhook, _ = webhooks.create(user=cast.administrator, url=URL, events=webhooks.EVENTS)
    head.post(f"{PAGE}/webhooks/{webhook.pk}/test")

    assert WebhookDelivery.objects.get().state == "waiting"


def test_only_deliveries_of_the_own_laboratory_are_shown(head: Client, cast: Any) -> None:
    other = Webhook.objects.create(
        laboratory=cast.outsider.laboratory,
        url="https://elsewhere.example/",
        secret="s",
        created_by=cast.outsider,
    )
    WebhookDelivery.objects.create(webhook=other, event="case.amended", payload={})
    api_tokens.create(actor=None, user=cast.outsider, name="Their scanner", scopes=["cases:read"])
    page = head.get(PAGE).text

    assert "elsewhere.example" not in page
    assert "Their scanner" not in page


def test_the_page_lists_what_the_api_offers(head: Client) -> None:
    page = head.get(PAGE).text

    assert "POST /api/v1/cases/{case_id}/images" in page
    assert "images:write" in page


def test_the_page_asks_the_same_queries_whatever_it_shows(head: Client, cast: Any) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert head.get(PAGE).status_code == 200
        return len(asked)

    def more(number: int) -> None:
        user = User.objects.create_user(f"t{number}", laboratory=cast.technician.laboratory)
        api_tokens.create(actor=None, user=user, name=f"Scanner {number}", scopes=["cases:read"])
        webhook, _ = webhooks.create(user=cast.administrator, url=f"{URL}/{number}", events=webhooks.EVENTS)
        WebhookDelivery.objects.create(webhook=webhook, event="test", payload={})

    more(0)
    queries()
    before = queries()
    for number in range(1, 5):
        more(number)
    assert queries() == before
