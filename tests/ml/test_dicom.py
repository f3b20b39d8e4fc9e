"""DICOM files are read as they look, whatever their coding, or refused with one sentence; nobody's name gets out."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, pixel_array

from ml.imaging import MAX_PIXELS, reading
from ml.imaging.dicom import MOST_FRAMES, open_dicom
from ml.imaging.dicom_claims import BURNED_IN
from ml.imaging.reading import UnreadableImage, read_dicom, read_image, sniff_format
from tests.ml import dicom_files as dicom

SAMPLES = Path(pydicom.__path__[0]) / "data" / "test_files"
"""Files of other people's writers, which come with pydicom."""

HEIGHT, WIDTH = 48, 64


def scene(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A smooth picture with another colour in each corner, so that turning or swapping channels shows."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=2).astype(
        np.uint8
    )


GREY = scene()[..., 0]
DEEP = (GREY.astype(np.uint16) << 8) + 37


def refusal(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read_image(data)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rle(pixels: np.ndarray, **elements: Any) -> bytes:
    made = dicom.dataset(pixels, **elements)
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = dicom.EXPLICIT
    made.compress(dicom.RLE, encoding_plugin="pydicom", generate_instance_uid=False)
    return dicom.written(made, dicom.RLE)


def planar() -> bytes:
    by_channel = np.ascontiguousarray(scene().transpose(2, 0, 1)).tobytes()
    return dicom.file(scene(), PlanarConfiguration=1, PixelData=by_channel)


def ybr() -> np.ndarray:
    return np.asarray(Image.fromarray(scene()).convert("YCbCr"))


def halved() -> bytes:
    """YBR_FULL_422, uncompressed: two pixels share their colour differences."""
    values = ybr().reshape(-1, 2, 3)
    packed = np.stack([values[:, 0, 0], values[:, 1, 0], values[:, 0, 1], values[:, 0, 2]], axis=1).astype(
        np.uint8
    )
    return dicom.file(scene(), PhotometricInterpretation="YBR_FULL_422", PixelData=packed.tobytes())


def palette(bits: int = 16, syntax: str = dicom.EXPLICIT) -> bytes:
    """Indices from 10 on into three tables that hold 256 colours."""
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    ramp = np.arange(256)
    for name, table in (("Red", ramp), ("Green", 255 - ramp), ("Blue", ramp // 2)):
        entries = (table * 257).astype("<u2") if bits == 16 else table.astype(np.uint8)
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 10, bits]
        elements[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    return dicom.written(dicom.dataset(GREY, **elements), syntax)


def palette_colours() -> np.ndarray:
    index = np.clip(GREY.astype(int) - 10, 0, 255)
    return np.stack([index, 255 - index, index // 2], axis=2)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def test_it_is_known_by_its_mark_even_behind_a_picture_s_beginning() -> None:
    data = dicom.file(scene())
    assert sniff_format(data) == "DICOM"
    as_tiff = b"II*\x00" + data[4:]
    assert sniff_format(as_tiff) == "DICOM"
    np.testing.assert_array_equal(read_image(as_tiff).pixels, scene())


@pytest.mark.parametrize(
    ("make", "expected", "within"),
    [
        pytest.param(lambda: dicom.file(scene()), scene(), 0, id="rgb"),
        pytest.param(lambda: dicom.file(scene(), kind=dicom.PHOTOGRAPHIC), scene(), 0, id="photograph"),
        pytest.param(lambda: dicom.file(scene(), kind=dicom.CAPTURE), scene(), 0, id="capture"),
        pytest.param(lambda: dicom.written(dicom.dataset(scene()), dicom.IMPLICIT), scene(), 0, id="implicit"),
        pytest.param(lambda: dicom.written(dicom.dataset(scene()), dicom.DEFLATED), scene(), 0, id="deflated"),
        pytest.param(planar, scene(), 0, id="planar"),
        pytest.param(
            lambda: dicom.file(ybr(), PhotometricInterpretation="YBR_FULL"), scene(), 3, id="ybr"
        ),
        pytest.param(halved, scene(), 8, id="ybr-422"),
        pytest.param(palette, palette_colours(), 0, id="palette"),
        pytest.param(lambda: palette(8), palette_colours(), 0, id="palette-of-8-bit"),
        pytest.param(lambda: palette(16, dicom.IMPLICIT), palette_colours(), 0, id="palette-implicit"),
        pytest.param(lambda: dicom.file(GREY), grey(GREY), 0, id="grey"),
        pytest.param(
            lambda: dicom.file(GREY, PhotometricInterpretation="MONOCHROME1"), grey(255 - GREY), 0, id="inverse"
        ),
        pytest.param(lambda: dicom.file(DEEP), grey(GREY), 1, id="grey-of-16-bit"),
        pytest.param(
            lambda: dicom.file(GREY.astype(np.uint16) * 16, BitsStored=12, HighBit=11), grey(GREY), 1,
            id="grey-of-12-bit",
        ),
        pytest.param(
            lambda: dicom.file(DEEP, PhotometricInterpretation="MONOCHROME1"), grey(255 - GREY), 1,
            id="inverse-of-16-bit",
        ),
        pytest.param(lambda: rle(scene()), scene(), 0, id="rle"),
        pytest.param(lambda: rle(GREY), grey(GREY), 0, id="rle-grey"),
        pytest.param(lambda: rle(DEEP), grey(GREY), 1, id="rle-of-16-bit"),
        pytest.param(lambda: dicom.encoded(scene(), "JPEG", dicom.JPEG), scene(), 8, id="jpeg"),
        pytest.param(lambda: dicom.encoded(GREY, "JPEG", dicom.JPEG), grey(GREY), 4, id="jpeg-grey"),
        pytest.param(lambda: dicom.encoded(scene(), "JPEG2000", dicom.JPEG_2000), scene(), 0, id="jpeg-2000"),
    ],
)  # fmt: skip
def test_it_is_read_as_it_looks(make: Callable[[], bytes], expected: np.ndarray, within: int) -> None:
    image = read_image(make())

    assert (image.format, image.width, image.height) == ("DICOM", WIDTH, HEIGHT)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.c_contiguous
    assert np.abs(image.pixels.astype(int) - expected.astype(int)).max() <= within


def test_big_endian_files_are_read() -> None:
    made = dicom.dataset(DEEP)
    made["PixelData"].value = DEEP.astype(">u2").tobytes()
    assert (
        np.abs(read_image(dicom.written(made, dicom.BIG_ENDIAN)).pixels[..., 0].astype(int) - GREY).max() <= 1
    )


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_+eb+cy+n2.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm",
        "SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm",
        "SC_rgb_small_odd_jpeg.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm",
        "SC_jpeg_no_color_transform.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_gdcm_KY.dcm",
    ],
)  # fmt: skip
def test_files_of_other_writers_look_as_pydicom_shows_them(name: str) -> None:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip("not among pydicom's files")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shown = pixel_array(path)
    if shown.dtype == np.uint16:
        shown = shown >> 8
    assert np.abs(read_image(path).pixels.astype(int) - shown.astype(int)).max() <= 2


def test_a_palette_looks_as_pydicom_shows_it() -> None:
    made = pydicom.dcmread(SAMPLES / "examples_palette.dcm")
    made.SOPClassUID = dicom.CAPTURE  # an ultrasound picture, which is not read as such
    shown = apply_color_lut(made.pixel_array, made) >> 8
    np.testing.assert_array_equal(read_image(dicom.written(made)).pixels, shown)


# --- frames, scale and what a person should look at


def test_every_frame_is_a_picture_and_says_which() -> None:
    stack = np.stack([scene(), scene()[::-1], scene()[:, ::-1]])
    found = read_dicom(dicom.file(stack, frames=3)).images

    assert [one.notes for one in found] == [("frame 1 of 3",), ("frame 2 of 3",), ("frame 3 of 3",)]
    for one, expected in zip(found, stack, strict=True):
        np.testing.assert_array_equal(one.pixels, expected)
    assert "several frames" in refusal(dicom.file(stack, frames=3))


def test_frames_of_run_lengths_are_found() -> None:
    stack = np.stack([scene(), scene()[::-1]])
    made = dicom.dataset(stack, frames=2)
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = dicom.EXPLICIT
    made.compress(dicom.RLE, encoding_plugin="pydicom", generate_instance_uid=False)
    found = read_dicom(dicom.written(made, dicom.RLE)).images
    np.testing.assert_array_equal([one.pixels for one in found], stack)


def test_of_many_frames_the_first_are_taken_and_the_note_says_so() -> None:
    stack = np.repeat(scene(4, 4)[None], MOST_FRAMES + 4, axis=0)
    found = read_dicom(dicom.file(stack, frames=MOST_FRAMES + 4)).images
    assert len(found) == MOST_FRAMES
    assert found[0].notes[0] == "frame 1 of 20, of which 16 were taken in"


def test_frames_together_have_no_more_pixels_than_one_image_may() -> None:
    stack = np.repeat(scene()[None], 5, axis=0)
    opened = open_dicom(dicom.file(stack, frames=5), max_pixels=2 * WIDTH * HEIGHT + 1, max_bytes=10**9)
    assert (opened.frames, opened.taken) == (5, 2)


@pytest.mark.parametrize(
    ("spacing", "note"),
    [
        ([0.000105, 0.000105], "0.105 µm a pixel by its file"),
        ([1, 1], None),  # what writers put that don't know
        ([0.0001, 0.0002], None),  # not square
        ([0, 0], None),
        ([-0.0001, -0.0001], None),
    ],
)
def test_its_scale_is_told_where_it_can_be_true(spacing: list[float], note: str | None) -> None:
    notes = read_image(dicom.file(scene(), PixelSpacing=spacing)).notes
    assert notes == (() if note is None else (note,))


@pytest.mark.parametrize(
    ("kind", "told", "warned"),
    [
        (dicom.MICROSCOPIC, "NO", False),
        (dicom.MICROSCOPIC, None, False),
        (dicom.MICROSCOPIC, "YES", True),
        (dicom.CAPTURE, "NO", False),
        (dicom.CAPTURE, None, True),
        (dicom.CAPTURE, "YES", True),
    ],
)
def test_burned_in_text_is_warned_of(kind: str, told: str | None, warned: bool) -> None:
    data = dicom.file(scene(), kind=kind, BurnedInAnnotation=told)
    assert (BURNED_IN in read_image(data).notes) is warned
    assert read_dicom(data).may_show_text is warned


def test_nothing_tells_whose_it_is_but_what_is_to_be_compared(caplog: pytest.LogCaptureFixture) -> None:
    found = read_dicom(dicom.file(scene(), StudyDate="no date", PatientID="P-17"))
    assert found.claims.patient_id == "P-17"
    assert found.claims.accession_number == "H-1001"
    told = repr(found) + repr(found.images[0].notes) + caplog.text
    for secret in ("Secret", "P-17", "H-1001", "1970"):
        assert secret not in told


# --- what is refused


def changed(**elements: Any) -> Callable[[], bytes]:
    return lambda: dicom.file(scene(), **elements)


def whole_slide() -> bytes:
    return dicom.file(scene(), kind="1.2.840.10008.5.1.4.1.1.77.1.6", TotalPixelMatrixColumns=100_000)


def without_pixels() -> bytes:
    made = dicom.dataset(scene())
    data = dicom.written(made)
    return data[: data.rindex(b"\xe0\x7f\x10\x00")]


def with_syntax(syntax: str) -> bytes:
    return dicom.written(dicom.dataset(scene(), PixelData=encapsulate([b"\xff\xd8\xff\xd9"])), syntax)


def segmented() -> bytes:
    return dicom.file(
        GREY, PhotometricInterpretation="PALETTE COLOR", SegmentedRedPaletteColorLookupTableData=b"\0\0"
    )


def twelve_bit_jpeg() -> bytes:
    made = pydicom.dcmread(SAMPLES / "JPGExtended.dcm")
    made.SOPClassUID = dicom.CAPTURE
    return dicom.written(made, "1.2.840.10008.1.2.4.51")


def huge_jpeg() -> bytes:
    """A small frame whose own header says 60,000 x 60,000."""
    data = bytearray(dicom.encoded(scene(), "JPEG", dicom.JPEG))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    return bytes(data)


def of_another_size() -> bytes:
    return dicom.encoded(scene(24, 24), "JPEG", dicom.JPEG, Rows=48, Columns=64)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (whole_slide, "whole slide in tiles"),
        (changed(TotalPixelMatrixColumns=4096), "whole slide in tiles"),
        (changed(kind="1.2.840.10008.5.1.4.1.1.2"), r"no microscope picture.*CT Image Storage"),
        (changed(kind="1.2.3.4"), "no microscope picture.*unknown kind"),
        (without_pixels, "holds no picture"),
        (changed(Rows=60_000, Columns=60_000), "3600 megapixels, more than the 50"),
        (changed(Rows=0), "incomplete or damaged"),
        (changed(Rows=49), "incomplete or damaged"),
        (changed(NumberOfFrames=-1), "incomplete or damaged"),
        (changed(NumberOfFrames=5), "incomplete or damaged"),
        (changed(PhotometricInterpretation="CMYK"), "colours that can't be read"),
        (changed(SamplesPerPixel=4), "colours that can't be read"),
        (changed(BitsAllocated=32, BitsStored=32), "32-bit pixels"),
        (changed(PixelRepresentation=1), "colours with signs"),
        (lambda: dicom.file(DEEP, PixelRepresentation=1), "negative values"),
        (lambda: with_syntax("1.2.840.10008.1.2.4.80"), "compressed as JPEG-LS.*export"),
        (lambda: with_syntax("1.2.840.10008.1.2.4.70"), "compressed as JPEG Lossless.*export"),
        (lambda: with_syntax("1.2.840.10008.1.2.4.102"), "a video"),
        (lambda: with_syntax(dicom.JPEG).replace(b".1.2.4.50", b".1.2.9.50"), "a way that is not known"),
        (lambda: with_syntax(dicom.JPEG), "incomplete or damaged"),
        (twelve_bit_jpeg, "compressed as JPEG Extended.* with 12 bits"),
        (segmented, "palette in segments"),
        (huge_jpeg, "incomplete or damaged"),
        (of_another_size, "incomplete or damaged"),
        (lambda: bytes(128) + b"DICM", "incomplete or damaged"),
        (lambda: bytes(128) + b"DICM" + bytes(500), "incomplete or damaged"),
    ],
)
def test_what_is_refused_and_how(make: Callable[[], bytes], words: str) -> None:
    with pytest.raises(UnreadableImage, match=words) as caught:
        read_image(make())
    assert str(caught.value).endswith(".")


def test_a_deflated_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dicom.written(dicom.dataset(scene()), dicom.DEFLATED)
    meta = 132 + 12 + int.from_bytes(whole[140:144], "little")
    bomb = zlib.compressobj(9, wbits=-15)
    packed = bomb.compress(bytes(8 * 2**20)) + bomb.flush()
    monkeypatch.setattr(reading, "MAX_BYTES", 2**20)

    assert "unpacks to more than the 1 MB" in refusal(whole[:meta] + packed)


def test_a_bomb_of_run_lengths_is_not_unpacked() -> None:
    """A 10x10 picture whose segments would unpack to 64 MB each."""
    segment = b"\x81\xff" * 500_000
    header = struct.pack("<16L", 3, 64, 64 + len(segment), 64 + 2 * len(segment), *[0] * 12)
    data = dicom.dataset(scene(10, 10), PixelData=encapsulate([header + segment * 3]))
    assert "incomplete or damaged" in refusal(dicom.written(data, dicom.RLE))


@pytest.mark.parametrize(
    "make", [lambda: dicom.file(scene()), lambda: rle(scene()), lambda: dicom.encoded(scene(), "JPEG", dicom.JPEG)]
)  # fmt: skip
def test_a_file_cut_anywhere_is_refused_or_the_same_picture(make: Callable[[], bytes]) -> None:
    data = make()
    whole = read_image(data).pixels
    for length in range(132, len(data), max(len(data) // 80, 1)):
        try:
            cut = read_image(data[:length]).pixels
        except UnreadableImage:
            continue
        np.testing.assert_array_equal(cut, whole)


def test_the_limit_is_that_of_every_image() -> None:
    sizes = Dataset()
    sizes.Rows = 10_000
    assert sizes.Rows * 5_000 == MAX_PIXELS
    assert "megapixels" in refusal(dicom.file(scene(), Rows=10_000, Columns=5_001))
    assert "incomplete" in refusal(dicom.file(scene(), Rows=10_000, Columns=5_000))
