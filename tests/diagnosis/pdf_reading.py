"""What a PDF holds, for tests: its text, and whether it claims and keeps what PDF/A-2 asks.

veraPDF, the reference, is a Java program and on no package index we use. What is checked here are the rules that a
report could break: the claim and its metadata, an output intent with its profile, every font inside the file, tags,
no encryption, no scripts, no links to the outside, no file of another kind.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

import pypdfium2
import pypdfium2.raw as raw

_STREAM = re.compile(
    rb"(<<(?:[^<>]|<[^<]|>(?!>)|<<(?:[^<>]|<<[^>]*>>)*>>)*>>)\s*stream\r?\n(.*?)\r?\nendstream", re.DOTALL
)
_FORBIDDEN = (
    b"/Encrypt",
    b"/JavaScript",
    b"/JS ",
    b"/Launch",
    b"/URI",
    b"/EmbeddedFile",
    b"/LZWDecode",
    b"/Movie",
)


def text_of(content: bytes) -> list[str]:
    """The text of every page."""
    with pypdfium2.PdfDocument(content) as pdf:
        return [page.get_textpage().get_text_range().replace("\r\n", "\n") for page in pdf]


def words_of(content: bytes) -> str:
    """All text on one line, zero-width spaces taken out."""
    return " ".join("\n".join(text_of(content)).replace("\u200b", "").replace("\u00a0", " ").split())


def objects_of(content: bytes) -> bytes:
    """The file with its object streams written out, so that what dictionaries say can be searched."""
    found = [content]
    for header, body in _STREAM.findall(content):
        if b"/ObjStm" in header and b"/FlateDecode" in header:
            found.append(zlib.decompress(body))
    return b"\n".join(found)


def pdfa_problems(content: bytes) -> list[str]:
    """What breaks PDF/A-2a, in words; empty where nothing that is looked at does."""
    written = objects_of(content)
    problems = [f"holds {word.decode()}" for word in _FORBIDDEN if word in written]
    if not re.match(rb"%PDF-1\.[4-7]\r?\n%[\x80-\xff]{4}", content):
        problems.append("does not begin as a PDF with a binary comment")
    for claim in (rb"<pdfaid:part>2</pdfaid:part>", rb"<pdfaid:conformance>A</pdfaid:conformance>"):
        if not re.search(claim, content):
            problems.append(f"the metadata lack {claim.decode()}")
    if b"/GTS_PDFA1" not in written or b"/DestOutputProfile" not in written:
        problems.append("has no output intent")
    if not re.search(rb"/MarkInfo\s*<<\s*/Marked true", written) or b"/StructTreeRoot" not in written:
        problems.append("is not tagged")
    if b"/Lang" not in written:
        problems.append("names no language")
    trailer = content[content.rfind(b"/Root") - 400 :]
    if b"/ID" not in trailer:
        problems.append("has no file identifier")
    return problems + _fonts_outside(content)


def _fonts_outside(content: bytes) -> list[str]:
    """Fonts of any text that are not in the file."""
    found = set()
    with pypdfium2.PdfDocument(content) as pdf:
        for page in pdf:
            for thing in page.get_objects(filter=[raw.FPDF_PAGEOBJ_TEXT], max_depth=5):
                font = raw.FPDFTextObj_GetFont(thing.raw)
                if raw.FPDFFont_GetIsEmbedded(font) != 1:
                    found.add(_name(font))
    return [f"the font {name} is not embedded" for name in sorted(found)]


def _name(font: Any) -> str:
    import ctypes

    buffer = ctypes.create_string_buffer(200)
    raw.FPDFFont_GetBaseFontName(font, buffer, 200)
    return buffer.value.decode()
