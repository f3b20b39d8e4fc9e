"""Two codings of DICOM's pixels: run lengths (PS3.5, annex G) and palettes (PS3.3, C.7.6.3.1.5 and 6)."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

_HEADER: Final = 64
"""Bytes of a frame before its segments: how many there are, and where each begins."""

Samples = npt.NDArray[Any]


class DamagedPixels(ValueError):
    """Pixels that don't decode to what the header says."""


def run_lengths(data: bytes, width: int, height: int, samples: int, size: int) -> Samples:
    """Decode a frame of run lengths.

    Every byte of every sample is a segment of its own, the highest first. No segment is decoded beyond the size of the
    picture: 2 bytes can say 128, so a file of 100 MB could fill the memory otherwise.

    Args:
        data: one frame, with its header.
        size: bytes a sample, 1 or 2.

    Returns:
        (H, W) or (H, W, 3) of uint8 or uint16.
    """
    if len(data) < _HEADER:
        raise DamagedPixels
    count, *offsets = struct.unpack_from("<16L", data)
    if count != samples * size:
        raise DamagedPixels
    bounds = [*offsets[:count], len(data)]
    if any(start < _HEADER or start > end for start, end in pairwise(bounds)):
        raise DamagedPixels
    pixels = width * height
    values = np.zeros((pixels, samples), np.uint8 if size == 1 else np.uint16)
    for number, (start, end) in enumerate(pairwise(bounds)):
        sample, byte = divmod(number, size)
        segment = np.frombuffer(_unpacked(data, start, end, pixels), np.uint8)
        values[:, sample] |= segment.astype(values.dtype) << (8 * (size - 1 - byte))
    shape = (height, width) if samples == 1 else (height, width, samples)
    return values.reshape(shape)


def _unpacked(data: bytes, at: int, end: int, length: int) -> bytes:
    """Exactly `length` bytes of a segment; what a writer adds to make its length even is left out."""
    out = bytearray()
    while len(out) < length:
        if at >= end:
            raise DamagedPixels
        code = data[at]
        if code < 128:
            part = data[at + 1 : min(at + 2 + code, end)]
            if len(part) != code + 1:
                raise DamagedPixels
            out += part
            at += 2 + code
        elif code > 128:
            if at + 1 >= end:
                raise DamagedPixels
            out += data[at + 1 : at + 2] * (257 - code)
            at += 2
        else:
            at += 1
    if len(out) != length:
        raise DamagedPixels
    return bytes(out)


def from_palette(values: Samples, dataset: Dataset, is_little_endian: bool) -> npt.NDArray[np.uint8]:
    """Colours of (H, W) indices by the three tables of a file."""
    channels = [_table(dataset, colour, is_little_endian, values) for colour in ("Red", "Green", "Blue")]
    return np.stack(channels, axis=2)


def _table(dataset: Dataset, colour: str, is_little_endian: bool, values: Samples) -> npt.NDArray[np.uint8]:
    count, first, bits = _descriptor(dataset, colour, is_little_endian)
    raw = dataset[f"{colour}PaletteColorLookupTableData"].value
    if not isinstance(raw, bytes):  # one entry, read as a number
        raise DamagedPixels
    count = count or 2**16
    if bits not in (8, 16) or len(raw) < count * bits // 8:
        raise DamagedPixels
    if bits == 8 and len(raw) < 2 * count:
        entries: Samples = np.frombuffer(raw, np.uint8, count)
    else:  # also tables of 8 bits that give each entry a word
        entries = np.frombuffer(raw, "<u2" if is_little_endian else ">u2", count)
        # Some writers say 16 bits and mean 8.
        entries = entries >> 8 if bits == 16 and entries.max() > 255 else entries
    found = np.clip(values.astype(np.int32) - first, 0, count - 1)
    return np.asarray(entries.astype(np.uint8)[found])


def _descriptor(dataset: Dataset, colour: str, is_little_endian: bool) -> tuple[int, int, int]:
    """How many entries, the value that the first is for, and how many bits."""
    told = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value
    if isinstance(told, bytes):  # an implicit file does not say whether it is signed
        told = struct.unpack("<3H" if is_little_endian else ">3H", told)
    count, first, bits = (int(value) for value in told)
    return count, first, bits
