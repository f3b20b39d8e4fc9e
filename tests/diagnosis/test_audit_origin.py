"""From where, and what was opened: the events of requests."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from diagnosis.models import AuditEvent, Case, SmearImage
from diagnosis.services import audit, audit_origin

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "expected"),
    [
        ("10.0.0.1", "", 0, "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6", 0, "10.0.0.1"),  # no proxy is trusted: anybody can write this header
        ("10.0.0.1", "6.6.6.6, 192.168.1.7", 1, "192.168.1.7"),  # the browser's forgery comes first
        ("10.0.0.1", "6.6.6.6, 192.168.1.7, 10.0.0.2", 2, "192.168.1.7"),
        ("10.0.0.1", "192.168.1.7", 2, "10.0.0.1"),  # did not come by both proxies
        ("10.0.0.1", "unknown", 1, "10.0.0.1"),
        ("10.0.0.1", "", 1, "10.0.0.1"),
        ("", "", 0, None),  # a Unix socket
        ("", "[2001:DB8::1]", 1, "2001:db8::1"),
        ("::ffff:10.0.0.9", "", 0, "10.0.0.9"),
        ("fe80::1%eth0", "", 0, "fe80::1"),
    ],
)
def test_the_address_is_one_that_no_browser_can_forge(
    peer: str, forwarded: str, proxies: int, expected: str | None
) -> None:
    found = audit_origin.client_address(peer=peer, forwarded_for=forwarded, proxies=proxies)
    assert found == expected


def test_an_event_outside_a_request_has_no_address() -> None:
    assert audit.record(action="told", actor=None, laboratory=None).address is None
    with audit_origin.coming_from("10.0.0.5"):
        assert audit.record(action="told", actor=None, laboratory=None).address == "10.0.0.5"
    assert audit_origin.current() is None


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def opened() -> list[tuple[str, str, str]]:
    events = AuditEvent.objects.filter(action__startswith="open_").order_by("pk")
    return list(events.values_list("action", "object_type", "object_id"))


def test_an_opened_case_is_an_event(reader: Client, case: Case, cast: Any, settings: Any) -> None:
    settings.LEUKOSCOPE_PROXIES = 1
    headers = {"X-Forwarded-For": "6.6.6.6, 192.168.1.7"}
    assert reader.get(reverse("diagnosis:case", args=[case.pk]), headers=headers).status_code == 200
    assert opened() == [("open_case", "case", str(case.pk))]
    event = AuditEvent.objects.get(action="open_case")
    assert (event.actor, event.laboratory, event.address) == (
        cast.hematologist, case.laboratory, "192.168.1.7",
    )  # fmt: skip


def test_a_picture_that_is_sent_is_an_event_and_its_parts_are_none(reader: Client, image: SmearImage) -> None:
    sent = reader.get(reverse("diagnosis:image-file", args=[image.pk]))
    b"".join(sent.streaming_content)
    reader.get(reverse("diagnosis:image-thumbnail", args=[image.pk]))
    assert opened() == [("open_image", "smearimage", str(image.pk))]
    again = reader.get(
        reverse("diagnosis:image-file", args=[image.pk]), headers={"If-None-Match": sent["ETag"]}
    )
    assert again.status_code == 304
    assert len(opened()) == 2


def test_the_fragments_of_a_page_are_none(reader: Client, case: Case, image: SmearImage) -> None:
    script = {"X-Requested-With": "leukoscope"}
    reader.get(reverse("diagnosis:case", args=[case.pk]), {"image": image.pk}, headers=script)
    reader.get(reverse("diagnosis:case-live", args=[case.pk]))
    reader.get(reverse("diagnosis:queue-live"))
    assert opened() == []


def test_a_refused_page_is_none(client: Client, cast: Any, case: Case) -> None:
    client.force_login(cast.outsider)
    assert client.get(reverse("diagnosis:case", args=[case.pk])).status_code == 404
    client.logout()
    assert client.get(reverse("diagnosis:case", args=[case.pk])).status_code == 302
    assert opened() == []


def test_a_search_is_kept_by_what_and_not_for_what(reader: Client) -> None:
    reader.get(reverse("diagnosis:history"), {"q": "Smith", "outcome": "suspected", "page": "1"})
    event = AuditEvent.objects.get(action="open_history")
    assert event.detail == {"filters": ["outcome", "q"]}


def test_a_page_that_cannot_be_recorded_is_not_shown(
    reader: Client, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**values: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(audit, "record_opening", full)
    with pytest.raises(OSError, match="disk full"):
        reader.get(reverse("diagnosis:case", args=[case.pk]))


def test_the_events_of_a_request_come_from_its_address(client: Client, cast: Any) -> None:
    client.post(reverse("login"), {"username": "hedy", "password": "wrong"}, REMOTE_ADDR="10.9.8.7")
    assert AuditEvent.objects.get(action="login_failed").address == "10.9.8.7"
