"""Whatever an image file carries beside its pixels is gone, and its pixels are not touched."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from ml.imaging.metadata import strip_metadata
from ml.imaging.reading import FORMATS, read_image

SECRET = b"Jane Doe 1970-01-01"


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x010E] = SECRET.decode()  # ImageDescription
    tags[0x013B] = SECRET.decode()  # Artist
    return tags


def saved(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def png_chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def loaded_jpeg(pixels: np.ndarray, **options: object) -> bytes:
    """A JPEG with a secret in every place one is known to hide in."""
    plain = saved(pixels, "JPEG", exif=exif(), comment=SECRET, icc_profile=SECRET, **options)
    extra = b"".join(
        [
            jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00<x>" + SECRET + b"</x>"),
            jpeg_segment(0xE0, b"JFXX\x00\x10" + SECRET),
            jpeg_segment(0xED, b"Photoshop 3.0\x00" + SECRET),
            jpeg_segment(0xEC, SECRET),
            jpeg_segment(0xFE, SECRET),
        ]
    )
    return plain[:2] + extra + plain[2:] + SECRET


def loaded_png(pixels: np.ndarray) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", SECRET.decode())
    text.add_itxt("Patient", SECRET.decode(), zip=False)
    plain = saved(pixels, "PNG", pnginfo=text, exif=exif(), icc_profile=SECRET)
    head, rest = plain[:33], plain[33:]
    return (
        head
        + png_chunk(b"prVt", SECRET)
        + png_chunk(b"tIME", b"\x07\xb2\x01\x01\x00\x00\x00")
        + rest
        + SECRET
    )


def loaded_webp(pixels: np.ndarray, **options: object) -> bytes:
    return saved(pixels, "WEBP", exif=exif(), xmp=b"<x>" + SECRET + b"</x>", icc_profile=SECRET, **options)


CARRIERS = {
    "JPEG": ("JPEG", loaded_jpeg),
    "progressive JPEG": ("JPEG", lambda p: loaded_jpeg(p, progressive=True)),
    "JPEG with restart markers": ("JPEG", lambda p: loaded_jpeg(p, restart_marker_rows=1)),
    "PNG": ("PNG", loaded_png),
    "lossless WebP": ("WEBP", lambda p: loaded_webp(p, lossless=True)),
    "lossy WebP": ("WEBP", loaded_webp),
}


@pytest.mark.parametrize("name", CARRIERS)
def test_metadata_goes_and_pixels_stay(name, pixels):
    kind, make = CARRIERS[name]
    data = make(pixels)
    assert SECRET in data
    stripped = strip_metadata(data, kind)
    assert stripped is not None
    assert SECRET not in stripped
    assert len(stripped) < len(data)
    assert np.array_equal(read_image(stripped).pixels, read_image(data).pixels)


@pytest.mark.parametrize("name", CARRIERS)
def test_stripping_twice_changes_nothing_more(name, pixels):
    kind, make = CARRIERS[name]
    once = strip_metadata(make(pixels), kind)
    assert strip_metadata(once, kind) == once


def test_compressed_text_goes_too(pixels):
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", SECRET.decode(), zip=True)
    data = saved(pixels, "PNG", pnginfo=text)
    assert b"zTXt" in data
    assert b"zTXt" not in strip_metadata(data, "PNG")


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_colour_modes_survive(mode, pixels):
    picture = Image.fromarray(pixels).convert(mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    buffer = io.BytesIO()
    picture.save(buffer, kind, exif=exif())
    stripped = strip_metadata(buffer.getvalue(), kind)
    assert np.array_equal(read_image(stripped).pixels, read_image(buffer.getvalue()).pixels)


def test_webp_keeps_its_transparency(pixels):
    rgba = np.dstack([pixels, np.arange(48 * 64, dtype=np.uint32).reshape(48, 64).astype(np.uint8)])
    data = loaded_webp(rgba)
    stripped = strip_metadata(data, "WEBP")
    assert SECRET not in stripped
    assert Image.open(io.BytesIO(stripped)).mode == "RGBA"
    assert np.array_equal(read_image(stripped).pixels, read_image(data).pixels)


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
def test_what_is_not_cut_in_place_gives_none(kind, pixels):
    assert strip_metadata(saved(pixels, kind), kind) is None


def test_a_preview_inside_the_jfif_header_goes(pixels):
    plain = saved(pixels, "JPEG")
    preview = b"JFIF\x00\x01\x02\x00\x00\x01\x00\x01\x02\x02" + SECRET[:12]
    data = plain[:2] + jpeg_segment(0xE0, preview) + plain[20:]
    stripped = strip_metadata(data, "JPEG")
    assert SECRET[:12] not in stripped
    assert np.array_equal(read_image(stripped).pixels, read_image(plain).pixels)


@pytest.mark.parametrize("name", CARRIERS)
def test_a_file_cut_anywhere_gives_none_or_bytes_and_never_an_error(name, pixels):
    kind, make = CARRIERS[name]
    data = make(pixels[:8, :8])
    for length in range(0, len(data), 3):
        result = strip_metadata(data[:length], kind)
        assert result is None or SECRET not in result


@given(st.binary(max_size=300), st.sampled_from(FORMATS))
@settings(max_examples=300)
def test_any_bytes_give_none_or_bytes(data, kind):
    result = strip_metadata(data, kind)
    assert result is None or isinstance(result, bytes)


@st.composite
def nearly_images(draw: st.DrawFn) -> tuple[str, bytes]:
    """A small loaded image in which a few bytes were changed, taken out or put in."""
    kind, make = CARRIERS[draw(st.sampled_from(sorted(CARRIERS)))]
    data = bytearray(make(np.full((8, 8, 3), draw(st.integers(0, 255)), np.uint8)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return kind, bytes(data)


@given(nearly_images())
@settings(max_examples=200, deadline=None)
def test_damaged_images_give_none_or_bytes(damaged):
    kind, data = damaged
    result = strip_metadata(data, kind)
    assert result is None or isinstance(result, bytes)


@given(payload=st.binary(min_size=12, max_size=200), marker=st.sampled_from([*range(0xE0, 0xF0), 0xFE]))
@settings(max_examples=150, deadline=None)
def test_no_application_segment_of_a_jpeg_survives(payload, marker):
    plain = saved(np.full((8, 8, 3), 90, np.uint8), "JPEG")
    secret = b"\x01\x02" + payload + b"\x03\x04"
    data = plain[:2] + jpeg_segment(marker, secret) + plain[2:]
    assert strip_metadata(data, "JPEG") == strip_metadata(plain, "JPEG")
