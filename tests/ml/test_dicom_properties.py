"""Whatever the bytes of a DICOM file, reading ends in pixels or in one sentence."""

from __future__ import annotations

import functools

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ml.imaging.reading import DicomImages, UnreadableImage, read_dicom, read_image
from tests.ml import dicom_files as dicom
from tests.ml.test_dicom import palette, rle

LIMIT = 10**6
thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@functools.cache
def valid_files() -> dict[str, bytes]:
    """One file a coding, of a picture with enough detail that every byte matters."""
    rng = np.random.default_rng(7)
    colour = rng.integers(0, 256, (12, 16, 3), np.uint8)
    grey = rng.integers(0, 2**16, (12, 16), np.uint16)
    return {
        "explicit": dicom.file(colour, PixelSpacing=[0.0001, 0.0001]),
        "implicit": dicom.written(dicom.dataset(colour), dicom.IMPLICIT),
        "deflated": dicom.written(dicom.dataset(colour), dicom.DEFLATED),
        "16 bit": dicom.file(grey),
        "big endian": dicom.written(dicom.dataset(grey), dicom.BIG_ENDIAN),
        "frames": dicom.file(np.stack([colour] * 3), frames=3),
        "palette": palette(),
        "rle": rle(colour),
        "rle of 16 bit": rle(grey),
        "jpeg": dicom.encoded(colour, "JPEG", dicom.JPEG),
        "jpeg 2000": dicom.encoded(colour, "JPEG2000", dicom.JPEG_2000),
    }


NAMES = ("explicit", "implicit", "deflated", "16 bit", "big endian", "frames", "palette", "rle", "rle of 16 bit",
         "jpeg", "jpeg 2000")  # fmt: skip


def survives(data: bytes) -> None:
    try:
        found = read_dicom(data, max_pixels=LIMIT)
    except UnreadableImage as error:
        sentence = str(error)
    else:
        sound(found)
        return
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "Secret" not in sentence


def sound(found: DicomImages) -> None:
    for image in found.images:
        assert image.pixels.shape == (image.height, image.width, 3)
        assert image.pixels.dtype == np.uint8
    assert sum(image.width * image.height for image in found.images) <= LIMIT


def test_every_file_is_valid_to_begin_with() -> None:
    assert set(NAMES) == set(valid_files())
    for data in valid_files().values():
        read_dicom(data)


@thorough
@given(st.binary(max_size=400))
@example(b"")
def test_random_bytes_behind_the_mark(data: bytes) -> None:
    survives(bytes(128) + b"DICM" + data)


@thorough
@given(st.sampled_from(NAMES), st.floats(0, 1, exclude_max=True))
def test_truncated_files(name: str, share: float) -> None:
    data = valid_files()[name]
    survives(data[: 132 + int((len(data) - 132) * share)])


@thorough
@given(
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=12),
    st.booleans(),
)
def test_flipped_bits(name: str, flips: list[tuple[float, int]], in_header: bool) -> None:
    data = bytearray(valid_files()[name])
    reach = min(len(data), 1200) if in_header else len(data)
    for share, bit in flips:
        data[132 + int(share * (reach - 132))] ^= 1 << bit
    survives(bytes(data))


@thorough
@given(st.sampled_from(NAMES), st.floats(0, 1), st.binary(min_size=1, max_size=40), st.integers(0, 12))
def test_replaced_bytes(name: str, share: float, extra: bytes, gone: int) -> None:
    data = valid_files()[name]
    at = 132 + int((len(data) - 132) * share)
    survives(data[:at] + extra + data[at + gone :])


@settings(deadline=None)
@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3))), st.booleans())
def test_lossless_round_trip(pixels: np.ndarray, packed: bool) -> None:
    data = rle(pixels) if packed else dicom.file(pixels)
    np.testing.assert_array_equal(read_image(data).pixels, pixels)
