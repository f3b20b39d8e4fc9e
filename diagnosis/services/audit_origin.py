"""Where a deed comes from: the request that is being answered, kept for as long as it is."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Origin:
    """A request: the address it came from, and how many events it has left so far."""

    address: str | None = None
    recorded: int = 0


_CURRENT: ContextVar[Origin | None] = ContextVar("audit_origin", default=None)


def current() -> Origin | None:
    """The request that is being answered; None in a worker or a command."""
    return _CURRENT.get()


@contextmanager
def coming_from(address: str | None) -> Iterator[Origin]:
    """Within it, events are recorded as coming from `address`."""
    origin = Origin(normal_address(address))
    token = _CURRENT.set(origin)
    try:
        yield origin
    finally:
        _CURRENT.reset(token)


def normal_address(text: str | None) -> str | None:
    """An IP address in its one spelling, an IPv4 one mapped into IPv6 as itself; None for what is none."""
    try:
        address = ipaddress.ip_address((text or "").strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def client_address(*, peer: str, forwarded_for: str, proxies: int) -> str | None:
    """The address of the browser, given who connected and what `X-Forwarded-For` says.

    Each trusted proxy adds the address that it saw to the end of that list; so of `proxies` of them, the entry that
    many from the end is the first that no browser can forge. Without proxies the list is not looked at.
    """
    seen = [part.strip() for part in forwarded_for.split(",")] if proxies and forwarded_for else []
    if len(seen) >= proxies > 0:
        return normal_address(seen[-proxies]) or normal_address(peer)
    return normal_address(peer)
