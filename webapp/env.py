"""Strict, typed readers for settings in the environment.

A value that cannot be understood stops the start with a sentence that names the variable; it is never
silently replaced by a default. An empty string counts as not set, so that compose files can pass
``${NAME:-}`` through. Nothing here needs Django: the supervisor reads the same variables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path


class EnvironmentProblem(Exception):
    """A variable of the environment is missing or wrong; the message names it and what it should be."""


class Env:
    """Reads one environment. ``source`` defaults to this process's own variables."""

    def __init__(self, source: Mapping[str, str] | None = None) -> None:
        self._source = os.environ if source is None else source

    def text(self, name: str, default: str = "") -> str:
        """Return the value of ``name`` without surrounding blanks, or ``default`` when unset or empty."""
        return self._source.get(name, "").strip() or default

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a yes-or-no value: true/yes/on/1 or false/no/off/0, in any case of letters."""
        value = self.text(name).lower()
        if not value:
            return default
        if value in {"1", "true", "yes", "on"}:
            return True
        if value in {"0", "false", "no", "off"}:
            return False
        raise EnvironmentProblem(f"{name} must be true or false, not {value!r}.")

    def integer(self, name: str, default: int, *, minimum: int = 0, maximum: int | None = None) -> int:
        """Return a whole number between ``minimum`` and ``maximum`` (both included)."""
        value = self.text(name)
        if not value:
            return default
        try:
            number = int(value)
        except ValueError:
            raise EnvironmentProblem(f"{name} must be a whole number, not {value!r}.") from None
        if number < minimum or (maximum is not None and number > maximum):
            limits = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
            raise EnvironmentProblem(f"{name} must be {limits}, not {number}.")
        return number

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        """Return one of ``allowed``."""
        value = self.text(name, default)
        if value not in allowed:
            raise EnvironmentProblem(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
        return value

    def listing(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        """Return the comma-separated values of ``name``, blanks and empty entries dropped."""
        value = self.text(name)
        if not value:
            return list(default)
        return [part.strip() for part in value.split(",") if part.strip()]

    def networks(self, name: str) -> list[IPv4Network | IPv6Network]:
        """Return the comma-separated IP networks or single addresses of ``name``."""
        found = []
        for part in self.listing(name):
            try:
                found.append(ip_network(part))
            except ValueError:
                raise EnvironmentProblem(
                    f"{name} must list IP networks as 10.20.0.0/16, not {part!r}."
                ) from None
        return found

    def path(self, name: str, default: Path) -> Path:
        """Return an absolute path; a relative one is taken from the current folder, ``~`` is expanded."""
        value = self.text(name)
        return Path(value).expanduser().absolute() if value else default.absolute()

    def secret(self, name: str, default: str = "") -> str:
        """Return ``name``, or what the file named by ``name_FILE`` holds (Docker and Kubernetes secrets)."""
        value, file_name = self.text(name), self.text(f"{name}_FILE")
        if value and file_name:
            raise EnvironmentProblem(f"Set {name} or {name}_FILE, not both.")
        if not file_name:
            return value or default
        try:
            content = Path(file_name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentProblem(
                f"{name}_FILE names {file_name}, which cannot be read: {error}."
            ) from error
        if not content:
            raise EnvironmentProblem(f"{name}_FILE names {file_name}, which is empty.")
        return content
