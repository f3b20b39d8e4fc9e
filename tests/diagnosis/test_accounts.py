"""Accounts: the first one, and the admin site that shows an administrator her own laboratory alone."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.db import transaction
from django.urls import reverse

from diagnosis.models import AuditEvent, Laboratory, Site, User
from diagnosis.services import accounts, audit

from .conftest import PASSWORD

pytestmark = pytest.mark.django_db


def test_an_empty_installation_gets_an_administrator_with_a_password_of_its_own():
    first, password = accounts.create_first_account()
    assert (first.username, first.role, first.is_staff) == ("admin", "administrator", True)
    assert len(password) >= 16
    assert authenticate(username="admin", password=password) == first
    assert accounts.create_first_account() is None


def test_no_two_installations_share_a_password():
    passwords = set()
    for _ in range(3):
        with transaction.atomic():
            _, password = accounts.create_first_account()
            passwords.add(password)
            transaction.set_rollback(True)
    assert len(passwords) == 3


def test_a_given_password_is_used():
    accounts.create_first_account(username="chief", password="chosen by hand")
    assert authenticate(username="chief", password="chosen by hand").username == "chief"


def test_a_second_superuser_joins_the_first_laboratory(cast):
    made = User.objects.create_superuser("root", password="x")
    assert (made.laboratory, made.role) == (cast.technician.laboratory, "administrator")
    assert Laboratory.objects.count() == 2


def test_a_login_is_recorded(cast):
    event = audit.record_login(user=cast.hematologist)
    assert (event.action, event.actor, event.laboratory) == (
        "login",
        cast.hematologist,
        cast.hematologist.laboratory,
    )


def test_logging_in_leaves_an_event_and_a_wrong_password_none(client, cast):
    page = reverse("login")
    client.post(page, {"username": "hedy", "password": "wrong"})
    assert not AuditEvent.objects.filter(action="login").exists()
    answer = client.post(page, {"username": "hedy", "password": PASSWORD})
    assert answer.status_code == 302
    assert AuditEvent.objects.get(action="login").actor == cast.hematologist


def test_the_admin_site_has_no_door_of_its_own(client, cast):
    answer = client.get(reverse("admin:login"), {"next": "/admin/"})
    assert answer.status_code == 302
    assert answer.url == f"{reverse('login')}?next=/admin/"
    client.force_login(cast.technician)
    assert client.get(reverse("admin:index"), follow=True).status_code == 403


# --- the admin site

PAGES = ["user_changelist", "user_add", "site_changelist", "modelversion_changelist"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("who", "status"), [("administrator", 200), ("hematologist", 302), ("technician", 302), ("outsider", 302)]
)
def test_who_may_open_the_admin_site(client, cast, page, who, status):
    client.force_login(cast[who])
    assert client.get(reverse(f"admin:diagnosis_{page}")).status_code == status


def test_staff_without_the_role_sees_nothing(client, cast):
    cast.hematologist.is_staff = True
    cast.hematologist.save()
    client.force_login(cast.hematologist)
    assert client.get(reverse("admin:diagnosis_user_changelist")).status_code == 403


def test_an_administrator_sees_her_own_laboratory_alone(client, cast):
    client.force_login(cast.administrator)
    page = client.get(reverse("admin:diagnosis_user_changelist")).content.decode()
    assert "hedy" in page
    assert "otto" not in page
    foreign = client.get(reverse("admin:diagnosis_user_change", args=[cast.outsider.pk]))
    assert foreign.status_code == 302


def test_a_new_account_joins_the_administrator_s_laboratory(client, cast):
    client.force_login(cast.administrator)
    answer = client.post(
        reverse("admin:diagnosis_user_add"),
        {
            "username": "nora",
            "first_name": "Nora",
            "last_name": "New",
            "role": "hematologist",
            "usable_password": "true",
            "password1": "a long passphrase 1",
            "password2": "a long passphrase 1",
            "is_superuser": "on",
            "laboratory": cast.outsider.laboratory_id,
        },
    )
    assert answer.status_code == 302
    made = User.objects.get(username="nora")
    assert (made.laboratory, made.role) == (cast.administrator.laboratory, "hematologist")
    assert (made.is_staff, made.is_superuser) == (False, False)
    assert AuditEvent.objects.get(action="create_user").actor == cast.administrator


@pytest.mark.parametrize(("role", "is_staff"), [("administrator", True), ("technician", False)])
def test_the_role_decides_who_enters_the_admin_site(client, cast, role, is_staff):
    client.force_login(cast.administrator)
    values = {
        "username": "hedy",
        "first_name": "",
        "last_name": "",
        "email": "",
        "role": role,
        "is_active": "on",
    }
    client.post(reverse("admin:diagnosis_user_change", args=[cast.hematologist.pk]), values)
    cast.hematologist.refresh_from_db()
    assert (cast.hematologist.role, cast.hematologist.is_staff) == (role, is_staff)


def test_the_audit_is_read_on_its_own_page_alone(client, cast):
    """Which keeps back what a reader has yet to class: a second door would not."""
    event = audit.record_login(user=cast.administrator)
    client.force_login(cast.administrator)
    assert b"audit event" not in client.get(reverse("admin:index")).content.lower()
    for page in ("", f"{event.pk}/change/", f"{event.pk}/delete/"):
        assert client.get(f"{reverse('admin:index')}diagnosis/auditevent/{page}").status_code == 404


def test_a_site_is_added_to_the_own_laboratory(client, cast):
    client.force_login(cast.administrator)
    client.post(reverse("admin:diagnosis_site_add"), {"name": "Scope 2"})
    assert Site.objects.get().laboratory == cast.administrator.laboratory
