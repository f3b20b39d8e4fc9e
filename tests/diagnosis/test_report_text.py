"""Text for print: what the font lacks is told by its number, and nothing runs out of its column."""

from __future__ import annotations

from pathlib import Path

import pytest

from diagnosis.services import report_text
from diagnosis.services.report_text import FontsMissing, printable, printable_all


@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        ("H-1001", "H-1001"),
        ("Łódź, Größe 3 µm, ≥ 10⁹", "Łódź, Größe 3 µm, ≥ 10⁹"),
        ("привет Ελλάδα שלום مرحبا", "привет Ελλάδα שלום مرحبا"),
        ("日本", "[U+65E5][U+672C]"),
        ("😀", "😀"),
        ("🧬", "[U+1F9EC]"),
        ("a\u0301", "á"),
        ("a\r\nb\tc", "a\nb c"),
        ("nul\x00", "nul[U+0000]"),
        ("abc\u202ecba", "abc[U+202E]cba"),  # would turn the line around
        ("\ue000", "[U+E000]"),
        ("soft\u00adhyphen", "softhyphen"),
        ("wide\u3000space", "wide space"),
        ("97.3 %", "97.3\u00a0%"),
    ],
)
def test_what_is_printed(typed: str, printed: str) -> None:
    assert printable(typed) == printed


def test_a_long_word_gets_places_to_break_at_and_loses_nothing() -> None:
    printed = printable("W" * 64)
    assert max(map(len, printed.split("\u200b"))) <= 10
    assert printed.replace("\u200b", "") == "W" * 64
    for whole in ("Immunophenotyping", "0123456789abcdef" * 4):
        assert printable(whole) == whole


def test_every_text_inside_is_printed_and_keys_and_numbers_stay() -> None:
    assert printable_all({"日": ["日", 1, None, {"a": ("b",)}]}) == {
        "日": ["[U+65E5]", 1, None, {"a": ["b"]}]
    }


def test_missing_fonts_are_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report_text.font_folder.cache_clear()
    monkeypatch.setattr(report_text, "FONTS", ("NoSuchFont.ttf",))
    with pytest.raises(FontsMissing, match=r"requirements\.txt"):
        report_text.font_folder()
    report_text.font_folder.cache_clear()
