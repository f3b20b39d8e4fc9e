"""What the gallery of cells calls a class where there is little room, and the key that gives it.

Long names are those of `wording.class_word`. No two classes share a key, and none is a key that the gallery needs
for itself; a test holds both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from diagnosis import wording
from ml.cells.counting import BLASTS, NOT_LEUKOCYTES
from ml.tasks import CELL

SHORT: Final[dict[str, str]] = {
    "segmented_neutrophil": "segmented",
    "band_neutrophil": "band",
    "lymphocyte": "lympho.",
    "variant_lymphocyte": "var. lympho.",
    "promyelocyte": "promyelo.",
    "myelocyte": "myelocyte",
    "metamyelocyte": "metamyelo.",
    "erythroblast": "erythrobl.",
    "promonocyte": "promono.",
    "smudge_cell": "smudge",
    "platelet_or_artefact": "platelet, art.",
}
KEYS: Final[dict[str, str]] = {
    "segmented_neutrophil": "s",
    "band_neutrophil": "n",
    "eosinophil": "e",
    "basophil": "o",
    "lymphocyte": "l",
    "variant_lymphocyte": "v",
    "monocyte": "m",
    "promyelocyte": "p",
    "myelocyte": "y",
    "metamyelocyte": "t",
    "erythroblast": "r",
    "plasma_cell": "c",
    "promonocyte": "q",
    "blast": "b",
    "smudge_cell": "g",
    "platelet_or_artefact": "x",
}
TAKE_BACK_KEY: Final = "0"
PAGE_KEYS: Final = frozenset({"a", "f", "h", "j", "k", "+", "-", "=", "?", TAKE_BACK_KEY})
"""Keys that the gallery uses for itself."""


@dataclass(frozen=True)
class CellClass:
    """One class of cells. `counts` says whether it is a leukocyte of the differential, `malignant` whether a blast."""

    name: str
    word: str
    short: str
    key: str
    counts: bool
    malignant: bool


def short_word(label: str) -> str:
    """The class in a word that fits a tile."""
    return SHORT.get(label, wording.class_word(label))


CLASSES: Final = tuple(
    CellClass(
        name=name,
        word=wording.class_word(name),
        short=short_word(name),
        key=KEYS[name],
        counts=name not in NOT_LEUKOCYTES,
        malignant=name in BLASTS,
    )
    for name in CELL.classes
)
"""The classes in the order of the task: mature types, the immature, then what is no intact leukocyte."""
