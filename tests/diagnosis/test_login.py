"""The brake on guessing passwords, and changing the own one."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from diagnosis.models import AuditEvent
from diagnosis.services import guessing
from tests.diagnosis.conftest import PASSWORD

NEW = "quite another passphrase"


def log_in(client: Client, name: str, password: str, address: str = "10.0.0.1") -> Any:
    return client.post(reverse("login"), {"username": name, "password": password}, REMOTE_ADDR=address)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock for the brake, which a test sets forward."""

    class Clock:
        now = 1_000_000.0

        def time(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(guessing, "time", clock)
    return clock


def fail(client: Client, times: int, name: str = "hedy", **more: Any) -> None:
    for _ in range(times):
        assert log_in(client, name, "a wrong guess", **more).status_code == 200


def test_ten_failures_hold_back_even_the_right_password_for_a_while(
    client: Client, cast: Any, clock: Any
) -> None:
    fail(client, 10)
    clock.now += 100
    refused = log_in(client, " \uff48edy ", PASSWORD)

    assert refused.status_code == 429
    assert refused["Retry-After"] == "500"
    assert "Too many failed logins to this account: try again in 9 minutes." in refused.text
    assert "_auth_user_id" not in client.session
    clock.now += 501
    assert log_in(client, "hedy", PASSWORD).status_code == 302


def test_other_accounts_and_other_machines_are_not_held_back(client: Client, cast: Any, clock: Any) -> None:
    fail(client, 10)

    assert log_in(Client(), "ada", PASSWORD).status_code == 302
    assert log_in(Client(), "hedy", PASSWORD, address="10.0.0.2").status_code == 302


def test_a_login_begins_the_count_anew(client: Client, cast: Any, clock: Any) -> None:
    fail(client, 9)
    assert log_in(Client(), "hedy", PASSWORD).status_code == 302
    fail(client, 9)

    assert log_in(Client(), "hedy", PASSWORD).status_code == 302


def test_old_failures_are_forgotten_one_by_one(client: Client, cast: Any, clock: Any) -> None:
    fail(client, 5)
    clock.now += 400
    fail(client, 4)
    clock.now += 300
    fail(client, 5)

    assert log_in(client, "hedy", PASSWORD).status_code == 302


def test_failed_logins_are_recorded_without_what_was_typed(client: Client, cast: Any) -> None:
    fail(client, 1)
    fail(client, 1, name="my secret password")
    client.post(reverse("login"), {"username": "hedy", "password": ""})

    known, unknown = AuditEvent.objects.filter(action="login_failed").order_by("pk")
    assert (known.actor, known.laboratory) == (None, cast.hematologist.laboratory)
    assert (known.object_id, known.detail) == (str(cast.hematologist.pk), {"address": "10.0.0.1"})
    assert (unknown.laboratory, unknown.object_id, unknown.detail) == (None, "", {"address": "10.0.0.1"})


def test_all_web_processes_count_together() -> None:
    assert "locmem" not in settings.CACHES["default"]["BACKEND"]


def change(client: Client, old: str, new: str, again: str | None = None) -> Any:
    values = {"old_password": old, "new_password1": new, "new_password2": new if again is None else again}
    return client.post(reverse("password-change"), values)


def test_a_user_changes_her_own_password(client: Client, cast: Any) -> None:
    client.force_login(cast.hematologist)
    elsewhere = Client()
    elsewhere.force_login(cast.hematologist)
    assert f'href="{reverse("diagnosis:account")}"' in client.get(reverse("diagnosis:worklist")).text
    assert f'href="{reverse("password-change")}"' in client.get(reverse("diagnosis:account")).text
    assert client.get(reverse("password-change")).text.count('type="password"') == 3

    assert change(client, PASSWORD, NEW).status_code == 302
    page = client.get(reverse("diagnosis:worklist"))
    assert "Your password is changed." in page.text
    assert elsewhere.get(reverse("diagnosis:worklist")).status_code == 302
    assert log_in(Client(), "hedy", NEW).status_code == 302
    event = AuditEvent.objects.get(action="change_password")
    assert (event.actor, event.laboratory) == (cast.hematologist, cast.hematologist.laboratory)


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [("wrong", NEW, NEW), (PASSWORD, NEW, "something else"), (PASSWORD, "short", "short")],
)
def test_a_password_that_may_not_be_is_refused_in_words(
    client: Client, cast: Any, old: str, new: str, again: str
) -> None:
    client.force_login(cast.hematologist)

    assert 'class="formerror"' in change(client, old, new, again).text
    assert not AuditEvent.objects.filter(action="change_password").exists()
    cast.hematologist.refresh_from_db()
    assert cast.hematologist.check_password(PASSWORD)


def test_the_admin_site_has_no_other_way(client: Client, cast: Any) -> None:
    client.force_login(cast.administrator)

    assert client.get("/admin/password_change/")["Location"] == reverse("password-change")


def test_strangers_change_nothing(client: Client, db: None) -> None:
    assert client.get(reverse("password-change"))["Location"].startswith(reverse("login"))
