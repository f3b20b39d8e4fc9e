"""One webhook request: where it may go, what is signed, and what came back. No database here.

An address of a webhook is what somebody typed, so it must not reach what only this server can reach: loopback, the
hospital's network, a cloud's metadata. Names are resolved once, every address is checked, and the connection goes to
the very address that was checked. Networks that LEUKOSCOPE_WEBHOOK_PRIVATE names are open to it.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

CONNECT_SECONDS = 4.0
LONGEST_SECONDS = 8.0
"""A target that dribbles its answer is cut off then."""

EVENT_HEADER = "Leukoscope-Event"
DELIVERY_HEADER = "Leukoscope-Delivery"
TIMESTAMP_HEADER = "Leukoscope-Timestamp"
SIGNATURE_HEADER = "Leukoscope-Signature"


class TargetRefused(Exception):
    """An address that may not be called; the text is one sentence."""


@dataclass(frozen=True)
class Sent:
    """What came of one request: the status of the answer, or None, and in a sentence what was wrong with it."""

    status: int | None
    problem: str = ""

    @property
    def arrived(self) -> bool:
        return not self.problem


def signature(*, secret: str, timestamp: int, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256, in hexadecimal, of the timestamp, a full stop and the body."""
    signed = str(timestamp).encode() + b"." + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def checked_url(url: str) -> SplitResult:
    """An address taken apart, if it has the form of one that may be called. Raises TargetRefused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise TargetRefused("This is no address: write it as https://name/path.") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise TargetRefused("Write the whole address, as https://name/path.")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise TargetRefused("Write the address in plain letters, with others percent-encoded.")
    if parts.username is not None or parts.password is not None:
        raise TargetRefused("Leave user and password out of the address: each delivery is signed.")
    if port == 0:
        raise TargetRefused("There is no port 0.")
    if parts.scheme == "http" and not settings.LEUKOSCOPE_WEBHOOK_PRIVATE:
        raise TargetRefused("Only https is called: what is sent would cross the network in the open.")
    literal = _literal(parts.hostname)
    if literal is not None:
        _require_allowed(literal, parts.scheme)
    return parts


def resolve(parts: SplitResult) -> list[Address]:
    """Every IP address of the target's name, each of which may be called. Raises TargetRefused and OSError."""
    host = parts.hostname or ""
    literal = _literal(host)
    if literal is not None:
        found: list[Address] = [literal]
    else:
        answers = socket.getaddrinfo(host, _port(parts), type=socket.SOCK_STREAM)
        found = list(
            dict.fromkeys(ipaddress.ip_address(str(answer[4][0]).split("%")[0]) for answer in answers)
        )
    for address in found:
        _require_allowed(address, parts.scheme)
    return found


def _require_allowed(address: Address, scheme: str) -> None:
    is_open = any(
        address in network
        for network in settings.LEUKOSCOPE_WEBHOOK_PRIVATE
        if network.version == address.version
    )
    if not is_open and (scheme != "https" or not is_public(address)):
        raise TargetRefused(
            f"The address {address} is not on the public internet or not asked by https; an administrator of this "
            "installation allows networks of your own by LEUKOSCOPE_WEBHOOK_PRIVATE."
        )


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, also by the IPv4 address that it may stand for."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None and not is_public(inner):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return None


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def send(*, url: str, secret: str, event: str, delivery: str, body: bytes) -> Sent:
    """Send one signed request, to an address that was checked; never raises, and follows no redirect."""
    try:
        parts = checked_url(url)
        connection = _connection(parts, resolve(parts)[0])
    except TargetRefused as refusal:
        return Sent(None, str(refusal))
    except (OSError, UnicodeError):
        return Sent(None, "The name in the address could not be resolved.")
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Leukoscope-Webhook/1",
        EVENT_HEADER: event,
        DELIVERY_HEADER: delivery,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: signature(secret=secret, timestamp=timestamp, body=body),
    }
    watchdog = threading.Timer(LONGEST_SECONDS, _cut, [connection])
    watchdog.daemon = True
    watchdog.start()
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body=body, headers=headers)
        status = connection.getresponse().status
    except ssl.SSLError:
        return Sent(None, "The target's certificate could not be trusted, or it speaks no TLS.")
    except TimeoutError:
        return Sent(None, "The target did not answer in time.")
    except (OSError, http.client.HTTPException, ValueError):
        return Sent(None, "The target could not be reached, or broke off.")
    finally:
        watchdog.cancel()
        connection.close()
    if 200 <= status < 300:
        return Sent(status)
    if 300 <= status < 400:
        return Sent(status, f"The target answered {status}: redirects are not followed.")
    return Sent(status, f"The target answered {status}.")


class _PinnedHttp(http.client.HTTPConnection):
    """Connects to one address, whatever the name would resolve to by now."""

    pinned: str

    def connect(self) -> None:
        self.sock = socket.create_connection((self.pinned, self.port), self.timeout)


class _PinnedHttps(http.client.HTTPSConnection):
    """The same with TLS; the certificate must be that of the name."""

    pinned: str

    def connect(self) -> None:
        plain = socket.create_connection((self.pinned, self.port), self.timeout)
        try:
            self.sock = trusted().wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


@cache
def trusted() -> ssl.SSLContext:
    """The authorities that this machine trusts; read with the first delivery, which pages never make."""
    return ssl.create_default_context()


def _connection(parts: SplitResult, address: Address) -> _PinnedHttp | _PinnedHttps:
    host, port = parts.hostname or "", _port(parts)
    connection: _PinnedHttp | _PinnedHttps
    if parts.scheme == "https":
        connection = _PinnedHttps(host, port, timeout=CONNECT_SECONDS, context=trusted())
    else:
        connection = _PinnedHttp(host, port, timeout=CONNECT_SECONDS)
    connection.pinned = str(address)
    return connection


def _cut(connection: http.client.HTTPConnection) -> None:
    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # closed by itself this moment
