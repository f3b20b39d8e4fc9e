"""Second factors: at the door, compulsory, lost; and what the database keeps of them."""

from __future__ import annotations

import time
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from allauth.usersessions.models import UserSession
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from diagnosis.models import AuditEvent, Laboratory, User
from tests.diagnosis.conftest import PASSWORD
from tests.diagnosis.test_access_lock import fall_asleep

SET_UP = "/account/second-factor"


def code_of(secret: str, ahead: int = 0) -> str:
    """What an authenticator app shows now, or so many periods from now."""
    return totp.format_hotp_value(totp.hotp_value(secret, int(time.time()) // 30 + ahead))


def log_in(client: Client, name: str = "hedy", page: str = "") -> Any:
    return client.post(reverse("login"), {"username": name, "password": PASSWORD, "next": page})


def set_up_app(client: Client) -> tuple[str, Any]:
    """Set up an authenticator app as a person does; its key, and the answer."""
    page = client.get(reverse("mfa_activate_totp"))
    assert page.status_code == 200
    secret = client.session["mfa.totp.secret"]
    assert secret in page.text
    return secret, client.post(reverse("mfa_activate_totp"), {"code": code_of(secret)})


def events(action: str) -> int:
    return AuditEvent.objects.filter(action=action).count()


@pytest.fixture
def secret(cast: Any) -> str:
    """The hematologist has an app; this is its key."""
    client = Client()
    log_in(client)
    secret, answer = set_up_app(client)
    assert answer.status_code == 302
    return secret


@pytest.fixture
def compulsory(cast: Any) -> Laboratory:
    laboratory: Laboratory = cast.hematologist.laboratory
    laboratory.needs_second_factor = True
    laboratory.save()
    return laboratory


def test_a_password_alone_does_not_let_in_who_has_an_app(client: Client, cast: Any, secret: str) -> None:
    before = events("login")
    answer = log_in(client, page="/history?q=1")

    assert answer["Location"] == reverse("mfa_authenticate")
    assert client.get("/").status_code == 302
    assert events("login") == before
    wrong = client.post(reverse("mfa_authenticate"), {"code": "000000"})
    assert "Incorrect code." in wrong.text
    assert AuditEvent.objects.get(action="login_failed").object_id == str(cast.hematologist.pk)

    done = client.post(reverse("mfa_authenticate"), {"code": code_of(secret, 1)})
    assert done["Location"] == "/history?q=1"
    assert client.get("/history").status_code == 200
    newest = AuditEvent.objects.filter(action="login").order_by("-pk").first()
    assert newest is not None
    assert newest.detail["with"] == ["password", "totp"]


def test_a_code_lets_in_once(cast: Any, secret: str) -> None:
    code = code_of(secret, 1)
    first, second = Client(), Client()
    log_in(first)
    log_in(second)

    assert first.post(reverse("mfa_authenticate"), {"code": code}).status_code == 302
    assert (
        "Incorrect code."
        in second.post(reverse("mfa_authenticate"), {"code": f" {code[:3]} {code[3:]}"}).text
    )


def test_codes_can_t_be_guessed_for_long(client: Client, cast: Any, secret: str) -> None:
    log_in(client)
    for number in range(10):
        client.post(reverse("mfa_authenticate"), {"code": f"00000{number}"})

    refused = client.post(reverse("mfa_authenticate"), {"code": code_of(secret, 1)})
    assert "Too many failed login attempts" in refused.text
    assert client.get("/").status_code == 302


def test_a_recovery_code_lets_in_once(cast: Any, secret: str) -> None:
    held = Authenticator.objects.get(type="recovery_codes").wrap()
    code = held.get_unused_codes()[0]
    first, second = Client(), Client()
    log_in(first)
    assert first.post(reverse("mfa_authenticate"), {"code": code}).status_code == 302

    log_in(second)
    assert "Incorrect code." in second.post(reverse("mfa_authenticate"), {"code": code}).text


def test_the_database_holds_no_seed_in_the_clear(cast: Any, secret: str, settings: Any) -> None:
    stored = Authenticator.objects.get(type="totp")
    assert secret not in str(stored.data)
    assert stored.wrap().validate_code(code_of(secret, 1))

    settings.SECRET_KEY, old = "quite another key", settings.SECRET_KEY
    assert not stored.wrap().validate_code(code_of(secret, 1))
    settings.SECRET_KEY_FALLBACKS = [old]
    assert totp.decrypt(stored.data["secret"]) == secret


def test_setting_up_shows_recovery_codes_and_is_recorded(client: Client, cast: Any) -> None:
    log_in(client)
    _, answer = set_up_app(client)

    assert answer["Location"] == reverse("mfa_view_recovery_codes")
    codes = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()
    shown = client.get(answer["Location"]).text
    assert len(codes) == 10
    assert all(code in shown for code in codes)
    assert all(code in client.get(reverse("mfa_download_recovery_codes")).text for code in codes)
    assert AuditEvent.objects.get(action="add_second_factor").detail == {"with": ["totp"]}


def test_what_protects_the_account_is_changed_only_after_the_password(client: Client, cast: Any) -> None:
    client.force_login(cast.hematologist)  # a session that has proved nothing

    asked = client.get(reverse("mfa_activate_totp"))
    assert asked["Location"].startswith(reverse("account_reauthenticate"))


def test_taking_the_app_away_again(client: Client, cast: Any) -> None:
    log_in(client)
    set_up_app(client)
    assert client.get(reverse("mfa_activate_totp"))["Location"] == reverse("mfa_deactivate_totp")

    assert client.post(reverse("mfa_deactivate_totp")).status_code == 302
    assert not Authenticator.objects.exists()
    assert events("remove_second_factor") == 1


# --- compulsory


@pytest.mark.parametrize("page", ["/", "/history", "/account", "/accounts/password"])
def test_where_it_is_compulsory_nothing_else_comes_first(
    client: Client, cast: Any, compulsory: Laboratory, page: str
) -> None:
    log_in(client)

    assert client.get(page)["Location"].startswith(f"{SET_UP}?next=")
    script = client.get("/live", headers={"X-Requested-With": "leukoscope"})
    assert (script.status_code, script["HX-Redirect"]) == (403, SET_UP)
    assert "asks for a second factor" in client.get(SET_UP).text


def test_setting_one_up_opens_the_door(client: Client, cast: Any, compulsory: Laboratory) -> None:
    log_in(client)
    _, answer = set_up_app(client)

    assert client.get(answer["Location"]).status_code == 200
    assert client.get("/").status_code == 200
    assert client.get(SET_UP)["Location"] == "/"


def test_the_last_one_stays_where_it_is_compulsory(client: Client, cast: Any, compulsory: Laboratory) -> None:
    log_in(client)
    set_up_app(client)

    assert "this is your only one" in client.get(reverse("mfa_deactivate_totp")).text
    assert "this is your only one" in client.post(reverse("mfa_deactivate_totp")).text
    assert Authenticator.objects.filter(type="totp").exists()


def test_a_session_from_before_shows_it_too(
    client: Client, cast: Any, secret: str, compulsory: Laboratory
) -> None:
    client.force_login(cast.hematologist)

    asked = client.get("/history")
    assert asked["Location"] == f"{reverse('mfa_reauthenticate')}?next=%2Fhistory"
    answer = client.post(reverse("mfa_reauthenticate"), {"code": code_of(secret, 1), "next": "/history"})
    assert answer["Location"] == "/history"
    assert client.get("/history").status_code == 200


def test_the_admin_site_is_no_way_around(client: Client, cast: Any, compulsory: Laboratory) -> None:
    log_in(client, "ada")

    assert client.get("/admin/")["Location"].startswith(SET_UP)
    assert client.get("/admin/diagnosis/user/")["Location"].startswith(SET_UP)


def test_another_laboratory_is_not_asked(client: Client, cast: Any, compulsory: Laboratory) -> None:
    log_in(client, "otto")

    assert client.get("/").status_code == 200


def test_it_costs_no_query_once_shown(
    client: Client, cast: Any, compulsory: Laboratory, django_assert_max_num_queries: Any
) -> None:
    log_in(client)
    set_up_app(client)
    client.get("/account/idle")
    with django_assert_max_num_queries(2):  # the session, and the account with its laboratory
        assert client.get("/account/idle").status_code == 200


# --- lost


def test_an_administrator_takes_a_lost_one_away(client: Client, cast: Any, secret: str) -> None:
    with_app = Client()
    log_in(with_app)
    with_app.post(reverse("mfa_authenticate"), {"code": code_of(secret, 1)})
    assert with_app.get("/").status_code == 200
    client.force_login(cast.administrator)

    client.post(
        reverse("admin:diagnosis_user_changelist"),
        {"action": "remove_second_factors", "_selected_action": [cast.hematologist.pk, cast.outsider.pk]},
    )

    assert not Authenticator.objects.exists()
    assert not UserSession.objects.filter(user=cast.hematologist).exists()
    assert with_app.get("/").status_code == 302
    (event,) = AuditEvent.objects.filter(action="remove_second_factors")
    assert (event.actor, event.object_id) == (cast.administrator, str(cast.hematologist.pk))
    assert event.detail == {"kinds": ["recovery_codes", "totp"]}
    assert log_in(Client())["Location"] == "/"


def test_the_shell_does_too(cast: Any, secret: str) -> None:
    said = StringIO()
    call_command("remove_second_factors", "hedy", stdout=said)
    assert said.getvalue() == "hedy has no second factor any more.\n"
    assert not Authenticator.objects.exists()
    with pytest.raises(CommandError, match="no account called nobody"):
        call_command("remove_second_factors", "nobody")


def test_a_closed_account_gets_no_further(client: Client, cast: Any, secret: str) -> None:
    log_in(client)
    User.objects.filter(username="hedy").update(is_active=False)

    client.post(reverse("mfa_authenticate"), {"code": code_of(secret, 1)})
    assert client.get("/").status_code == 302


def test_a_code_unlocks_the_screen(client: Client, cast: Any, secret: str) -> None:
    client.force_login(cast.hematologist)
    client.get("/history")
    fall_asleep(client)

    asked = client.get("/history")
    assert "Use a code" in client.get(asked["Location"]).text
    client.post(reverse("mfa_reauthenticate"), {"code": code_of(secret, 1), "next": "/history"})
    assert client.get("/history").status_code == 200
    assert AuditEvent.objects.get(action="reauthenticate").detail == {"with": ["totp"]}
