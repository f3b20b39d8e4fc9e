"""What reading DICOM shares with whoever does not load pydicom for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

BURNED_IN: Final = "may show burned-in text: look for names"
"""The note of an image whose file says so, or is of a kind that often does and says nothing."""


class Refused(Exception):
    """A DICOM file that isn't read; `str()` of it is the sentence for its owner."""


@dataclass(frozen=True)
class Claims:
    """Whose a file says it is. For comparing alone: never kept, logged or shown."""

    patient_id: str = field(default="", repr=False)
    accession_number: str = field(default="", repr=False)
