"""Draws a smear field: red cells, leukocytes, platelets, stain, light and a camera's noise.

For people who want to try Leukoscope without an image at hand, and for tests that train a network without
data. No photograph goes into it. A drawn field is nobody's blood: it must never pass for one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from ml.drawn_slide import FIELD_WIDTH_UM, RGB, Leukocyte, Slide

DRAWN_CLASSES: Final = ("drawn_a", "drawn_b", "drawn_c", "drawn_d")
"""Classes that differ in morphology, never in stain: a, many small round nuclei with dense chromatin and
hardly any cytoplasm; b, few large round nuclei with open chromatin and nucleoli; c, kidney-shaped nuclei in
wide vacuolated cytoplasm; d, segmented nuclei in granular cytoplasm. None of them is a disease.
"""

KINDS: Final = ("normal", *DRAWN_CLASSES)

_NEUTROPHIL: Final = Leukocyte(
    radius=(6.0, 7.0), nucleus="lobed", nucleus_share=(0.82, 0.92), density=1.12, clumps=0.16, fine=0.06,
    cytoplasm="lilac", cytoplasm_density=0.55, granules="lilac", granule_share=0.4,
)  # fmt: skip
_TYPES: Final = {
    "neutrophil": _NEUTROPHIL,
    "lymphocyte": Leukocyte(
        radius=(4.3, 5.2), nucleus="round", nucleus_share=(0.84, 0.92), density=1.12, clumps=0.20, fine=0.06,
        cytoplasm="blue", cytoplasm_density=0.75,
    ),
    "monocyte": Leukocyte(
        radius=(7.4, 8.8), nucleus="kidney", nucleus_share=(0.74, 0.82), density=0.82, clumps=0.10, fine=0.12,
        cytoplasm="grey_blue", cytoplasm_density=0.85, granules="lilac", granule_share=0.2, vacuoles=(0, 5),
        roughness=0.06,
    ),
    "eosinophil": Leukocyte(
        radius=(6.2, 7.2), nucleus="lobed", nucleus_share=(0.78, 0.86), density=1.05, clumps=0.14, fine=0.05,
        cytoplasm="lilac", cytoplasm_density=0.4, granules="orange", granule_share=0.75, lobes=(2, 2),
    ),
    "drawn_a": Leukocyte(
        radius=(4.2, 5.0), nucleus="round", nucleus_share=(0.88, 0.94), density=1.18, clumps=0.20, fine=0.05,
        cytoplasm="blue", cytoplasm_density=0.8,
    ),
    "drawn_b": Leukocyte(
        radius=(7.2, 8.8), nucleus="round", nucleus_share=(0.80, 0.88), density=0.80, clumps=0.06, fine=0.11,
        cytoplasm="blue", cytoplasm_density=0.95, nucleoli=(1, 3), roughness=0.045,
    ),
    "drawn_c": Leukocyte(
        radius=(7.2, 8.6), nucleus="kidney", nucleus_share=(0.68, 0.76), density=0.86, clumps=0.08, fine=0.10,
        cytoplasm="grey_blue", cytoplasm_density=0.9, vacuoles=(4, 9), roughness=0.06,
    ),
    "drawn_d": replace(_NEUTROPHIL, granule_share=0.5, lobes=(3, 5)),
}  # fmt: skip

# Adults' usual shares (basophils, under one in a hundred, are left out).
_NORMAL_DIFFERENTIAL: Final = {"neutrophil": 0.60, "lymphocyte": 0.28, "monocyte": 0.08, "eosinophil": 0.04}
_COUNTS: Final = {
    "normal": (4, 9),
    "drawn_a": (13, 20),
    "drawn_b": (6, 10),
    "drawn_c": (5, 9),
    "drawn_d": (6, 11),
}
CELL_KINDS: Final = tuple(_TYPES)
"""What `draw_cell` can put into the middle: four mature types, and the leukocytes of the drawn classes."""

_USUAL_AREA: Final = FIELD_WIDTH_UM**2 * 3 / 4
_RED_CELLS: Final = (80, 150)
_PLATELETS: Final = 9


def draw_field(
    rng: np.random.Generator,
    *,
    width: int = 1024,
    height: int = 768,
    kind: str = "normal",
    leukocytes: int | None = None,
    slide_type: type[Slide] = Slide,
) -> RGB:
    """Draw one field.

    The same generator state gives the same picture. The field is always `FIELD_WIDTH_UM` wide, whatever the
    pixels.

    Args:
        rng: source of all randomness.
        width, height: of the picture in pixels, at least 32.
        kind: "normal" for a mixture of mature leukocytes, or one of `DRAWN_CLASSES`.
        leukocytes: how many; drawn at random by kind when None.
        slide_type: what to draw on; one that records where things lie, for instance.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: for an unknown kind or a size too small.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}, expected one of {', '.join(KINDS)}")
    if min(width, height) < 32:
        raise ValueError(f"a field needs at least 32x32 pixels, got {width}x{height}")
    slide = slide_type(rng, width, height)
    count = int(rng.integers(*_COUNTS[kind], endpoint=True)) if leukocytes is None else leukocytes
    if kind == "normal":
        shares = list(_NORMAL_DIFFERENTIAL.values())
        looks = [_TYPES[str(name)] for name in rng.choice(list(_NORMAL_DIFFERENTIAL), count, p=shares)]
    else:
        looks = [_TYPES[kind]] * count
    fields = slide.area / _USUAL_AREA
    radii = [float(rng.uniform(*look.radius)) for look in looks]
    places = slide.places(radii, closeness=(0.98, 1.15), inset=0.6)
    red_radii = rng.normal(3.75, 0.22, int(rng.integers(*_RED_CELLS) * fields)).tolist()
    red_places = slide.places(red_radii, closeness=(0.72, 1.06), inset=-1.0, around=places)
    for place in red_places:
        slide.red_cell(place)
    platelets = int(rng.poisson(_PLATELETS * fields))
    for place in slide.places([1.2] * platelets, closeness=(1.0, 1.3), inset=0.0, around=places):
        slide.platelet(place)
    for look, place in zip(looks, places, strict=False):  # those that found room
        slide.leukocyte(place, look)
    return slide.photograph()


def draw_cell(
    rng: np.random.Generator,
    *,
    kind: str = "neutrophil",
    size: int = 256,
    micrometres: float = 0.145,
    crowding: float = 1.0,
) -> tuple[RGB, float]:
    """Draw one leukocyte in the middle of red cells, as an analyser cuts it out of a field.

    Args:
        rng: source of all randomness.
        kind: one of `CELL_KINDS`.
        size: side of the picture in pixels. micrometres: that a pixel shows.
        crowding: how many red cells, as a share of the usual.

    Returns:
        (size, size, 3) uint8 RGB, and the leukocyte's radius in micrometres, which its outline follows roughly.

    Raises:
        ValueError: for an unknown kind, or a picture that shows less than a leukocyte or more than a field.
    """
    if kind not in CELL_KINDS:
        raise ValueError(f"unknown kind {kind!r}, expected one of {', '.join(CELL_KINDS)}")
    if not 20.0 <= size * micrometres <= FIELD_WIDTH_UM:
        raise ValueError(
            f"a picture of 20 to {FIELD_WIDTH_UM:g} micrometres can be drawn, not of {size * micrometres}"
        )
    slide = Slide(rng, round(FIELD_WIDTH_UM / micrometres), size)
    look = _TYPES[kind]
    place = (slide.width / 2, slide.height / 2, float(rng.uniform(*look.radius)))
    count = int(rng.integers(*_RED_CELLS) * slide.area / _USUAL_AREA * crowding)
    radii = rng.normal(3.75, 0.22, count).tolist()
    for red_place in slide.places(radii, closeness=(0.72, 1.06), inset=-1.0, around=[place]):
        slide.red_cell(red_place)
    slide.leukocyte(place, look)
    left = (slide.pixels[1] - size) // 2
    return np.ascontiguousarray(slide.photograph()[:, left : left + size]), place[2]
