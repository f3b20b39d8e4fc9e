"""Deliveries: signed, to a checked address, tried again ever more seldom, given up after a day, and never in a page."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.utils import timezone

from diagnosis.models import Webhook, WebhookDelivery
from diagnosis.services import webhook_delivery, webhook_sending, webhooks
from diagnosis.services.webhook_delivery import Round, deliver
from diagnosis.services.webhook_sending import Sent, TargetRefused, checked_url, is_public, resolve
from diagnosis.tasks import deliver_webhooks

pytestmark = pytest.mark.django_db


class Target:
    """A web server of the LIS: what it was sent, and the status that it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.waits = 0.0
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                target.got.append((dict(self.headers), body))
                time.sleep(target.waits)
                self.send_response(target.status)
                self.send_header("Location", f"http://127.0.0.1:{target.port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.server.shutdown()
    target.server.server_close()


@pytest.fixture
def loopback(settings: Any) -> None:
    """Loopback is a network that the administrator allows."""
    settings.LEUKOSCOPE_WEBHOOK_PRIVATE = [ipaddress.ip_network("127.0.0.0/8")]


def waiting(cast: Any, url: str, **more: Any) -> WebhookDelivery:
    ada = cast.administrator
    webhook = Webhook.objects.filter(url=url).first() or Webhook.objects.create(
        laboratory=ada.laboratory, url=url, secret="whsec_x", events=["test"], created_by=ada
    )
    return WebhookDelivery.objects.create(webhook=webhook, event="test", payload={"n": 1}, **more)


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """What every request comes to; the last element counts."""
    outcomes = [Sent(None, "The target did not answer in time.")]
    monkeypatch.setattr(webhook_delivery, "send", lambda **_: outcomes[-1])
    return outcomes


@pytest.mark.usefixtures("loopback")
def test_a_delivery_arrives_signed(cast: Any, target: Target) -> None:
    delivery = waiting(cast, f"http://127.0.0.1:{target.port}/hook?x=1")
    deliver_webhooks()

    ((headers, body),) = target.got
    signed = headers["Leukoscope-Timestamp"].encode() + b"." + body
    expected = hmac.new(b"whsec_x", signed, hashlib.sha256).hexdigest()
    assert headers["Leukoscope-Signature"] == f"v1={expected}"
    assert abs(int(headers["Leukoscope-Timestamp"]) - time.time()) < 60
    assert headers["Leukoscope-Delivery"] == str(delivery.pk)
    assert headers["Host"] == f"127.0.0.1:{target.port}"
    told = json.loads(body)
    assert (told["id"], told["event"], told["data"]) == (str(delivery.pk), "test", {"n": 1})
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.last_status) == ("delivered", 1, 200)
    deliver_webhooks()
    assert len(target.got) == 1


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize(("status", "words"), [(301, "redirects are not followed"), (500, "answered 500")])
def test_what_is_no_success_is_tried_again(cast: Any, target: Target, status: int, words: str) -> None:
    target.status = status
    delivery = waiting(cast, f"http://127.0.0.1:{target.port}/")

    assert deliver() == Round(put_off=1)
    assert len(target.got) == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.last_status) == ("waiting", status)
    assert words in delivery.last_problem
    assert delivery.next_attempt_at > timezone.now() + timedelta(seconds=20)


@pytest.mark.usefixtures("loopback")
def test_a_target_that_hangs_is_left_and_the_others_arrive(
    cast: Any, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_sending, "CONNECT_SECONDS", 0.3)
    slow = Target()
    slow.waits = 3
    hung, fine = (
        waiting(cast, f"http://127.0.0.1:{slow.port}/"),
        waiting(cast, f"http://127.0.0.1:{target.port}/"),
    )
    began = time.monotonic()
    deliver()

    assert time.monotonic() - began < 3
    hung.refresh_from_db()
    fine.refresh_from_db()
    assert (hung.state, fine.state) == ("waiting", "delivered")
    assert "in time" in hung.last_problem
    slow.server.shutdown()
    slow.server.server_close()


@pytest.mark.usefixtures("loopback")
def test_a_target_that_is_down_says_so(cast: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    delivery = waiting(cast, f"http://127.0.0.1:{port}/")
    deliver()

    delivery.refresh_from_db()
    assert "could not be reached" in delivery.last_problem


def test_loopback_is_not_called_unless_it_is_allowed(cast: Any, target: Target) -> None:
    names = waiting(cast, f"https://localhost:{target.port}/")
    plain = waiting(cast, f"http://127.0.0.1:{target.port}/")
    deliver()

    assert target.got == []
    names.refresh_from_db()
    plain.refresh_from_db()
    assert "not on the public internet" in names.last_problem
    assert "Only https" in plain.last_problem


def test_the_address_that_was_checked_is_the_one_that_is_called(
    cast: Any, target: Target, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LEUKOSCOPE_WEBHOOK_PRIVATE = [ipaddress.ip_network("127.0.0.1")]
    answers = iter(["127.0.0.1", "10.0.0.1"])  # a name that is another one when it is asked for again

    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(webhook_sending.socket, "getaddrinfo", lookup)
    url = f"http://rebinding.example:{target.port}/"

    def send() -> Sent:
        return webhook_sending.send(url=url, secret="s", event="test", delivery="d", body=b"{}")

    connect = socket.create_connection
    monkeypatch.setattr(
        webhook_sending.socket, "create_connection", lambda to, *rest: connect_numeric(connect, to, *rest)
    )
    assert send() == Sent(200)
    assert target.got[0][0]["Host"] == f"rebinding.example:{target.port}"
    assert "10.0.0.1" in send().problem
    assert len(target.got) == 1


def connect_numeric(connect: Any, to: tuple[str, int], timeout: float) -> Any:
    """`create_connection` for an address that needs no name server; it fails for a name."""
    ipaddress.ip_address(to[0])
    made = socket.socket()
    made.settimeout(timeout)
    made.connect(to)
    return made


def test_one_forbidden_address_among_several_forbids_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, 1, 6, "", (one, port)) for one in ("8.8.8.8", "192.168.0.1")]

    monkeypatch.setattr(webhook_sending.socket, "getaddrinfo", lookup)
    with pytest.raises(TargetRefused, match=r"192\.168\.0\.1"):
        resolve(checked_url("https://two.example/"))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700:4700::1111", True), ("127.0.0.1", False), ("0.0.0.0", False),
        ("10.0.0.1", False), ("172.16.5.4", False), ("192.168.1.1", False), ("169.254.169.254", False),
        ("100.64.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False), ("::1", False), ("::", False),
        ("fe80::1", False), ("fd00:ec2::254", False), ("::ffff:127.0.0.1", False), ("2002:7f00:1::", False),
        ("2002:a00:1::", False), ("ff02::1", False), ("64:ff9b::7f00:1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


def test_attempts_come_ever_more_seldom_for_about_a_day() -> None:
    rng = random.Random(7)
    delays = [webhook_delivery.delay_after(n, rng=rng) for n in range(1, webhook_delivery.MOST_ATTEMPTS)]

    assert timedelta(seconds=24) <= delays[0] <= timedelta(seconds=36)
    assert max(delays) <= timedelta(hours=2.4)
    assert timedelta(hours=20) < sum(delays, timedelta()) < timedelta(hours=28)
    assert len({delay.total_seconds() / 7200 for delay in delays[10:]}) > 5  # not all at once


def test_it_is_given_up_after_the_last_attempt_and_tried_again_when_asked(
    cast: Any, outcome: list[Sent]
) -> None:
    delivery = waiting(cast, "https://lis.example/", attempts=webhook_delivery.MOST_ATTEMPTS - 1)
    assert deliver() == Round(given_up=1)
    assert deliver() == Round()

    delivery = WebhookDelivery.objects.select_related("webhook__laboratory").get()
    assert delivery.state == "given_up"
    outcome.append(Sent(204))
    assert webhooks.try_again(user=cast.administrator, delivery=delivery)
    assert deliver() == Round(delivered=1)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.last_problem) == ("delivered", 1, "")
    assert not webhooks.try_again(user=cast.administrator, delivery=delivery)


def test_a_target_that_fails_is_left_alone_for_a_while(cast: Any, outcome: list[Sent]) -> None:
    for _ in range(20):
        waiting(cast, "https://down.example/")
    deliver()

    asked = WebhookDelivery.objects.filter(attempts__gt=0).count()
    assert 0 < asked <= webhook_delivery.OF_ONE_TARGET
    assert not WebhookDelivery.objects.filter(
        next_attempt_at__lte=timezone.now() + timedelta(seconds=15)
    ).exists()


def test_many_are_delivered_in_one_round(cast: Any, outcome: list[Sent]) -> None:
    outcome.append(Sent(200))
    for number in range(30):
        waiting(cast, f"https://lis{number % 3}.example/")

    assert deliver() == Round(delivered=30)


def test_two_workers_do_not_send_the_same(cast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting(cast, "https://lis.example/")
    calls: list[str] = []

    def send(**given: Any) -> Sent:
        calls.append(given["delivery"])
        return Sent(200)

    monkeypatch.setattr(webhook_delivery, "send", send)
    mine = webhook_delivery._due()
    assert deliver() == Round(delivered=1)  # another worker was faster
    assert [webhook_delivery._claim(one) for one in mine] == [False]
    assert len(calls) == 1


def test_a_worker_that_dies_while_sending_leaves_the_delivery_to_the_next(
    cast: Any, outcome: list[Sent]
) -> None:
    delivery = waiting(cast, "https://lis.example/")
    assert webhook_delivery._claim(webhook_delivery._due()[0])
    assert deliver() == Round()

    WebhookDelivery.objects.update(next_attempt_at=timezone.now())
    outcome.append(Sent(200))
    assert deliver() == Round(delivered=1)
    delivery.refresh_from_db()
    assert delivery.attempts == 2


def test_an_error_of_ours_is_an_attempt_and_stops_no_other(
    cast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(**given: Any) -> Sent:
        if "bad" in given["url"]:
            raise RuntimeError("a mistake")
        return Sent(200)

    monkeypatch.setattr(webhook_delivery, "send", send)
    bad = waiting(cast, "https://bad.example/")
    waiting(cast, "https://good.example/")

    assert deliver() == Round(delivered=1, put_off=1)
    bad.refresh_from_db()
    assert bad.last_problem == "The request could not be made."


def test_old_deliveries_are_forgotten_and_those_given_up_are_not(cast: Any) -> None:
    long_ago = timezone.now() - timedelta(days=91)
    waiting(cast, "https://lis.example/", state="delivered", delivered_at=long_ago)
    waiting(cast, "https://lis.example/", state="given_up")

    assert webhook_delivery.forget_old() == 1
    assert WebhookDelivery.objects.get().state == "given_up"
