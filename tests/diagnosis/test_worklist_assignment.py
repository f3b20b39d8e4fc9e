"""Assigning a case: who may, to whom, and two at once."""

from __future__ import annotations

import threading

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404

from diagnosis.models import AuditEvent, Case
from diagnosis.services.assignment import AssignmentRefused, assign

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("who", "to", "expected"),
    [
        ("hematologist", "hematologist", None),
        ("hematologist", "administrator", None),
        ("administrator", "hematologist", None),
        ("technician", "hematologist", PermissionDenied),
        ("outsider", "outsider", Http404),
        ("hematologist", "technician", AssignmentRefused),
        ("hematologist", "outsider", AssignmentRefused),
    ],
)
def test_who_may_assign_a_case_to_whom(cast, case, who, to, expected):
    if expected is None:
        assert assign(user=cast[who], case=case, to=cast[to], expected=None).assigned_to == cast[to]
    else:
        with pytest.raises(expected):
            assign(user=cast[who], case=case, to=cast[to], expected=None)
    case.refresh_from_db()
    assert case.assigned_to == (cast[to] if expected is None else None)


def test_every_change_is_on_record_with_old_and_new(cast, case):
    hedy, ada = cast.hematologist, cast.administrator
    assign(user=hedy, case=case, to=hedy, expected=None)
    assign(user=hedy, case=case, to=hedy, expected=None)
    assign(user=ada, case=case, to=ada, expected=hedy.pk)
    assign(user=ada, case=case, to=None, expected=ada.pk)
    events = AuditEvent.objects.filter(action__in=["assign", "release"]).order_by("pk")
    assert [(e.action, e.actor, e.detail) for e in events] == [
        ("assign", hedy, {"old": None, "new": hedy.pk}),
        ("assign", ada, {"old": hedy.pk, "new": ada.pk}),
        ("release", ada, {"old": ada.pk, "new": None}),
    ]


def test_who_decides_by_an_old_page_is_told(cast, case):
    assign(user=cast.hematologist, case=case, to=cast.hematologist, expected=None)
    with pytest.raises(AssignmentRefused, match="Hedy Hematologist reads it now"):
        assign(user=cast.administrator, case=case, to=cast.administrator, expected=None)
    with pytest.raises(AssignmentRefused, match="Hedy Hematologist reads it now"):
        assign(user=cast.administrator, case=case, to=None, expected=cast.administrator.pk)


def test_a_signed_case_is_not_assigned(cast, case):
    Case.objects.update(status="final")
    with pytest.raises(AssignmentRefused, match="signed out"):
        assign(user=cast.hematologist, case=case, to=cast.hematologist, expected=None)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_take_a_case_at_once_one_gets_it_and_the_other_is_told(cast, case):
    start, came = threading.Barrier(2), {}

    def take(name):
        try:
            start.wait(10)
            assign(user=cast[name], case=case, to=cast[name], expected=None)
            came[name] = "got it"
        except AssignmentRefused as refusal:
            came[name] = str(refusal)
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=[name]) for name in ("hematologist", "administrator")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (winner,) = [name for name, words in came.items() if words == "got it"]
    (told,) = [words for words in came.values() if words != "got it"]
    assert f"{cast[winner].display_name} reads it now" in told
    case.refresh_from_db()
    assert case.assigned_to == cast[winner]
