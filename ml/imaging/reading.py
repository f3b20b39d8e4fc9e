"""Reading an uploaded file into RGB pixels, or refusing it with one sentence its owner can act on.

Pillow decodes, because OpenCV returns half an image for a truncated JPEG without an error. OpenCV decodes
16-bit colour alone (Pillow keeps only the high byte of each value), and only after Pillow has read the same
bytes to the end. DICOM is read by `ml.imaging.dicom`. All metadata stays behind; the EXIF orientation is applied to
the pixels first.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from ml.imaging import MAX_PIXELS
from ml.imaging.dicom_claims import Claims, Refused

MAX_BYTES: Final = 100 * 2**20
FORMATS: Final = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "DICOM")

_FORMATS_IN_WORDS: Final = "JPEG, PNG, TIFF, BMP, WebP or DICOM"
_MAX_PAGES: Final = 32
_EXIF_ORIENTATION: Final = 0x0112
_TIFF_BITS_PER_SAMPLE: Final = 258
_TIFF_NEW_SUBFILE_TYPE: Final = 254

# Pillow only warns between one and two times its limit, and decodes. Every read checks the size itself; this
# is the second lock.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# What Pillow finds odd in a damaged header is the uploader's business, told by a sentence, and not the log's.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

RGB = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.generic]

_DAMAGED: Final = "The image is incomplete or damaged: copy it from the microscope again."
_DAMAGED_DICOM: Final = "The DICOM file is incomplete or damaged: export it again."
_EXPORT: Final = "export it from the camera software as 8-bit TIFF or PNG."

# First bytes of files people drop by mistake, and what to call them.
_KNOWN_OTHERS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"GIF8", "a GIF"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\xd0\xcf\x11\xe0", "an office document"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"8BPS", "a Photoshop document"),
)


class UnreadableImage(Exception):
    """The file can't be read as a smear image. `str()` of it is the one sentence to show beside the file's
    name.
    """


@dataclass(frozen=True)
class DecodedImage:
    """An image as it stands upright, without any metadata.

    `pixels` is (height, width, 3) uint8 RGB, C-contiguous. `format` is one of `FORMATS`. `notes` says in
    words what had to be converted on the way ("turned upright as the camera recorded"), and is empty for a
    plain 8-bit colour image.
    """

    pixels: RGB
    format: str
    width: int
    height: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DicomImages:
    """What was taken from a DICOM file: its frames as images, whose it says it is, and whether burned-in text may show.

    `claims` is for comparing with the case alone, and must not be kept.
    """

    images: tuple[DecodedImage, ...]
    claims: Claims
    may_show_text: bool


def read_image(source: bytes | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decode `source`, the bytes of a file or its path.

    The number of pixels is checked from the header before any pixel is decoded. `max_pixels` can lower the
    limit, never raise it above `MAX_PIXELS`.

    Raises:
        UnreadableImage: for anything that is not one whole still image of a supported format. No other error
            leaves here, whatever the bytes are.
    """
    with _in_one_sentence():
        data = _bytes_of(source)
        if sniff_format(data) == "DICOM":
            return _only_frame(data, max_pixels)
        return _decode(data, min(max_pixels, MAX_PIXELS))


def read_dicom(data: bytes, *, max_pixels: int = MAX_PIXELS) -> DicomImages:
    """Decode the frames of a DICOM file, the first of them where there are many.

    `max_pixels` holds for the frames together. Raises UnreadableImage as `read_image` does, if any of them can't be
    read.
    """
    from ml.imaging.dicom import open_dicom  # here: pydicom takes its time, and few processes read such files

    with _in_one_sentence(_DAMAGED_DICOM):
        opened = open_dicom(data, max_pixels=max_pixels, max_bytes=MAX_BYTES)
        frames = [opened.frame(index) for index in range(opened.taken)]
        images = tuple(
            DecodedImage(one.pixels, "DICOM", opened.width, opened.height, one.notes) for one in frames
        )
        return DicomImages(images, opened.claims, opened.may_show_text)


@contextmanager
def _in_one_sentence(damaged: str = _DAMAGED) -> Iterator[None]:
    """Turn whatever is raised for the bytes of a file into UnreadableImage."""
    try:
        yield
    except UnreadableImage:
        raise
    except Refused as refusal:
        raise UnreadableImage(str(refusal)) from refusal
    except MemoryError as error:
        raise UnreadableImage(
            "The image needs more memory than there is: save it at a smaller size."
        ) from error
    except (
        Exception
    ) as error:  # Pillow raises a dozen kinds (SyntaxError, struct.error, KeyError, ...) for damaged files
        raise UnreadableImage(damaged) from error


def _only_frame(data: bytes, max_pixels: int) -> DecodedImage:
    """The picture of a DICOM file that holds one."""
    images = read_dicom(data, max_pixels=max_pixels).images
    if len(images) > 1:
        raise UnreadableImage("The DICOM file holds several frames: save each field as a file of its own.")
    return images[0]


def _bytes_of(source: bytes | os.PathLike[str]) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        size = len(source)
    else:
        try:
            size = Path(source).stat().st_size
        except OSError as error:
            raise UnreadableImage(
                "The file can't be opened: check that it still exists and may be read."
            ) from error
    if size == 0:
        raise UnreadableImage("The file is empty (0 bytes): copy it from the microscope again.")
    if size > MAX_BYTES:
        raise UnreadableImage(
            f"The file has {_megabytes(size)}, more than the {_megabytes(MAX_BYTES)} allowed: "
            "save it as JPEG, or crop it."
        )
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise UnreadableImage(
            "The file can't be opened: check that it still exists and may be read."
        ) from error


def _megabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"


def sniff_format(data: bytes) -> str | None:
    """The format the first bytes claim, one of `FORMATS`, or None. File names are not asked: they lie."""
    if data[128:132] == b"DICM":  # before the others: its preamble may make a file a TIFF as well
        return "DICOM"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "TIFF"
    if data.startswith(b"BM"):
        return "BMP"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def _decode(data: bytes, max_pixels: int) -> DecodedImage:
    kind = sniff_format(data)
    if kind is None:
        raise UnreadableImage(f"{_what_it_is(data)}: save the field as {_FORMATS_IN_WORDS}.")
    if (
        kind == "WEBP"
    ):  # Pillow's decoder allocates the whole canvas on opening, so its header is read here first
        _check_pixels(*_webp_size(data), max_pixels)
    try:
        image = Image.open(BytesIO(data), formats=(kind,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(
            f"The image has more than the {max_pixels // 10**6} megapixels allowed: crop it."
        ) from error
    with image:
        _check_pixels(*image.size, max_pixels)
        _refuse_several(image, kind)
        if kind == "PNG":
            _verify_png(data)
        orientation = _orientation(image, kind)
        image.load()
        notes: list[str] = []
        pixels = _rgb(image, kind, data, notes)
    if orientation != 1:
        pixels = _UPRIGHT[orientation](pixels)
        notes.append("turned upright as the camera recorded")
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    return DecodedImage(pixels, kind, width, height, tuple(notes))


def _what_it_is(data: bytes) -> str:
    for start, name in _KNOWN_OTHERS:
        if data.startswith(start):
            return f"The file is {name}, not an image that can be read"
    if data[4:8] == b"ftyp":
        return "The file is a video or a HEIC or AVIF picture, which can't be read"
    head = data[:512]
    if all(byte in b"\t\n\r\f\x1b" or byte >= 32 for byte in head) and b"\x7f" not in head:
        return "The file is text, not an image"
    return "The file is not an image that can be read"


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise UnreadableImage(_DAMAGED)
    if width * height > max_pixels:
        raise UnreadableImage(
            f"The image has {width}x{height} = {width * height / 1e6:.0f} megapixels, more than the "
            f"{max_pixels / 1e6:.3g} allowed: crop it, or save it at a smaller size."
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Canvas size by the WebP container specification (RFC 9649, sections 2.5 to 2.7)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise UnreadableImage(_DAMAGED)


def _refuse_several(image: Image.Image, kind: str) -> None:
    """Refuse animations and documents of several pages; reduced copies of the first page (pyramids, previews)
    are ignored.
    """
    if kind == "TIFF":
        for page in range(1, _MAX_PAGES + 1):
            try:
                image.seek(page)
            except EOFError:
                break
            if not int(image.tag_v2.get(_TIFF_NEW_SUBFILE_TYPE, 0)) & 1:  # type: ignore[attr-defined]
                raise UnreadableImage(
                    "The TIFF file holds several pages: save each field as a file of its own."
                )
        image.seek(0)
    elif kind != "JPEG" and getattr(
        image, "is_animated", False
    ):  # a JPEG's further frames are previews of the camera
        raise UnreadableImage(
            "The file is an animation, not one still image: save one picture of it as PNG or JPEG."
        )


def _verify_png(data: bytes) -> None:
    """Check the sum of every chunk: decoding skips those of the pixels, and shows damage as colour."""
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        image.verify()


def _orientation(image: Image.Image, kind: str) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or it can't be read. Pillow turns TIFF upright by
    itself.
    """
    if kind == "TIFF":
        return 1
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged metadata is no reason to refuse good pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


_UPRIGHT: Final[dict[int, Callable[[RGB], RGB]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


def _rgb(image: ImageFile.ImageFile | Image.Image, kind: str, data: bytes, notes: list[str]) -> RGB:
    """The loaded image as (H, W, 3) uint8. Adds to `notes` what was converted."""
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        notes.append("a greyscale image")
        return np.repeat(_to_8_bit(np.asarray(image), notes)[..., None], 3, axis=2)
    if mode in ("RGB", "RGBA") and _is_16_bit(image, kind, data):
        return _colour_of_16_bit(data, image.size, notes)
    if mode == "CMYK":
        notes.append("converted from print colours (CMYK)")
        return np.asarray(image.convert("RGB"))
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _on_white(image.convert("RGBA"), notes)
    if mode in ("1", "L"):
        notes.append("a greyscale image")
    return np.asarray(image.convert("RGB"))


def _is_16_bit(image: Image.Image, kind: str, data: bytes) -> bool:
    if kind == "PNG":
        return data[24] == 16  # IHDR: bit depth follows width and height
    if kind == "TIFF":
        bits = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
        return bool(max(bits) > 8)
    return False


def _colour_of_16_bit(data: bytes, size: tuple[int, int], notes: list[str]) -> RGB:
    import cv2  # here, so that processes that read no such file don't pay for it

    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    width, height = size
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[:2] != (height, width):
        raise UnreadableImage(
            "The image holds 16-bit colour in a form that can't be read: save it with 8 bits a channel."
        )
    if values.shape[2] == 4:
        colour = _to_8_bit(values[..., 2::-1], notes)
        opacity = _lookup(values[..., 3:], 65535.0)
        return _on_white(Image.fromarray(np.concatenate([colour, opacity], axis=2)), notes)
    return _to_8_bit(values[..., ::-1], notes)


def _on_white(image: Image.Image, notes: list[str]) -> RGB:
    """Lay an RGBA picture on white, the colour of an empty bright field."""
    opacity = image.getchannel("A")
    if opacity.getextrema() == (255, 255):
        return np.asarray(image.convert("RGB"))
    notes.append("transparent parts laid on white")
    sheet = Image.new("RGB", image.size, (255, 255, 255))
    sheet.paste(image, mask=opacity)
    return np.asarray(sheet)


def _to_8_bit(values: Samples, notes: list[str]) -> npt.NDArray[np.uint8]:
    """Scale samples of any type to 0..255.

    Scientific cameras write 10, 12 or 14 significant bits into 16, without saying so. The smallest of these
    depths that holds the largest value is taken as the full scale. Floating point files run from 0 to 1, or
    as integers do.

    Raises:
        UnreadableImage: for negative or undefined values, which no camera writes.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnreadableImage(f"The image holds undefined values: {_EXPORT}")
    if values.min() < 0:
        raise UnreadableImage(f"The image holds negative values: {_EXPORT}")
    largest = float(values.max())
    if values.dtype.kind == "f" and largest <= 1.0:
        full, name = 1.0, "floating point"
    else:
        depth = next((bits for bits in (8, 10, 12, 14, 16, 24, 32) if largest <= 2**bits - 1), None)
        if depth is None:
            raise UnreadableImage(f"The image holds values beyond 32 bits: {_EXPORT}")
        full, name = float(2**depth - 1), f"{depth}-bit"
    notes.append(f"{name} values scaled to 8-bit")
    if values.dtype == np.uint16:
        return _lookup(values, full)
    return np.asarray(np.rint(values.astype(np.float32) * np.float32(255.0 / full)), np.uint8)


def _lookup(values: Samples, full: float) -> npt.NDArray[np.uint8]:
    """Scale uint16 samples by a table: a sixth of the memory that arithmetic on 50 megapixels takes."""
    table = np.rint(np.minimum(np.arange(2**16) * (255.0 / full), 255.0)).astype(np.uint8)
    return np.asarray(table[values])
