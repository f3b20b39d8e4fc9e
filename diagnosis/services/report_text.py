"""Text for print: what the report's font can't show is told by its number, and nothing in a name is an instruction.

The font is DejaVu Sans, which comes in matplotlib's wheel: its table of characters can be read, so that a name in a
script it lacks is known before PDF/A refuses it. matplotlib itself is never imported here.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

FONTS: Final = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
LONGEST_WORD: Final = 20
"""Characters without a place to break at; a longer word gets one every `A_PIECE`, which the widest fit a column."""
A_PIECE: Final = 10

ZERO_WIDTH_SPACE: Final = "\u200b"
_LONG: Final = re.compile(rf"[^\s{ZERO_WIDTH_SPACE}]{{{LONGEST_WORD + 1},}}")
_HASH: Final = re.compile("[0-9a-f]{64}")
_INVISIBLE: Final = frozenset("\u00ad\u200b\u200c\u200d\ufe0e\ufe0f")
"""They change how their neighbours look, and are left out without loss."""


class FontsMissing(RuntimeError):
    """The fonts that reports are set in are not installed."""


@lru_cache(maxsize=1)
def font_folder() -> Path:
    """The folder of the fonts.

    Raises:
        FontsMissing: matplotlib, whose wheel brings them, is not installed.
    """
    found = find_spec("matplotlib")
    for place in (found.submodule_search_locations or []) if found is not None else []:
        folder = Path(place) / "mpl-data" / "fonts" / "ttf"
        if all((folder / name).is_file() for name in FONTS):
            return folder
    raise FontsMissing("The fonts of reports are not installed: install what requirements.txt lists.")


@lru_cache(maxsize=1)
def _shown() -> frozenset[int]:
    """Code points that the font has in both weights."""
    from fontTools.ttLib import TTFont

    tables = []
    for name in FONTS:
        with TTFont(font_folder() / name, lazy=True) as font:
            tables.append(set(font.getBestCmap()))
    return frozenset(set.intersection(*tables))


def printable(text: str) -> str:
    """The text as the font can show it, composed (NFC); a character it lacks as `[U+65E5]`.

    Signs that turn the direction of text around are told by their number too: they could make a line read otherwise
    than what was signed.
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " "))
    text = text.replace(" %", "\u00a0%")  # a figure and its sign stay on one line
    if text.isascii() and text.isprintable():
        return _breakable(text)
    return _breakable("".join(_sign(sign) for sign in text if sign not in _INVISIBLE))


def _sign(sign: str) -> str:
    if sign == "\n":
        return sign
    if unicodedata.category(sign) == "Zs":
        return "\u00a0" if sign == "\u00a0" else " "
    hidden = unicodedata.category(sign)[0] == "C"
    return sign if not hidden and ord(sign) in _shown() else f"[U+{ord(sign):04X}]"


def _breakable(text: str) -> str:
    """The text with places to break at in words that no line could hold; a hash has its place and is copied whole."""
    return _LONG.sub(
        lambda found: found[0] if _HASH.fullmatch(found[0]) else ZERO_WIDTH_SPACE.join(_pieces(found[0])),
        text,
    )


def _pieces(word: str) -> list[str]:
    return [word[start : start + A_PIECE] for start in range(0, len(word), A_PIECE)]


def printable_all(value: Any) -> Any:
    """Every string inside JSON, keys apart, as `printable` gives it."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: printable_all(one) for key, one in value.items()}
    return [printable_all(one) for one in value] if isinstance(value, list | tuple) else value
