"""Two texts word by word: what was taken out of the one, and what is new in the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from diagnosis.services.report_schema import ChangePart

MOST_WORDS: Final = 3000
"""Beyond that, comparing takes longer than a page may: the texts are shown whole."""

_WORDS: Final = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Piece:
    """A run of words that both texts have, or one of them alone."""

    text: str
    is_other: bool


@dataclass(frozen=True)
class Difference:
    """One difference between two reports, for a table: `old` or `new` is empty where there was, or is, nothing."""

    what: str
    old: Sequence[Piece]
    new: Sequence[Piece]


def differences(changes: Sequence[ChangePart]) -> list[Difference]:
    return [Difference(one["what"], *marked(one["old"], one["new"])) for one in changes]


def marked(old: str, new: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces, with those that the other one lacks marked; where little is common, each as a whole."""
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    if not old or not new or max(len(before), len(after)) > MOST_WORDS:
        return _whole(old), _whole(new)
    matcher = SequenceMatcher(None, before, after, autojunk=True)
    if matcher.ratio() < 0.4:  # a mosaic of small matches reads worse than the two texts
        return _whole(old), _whole(new)
    gone: list[Piece] = []
    come: list[Piece] = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if b > a:
            gone.append(Piece("".join(before[a:b]), kind != "equal"))
        if d > c:
            come.append(Piece("".join(after[c:d]), kind != "equal"))
    return gone, come


def _whole(text: str) -> list[Piece]:
    return [Piece(text, is_other=True)] if text else []
