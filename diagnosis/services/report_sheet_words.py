"""What the parts of a printed report share: dates and times in words, names cut to fit, paragraphs."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

SHORT: Final = 24
"""Characters of a name at the head of a page."""


def day(value: str) -> str:
    """`2026-11-26` as `26 Nov 2026`."""
    found = date.fromisoformat(value)
    return f"{found.day} {found:%b %Y}"


def moment(value: str | None) -> str:
    """An ISO time as `26 Nov 2026, 10:20 UTC`."""
    if not value:
        return ""
    found = datetime.fromisoformat(value).astimezone(UTC)
    return f"{found.day} {found:%b %Y, %H:%M} UTC"


def shortened(text: str) -> str:
    """For the head of every page, which has one line; the first page has it whole."""
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def lines_of(text: str) -> list[str]:
    """Lines, without those that are empty."""
    return [line for line in (line.strip() for line in text.splitlines()) if line]


def paragraphs_of(text: str) -> list[list[str]]:
    """Paragraphs, which empty lines part, each as its lines."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            found[-1].append(line.rstrip())
        elif found[-1]:
            found.append([])
    return [lines for lines in found if lines]
