"""DICOM files made by pydicom, as microscopes and archives write them, for tests."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

MICROSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.2"
PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

PATIENT = "Secretname^Sybil"
"""Must be found nowhere."""


def dataset(pixels: np.ndarray, *, kind: str = MICROSCOPIC, frames: int = 1, **elements: Any) -> Dataset:
    """A data set around the samples of a picture, (H, W) or (H, W, 3), or of `frames` of them; with a patient."""
    one = pixels if frames == 1 else pixels[0]
    bits = one.dtype.itemsize * 8
    made = Dataset()
    made.SOPClassUID = kind
    made.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    made.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    made.PatientName = PATIENT
    made.PatientID = "P-17"
    made.PatientBirthDate = "19700101"
    made.AccessionNumber = "H-1001"
    made.InstitutionName = "Secret Hospital"
    made.Modality = "GM"
    made.BurnedInAnnotation = "NO"
    made.Rows, made.Columns = one.shape[:2]
    made.SamplesPerPixel = 3 if one.ndim == 3 else 1
    made.PhotometricInterpretation = "RGB" if one.ndim == 3 else "MONOCHROME2"
    if one.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit = bits - 1
    made.PixelRepresentation = 0
    if frames > 1:
        made.NumberOfFrames = frames
    block = made.private_block(0x0099, "SECRET MAKER", create=True)
    block.add_new(0x01, "LO", f"private {PATIENT}")
    made.add_new(0x7FE00010, "OB" if bits == 8 else "OW", pixels.tobytes())
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def written(made: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The data set as a file of that transfer syntax; its pixel data must be coded for it already."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    made.file_meta = meta
    is_plain = syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
    made["PixelData"].is_undefined_length = not is_plain
    if len(made["PixelData"].value) % 2:
        made["PixelData"].value += b"\x00"
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def file(pixels: np.ndarray, **options: Any) -> bytes:
    """`dataset` as an uncompressed file."""
    return written(dataset(pixels, **options))


def encoded(pixels: np.ndarray, kind: str, syntax: str, **elements: Any) -> bytes:
    """A file whose frame is a file of Pillow's: `kind` is JPEG or JPEG2000."""
    buffer = BytesIO()
    more = {"irreversible": False} if kind == "JPEG2000" else {"quality": 95, "subsampling": 2}
    Image.fromarray(pixels).save(buffer, kind, **more)
    colours = "YBR_RCT" if kind == "JPEG2000" else "YBR_FULL_422"
    if pixels.ndim == 3:
        elements = {"PhotometricInterpretation": colours, **elements}
    return written(dataset(pixels, PixelData=encapsulate([buffer.getvalue()]), **elements), syntax)
