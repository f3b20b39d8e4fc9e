"""The chain of audit events: its links, its head, its key, and the database's own refusal to change it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from diagnosis.models import AuditEvent, AuditHead, User
from diagnosis.services import audit, audit_chain, audit_origin, audit_triggers

pytestmark = pytest.mark.django_db

EVENTS, HEAD = "diagnosis_auditevent", "diagnosis_audithead"


def told(number: int, cast: Any = None) -> AuditEvent:
    actor = cast.hematologist if cast else None
    return audit.record(action="told", actor=actor, laboratory=None, detail={"number": number})


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def test_each_event_is_the_next_link_and_the_head_is_the_newest() -> None:
    assert audit_chain.head() == (0, "")
    first, second = told(1), told(2)
    assert (first.sequence, second.sequence) == (1, 2)
    assert len(first.mac) == 64
    assert first.mac != second.mac
    assert audit_chain.head() == (2, second.mac)


def test_a_link_is_made_of_all_that_it_says_and_of_the_one_before(cast: Any) -> None:
    with audit_origin.coming_from("10.1.2.3"):
        audit.record(
            action="told", actor=cast.hematologist, laboratory=cast.hematologist.laboratory,
            obj=cast.technician, detail={"a": 1.0},
        )  # fmt: skip
    values = AuditEvent.objects.values_list(*audit_chain.FIELDS).get()
    key, mac = audit_chain.audit_key(), audit_chain.head()[1]
    assert audit_chain.seal_of(values, "", key) == mac
    assert audit_chain.seal_of(values, "a" * 64, key) != mac
    assert audit_chain.seal_of(values, "", b"another key") != mac
    for place, value in enumerate(values):
        other = (*values[:place], other_than(value), *values[place + 1 :])
        assert audit_chain.seal_of(other, "", key) != mac, audit_chain.FIELDS[place]


def other_than(value: Any) -> Any:
    if isinstance(value, str):
        return "10.1.2.4" if "." in value else f"{value}x"
    if isinstance(value, dict):
        return {**value, "b": 2}
    return (
        value + 1 if isinstance(value, int) else value.replace(microsecond=(value.microsecond + 1) % 1000000)
    )


@pytest.mark.parametrize(
    "detail",
    [
        {"b": 1, "a": [1, 2.5, {"d": None, "c": True}]},
        {"whole": 3.0, "large": 1e22, "small": 1e-9, "minus zero": -0.0, "third": 1 / 3},
        {"text": 'Ärztin \u2028 \U0001f9ec "quoted" \\ =1+1'},
        {"tuple": (1, 2), "keys": {1: "one", 2.5: "more"}},
        {"old": {}, "new": {}},
    ],
)
def test_what_the_database_gives_back_has_the_same_seal(detail: dict[str, Any]) -> None:
    event = audit.record(action="told", actor=None, laboratory=None, detail=detail)
    values = AuditEvent.objects.values_list(*audit_chain.FIELDS).get(pk=event.pk)
    assert audit_chain.seal_of(values, "", audit_chain.audit_key()) == event.mac


def test_a_rolled_back_deed_leaves_no_link() -> None:
    told(1)
    with transaction.atomic():
        told(2)
        transaction.set_rollback(True)
    assert audit_chain.head()[0] == 1
    assert told(3).sequence == 2


def test_many_events_are_added_at_once() -> None:
    told(1)
    audit_chain.append([AuditEvent(action="many", detail={"n": n}) for n in range(3)])
    audit_chain.append([])
    assert list(AuditEvent.objects.order_by("sequence").values_list("sequence", flat=True)) == [1, 2, 3, 4]
    assert told(5).sequence == 5


def test_only_what_differs_is_kept_as_old_and_new() -> None:
    event = audit.record(
        action="told", actor=None, laboratory=None, old={"a": 1, "b": 2, "c": 3}, new={"a": 1, "b": 4, "d": 5}
    )
    assert event.detail == {"old": {"b": 2, "c": 3, "d": None}, "new": {"b": 4, "c": None, "d": 5}}


def test_a_process_with_another_key_is_refused(settings: Any) -> None:
    told(1)
    settings.LEUKOSCOPE_AUDIT_KEY = "another"
    with pytest.raises(audit_chain.AuditKeyRefused, match="LEUKOSCOPE_AUDIT_KEY"), transaction.atomic():
        told(2)
    number, mac = audit_chain.reseal(reason="the key was lost in a fire")
    assert (number, mac) == audit_chain.head()
    assert AuditEvent.objects.get(sequence=2).detail == {"reason": "the key was lost in a fire", "from": 1}
    assert told(3).sequence == 3


def test_a_head_set_back_by_hand_is_refused() -> None:
    first = told(1)
    told(2)
    unguarded(f"UPDATE {HEAD} SET sequence = 1, mac = '{first.mac}'")
    with pytest.raises(audit_chain.AuditKeyRefused), transaction.atomic():
        told(3)


def test_events_from_before_the_chain_are_bound_to_its_first_link() -> None:
    for number in (1, 2):
        AuditEvent(action="old", detail={"n": number}).save()
    audit_chain.ensure_begun()
    begun = AuditEvent.objects.get(sequence=1)
    assert (begun.action, begun.detail["older_events"]) == (audit_chain.BEGIN, 2)
    assert (2, begun.detail["sha256"]) == audit_chain.older_events()
    assert told(3).sequence == 2


def test_no_link_is_spent_where_nothing_is_older() -> None:
    audit_chain.ensure_begun()
    assert told(1).sequence == 1


# --- the database refuses -----------------------------------------------------------------------------------

CHANGES = [
    f"UPDATE {EVENTS} SET action = 'nothing happened'",
    f"UPDATE {EVENTS} SET action = action WHERE sequence = 1",
    f"DELETE FROM {EVENTS} WHERE sequence = 1",
    f"DELETE FROM {EVENTS}",
    f"DELETE FROM {HEAD}",
    f"UPDATE {HEAD} SET sequence = sequence - 1",
]
OWN_CHANGES = {
    "sqlite": [
        f"INSERT OR REPLACE INTO {EVENTS} SELECT * FROM {EVENTS} WHERE sequence = 1",
        f"UPDATE OR IGNORE {EVENTS} SET action = 'nothing happened'",
    ],
    "postgresql": [
        f"TRUNCATE {EVENTS}",
        f"TRUNCATE {HEAD}",
        f"SET LOCAL session_replication_role = replica; DELETE FROM {EVENTS}",
    ],
}


def test_the_database_itself_refuses() -> None:
    told(1)
    told(2)
    before = list(AuditEvent.objects.values_list())
    connection.check_constraints()  # PostgreSQL truncates no table that has deferred checks to do
    for sql in [*CHANGES, *OWN_CHANGES[connection.vendor]]:
        with pytest.raises(DatabaseError, match=r"never edited|only goes on"), transaction.atomic():
            run(sql)
        assert list(AuditEvent.objects.values_list()) == before, sql
        assert audit_chain.head()[0] == 2, sql


def test_triggers_that_are_gone_are_noticed_and_come_back() -> None:
    from diagnosis.apps import keep_triggers

    assert audit_triggers.missing(connection) == []
    audit_triggers.remove(connection)
    assert len(audit_triggers.missing(connection)) == len(
        audit_triggers._SQLITE if connection.vendor == "sqlite" else audit_triggers._POSTGRES
    )
    keep_triggers(using="default")
    assert audit_triggers.missing(connection) == []


@pytest.mark.django_db(transaction=True)
def test_the_triggers_outlive_a_rebuilt_table() -> None:
    """As a later migration rebuilds it on SQLite, where a table's triggers go with it."""
    from django.core.management import call_command

    told(1)
    if connection.vendor == "sqlite":
        with connection.schema_editor() as editor:
            editor._remake_table(AuditEvent)
        assert audit_triggers.missing(connection)
    call_command("migrate", verbosity=0, interactive=False)
    assert audit_triggers.missing(connection) == []
    with pytest.raises(DatabaseError):
        run(f"DELETE FROM {EVENTS}")


def unguarded(*statements: str) -> None:
    """What somebody does who may drop triggers."""
    connection.check_constraints()  # PostgreSQL alters no table that has deferred checks to do
    audit_triggers.remove(connection)
    for sql in statements:
        run(sql)
    audit_triggers.install(connection)


# --- many at once, and the head outside ---------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_threads_do_not_tear_the_chain() -> None:
    def work(first: int) -> None:
        for number in range(first, first + 5):
            told(number)
        connection.close()

    threads = [threading.Thread(target=work, args=(10 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(AuditEvent.objects.order_by("sequence").values_list("sequence", flat=True)) == list(
        range(1, 21)
    )
    assert AuditHead.objects.get().sequence == 20


@pytest.mark.django_db(transaction=True)
def test_a_locked_account_and_a_locked_head_do_not_wait_for_each_other(cast: Any) -> None:
    """One locks her account and then records; the other records in her name, and commits meanwhile."""
    person = cast.hematologist
    problems: list[Exception] = []
    locked = threading.Event()

    def lock_first() -> None:
        try:
            with transaction.atomic():
                User.objects.select_for_update().get(pk=person.pk)
                locked.set()
                time.sleep(0.3)
                audit.record(action="told", actor=person, laboratory=person.laboratory)
        except DatabaseError as error:
            problems.append(error)
        finally:
            locked.set()
            connection.close()

    thread = threading.Thread(target=lock_first)
    thread.start()
    locked.wait(10)
    with transaction.atomic():
        audit.record(action="told", actor=person, laboratory=person.laboratory)
        time.sleep(0.6)
    thread.join()
    assert problems == []
    assert AuditHead.objects.get().sequence == 2


@pytest.mark.django_db(transaction=True)
def test_the_head_is_kept_outside_after_each_commit(settings: Any, tmp_path: Path) -> None:
    settings.LEUKOSCOPE_AUDIT_HEAD = path = tmp_path / "audit_head"
    told(1)
    assert audit_chain.kept_outside(path) == audit_chain.head()
    with transaction.atomic():
        told(2)
        assert audit_chain.kept_outside(path) != audit_chain.head()
    assert audit_chain.kept_outside(path) == audit_chain.head()
    with transaction.atomic():
        told(3)
        transaction.set_rollback(True)
    assert audit_chain.kept_outside(path) == audit_chain.head() == (2, audit_chain.head()[1])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.django_db(transaction=True)
def test_a_head_outside_that_the_chain_lost_is_put_aside(settings: Any, tmp_path: Path) -> None:
    settings.LEUKOSCOPE_AUDIT_HEAD = path = tmp_path / "audit_head"
    path.write_text(f"1 {'a' * 64}\n")
    told(1)
    assert audit_chain.kept_outside(path) == (1, "a" * 64)  # not passed yet: it stays
    told(2)
    assert audit_chain.kept_outside(path) == audit_chain.head()
    (lost,) = audit_chain.conflicts_outside(path)
    assert audit_chain.kept_outside(lost) == (1, "a" * 64)


@pytest.mark.django_db(transaction=True)
def test_a_folder_that_takes_no_file_stops_nobody(settings: Any, tmp_path: Path) -> None:
    settings.LEUKOSCOPE_AUDIT_HEAD = tmp_path / "none" / "audit_head"
    assert told(1).sequence == 1
