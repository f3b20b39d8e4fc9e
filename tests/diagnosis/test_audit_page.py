"""The page of the audit: who sees it, what it finds and in how many queries, and its export."""

from __future__ import annotations

import ast
import csv
import datetime
import io
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

import diagnosis
from diagnosis import audit_selectors, audit_wording
from diagnosis.audit_selectors import AuditFilters, Cursor
from diagnosis.models import AuditEvent, Case, SmearImage
from diagnosis.services import audit, audit_chain, audit_verification, queue

pytestmark = pytest.mark.django_db

AUDIT, CSV = "diagnosis:audit", "diagnosis:audit-csv"


@pytest.fixture
def administrator(client: Client, cast: Any) -> Client:
    client.force_login(cast.administrator)
    return client


def shown(client: Client, **query: Any) -> list[str]:
    response = client.get(reverse(AUDIT), query)
    assert response.status_code == 200
    return [row.event.action for row in response.context["rows"]]


def text(client: Client, **query: Any) -> str:
    return client.get(reverse(AUDIT), query).content.decode()


def seed(count: int, **values: Any) -> None:
    """Events a minute apart, the last one a minute ago."""
    now = timezone.now()
    audit_chain.append(
        [
            AuditEvent(
                action="told", at=now - datetime.timedelta(minutes=count - n), detail={"n": n}, **values
            )
            for n in range(count)
        ]
    )


def test_it_says_who_did_what_to_what_from_where(administrator: Client, case: Case, cast: Any) -> None:
    audit.record(
        action="change_case", actor=cast.technician, laboratory=case.laboratory, obj=case,
        old={"specimen": "blood", "age_years": None}, new={"specimen": "marrow", "age_years": 7},
    )  # fmt: skip
    page = text(administrator)
    for expected in ("Tina Technician", "changed a case", "H-1001", "blood", "marrow", "old: ", "new: "):
        assert expected in page
    assert reverse("diagnosis:case", args=[case.pk]) in page
    assert "127.0.0.1" in text(administrator, action="open_audit")


def test_looking_at_the_audit_is_recorded_without_what_was_searched(administrator: Client) -> None:
    text(administrator, q="P-17", since="2026-01-01")
    assert AuditEvent.objects.get(action="open_audit").detail == {"filters": ["q", "since"]}


def test_a_laboratory_sees_its_own_and_its_peoples_events(client: Client, case: Case, cast: Any) -> None:
    cast.outsider.role = "laboratory_head"
    cast.outsider.save()
    audit.record(action="promote_model", actor=cast.outsider, laboratory=None)
    client.force_login(cast.outsider)
    assert shown(client) == ["promote_model"]
    assert shown(client, q="H-1001") == []
    client.force_login(cast.administrator)
    assert "promote_model" not in shown(client)
    assert "create_case" in shown(client)


@pytest.mark.parametrize("key", ["technician", "hematologist"])
def test_others_are_refused(client: Client, cast: Any, key: str) -> None:
    client.force_login(cast[key])
    for name in (AUDIT, CSV):
        assert client.get(reverse(name)).status_code == 403
    assert client.post(reverse("diagnosis:audit-verify")).status_code == 403
    assert 'href="/audit"' not in client.get(reverse("diagnosis:worklist")).content.decode()


def test_the_filters(administrator: Client, case: Case, image: SmearImage, cast: Any) -> None:
    audit.record(action="login", actor=cast.hematologist, laboratory=case.laboratory, obj=cast.hematologist)
    assert shown(administrator, person=cast.hematologist.pk) == ["login"]
    assert shown(administrator, action="create_case") == ["create_case"]
    assert shown(administrator, person=cast.technician.pk, action="login") == []
    assert set(shown(administrator, q="H-1001")) == {"create_case", "upload_image"}
    assert set(shown(administrator, q="h-1001")) == {"create_case", "upload_image"}
    assert set(shown(administrator, q="P-17")) == {"create_case", "upload_image"}
    assert shown(administrator, q="Hematolog") == ["login"]
    assert shown(administrator, q=str(image.pk)) == ["upload_image"]
    assert shown(administrator, q="H-1001", action="upload_image") == ["upload_image"]
    assert shown(administrator, q="H-1001", person=cast.hematologist.pk) == []
    assert shown(administrator, q="nobody knows this") == []
    today, tomorrow = timezone.localdate(), timezone.localdate() + datetime.timedelta(days=1)
    assert "login" in shown(administrator, since=today, until=today)
    assert shown(administrator, since=tomorrow) == []
    assert shown(administrator, until=today - datetime.timedelta(days=1)) == []


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"}, {"person": "x"}, {"person": "999999"}, {"action": "none"}, {"after": "x"},
        {"after": "2026-01-01T00:00:00.000000_x"}, {"after": "9999-12-31T23:59:59.999999_1"}, {"until": "9999-12-31"},
        {"q": "x" * 300}, {"q": "\x00"}, {"q": "%"}, {"after": f"2026-01-01T00:00:00.000000_{10**30}"},
    ],
)  # fmt: skip
def test_what_cannot_be_understood_breaks_nothing(administrator: Client, case: Case, query: Any) -> None:
    assert administrator.get(reverse(AUDIT), query).status_code == 200


def test_a_wrong_value_is_said_and_kept(administrator: Client) -> None:
    page = text(administrator, since="yesterday")
    assert "Enter a valid date." in page
    assert 'value="yesterday"' in page


def test_pages_follow_on_each_other_without_gap_or_repetition(laboratory: Any, cast: Any) -> None:
    same = timezone.now()
    audit_chain.append([AuditEvent(action="told", at=same, laboratory=laboratory) for _ in range(25)])
    audit.record(action="promote_model", actor=cast.administrator, laboratory=None)
    seen: list[int] = []
    after: Cursor | None = None
    for _ in range(4):
        page = audit_selectors.page_of(user=cast.administrator, filters=AuditFilters(), after=after, size=10)
        seen += [event.pk for event in page.events]
        if page.older is None:
            break
        after = Cursor.read(str(page.older))
    assert len(seen) == len(set(seen)) == 26
    assert seen == sorted(seen, reverse=True)


def test_the_page_offers_older_events(administrator: Client, laboratory: Any) -> None:
    seed(120, laboratory=laboratory)
    first = administrator.get(reverse(AUDIT))
    assert len(first.context["rows"]) == 50
    second = administrator.get(reverse(AUDIT), {"after": str(first.context["older"])})
    assert "Newest" in second.content.decode()
    assert [row.event.detail["n"] for row in second.context["rows"]][:2] == [69, 68]


def test_a_page_takes_as_many_queries_for_many_events_as_for_few(
    administrator: Client, laboratory: Any, case: Case, image: SmearImage, cast: Any
) -> None:
    def queries(**query: Any) -> int:
        with CaptureQueriesContext(connection) as context:
            assert administrator.get(reverse(AUDIT), query).status_code == 200
        return len(context)

    text(administrator)  # the first request of a session writes into it
    few, searched = queries(), queries(q="H-1001")
    for number in range(30):
        audit.record(action="review", actor=cast.hematologist, laboratory=laboratory, obj=image)
        audit.record(
            action="change_case", actor=cast.technician, laboratory=laboratory, obj=case, detail={"n": number}
        )
    assert (queries(), queries(q="H-1001")) == (few, searched)


# --- the export ---------------------------------------------------------------------------------------------


def table(client: Client, **query: Any) -> list[dict[str, str]]:
    response = client.get(reverse(CSV), query)
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    content = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(content, newline="")))


def test_the_export_holds_what_the_page_shows_and_is_an_event_itself(
    administrator: Client, case: Case, cast: Any
) -> None:
    audit.record(
        action="change_case", actor=cast.technician, laboratory=case.laboratory, obj=case,
        detail={"note": "x"}, old={"specimen": "blood"}, new={"specimen": "marrow"},
    )  # fmt: skip
    rows = table(administrator, q="H-1001", action="change_case")
    (row,) = rows
    event = AuditEvent.objects.get(action="change_case")
    assert row["number"] == str(event.sequence)
    assert row["hmac"].strip("'") == event.mac
    assert (row["person"], row["account"], row["action"]) == ("Tina Technician", "tina", "change_case")
    assert (row["object"], row["object's name"]) == ("case", "H-1001")
    assert (row["old"], row["new"], row["detail"]) == (
        '{"specimen": "blood"}', '{"specimen": "marrow"}', '{"note": "x"}',
    )  # fmt: skip
    exported = AuditEvent.objects.get(action="export")
    assert exported.detail == {"what": "audit.csv", "filters": {"searched": True, "action": "change_case"}}
    assert table(administrator)[0]["action"] == "export"


def test_no_cell_is_a_formula(administrator: Client, laboratory: Any, cast: Any) -> None:
    cast.technician.first_name, cast.technician.last_name = "=HYPERLINK(1)", "x"
    cast.technician.save()
    for start in "=+-@\t":
        audit.record(action=f"{start}cmd", actor=cast.technician, laboratory=laboratory)
    for row in table(administrator, person=cast.technician.pk):
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@", "\t")), cell


def test_a_long_export_takes_batches(administrator: Client, laboratory: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("diagnosis.services.audit_export.A_BATCH", 7)
    seed(30, laboratory=laboratory)
    rows = table(administrator, action="")
    assert [row["action"] for row in rows] == ["export", *["told"] * 30]
    monkeypatch.setattr("diagnosis.services.audit_export.MOST_LINES", 10)
    rows = table(administrator)
    assert len(rows) == 11
    assert rows[-1]["number"].startswith("Not all: there are older events.")


# --- whether it is whole ------------------------------------------------------------------------------------


def test_the_newest_verification_is_shown(administrator: Client, laboratory: Any, monkeypatch: Any) -> None:
    assert "never verified" in text(administrator)
    audit_verification.run()
    assert "<b>Whole</b>" in text(administrator)
    broken = audit_verification.verify()
    monkeypatch.setattr(
        audit_verification, "verify",
        lambda **_: broken.__class__(**{**vars(broken), "problems": ("Event 3 is missing.",), "broken_at": 3}),
    )  # fmt: skip
    audit_verification.run(actor_id=None)  # not a day has gone by
    assert "<b>Whole</b>" in text(administrator)
    audit_verification.run(actor_id=administrator.session["_auth_user_id"])
    page = text(administrator)
    assert "<b>Not whole</b>" in page
    assert "broken at event 3" in page


def test_a_button_has_it_verified(administrator: Client, cast: Any, monkeypatch: Any) -> None:
    sent: list[int] = []
    monkeypatch.setattr(queue, "send_verification", lambda actor_id: not sent.append(actor_id))
    answer = administrator.post(reverse("diagnosis:audit-verify"), follow=True)
    assert sent == [cast.administrator.pk]
    assert "is being verified" in answer.content.decode()
    monkeypatch.setattr(queue, "send_verification", lambda actor_id: False)
    assert (
        "broker does not answer"
        in administrator.post(reverse("diagnosis:audit-verify"), follow=True).content.decode()
    )


# --- words --------------------------------------------------------------------------------------------------


def test_every_action_in_the_code_has_a_word() -> None:
    """An action without one is shown by its name, and cannot be chosen in the filter."""
    named: set[str] = set()
    for path in Path(diagnosis.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(
                ("audit.record", "record_opening")
            ):
                values = [word.value for word in call.keywords if word.arg == "action"]
                named |= {text for value in values for text in _texts(value)}
    assert len(named) > 25
    known = {action for words in audit_wording.ACTIONS.values() for action in words}
    assert named - known == set(), "add a word in diagnosis/audit_wording.py"


def _texts(value: ast.expr) -> list[str]:
    """The texts that an expression may give; none where it is put together."""
    if isinstance(value, ast.IfExp):
        return [*_texts(value.body), *_texts(value.orelse)]
    return [value.value] if isinstance(value, ast.Constant) and isinstance(value.value, str) else []


def test_a_change_of_status_is_shown_as_it_was_once_recorded_and_as_it_is(
    administrator: Client, laboratory: Any
) -> None:
    audit.record(
        action="retire_model",
        actor=None,
        laboratory=laboratory,
        detail={"name": "field-1", "before": "shadow"},
    )
    audit.record(
        action="shadow_model", actor=None, laboratory=laboratory, detail={"name": "field-2"},
        old={"status": "candidate"}, new={"status": "shadow"},
    )  # fmt: skip
    rows = administrator.get(reverse(AUDIT)).context["rows"]
    told = {row.event.action: [(one.name, one.old, one.new) for one in row.changes] for row in rows}
    assert told["retire_model"] == [("name", None, "field-1"), ("before", None, "shadow")]
    assert told["shadow_model"] == [("status", "candidate", "shadow"), ("name", None, "field-2")]


def test_an_unknown_action_is_shown_by_its_name() -> None:
    assert audit_wording.action_word("some_new_deed") == "some new deed"
