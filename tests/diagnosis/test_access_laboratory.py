"""The laboratory's settings, one's own account, and what the admin site leaves in the audit."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from diagnosis.models import AuditEvent, Laboratory, User
from diagnosis.services import laboratory as service
from tests.diagnosis.conftest import PASSWORD

PAGE = "/laboratory"
TYPED = {
    "name": "Central Laboratory",
    "address": "12 Blood Lane\nAmsterdam",
    "is_blind": "on",
    "malignant_share": "0,02",
    "turnaround_hours": "48",
    "accepted_sensitivity": "0.95",
    "accepted_specificity": "",
    "idle_minutes": "15",
}


@pytest.fixture
def head(client: Client, cast: Any) -> Client:
    client.force_login(cast.laboratory_head)
    return client


def log_in(name: str = "hedy", password: str = PASSWORD, **more: Any) -> Client:
    client = Client(**more)
    answer = client.post(reverse("login"), {"username": name, "password": password})
    assert answer.status_code == 302
    return client


def test_a_head_changes_the_settings_and_the_audit_keeps_old_and_new(head: Client, cast: Any) -> None:
    assert head.post(PAGE, TYPED)["Location"] == PAGE

    found = Laboratory.objects.get(slug="central")
    assert found.address == "12 Blood Lane\r\nAmsterdam" or found.address == "12 Blood Lane\nAmsterdam"
    assert (found.is_blind, found.malignant_share, found.turnaround_hours) == (True, 0.02, 48)
    assert (found.accepted_sensitivity, found.accepted_specificity) == (0.95, None)
    assert (found.idle_minutes, found.needs_second_factor) == (15, False)
    event = AuditEvent.objects.get(action="change_laboratory")
    assert (event.actor, event.laboratory) == (cast.laboratory_head, found)
    assert event.detail["old"]["idle_minutes"] == 30
    assert event.detail["new"]["idle_minutes"] == 15
    assert "needs_second_factor" not in event.detail["new"]
    assert 'value="0.02"' in head.get(PAGE).text


def test_nothing_changed_leaves_no_event(head: Client) -> None:
    head.post(PAGE, TYPED)
    head.post(PAGE, TYPED)

    assert AuditEvent.objects.filter(action="change_laboratory").count() == 1


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("malignant_share", "2 %", "Give a share from 0 to 1"),
        ("malignant_share", "1.5", "A share lies between 0 and 1."),
        ("accepted_sensitivity", "nan", "Give a share from 0 to 1"),
        ("turnaround_hours", "0", "Give a whole number from 1 to 8760."),
        ("idle_minutes", "721", "Give a whole number from 1 to 720."),
        ("idle_minutes", "soon", "Give a whole number from 1 to 720."),
        ("name", "", "This field is required."),
    ],
)
def test_what_can_t_be_is_refused_in_words_and_stays_typed(
    head: Client, field: str, typed: str, sentence: str
) -> None:
    answer = head.post(PAGE, {**TYPED, field: typed})

    assert answer.status_code == 422
    assert sentence in answer.text
    assert "12 Blood Lane" in answer.text
    assert not AuditEvent.objects.filter(action="change_laboratory").exists()


def test_another_laboratory_is_not_touched(head: Client, cast: Any) -> None:
    head.post(PAGE, TYPED)

    other = cast.outsider.laboratory
    other.refresh_from_db()
    assert (other.idle_minutes, other.is_blind, other.address) == (30, False, "")


def test_the_service_itself_refuses(cast: Any) -> None:
    now = service.settings_of(cast.laboratory_head.laboratory)
    wrong = service.LaboratorySettings(**{**now.__dict__, "idle_minutes": 0})
    with pytest.raises(service.LaboratoryRefused, match="greater than or equal to 1"):
        service.change_settings(
            laboratory=cast.laboratory_head.laboratory, settings=wrong, actor=cast.laboratory_head
        )


# --- one's own account


def test_a_person_changes_what_she_is_called(client: Client, cast: Any) -> None:
    client.force_login(cast.hematologist)
    answer = client.post("/account", {"title": "Dr. med.", "first_name": "Hedy", "last_name": "Hemmer"})

    assert answer["Location"] == "/account"
    cast.hematologist.refresh_from_db()
    assert (cast.hematologist.title, cast.hematologist.display_name) == ("Dr. med.", "Hedy Hemmer")
    event = AuditEvent.objects.get(action="change_person")
    assert event.detail == {
        "old": {"title": "", "last_name": "Hematologist"},
        "new": {"title": "Dr. med.", "last_name": "Hemmer"},
    }


def test_a_name_that_is_too_long_stays_typed(client: Client, cast: Any) -> None:
    client.force_login(cast.hematologist)
    answer = client.post("/account", {"title": "x" * 81, "last_name": "Kept"})

    assert answer.status_code == 422
    assert 'value="Kept"' in answer.text


def test_role_laboratory_and_address_are_not_hers_to_change(client: Client, cast: Any) -> None:
    client.force_login(cast.technician)
    client.post(
        "/account",
        {"first_name": "T", "role": "administrator", "email": "a@b.org", "is_staff": "on", "laboratory": "2"},
    )

    cast.technician.refresh_from_db()
    assert (cast.technician.role, cast.technician.email, cast.technician.is_staff) == (
        "technician",
        "",
        False,
    )


def test_she_sees_where_she_is_logged_in_and_logs_out_there(cast: Any) -> None:
    here = log_in(headers={"user-agent": "Firefox here"})
    there = log_in(headers={"user-agent": "Chromium there"})
    page = here.get("/account").text
    assert "Firefox here" in page
    assert "Chromium there" in page
    assert page.count("this one") == 1

    assert here.post("/account/sessions/end").status_code == 302
    assert there.get("/").status_code == 302
    assert here.get("/").status_code == 200
    assert "Chromium there" not in here.get("/account").text
    assert AuditEvent.objects.get(action="end_sessions").detail == {"sessions": 1}


def test_nobody_ends_another_s_sessions(cast: Any) -> None:
    hedy, tina = log_in("hedy"), log_in("tina")
    hedy.post("/account/sessions/end")

    assert tina.get("/").status_code == 200


def test_the_page_takes_as_many_queries_for_many_sessions(cast: Any) -> None:
    here = log_in()
    here.get("/account")

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            here.get("/account")
        return len(asked)

    few = queries()
    for _ in range(5):
        log_in()
    assert here.get("/account").text.count("since") == 6
    assert queries() == few > 0


def test_a_changed_password_ends_the_other_sessions(cast: Any) -> None:
    here, there = log_in(), log_in()
    new = "quite another passphrase"
    here.post(
        reverse("password-change"), {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    )

    assert there.get("/").status_code == 302
    assert here.get("/account").text.count("since") == 1
    assert UserSession.objects.count() == 1


# --- the admin site


def test_the_admin_site_shows_none_of_allauth_s_tables() -> None:
    assert {model._meta.app_label for model in admin.site._registry} == {"diagnosis"}


def test_a_changed_role_is_recorded_with_old_and_new(client: Client, cast: Any) -> None:
    client.force_login(cast.administrator)
    client.post(
        reverse("admin:diagnosis_user_change", args=[cast.technician.pk]),
        {
            "username": "tina",
            "first_name": "Tina",
            "last_name": "Technician",
            "role": "laboratory_head",
            "is_active": "on",
        },
    )

    cast.technician.refresh_from_db()
    assert (cast.technician.role, cast.technician.is_staff) == ("laboratory_head", False)
    detail = AuditEvent.objects.get(action="change_user").detail
    assert (detail["old"]["role"], detail["new"]["role"]) == ("technician", "laboratory_head")


def test_a_head_is_no_administrator(head: Client) -> None:
    assert head.get("/admin/", follow=True).status_code == 403


def test_a_password_that_an_administrator_sets_is_recorded_and_logs_out(client: Client, cast: Any) -> None:
    hedy = log_in()
    client.force_login(cast.administrator)
    new = "quite another passphrase"
    client.post(
        reverse("admin:auth_user_password_change", args=[cast.hematologist.pk]),
        {"password1": new, "password2": new, "usable_password": "true"},
    )

    assert hedy.get("/").status_code == 302
    event = AuditEvent.objects.get(action="change_password")
    assert (event.actor, event.object_id) == (cast.administrator, str(cast.hematologist.pk))
    assert new not in str(AuditEvent.objects.values_list("detail", flat=True))
    log_in("hedy", new)


def test_an_account_from_another_laboratory_keeps_its_password(client: Client, cast: Any) -> None:
    client.force_login(cast.administrator)
    new = "quite another passphrase"
    client.post(
        reverse("admin:auth_user_password_change", args=[cast.outsider.pk]),
        {"password1": new, "password2": new, "usable_password": "true"},
    )

    assert User.objects.get(username="otto").check_password(PASSWORD)
