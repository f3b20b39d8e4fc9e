"""Whatever the bytes, reading ends in an image or in one sentence; lossless images come back as they were."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from ml.imaging.reading import UnreadableImage, read_image

# Pillow warns of what it finds in damaged headers.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"II*\x00",
    b"MM\x00*",
    b"BM",
    b"RIFF\x40\x00\x00\x00WEBPVP8X",
)
LIMIT = 10**6  # damaged headers may claim any size below it, and Pillow allocates that

thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def valid_files() -> dict[str, bytes]:
    """One file a kind and mode, of a picture with enough detail that every byte matters."""
    rng = np.random.default_rng(7)
    colour = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    files = {}
    for kind in FORMATS:
        for mode in ("RGB", "L", "RGBA", "P", "CMYK", "I;16"):
            buffer = BytesIO()
            picture = (
                Image.fromarray(rng.integers(0, 2**16, (24, 32), np.uint16))
                if mode == "I;16"
                else colour.convert(mode)
            )
            try:
                picture.save(buffer, kind)
            except (OSError, ValueError):  # formats don't have every mode
                continue
            files[f"{kind} {mode}"] = buffer.getvalue()
    deflated = BytesIO()
    colour.save(deflated, "TIFF", compression="tiff_adobe_deflate")
    deep = rng.integers(0, 2**16, (24, 32, 3), np.uint16)
    return {
        **files,
        "TIFF deflated": deflated.getvalue(),
        "TIFF of 16 bits": cv2.imencode(".tiff", deep)[1].tobytes(),
        "PNG of 16 bits": cv2.imencode(".png", deep)[1].tobytes(),
    }


VALID = valid_files()


def survives(data: bytes) -> None:
    """Reading gives sound pixels or an `UnreadableImage` with a sentence; any other error fails the test."""
    try:
        image = read_image(data, max_pixels=LIMIT)
    except UnreadableImage as error:
        sentence = str(error)
    else:
        assert image.pixels.shape == (image.height, image.width, 3)
        assert image.pixels.dtype == np.uint8
        assert image.width * image.height <= LIMIT
        return
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_every_kind_is_among_the_valid_files() -> None:
    assert {name.split()[0] for name in VALID} == set(FORMATS)
    for data in VALID.values():
        assert read_image(data).pixels.shape == (24, 32, 3)


@thorough
@given(st.binary(max_size=400))
@example(b"")
def test_random_bytes(data: bytes) -> None:
    survives(data)


@thorough
@given(st.sampled_from(MAGIC), st.binary(max_size=400))
def test_random_bytes_behind_the_right_beginning(magic: bytes, data: bytes) -> None:
    survives(magic + data)


@thorough
@given(st.sampled_from(sorted(VALID)), st.floats(0, 1, exclude_max=True))
def test_truncated_files(name: str, share: float) -> None:
    survives(VALID[name][: int(len(VALID[name]) * share)])


@thorough
@given(
    st.sampled_from(sorted(VALID)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=12),
    st.booleans(),
)
def test_flipped_bits(name: str, flips: list[tuple[float, int]], in_header: bool) -> None:
    data = bytearray(VALID[name])
    reach = min(len(data), 200) if in_header else len(data)  # headers are where decoders stumble
    for share, bit in flips:
        data[int(share * reach)] ^= 1 << bit
    survives(bytes(data))


@thorough
@given(st.sampled_from(sorted(VALID)), st.floats(0, 1), st.binary(min_size=1, max_size=40))
def test_inserted_bytes(name: str, share: float, extra: bytes) -> None:
    at = int(len(VALID[name]) * share)
    survives(VALID[name][:at] + extra + VALID[name][at:])


@settings(deadline=None)
@given(
    npst.arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3))),
    st.sampled_from(["PNG", "TIFF", "BMP", "WEBP"]),
)
def test_lossless_round_trip(pixels: np.ndarray, kind: str) -> None:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(read_image(buffer.getvalue()).pixels, pixels)


@settings(deadline=None)
@given(npst.arrays(np.uint16, st.tuples(st.integers(1, 16), st.integers(1, 16))))
def test_16_bit_grey_keeps_its_order(values: np.ndarray) -> None:
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    read = read_image(buffer.getvalue()).pixels[..., 0].astype(int)
    order = np.argsort(values, axis=None)
    assert (np.diff(read.ravel()[order]) >= 0).all()
    assert read.max() == (255 if values.max() > 0 else 0) or values.max() not in (
        255,
        1023,
        4095,
        16383,
        65535,
    )


@pytest.mark.parametrize("name", sorted(VALID))
def test_every_single_truncation_of_a_file(name: str) -> None:
    """A file cut anywhere is never read as if the picture had been different."""
    whole = read_image(VALID[name]).pixels
    for length in range(0, len(VALID[name]), max(len(VALID[name]) // 60, 1)):
        try:
            cut = read_image(VALID[name][:length]).pixels
        except UnreadableImage:
            continue
        np.testing.assert_array_equal(cut, whole)
