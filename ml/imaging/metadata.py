"""Taking everything out of an image file that is not pixels, without touching the pixels.

EXIF, XMP, IPTC, ICC profiles, comments, PNG text, embedded previews and whatever follows the end of the image
can name a patient. Each format is cut into its parts and only those needed to decode are kept, so that a kind
of metadata nobody thought of stays behind too. No pixel is decoded here. An orientation given by EXIF is lost
with it: whoever strips compares the pixels before and after.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# What decoding needs (PNG specification, third edition, section 5): header, palette, transparency, data, end.
_PNG_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
# RFC 9649, section 2: the bitstreams, the alpha plane and the extended header.
_WEBP_KEPT: Final = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH"})
_WEBP_FLAGS_KEPT: Final = 0x10
"""Of VP8X's flags, that an alpha plane is there; ICC, EXIF, XMP and animation are cleared."""

_SOI: Final = 0xD8
_EOI: Final = 0xD9
_SOS: Final = 0xDA
_APP0: Final = 0xE0
_APP14: Final = 0xEE
_APP15: Final = 0xEF
_COM: Final = 0xFE
# Markers without a length (ITU-T T.81, table B.1): RST0 to RST7, and TEM.
_BARE: Final = frozenset({*range(0xD0, 0xD8), 0x01})
_JFIF_HEADER: Final = 12
"""Bytes of a JFIF header up to its preview: identifier, version, density. The preview's two sizes follow."""
_ADOBE_HEADER: Final = 12
"""Bytes of Adobe's segment, which says how colours are coded."""


class _Unexpected(Exception):
    """The bytes do not follow the format; the caller decodes and encodes anew instead."""


def strip_metadata(data: bytes, kind: str) -> bytes | None:
    """The same image without metadata, or None where that can't be had without encoding it anew.

    Args:
        data: bytes of an image file.
        kind: its format, one of `ml.imaging.reading.FORMATS`. TIFF and BMP give None: a TIFF is made of tags.

    Returns:
        Bytes that decode to the same samples. None for bytes that don't follow their format; no error leaves
        here, whatever the bytes are.
    """
    try:
        match kind:
            case "JPEG":
                return b"".join(_jpeg_parts(data))
            case "PNG":
                return b"".join(_png_parts(data))
            case "WEBP":
                return _webp(data)
    except (_Unexpected, struct.error, IndexError):
        pass
    return None


def _jpeg_parts(data: bytes) -> Iterator[bytes]:
    """Segments of the first image of a JPEG file, up to and with its end (ITU-T T.81, annex B)."""
    if data[:2] != b"\xff\xd8":
        raise _Unexpected
    yield data[:2]
    at = 2
    while True:
        if data[at] != 0xFF:
            raise _Unexpected
        while data[at] == 0xFF:  # any number of fill bytes may stand before a marker
            at += 1
        marker = data[at]
        at += 1
        if marker == _EOI:
            yield b"\xff\xd9"
            return
        if marker in _BARE or marker in (0x00, _SOI):
            raise _Unexpected
        (length,) = struct.unpack_from(">H", data, at)
        end = at + length
        if length < 2 or end > len(data):
            raise _Unexpected
        kept = _jpeg_segment(marker, data[at + 2 : end])
        if kept is not None:
            yield struct.pack(">BBH", 0xFF, marker, len(kept) + 2) + kept
        at = end
        if marker == _SOS:
            scan_end = _end_of_scan(data, at)
            yield data[at:scan_end]
            at = scan_end


def _jpeg_segment(marker: int, payload: bytes) -> bytes | None:
    """What is kept of a segment: application segments lose all but what changes decoding."""
    if marker == _APP0 and payload.startswith(b"JFIF\x00") and len(payload) >= _JFIF_HEADER:
        return payload[:_JFIF_HEADER] + b"\x00\x00"
    if marker == _APP14 and payload.startswith(b"Adobe") and len(payload) >= _ADOBE_HEADER:
        return payload[:_ADOBE_HEADER]
    if _APP0 <= marker <= _APP15 or marker == _COM:
        return None
    return payload


def _end_of_scan(data: bytes, start: int) -> int:
    """Where the next marker stands after the entropy-coded data that begin at `start`."""
    at = start
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise _Unexpected
        following = data[at + 1]
        if following == 0x00 or following in _BARE:
            at += 2
        elif following == 0xFF:
            at += 1
        else:
            return at


def _png_parts(data: bytes) -> Iterator[bytes]:
    """Signature and needed chunks of a PNG file, up to and with IEND."""
    if not data.startswith(_PNG_SIGNATURE):
        raise _Unexpected
    yield _PNG_SIGNATURE
    at = len(_PNG_SIGNATURE)
    while True:
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise _Unexpected
        if name in _PNG_KEPT:
            body = data[at + 4 : end - 4]
            if zlib.crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
                raise _Unexpected
            if name != b"IEND":
                yield data[at:end]
            else:
                yield struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
                return
        elif not name[0] & 0x20:  # an unknown chunk that calls itself critical
            raise _Unexpected
        at = end


def _webp(data: bytes) -> bytes:
    """A WebP file of the needed chunks, with the flags and the size that fit them."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise _Unexpected
    (riff_size,) = struct.unpack_from("<I", data, 4)
    whole = min(8 + riff_size, len(data))
    at = 12
    kept: list[bytes] = []
    while at + 8 <= whole:
        name, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length
        if end > whole:
            raise _Unexpected
        if name in _WEBP_KEPT:
            payload = data[at + 8 : end]
            if name == b"VP8X":
                payload = _webp_extended_header(payload)
            kept.append(struct.pack("<4sI", name, len(payload)) + payload + b"\x00" * (len(payload) % 2))
        at = end + length % 2
    body = b"".join(kept)
    if not kept:
        raise _Unexpected
    return struct.pack("<4sI4s", b"RIFF", len(body) + 4, b"WEBP") + body


def _webp_extended_header(payload: bytes) -> bytes:
    """Flags cleared of what is left out, reserved bytes zeroed, canvas size kept."""
    if len(payload) < 10:
        raise _Unexpected
    return bytes([payload[0] & _WEBP_FLAGS_KEPT, 0, 0, 0]) + payload[4:10]
