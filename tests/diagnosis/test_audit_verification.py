"""The audit broken on purpose, by somebody who dropped the triggers, and found by `verify_audit`."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from diagnosis.models import AuditEvent, Case, SignOut, User
from diagnosis.services import audit, audit_chain, audit_triggers, audit_verification
from diagnosis.services.audit_verification import Anchor

pytestmark = pytest.mark.django_db

EVENTS, HEAD = "diagnosis_auditevent", "diagnosis_audithead"


@pytest.fixture
def chain(db: None) -> list[AuditEvent]:
    """Ten events."""
    return [
        audit.record(action="told", actor=None, laboratory=None, detail={"number": number})
        for number in range(1, 11)
    ]


def forced(*statements: str) -> None:
    """Raw SQL by somebody who may drop triggers, and puts them back."""
    connection.check_constraints()  # PostgreSQL alters no table that has deferred checks to do
    audit_triggers.remove(connection)
    with connection.cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)
    connection.check_constraints()
    audit_triggers.install(connection)


def copy_of(row: int, sequence: int | str, **values: str) -> str:
    """An INSERT of a row like another."""
    names = [field.column for field in AuditEvent._meta.fields if field.column != "id"]
    chosen = {"sequence": str(sequence), **values}
    picked = ", ".join(chosen.get(name, f'"{name}"') for name in names)
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"INSERT INTO {EVENTS} ({quoted}) SELECT {picked} FROM {EVENTS} WHERE sequence = {row}"


def test_a_whole_chain_is_whole(chain: list[AuditEvent]) -> None:
    found = audit_verification.verify()
    assert found.is_whole
    assert (found.events, found.older, found.sequence, found.mac) == (10, 0, 10, chain[-1].mac)
    assert found.broken_at is None


def test_an_audit_without_events_is_whole(db: None) -> None:
    assert audit_verification.verify().is_whole


@pytest.mark.parametrize(
    "column", ["action = 'other'", "object_id = '9'", "address = '10.0.0.9'", "detail = '{}'"]
)
def test_an_edited_event_is_named(chain: list[AuditEvent], column: str) -> None:
    forced(f"UPDATE {EVENTS} SET {column} WHERE sequence = 4")
    found = audit_verification.verify()
    assert found.broken_at == 4
    assert found.events == 3
    assert "Event 4 (row" in found.problems[0]
    assert "was edited" in found.problems[0]


def test_an_edited_last_event_is_named(chain: list[AuditEvent]) -> None:
    forced(f"UPDATE {EVENTS} SET actor_id = NULL, action = 'other' WHERE sequence = 10")
    found = audit_verification.verify()
    assert found.broken_at == 10
    assert "was edited" in found.problems[0]


@pytest.mark.parametrize(
    ("which", "named", "sentence"),
    [
        ("= 5", 5, "Event 5 is missing: it was deleted."),
        ("IN (5, 6)", 5, "Events 5 to 6 are missing: they were deleted."),
        ("= 1", 1, "Event 1 is missing: it was deleted."),
    ],
)
def test_deleted_events_are_named(chain: list[AuditEvent], which: str, named: int, sentence: str) -> None:
    forced(f"DELETE FROM {EVENTS} WHERE sequence {which}")
    found = audit_verification.verify()
    assert (found.broken_at, found.problems[0]) == (named, sentence)


def test_a_gap_closed_by_new_numbers_is_found(chain: list[AuditEvent]) -> None:
    forced(
        f"DELETE FROM {EVENTS} WHERE sequence = 5",
        *(f"UPDATE {EVENTS} SET sequence = {n - 1} WHERE sequence = {n}" for n in range(6, 11)),
        f"UPDATE {HEAD} SET sequence = 9",
    )
    found = audit_verification.verify()
    assert found.broken_at == 5
    assert "does not follow on event 4" in found.problems[0]


def test_an_inserted_event_is_named(chain: list[AuditEvent]) -> None:
    forced(
        *(f"UPDATE {EVENTS} SET sequence = {n + 1} WHERE sequence = {n}" for n in range(10, 4, -1)),
        copy_of(4, 5, action="'forged'"),
        f"UPDATE {HEAD} SET sequence = 11",
    )
    found = audit_verification.verify()
    assert found.broken_at == 5
    assert "forged" in found.problems[0]
    assert "was inserted" in found.problems[0]


def test_an_event_beyond_the_head_is_named(chain: list[AuditEvent]) -> None:
    """The right HMAC does not help whoever has the key and forgets the head."""
    key = audit_chain.audit_key()
    values = AuditEvent.objects.values_list(*audit_chain.FIELDS).get(sequence=10)
    mac = audit_chain.seal_of((11, *values[1:]), chain[-1].mac, key)
    forced(copy_of(10, 11, mac=f"'{mac}'"))
    found = audit_verification.verify()
    assert found.broken_at == 11
    assert "stands beyond the head" in found.problems[0]


@pytest.mark.parametrize("sequence", ["NULL", "0"])
def test_an_event_outside_the_chain_is_found(chain: list[AuditEvent], sequence: str) -> None:
    forced(copy_of(3, sequence, mac="''"))
    found = audit_verification.verify()
    assert not found.is_whole
    assert "1 events stand outside the chain, 0 did" in found.problems[0]


def test_events_that_changed_places_are_named(chain: list[AuditEvent]) -> None:
    forced(
        f"UPDATE {EVENTS} SET sequence = 99 WHERE sequence = 3",
        f"UPDATE {EVENTS} SET sequence = 3 WHERE sequence = 7",
        f"UPDATE {EVENTS} SET sequence = 7 WHERE sequence = 99",
    )
    found = audit_verification.verify()
    assert found.broken_at == 3
    assert "out of order: what was recorded as event 3 stands as event 7" in found.problems[0]


def test_a_cut_tail_is_found_by_the_head(chain: list[AuditEvent]) -> None:
    forced(f"DELETE FROM {EVENTS} WHERE sequence > 8")
    found = audit_verification.verify()
    assert found.broken_at == 9
    assert found.problems[0] == (
        "The end is cut off: the table of the chain's head names event 10, and the chain ends at event 8."
    )


def cut_without_a_trace(chain: list[AuditEvent], at: int) -> None:
    """The tail cut off, and the head set back with the seal that it had then, taken from a backup."""
    mac = chain[at - 1].mac
    seal = audit_chain.head_seal(at, mac, audit_chain.audit_key())
    forced(
        f"DELETE FROM {EVENTS} WHERE sequence > {at}",
        f"UPDATE {HEAD} SET sequence = {at}, mac = '{mac}', seal = '{seal}'",
    )


def test_a_cut_tail_is_found_by_the_file_outside(
    chain: list[AuditEvent], settings: Any, tmp_path: Path
) -> None:
    settings.LEUKOSCOPE_AUDIT_HEAD = path = tmp_path / "audit_head"
    path.write_text(f"10 {chain[-1].mac}\n")
    assert audit_verification.verify().is_whole
    cut_without_a_trace(chain, 8)
    found = audit_verification.verify()
    assert found.broken_at == 9
    assert "the file audit_head names event 10, and the chain ends at event 8" in found.problems[0]


def test_a_tail_that_grew_again_is_found_by_the_file_put_aside(
    chain: list[AuditEvent], settings: Any, tmp_path: Path
) -> None:
    settings.LEUKOSCOPE_AUDIT_HEAD = path = tmp_path / "audit_head"
    cut_without_a_trace(chain, 8)
    for number in range(4):
        audit.record(action="told again", actor=None, laboratory=None, detail={"number": number})
    assert audit_verification.verify().is_whole  # nothing kept outside
    path.write_text(f"10 {chain[-1].mac}\n")
    audit_chain.keep_outside(*audit_chain.head(), after=(11, "a" * 64))
    found = audit_verification.verify()
    assert found.broken_at == 10
    assert "audit_head.lost-10-" in found.problems[0]
    assert "was made anew" in found.problems[0]


def test_a_cut_tail_is_found_by_a_signed_report(chain: list[AuditEvent], case: Case, cast: Any) -> None:
    sequence, mac = audit_chain.head()
    SignOut.objects.create(
        case=case, number=1, signer=cast.hematologist, signer_name="Hedy", signer_role="hematologist",
        meaning="I have read it.", conclusion="None.", content={}, content_sha256="0" * 64,
        audit_sequence=sequence, audit_head=mac,
    )  # fmt: skip
    chained = list(AuditEvent.objects.order_by("sequence"))
    assert audit_verification.verify().is_whole
    cut_without_a_trace(chained, 5)
    found = audit_verification.verify()
    assert found.problems[0].startswith(
        f"The end is cut off: report 1 of case H-1001 names event {sequence},"
    )


def test_a_cut_tail_is_found_by_a_printed_head(chain: list[AuditEvent]) -> None:
    cut_without_a_trace(chain, 8)
    assert audit_verification.verify().is_whole
    found = audit_verification.verify(anchors=[Anchor(10, chain[-1].mac, "The head given here")])
    assert found.problems == (
        "The end is cut off: the head given here names event 10, and the chain ends at event 8.",
    )


def test_the_removed_row_of_the_head_is_found(chain: list[AuditEvent]) -> None:
    forced(f"DELETE FROM {HEAD}")
    assert "its row was removed" in audit_verification.verify().problems[0]


def test_an_altered_head_is_found(chain: list[AuditEvent]) -> None:
    forced(f"UPDATE {HEAD} SET seal = ''")
    assert "was altered, or another key made it" in audit_verification.verify().problems[0]


def test_another_key_is_said(chain: list[AuditEvent], settings: Any) -> None:
    settings.LEUKOSCOPE_AUDIT_KEY = "another"
    found = audit_verification.verify()
    assert found.broken_at == 1
    assert "another LEUKOSCOPE_AUDIT_KEY" in found.problems[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (f"UPDATE {EVENTS} SET action = 'edited' WHERE sequence IS NULL", "one or more were edited"),
        (
            f"DELETE FROM {EVENTS} WHERE sequence IS NULL AND action = 'old 1'",
            "1 of the 2 events from before",
        ),
    ],
)
def test_events_from_before_the_chain_are_counted_and_guarded(db: None, change: str, sentence: str) -> None:
    for number in (1, 2):
        AuditEvent(action=f"old {number}").save()
    audit.record(action="told", actor=None, laboratory=None)
    found = audit_verification.verify()
    assert found.is_whole
    assert (found.older, found.events) == (2, 2)
    forced(change)
    assert sentence in audit_verification.verify().problems[0]


def test_missing_triggers_are_said(chain: list[AuditEvent]) -> None:
    connection.check_constraints()
    audit_triggers.remove(connection)
    assert "does not guard the audit" in audit_verification.verify().problems[0]
    audit_triggers.install(connection)


def test_the_walk_takes_whole_batches(
    chain: list[AuditEvent],
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: Callable[..., Any],
) -> None:
    for size in (1, 3, 5, 10, 11):
        monkeypatch.setattr(audit_verification, "A_BATCH", size)
        told = Mock()
        with django_assert_max_num_queries(8 + 10 // size):
            found = audit_verification.verify(progress=told)
        assert found.events == 10
        told.assert_called_with(10, 10)


def sign_outs(count: int, case: Case, signer: User, head: str = "") -> list[SignOut]:
    """Versions of one report, each signed after an event of its own, but the last two, which name the same."""
    made = []
    for number in range(1, count + 1):
        if number < count:
            audit.record(action="told", actor=None, laboratory=None, detail={"number": number})
        sequence, mac = audit_chain.head()
        made.append(
            SignOut(
                case=case, number=number, signer=signer, signer_name="Hedy", signer_role="hematologist",
                meaning="I have read it.", conclusion="None.", content={}, content_sha256="0" * 64,
                audit_sequence=sequence, audit_head=head or mac,
            )
        )  # fmt: skip
    return SignOut.objects.bulk_create(made)


def test_all_signed_reports_are_compared_however_few_are_read_at_once(
    case: Case, cast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_outs(5, case, cast.hematologist, head="0" * 64)
    for size in (1, 2, 3, 5, 6):
        monkeypatch.setattr(audit_verification, "A_BATCH", size)
        found = audit_verification.verify()
        assert [problem.split(" names")[0] for problem in found.problems] == [
            f"Report {number} of case H-1001" for number in range(1, 6)
        ]


@pytest.mark.django_db(transaction=True)
def test_what_is_done_in_the_midst_of_the_walk_is_stored_beside_a_writer(
    case: Case, cast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite a query left open would keep this connection to what was stored when it began."""
    sign_outs(5, case, cast.hematologist)
    monkeypatch.setattr(audit_verification, "A_BATCH", 1)

    def beside() -> None:
        try:
            audit.record(action="beside", actor=None, laboratory=None)
        finally:
            connection.close()

    def round_of_upkeep(done: int, total: int) -> None:
        if done == 2:
            writer = threading.Thread(target=beside)
            writer.start()
            writer.join(30)
            audit.record(action="in the midst", actor=None, laboratory=None)

    found = audit_verification.verify(progress=round_of_upkeep)
    assert found.is_whole
    assert set(AuditEvent.objects.values_list("action", flat=True)) >= {"beside", "in the midst"}


# --- the command --------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("verify_audit", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_that_all_is_well(chain: list[AuditEvent]) -> None:
    said = run()
    assert f"The audit is whole: 10 events, the newest is 10:{chain[-1].mac}" in said
    assert json.loads(run("--json"))["problems"] == []


def test_the_command_fails_with_the_first_problem(chain: list[AuditEvent]) -> None:
    forced(f"DELETE FROM {EVENTS} WHERE sequence = 5")
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"not whole: Event 5 is missing"):
        call_command("verify_audit", stdout=out)
    assert "The events up to number 4 hold." in out.getvalue()


def test_the_command_compares_with_a_printed_head(chain: list[AuditEvent]) -> None:
    mac = chain[6].mac
    run("--head", f"7:{mac}")
    run("--head", f"7: {mac[:16]} {mac[16:32]}".upper())
    with pytest.raises(CommandError, match="names event 7 with another HMAC"):
        run("--head", f"7:{'0' * 64}")
    with pytest.raises(CommandError, match=r"should read NUMBER:HMAC"):
        run("--head", "seven")


def test_the_command_goes_on_with_a_new_key(chain: list[AuditEvent], settings: Any) -> None:
    settings.LEUKOSCOPE_AUDIT_KEY = "a new one"
    with pytest.raises(CommandError, match="Say why"):
        run("--reseal", " ")
    assert "verify from here: --from 11" in run("--reseal", "the old disk is lost")
    audit.record(action="told", actor=None, laboratory=None)
    with pytest.raises(CommandError):
        run()
    assert "2 events from number 11" in run("--from", "11")


def test_the_command_keeps_its_result(chain: list[AuditEvent]) -> None:
    run("--record")
    kept = audit_verification.newest_result()
    assert kept is not None
    assert (kept.detail["whole"], kept.detail["events"]) == (True, 10)
    assert audit_verification.verify().events == 11
