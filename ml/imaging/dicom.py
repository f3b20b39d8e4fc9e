"""Reading the pictures of a DICOM file, and nothing of whom they show.

Single pictures and small stacks of a microscope or a camera are read: VL Microscopic, VL Slide-Coordinates, VL
Photographic and Secondary Capture (DICOM PS3.3, A.32 and A.8). The elements that decode pixels are asked for by name
(`_WANTED`), and every other stays unread: names, dates, UIDs, private elements, overlays and previews never leave the
file. That is stricter than the Basic Application Level Confidentiality Profile (PS3.15, annex E), which removes what it
lists. Patient ID and accession number are read for one comparison, and whoever asks must not keep them.

Sizes are checked before anything is decoded or inflated, and run lengths are decoded here, where a run can't write more
than the picture holds.
"""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from ml.imaging import MAX_PIXELS
from ml.imaging.dicom_claims import BURNED_IN, Claims, Refused
from ml.imaging.dicom_pixels import from_palette, run_lengths

MOST_FRAMES: Final = 16
"""Frames taken from one file; together they may have no more pixels than one image."""

SCALE_UM: Final = (0.01, 5.0)
"""Micrometres a pixel that a microscope's camera can have; writers that don't know theirs put 1 mm."""

Pixels = npt.NDArray[np.uint8]

DAMAGED: Final = "The DICOM file is incomplete or damaged: export it again."
_EXPORT: Final = "export the picture as JPEG or PNG, or as uncompressed DICOM"

_MICROSCOPIC: Final = "1.2.840.10008.5.1.4.1.1.77.1.2"
_SLIDE_COORDINATES: Final = "1.2.840.10008.5.1.4.1.1.77.1.3"
_PHOTOGRAPHIC: Final = "1.2.840.10008.5.1.4.1.1.77.1.4"
_WHOLE_SLIDE: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
_CAPTURES: Final = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.7",
        "1.2.840.10008.5.1.4.1.1.7.2",
        "1.2.840.10008.5.1.4.1.1.7.3",
        "1.2.840.10008.5.1.4.1.1.7.4",
    }
)
READ: Final = _CAPTURES | {_MICROSCOPIC, _SLIDE_COORDINATES, _PHOTOGRAPHIC}
"""SOP classes that are read."""

_IMPLICIT: Final = "1.2.840.10008.1.2"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_RUN_LENGTHS: Final = "1.2.840.10008.1.2.5"
_JPEG: Final = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})

_JPEG_2000: Final = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})

_WANTED: Final = tuple(
    int(tag_for_keyword(keyword) or 0)
    for keyword in (
        "SOPClassUID",
        "PatientID",
        "AccessionNumber",
        "BurnedInAnnotation",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "PixelRepresentation",
        "PixelSpacing",
        "TotalPixelMatrixColumns",
        "RedPaletteColorLookupTableDescriptor",
        "GreenPaletteColorLookupTableDescriptor",
        "BluePaletteColorLookupTableDescriptor",
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
        "SegmentedRedPaletteColorLookupTableData",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "PixelData",
    )
)
_PIXEL_DATA: Final = 0x7FE00010

# What pydicom finds odd in a file it tells with the value, which may be a name: no log and no console is told.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom(\.|$)")


@dataclass(frozen=True)
class Frame:
    """One picture: (H, W, 3) uint8 RGB, and in words what was converted and what is to be known of it."""

    pixels: Pixels
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Dicom:
    """A DICOM file whose header was checked and whose pixels wait to be decoded.

    `taken` frames of `frames` are given out. `um_per_pixel` is what the file says, where it can be true.
    """

    frames: int
    taken: int
    width: int
    height: int
    um_per_pixel: float | None
    may_show_text: bool
    claims: Claims
    _decode: Callable[[int], tuple[Pixels, list[str]]] = field(repr=False)

    def frame(self, index: int) -> Frame:
        """Decode a frame, 0 to `taken` - 1. Raises Refused, and for damaged pixels whatever the decoder raises."""
        pixels, notes = self._decode(index)
        if self.frames > 1:
            which = f"frame {index + 1} of {self.frames}"
            notes.insert(
                0, which if self.taken == self.frames else f"{which}, of which {self.taken} were taken in"
            )
        if self.um_per_pixel is not None:
            notes.append(f"{self.um_per_pixel:.3g} µm a pixel by its file")
        if self.may_show_text:
            notes.append(BURNED_IN)
        return Frame(pixels, tuple(notes))


def is_dicom(data: bytes) -> bool:
    """Whether the bytes begin as a DICOM file does, whatever picture its preamble may pretend to be."""
    return data[128:132] == b"DICM"


def open_dicom(data: bytes, *, max_pixels: int, max_bytes: int) -> Dicom:
    """Check the header of a DICOM file; no pixel is decoded.

    Args:
        data: the file.
        max_pixels: of all frames that are taken together.
        max_bytes: that a deflated file may inflate to.

    Raises:
        Refused: for what isn't read, and other errors of pydicom's for what is damaged.
    """
    syntax, dataset = _read(data, max_bytes)
    _check_kind(dataset)
    width, height = _number(dataset, "Columns"), _number(dataset, "Rows")
    if width < 1 or height < 1:
        raise Refused(DAMAGED)
    max_pixels = min(max_pixels, MAX_PIXELS)
    if width * height > max_pixels:
        raise Refused(
            f"The image has {width}x{height} = {width * height / 1e6:.0f} megapixels, more than the "
            f"{max_pixels / 1e6:.3g} allowed: crop it, or save it at a smaller size."
        )
    frames = _number(dataset, "NumberOfFrames", 1)
    if frames < 1:
        raise Refused(DAMAGED)
    if "PixelData" not in dataset:
        raise Refused("The DICOM file holds no picture: export the image itself.")
    burned_in = _text(dataset, "BurnedInAnnotation").upper()
    is_capture = _text(dataset, "SOPClassUID") in _CAPTURES
    return Dicom(
        frames=frames,
        taken=min(frames, MOST_FRAMES, max(max_pixels // (width * height), 1)),
        width=width,
        height=height,
        um_per_pixel=_scale(dataset),
        may_show_text=burned_in == "YES" or (is_capture and burned_in != "NO"),
        claims=Claims(_text(dataset, "PatientID"), _text(dataset, "AccessionNumber")),
        _decode=_Decoding(dataset, syntax, width, height, frames),
    )


# --- the header ---------------------------------------------------------------------------------------------


def _read(data: bytes, max_bytes: int) -> tuple[str, Dataset]:
    """Transfer syntax and wanted elements. pydicom's own `dcmread` would inflate a deflated file to any size."""
    source = BytesIO(data)
    source.seek(132)
    meta = read_dataset(source, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    syntax = str(meta.get("TransferSyntaxUID", "")).strip("\x00 ")
    if not syntax:
        raise Refused(DAMAGED)
    _check_syntax(syntax)
    if syntax == _DEFLATED:
        source = BytesIO(_inflated(data[source.tell() :], max_bytes))
    dataset = read_dataset(
        source,
        syntax == _IMPLICIT,
        syntax != _BIG_ENDIAN,
        stop_when=lambda tag, vr, length: tag > _PIXEL_DATA,
        specific_tags=list(_WANTED),
    )
    if "SOPClassUID" not in dataset and "MediaStorageSOPClassUID" in meta:
        dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    return syntax, dataset


def _check_syntax(syntax: str) -> None:
    known = UID(syntax)
    if "MPEG" in known.name or "HEVC" in known.name:
        raise Refused("The DICOM file is a video, not a still image: save one picture of it.")
    try:
        is_read = get_decoder(syntax).is_available
    except NotImplementedError:
        is_read = False
    if not is_read:
        kind = known.name if known.name != syntax else "a way that is not known"
        raise Refused(f"The DICOM file is compressed as {kind}, which can't be read here: {_EXPORT}.")


def _inflated(data: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise Refused(DAMAGED) from error
    if len(plain) > max_bytes:
        raise Refused(
            f"The DICOM file unpacks to more than the {max_bytes // 2**20} MB allowed: {_EXPORT}, or crop it."
        )
    if not inflater.eof:
        raise Refused(DAMAGED)
    return plain


def _check_kind(dataset: Dataset) -> None:
    kind = _text(dataset, "SOPClassUID")
    if kind == _WHOLE_SLIDE or "TotalPixelMatrixColumns" in dataset:
        raise Refused(
            "The DICOM file is a whole slide in tiles, which can't be read here: export single fields from its viewer."
        )
    if kind not in READ:
        known = UID(kind)
        name = known.name if known.name != kind else "of an unknown kind"
        raise Refused(
            f"The DICOM file is no microscope picture, photograph or secondary capture ({name}): send the image itself."
        )


def _scale(dataset: Dataset) -> float | None:
    """Micrometres a pixel of a picture with square pixels (within 2 %); None where the file says nothing likely."""
    try:
        down, across = (float(value) * 1000 for value in dataset.PixelSpacing)
    except Exception:  # noqa: BLE001 - a scale that can't be read is no reason to refuse good pixels
        return None
    low, high = SCALE_UM
    is_likely = low <= down <= high and low <= across <= high and abs(down - across) <= 0.02 * down
    return (down + across) / 2 if is_likely else None


def _number(dataset: Dataset, keyword: str, default: int = 0) -> int:
    value = dataset.get(keyword)
    return default if value is None or value == "" else int(value)


def _text(dataset: Dataset, keyword: str) -> str:
    """A text, or nothing where it can't be read: what it says decides over no pixel."""
    try:
        return " ".join(str(dataset.get(keyword, "") or "").replace("\x00", " ").split())
    except Exception:  # noqa: BLE001 - pydicom raises many kinds for a damaged value
        return ""


# --- the pixels ---------------------------------------------------------------------------------------------


class _Decoding:
    """How the frames of one file become pixels."""

    def __init__(self, dataset: Dataset, syntax: str, width: int, height: int, frames: int) -> None:
        self.dataset, self.syntax = dataset, syntax
        self.width, self.height, self.frames = width, height, frames
        self.samples = _number(dataset, "SamplesPerPixel", 1)
        self.colours = _text(dataset, "PhotometricInterpretation").upper()
        self.allocated = _number(dataset, "BitsAllocated", 8)
        self.stored = _number(dataset, "BitsStored", self.allocated)
        self.is_signed = _number(dataset, "PixelRepresentation") == 1
        self.raw: bytes = dataset["PixelData"].value or b""
        self._check()

    def _check(self) -> None:
        if self.allocated not in (8, 16) or not 1 <= self.stored <= self.allocated:
            raise Refused(f"The DICOM file holds {self.allocated}-bit pixels: save it with 8 or 16 bits.")
        one = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
        three = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
        if self.colours not in (one if self.samples == 1 else three if self.samples == 3 else ()):
            told = self.colours if self.colours in one + three else "of another kind"
            raise Refused(
                f"The DICOM file holds colours that can't be read ({told}, {self.samples} a pixel): {_EXPORT}."
            )
        if self.stored > 8 and (self.syntax in _JPEG or (self.samples == 3 and self.syntax in _JPEG_2000)):
            name = UID(self.syntax).name
            raise Refused(
                f"The DICOM file is compressed as {name} with {self.stored} bits, which can't be read here: {_EXPORT}."
            )
        if self.is_signed and self.colours not in ("MONOCHROME1", "MONOCHROME2"):
            raise Refused("The DICOM file holds colours with signs, which no camera writes: export it again.")

    def __call__(self, index: int) -> tuple[Pixels, list[str]]:
        values, colours = self._values(index)
        if colours == "PALETTE COLOR":
            if "SegmentedRedPaletteColorLookupTableData" in self.dataset:
                raise Refused(
                    f"The DICOM file packs its palette in segments, which can't be read here: {_EXPORT}."
                )
            is_little = self.syntax != _BIG_ENDIAN
            return from_palette(values, self.dataset, is_little), ["converted from palette colours"]
        notes: list[str] = []
        if colours in ("MONOCHROME1", "MONOCHROME2"):
            notes.append("a greyscale image")
        values = self._to_8_bit(values, notes)
        if colours == "MONOCHROME1":  # whose lowest value is white
            values = 255 - values
        if values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=2)
        if colours in ("YBR_FULL", "YBR_FULL_422"):
            size = (self.width, self.height)
            values = np.asarray(Image.frombytes("YCbCr", size, values.tobytes()).convert("RGB"))
        return np.ascontiguousarray(values), notes

    def _values(self, index: int) -> tuple[npt.NDArray[Any], str]:
        """Samples of a frame, (H, W) or (H, W, 3), and what colours they are now."""
        if self.syntax == _RUN_LENGTHS:
            values = run_lengths(
                self._encoded(index), self.width, self.height, self.samples, self.allocated // 8
            )
            return values.view(np.int16) if self.is_signed and self.allocated == 16 else values, self.colours
        if get_decoder(self.syntax).is_encapsulated:
            data = self._encoded(index)
            with Image.open(BytesIO(data), formats=("JPEG", "JPEG2000")) as picture:
                if picture.size != (self.width, self.height):
                    raise Refused(DAMAGED)  # and a bomb, if the header were believed
                if self.syntax in _JPEG and not self._is_plain_rgb(picture):
                    # Pillow turns what JPEG stores into RGB on the way, in a tenth of the memory pydicom takes.
                    colours = self.colours if self.samples == 1 else "RGB"
                    return np.asarray(picture.convert("L" if self.samples == 1 else "RGB")), colours
        values, told = get_decoder(self.syntax).as_array(self.raw, index=index, raw=True, **self._options())
        return values, str(told["photometric_interpretation"])

    def _is_plain_rgb(self, picture: Image.Image) -> bool:
        """Whether a JPEG stores red, green and blue without saying so itself."""
        return self.colours == "RGB" and not {"adobe", "jfif"} & set(picture.info)

    def _encoded(self, index: int) -> bytes:
        return get_frame(
            self.raw, index, number_of_frames=self.frames, extended_offsets=self._extended_offsets()
        )

    def _extended_offsets(self) -> tuple[bytes, bytes] | None:
        offsets, lengths = (self.dataset.get(f"ExtendedOffsetTable{more}") for more in ("", "Lengths"))
        return (offsets, lengths) if offsets and lengths else None

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "rows": self.height,
            "columns": self.width,
            "number_of_frames": self.frames,
            "samples_per_pixel": self.samples,
            "photometric_interpretation": self.colours,
            "bits_allocated": self.allocated,
            "bits_stored": self.stored,
            "pixel_representation": int(self.is_signed),
            "pixel_keyword": "PixelData",
            "pixel_vr": self.dataset["PixelData"].VR,
        }
        if self.samples > 1:
            options["planar_configuration"] = _number(self.dataset, "PlanarConfiguration")
        if (table := self._extended_offsets()) is not None:
            options["extended_offsets"] = table
        return options

    def _to_8_bit(self, values: npt.NDArray[Any], notes: list[str]) -> Pixels:
        if values.dtype.kind == "i" and values.min() < 0:
            raise Refused(f"The DICOM file holds negative values, which no camera writes: {_EXPORT}.")
        if self.stored == 8:
            return values.astype(np.uint8) if values.dtype != np.uint8 else values
        notes.append(f"{self.stored}-bit values scaled to 8-bit")
        table = np.rint(np.minimum(np.arange(2**16) * (255.0 / (2**self.stored - 1)), 255.0)).astype(np.uint8)
        return np.asarray(table[values])
