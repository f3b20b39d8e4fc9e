"""Every kind of file a laboratory drops is read as it looks, or refused with one sentence."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ml.imaging import MAX_PIXELS
from ml.imaging.reading import MAX_BYTES, UnreadableImage, read_image, sniff_format

# Pillow warns of what it finds in damaged or huge headers.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")

HEIGHT, WIDTH = 48, 64


def scene() -> np.ndarray:
    """A smooth picture with another colour in each corner, so that turning or swapping channels shows."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, (x + y) * 255 // (WIDTH + HEIGHT)], axis=2).astype(
        np.uint8
    )


def saved(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def refusal(source: bytes | Path, **options: Any) -> str:
    """The sentence a file is refused with."""
    with pytest.raises(UnreadableImage) as caught:
        read_image(source, **options)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def png(bit_depth: int, colour_type: int, samples: np.ndarray) -> bytes:
    """A PNG written byte by byte: Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = samples.shape[:2]
    rows = b"".join(b"\x00" + row.astype(">u2" if bit_depth == 16 else "u1").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_come_back_exactly(kind: str) -> None:
    image = read_image(saved(scene(), kind))
    assert image.format == kind
    assert (image.width, image.height) == (WIDTH, HEIGHT)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.c_contiguous
    assert image.notes == ()
    np.testing.assert_array_equal(image.pixels, scene())


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 95}), ("JPEG", {"progressive": True}), ("WEBP", {})]
)
def test_lossy_formats_come_back_closely(kind: str, options: dict[str, Any]) -> None:
    image = read_image(saved(scene(), kind, **options))
    assert image.format == kind
    assert np.abs(image.pixels.astype(int) - scene()).mean() < 4


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_is_read(compression: str) -> None:
    np.testing.assert_array_equal(read_image(saved(scene(), "TIFF", compression=compression)).pixels, scene())


def test_a_path_is_read_like_bytes(tmp_path: Path) -> None:
    path = tmp_path / "field.jpg"  # the name lies, the bytes count
    path.write_bytes(saved(scene(), "PNG"))
    assert read_image(path).format == "PNG"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_orientation_of_the_camera_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.transpose(a, (1, 0, 2)),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.transpose(a, (1, 0, 2)), 2),
        8: lambda a: np.rot90(a, 1),
    }
    options: dict[str, Any] = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    image = read_image(saved(scene(), kind, exif=exif, **options))
    expected = upright[orientation](scene())
    assert image.pixels.shape == expected.shape
    assert (image.height, image.width) == expected.shape[:2]
    assert np.abs(image.pixels.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_of_16_bit_tiff_is_applied(orientation: int) -> None:
    data = tiff_of_16_bit(scene().astype(np.uint16) * 257, orientation)
    expected = np.rot90(scene(), {1: 0, 3: 2, 6: -1, 8: 1}[orientation])
    np.testing.assert_array_equal(read_image(data).pixels, expected)


def tiff_of_16_bit(samples: np.ndarray, orientation: int) -> bytes:
    """An uncompressed 16-bit RGB TIFF, written byte by byte: neither Pillow nor OpenCV writes one with an
    orientation.
    """
    height, width = samples.shape[:2]
    pixels = samples.astype("<u2").tobytes()
    short, long = 3, 4
    entries = [
        (256, long, 1, width), (257, long, 1, height), (258, short, 3, 8 + len(pixels)), (259, short, 1, 1),
        (262, short, 1, 2), (273, long, 1, 8), (274, short, 1, orientation), (277, short, 1, 3),
        (278, long, 1, height), (279, long, 1, len(pixels)),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    depths = struct.pack("<HHH", 16, 16, 16)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(pixels) + len(depths))
    return head + pixels + depths + struct.pack("<H", len(entries)) + directory + bytes(4)


def test_metadata_does_not_survive() -> None:
    exif = Image.Exif()
    exif[0x010E] = "patient 4711"
    assert not hasattr(read_image(saved(scene(), "JPEG", exif=exif)), "info")


def test_damaged_exif_is_no_reason_to_refuse() -> None:
    data = saved(scene(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken")
    assert read_image(data).pixels.shape == (HEIGHT, WIDTH, 3)


def test_grey_becomes_equal_channels() -> None:
    grey = scene()[..., 2]
    image = read_image(saved(grey, "PNG"))
    np.testing.assert_array_equal(image.pixels, np.repeat(grey[..., None], 3, axis=2))
    assert image.notes == ("a greyscale image",)


def test_black_and_white_is_read() -> None:
    bits = scene()[..., 0] > 128
    np.testing.assert_array_equal(read_image(saved(Image.fromarray(bits), "TIFF")).pixels[..., 0], bits * 255)


def test_a_palette_is_looked_up() -> None:
    picture = Image.fromarray(scene()).quantize(64)
    np.testing.assert_array_equal(
        read_image(saved(picture, "PNG")).pixels, np.asarray(picture.convert("RGB"))
    )


def test_a_transparent_palette_entry_is_laid_on_white() -> None:
    picture = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (8, 8)), mode="P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    pixels = read_image(saved(picture, "PNG", transparency=0)).pixels
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 1].tolist() == [40, 50, 60]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_laid_on_white(kind: str) -> None:
    rgba = np.dstack([scene(), np.full((HEIGHT, WIDTH), 128, np.uint8)])
    rgba[:8, :8, 3] = 0
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    image = read_image(saved(rgba, kind, **options))
    expected = (scene().astype(int) * 128 + 255 * 127) / 255
    assert np.abs(image.pixels[10:, 10:] - expected[10:, 10:]).max() <= 1
    assert (image.pixels[:8, :8] == 255).all()
    assert image.notes == ("transparent parts laid on white",)


def test_full_opacity_changes_nothing() -> None:
    rgba = np.dstack([scene(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    image = read_image(saved(rgba, "PNG"))
    np.testing.assert_array_equal(image.pixels, scene())
    assert image.notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(kind: str) -> None:
    """Adobe's JPEGs store CMYK inverted; read plainly, a white field would be black."""
    white_then_dark = np.full((HEIGHT, WIDTH, 3), 245, np.uint8)
    white_then_dark[:, WIDTH // 2 :] = (90, 40, 150)
    picture = Image.fromarray(white_then_dark).convert("CMYK")
    image = read_image(saved(picture, kind))
    assert np.abs(image.pixels.astype(int) - white_then_dark).mean() < 6
    assert image.notes == ("converted from print colours (CMYK)",)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_scaled_not_clipped(colour_type: int, channels: int) -> None:
    deep = np.dstack([scene(), np.full((HEIGHT, WIDTH), 255, np.uint8)]).astype(np.uint16) * 257
    chosen = {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    pixels = read_image(png(16, colour_type, deep[..., chosen])).pixels
    expected = scene() if channels > 2 else np.repeat(scene()[..., :1], 3, axis=2)
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_16_bit_colour_tiff_is_scaled_with_rounding() -> None:
    deep = (
        scene().astype(np.uint16) * 257
    ) // 256 * 256 + 200  # the high byte alone would round all of it down
    ok, data = cv2.imencode(".tiff", deep[..., ::-1])
    assert ok
    expected = np.rint(deep / 257.0)
    np.testing.assert_array_equal(read_image(data.tobytes()).pixels, expected)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_depth_of_a_scientific_camera_is_recognised(bits: int) -> None:
    """Twelve significant bits in sixteen must not come out black."""
    top = 2**bits - 1
    deep = np.rint(scene().astype(float) / scene().max() * top).astype(np.uint16)
    ok, data = cv2.imencode(".png", deep[..., ::-1])
    assert ok
    image = read_image(data.tobytes())
    np.testing.assert_allclose(image.pixels, deep / top * 255, atol=0.51)
    assert image.notes == (f"{bits}-bit values scaled to 8-bit",)


def test_16_bit_grey_is_not_white() -> None:
    grey = scene()[..., 0].astype(np.uint16) * 257
    grey[0, 0] = 65535
    pixels = read_image(saved(Image.fromarray(grey), "TIFF")).pixels
    np.testing.assert_array_equal(pixels[1:, 1:, 1], scene()[1:, 1:, 0])


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floating_point_tiff_is_not_black(top: float) -> None:
    grey = (np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * top).astype(np.float32)
    pixels = read_image(saved(Image.fromarray(grey), "TIFF")).pixels
    np.testing.assert_allclose(pixels[..., 0], grey / top * 255, atol=0.51)


def test_32_bit_integers_are_scaled() -> None:
    grey = (np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 4095).astype(np.int32)
    pixels = read_image(saved(Image.fromarray(grey), "TIFF")).pixels
    np.testing.assert_allclose(pixels[..., 0], grey / 4095 * 255, atol=0.51)


@pytest.mark.parametrize(
    ("value", "word"), [(np.nan, "undefined"), (np.inf, "undefined"), (-3.0, "negative")]
)
def test_values_no_camera_writes_are_refused(value: float, word: str) -> None:
    grey = np.ones((HEIGHT, WIDTH), np.float32)
    grey[3, 3] = value
    assert word in refusal(saved(Image.fromarray(grey), "TIFF"))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "empty" in refusal(b"")
    empty = tmp_path / "field.png"
    empty.touch()
    assert "empty" in refusal(empty)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "can't be opened" in refusal(tmp_path / "gone.png")
    assert "can't be opened" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"Dear colleague, please find the smear attached.\n", "text"),
        ("Grüße aus dem Labor\n".encode(), "text"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"PK\x03\x04" + bytes(60), "ZIP"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(60), "HEIC"),
        (saved(scene(), "GIF"), "GIF"),
        (saved(scene(), "JPEG2000"), "JPEG 2000"),
        (b"\x7fELF" + bytes(range(1, 200)), "not an image"),
    ],
)
def test_other_files_are_called_by_their_name(data: bytes, word: str) -> None:
    sentence = refusal(data)
    assert word in sentence
    assert "JPEG, PNG, TIFF, BMP, WebP or DICOM" in sentence


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_several_pictures_in_one_file_are_refused(kind: str) -> None:
    frames = [Image.fromarray(np.roll(scene(), shift, axis=1)) for shift in (5, 10)]
    data = saved(scene(), kind, save_all=True, append_images=frames)
    assert ("several pages" if kind == "TIFF" else "animation") in refusal(data)


def test_the_reduced_copies_of_a_tiff_are_not_further_pages() -> None:
    preview = Image.fromarray(scene()[::2, ::2])
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    data = saved(scene(), "TIFF", save_all=True, append_images=[preview])
    np.testing.assert_array_equal(read_image(data).pixels, scene())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, share: float) -> None:
    noisy = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    data = saved(noisy, kind)
    assert "incomplete or damaged" in refusal(data[: int(len(data) * share)])


def test_a_png_with_a_flipped_pixel_bit_is_refused() -> None:
    data = bytearray(saved(scene(), "PNG", compress_level=0))
    data[len(data) // 2] ^= 1
    assert "incomplete or damaged" in refusal(bytes(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_too_many_pixels_are_refused_before_decoding(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(scene(), kind)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    monkeypatch.setattr("PIL.WebPImagePlugin.WebPImageFile.load", never)
    assert f"{WIDTH}x{HEIGHT}" in refusal(data, max_pixels=WIDTH * HEIGHT - 1)


def test_exactly_the_limit_is_read() -> None:
    assert read_image(saved(scene(), "PNG"), max_pixels=WIDTH * HEIGHT).width == WIDTH


def test_a_small_file_of_100_megapixels_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    ihdr = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    body = zlib.compress(bytes(1000))
    idat = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    assert "megapixels" in refusal(b"\x89PNG\r\n\x1a\n" + ihdr + idat)


def test_a_webp_of_a_huge_canvas_is_refused_from_its_header() -> None:
    canvas = (16_383).to_bytes(3, "little") * 2
    data = (
        b"RIFF" + struct.pack("<I", 40) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\x00\x00\x00\x00" + canvas
    )
    assert "16384x16384 = 268 megapixels" in refusal(data + bytes(20))


def test_the_limit_can_be_lowered_but_not_raised() -> None:
    data = (
        b"BM"
        + struct.pack("<IHHI", 1000, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 9000, 9000, 1, 24, *[0] * 6)
    )
    assert MAX_PIXELS < 9000 * 9000
    assert "megapixels" in refusal(data + bytes(1000), max_pixels=10**12)


def test_a_file_of_two_gigabytes_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    with path.open("wb") as file:
        file.write(b"II*\x00")
        file.truncate(2 * 2**30)  # sparse: it takes no space
    assert "2.0 GB" in refusal(path)
    assert MAX_BYTES < 2 * 2**30


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_the_first_bytes_tell_the_format(kind: str) -> None:
    assert sniff_format(saved(scene(), kind)) == kind
