"""The screen that locks when nobody works: the password again, and nothing typed is lost."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from diagnosis.middleware_access import ACTIVE_AT
from diagnosis.models import AuditEvent, Case, User
from tests.diagnosis.conftest import PASSWORD

SCRIPT = {"X-Requested-With": "leukoscope"}


def fall_asleep(client: Client, minutes: float = 31) -> None:
    """Let the session's last work lie so long ago."""
    session = client.session
    session[ACTIVE_AT] = time.time() - 60 * minutes
    for record in session.get("account_authentication_methods", []):
        record["at"] -= 60 * minutes
    session.save()


def unlock(client: Client, page: str, password: str = PASSWORD, **more: Any) -> Any:
    return client.post(reverse("account_reauthenticate"), {"password": password, "next": page}, **more)


@pytest.fixture
def hedy(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    assert client.get(reverse("diagnosis:worklist")).status_code == 200
    return client


def test_the_next_request_after_the_idle_time_asks_for_the_password_and_comes_back(hedy: Client) -> None:
    page = f"{reverse('diagnosis:history')}?q=H-1001"
    assert hedy.get(page).status_code == 200
    fall_asleep(hedy)

    asked = hedy.get(page)
    assert asked.status_code == 302
    assert asked["Location"].startswith(reverse("account_reauthenticate"))
    shown = hedy.get(asked["Location"])
    assert "Hedy Hematologist" in shown.text
    assert "H-1001" in shown.text
    assert hedy.get(page).status_code == 302, "looking at the question must not unlock"
    assert "Incorrect password" in unlock(hedy, page, "a wrong guess").text
    assert hedy.get(page).status_code == 302

    assert unlock(hedy, page)["Location"] == page
    assert hedy.get(page).status_code == 200
    assert AuditEvent.objects.filter(action="reauthenticate", actor__username="hedy").count() == 1
    assert AuditEvent.objects.filter(
        action="login_failed", object_id=str(User.objects.get(username="hedy").pk)
    )


@pytest.mark.parametrize(("minutes", "status"), [(29, 200), (31, 302)])
def test_the_laboratory_s_minutes_count(hedy: Client, minutes: float, status: int) -> None:
    fall_asleep(hedy, minutes)

    assert hedy.get(reverse("diagnosis:worklist")).status_code == status


def test_work_keeps_awake_and_polling_does_not(hedy: Client, case: Case) -> None:
    fall_asleep(hedy, 20)
    assert hedy.get(reverse("diagnosis:case-live", args=[case.pk]), headers=SCRIPT).status_code == 200
    assert hedy.get(reverse("diagnosis:queue-live"), headers=SCRIPT).status_code == 200
    assert time.time() - hedy.session[ACTIVE_AT] > 1000

    hedy.get(reverse("diagnosis:worklist"))
    assert time.time() - hedy.session[ACTIVE_AT] < 100


def test_a_script_gets_a_sentence_and_unlocks_in_place(hedy: Client) -> None:
    fall_asleep(hedy)
    refused = hedy.get(reverse("diagnosis:queue-live"), headers=SCRIPT)
    assert (refused.status_code, refused.json()["locked"]) == (401, True)
    assert refused["HX-Trigger"] == "leukoscope:locked"
    left = hedy.get(reverse("diagnosis:idle-live"), headers=SCRIPT).json()
    assert left["seconds"] == 0

    wrong = unlock(hedy, "", "a wrong guess", headers=SCRIPT)
    assert (wrong.status_code, wrong.json()["message"]) == (422, "Incorrect password.")
    assert unlock(hedy, "", headers=SCRIPT).status_code == 200
    assert hedy.get(reverse("diagnosis:queue-live"), headers=SCRIPT).status_code == 200
    assert hedy.get(reverse("diagnosis:idle-live"), headers=SCRIPT).json()["seconds"] > 1700


def test_a_form_sent_too_late_is_sent_on_after_the_password(hedy: Client) -> None:
    fall_asleep(hedy)
    typed = {"title": "Dr. med.", "first_name": "Hedy", "last_name": "Hemmer"}
    asked = hedy.post(reverse("diagnosis:account"), typed)
    assert asked.status_code == 302
    assert User.objects.get(username="hedy").title == ""

    assert unlock(hedy, reverse("diagnosis:account")).status_code == 302
    assert User.objects.get(username="hedy").title == "Dr. med."


def test_a_form_with_a_password_in_it_is_never_kept(hedy: Client) -> None:
    fall_asleep(hedy)
    hedy.post(
        reverse("password-change"), {"old_password": PASSWORD, "new_password1": "x", "new_password2": "x"}
    )

    assert PASSWORD not in str(dict(hedy.session.items()))


def test_a_form_without_a_token_is_not_kept_for_later(cast: Any) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(cast.hematologist)
    fall_asleep(strict)

    assert strict.post(reverse("diagnosis:account"), {"title": "Dr."}).status_code == 403
    assert "account_reauthentication_state" not in strict.session


def test_guesses_at_a_locked_screen_are_held_back_as_at_the_door(hedy: Client) -> None:
    fall_asleep(hedy)
    for _ in range(10):
        unlock(hedy, "/", "a wrong guess")

    assert "Too many failed logins to this account" in unlock(hedy, "/").text
    assert hedy.get(reverse("diagnosis:worklist")).status_code == 302


def test_logging_out_is_always_possible(hedy: Client) -> None:
    fall_asleep(hedy)

    assert hedy.post(reverse("logout"))["Location"] == reverse("login")
    assert AuditEvent.objects.filter(action="logout", actor__username="hedy").exists()


def test_the_admin_site_locks_too(client: Client, cast: Any) -> None:
    client.force_login(cast.administrator)
    assert client.get("/admin/").status_code == 200
    fall_asleep(client)

    assert client.get("/admin/")["Location"] == f"{reverse('account_reauthenticate')}?next=%2Fadmin%2F"
    assert client.get(reverse("login"))["Location"].startswith(reverse("account_reauthenticate"))


def test_an_unlocked_address_is_one_of_ours(hedy: Client) -> None:
    fall_asleep(hedy)

    assert unlock(hedy, "https://elsewhere.example.org/")["Location"] == "/"


def test_a_session_ends_with_the_shift_however_much_is_done(client: Client, cast: Any) -> None:
    client.post(reverse("login"), {"username": "hedy", "password": PASSWORD})
    end = client.session.get_expiry_date()
    fall_asleep(client, 20)
    client.get(reverse("diagnosis:worklist"))

    assert client.session.get_expiry_date() == end
    assert 11.9 * 3600 < client.session.get_expiry_age() <= 12 * 3600


def test_who_has_no_password_logs_in_anew(hedy: Client, cast: Any) -> None:
    cast.hematologist.set_unusable_password()
    cast.hematologist.save()
    hedy.force_login(cast.hematologist)
    fall_asleep(hedy)

    assert hedy.get("/history?q=1")["Location"] == f"{reverse('login')}?next=/history%3Fq%3D1"
    assert "_auth_user_id" not in hedy.session
    assert hedy.get(reverse("diagnosis:queue-live"), headers=SCRIPT).status_code == 401
