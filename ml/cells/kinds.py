"""Names a stained region by what it measures: leukocyte, smudge, platelet, precipitate or clump, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ml.cells.cell import Kind
from ml.cells.regions import Region

LEAST_NUCLEUS_UM2: Final = 11.0
"""Of a leukocyte or erythroblast seen whole. The smallest of 119 in txl-pbc-v2's validation part has 32, an
orthochromatic erythroblast's nucleus 15; the largest platelet's stained part has 5, giant ones 12."""

LEAST_AT_BORDER_UM2: Final = 6.0
"""The same where the picture cuts the cell."""

MOST_CELL_UM2: Final = 520.0
"""Of one cell; larger regions are clumps. The largest leukocyte of the same set has 370."""

MOST_THICKNESS_UM: Final = 12.5
"""Inscribed radius of one cell."""


LEAST_CONFIDENCE: Final = 0.35
"""Below, a region of a leukocyte's size is taken for debris."""

SMEARED_SURENESS, SMEARED_SOLIDITY = 0.92, 0.88
"""A ragged nucleus of unsure colour without cytoplasm is smeared. Whole leukocytes of the demo fields without cytoplasm
have a solidity of at least 0.91."""

STREAK_SOLIDITY, STREAK_ROUNDNESS = 0.84, 0.40
"""A large nucleus pulled to a streak."""

PALE: Final = 0.62
"""Density over the median of the field's compact nuclei, below which a large nucleus has lost its chromatin. Smears in
the demo fields: 0.51 to 0.72; leukocytes: 0.80 at least."""

_REFERENCES: Final = 3
_COMPACT: Final = 0.94
_NAKED: Final = 0.8
_LARGE_UM2: Final = 45.0


def name_regions(regions: Sequence[Region]) -> list[tuple[Kind, float]]:
    """Return what each region of a field is, and how surely, 0..1; in the order of `regions`."""
    compact = [
        one.density for one in regions if one.solidity > _COMPACT and one.nucleus_area > 2 * LEAST_NUCLEUS_UM2
    ]
    usual = float(np.median(compact)) if len(compact) >= _REFERENCES else 0.0
    return [_name(region, usual) for region in regions]


def _smeared(region: Region, usual: float) -> bool:
    if region.nucleus_area < _LARGE_UM2 or region.nucleus_area < _NAKED * region.area:
        return False
    ragged = region.sureness < SMEARED_SURENESS and region.solidity < SMEARED_SOLIDITY
    streak = region.solidity < STREAK_SOLIDITY and region.roundness < STREAK_ROUNDNESS
    return ragged or streak or region.density < PALE * usual


def _name(region: Region, usual: float) -> tuple[Kind, float]:
    if region.area > MOST_CELL_UM2 or region.thickness > MOST_THICKNESS_UM:
        return Kind.CLUMP, 0.9
    least = LEAST_AT_BORDER_UM2 if region.touches_border else LEAST_NUCLEUS_UM2
    if region.nucleus_area < least:
        compact = region.roundness > 0.5 and region.solidity > 0.8
        return (Kind.PLATELET if compact else Kind.PRECIPITATE), _ramp(
            region.nucleus_area, least, 0.4 * least
        )
    if _smeared(region, usual):
        return Kind.SMUDGE, _ramp(region.solidity, 1.1, 0.7)
    naked = region.nucleus_area > _NAKED * region.area
    leukocyte = (
        _ramp(region.sureness, 0.60, 0.90)
        * _ramp(region.nucleus_area, 0.5 * least, 2.0 * least)
        * (_ramp(region.solidity, 0.55, 0.80) if naked else 0.99)  # lobes lie apart in their cytoplasm
        * _ramp(region.thickness, 1.2, 2.4)
    )
    if leukocyte < LEAST_CONFIDENCE:
        return Kind.PRECIPITATE, 1.0 - leukocyte
    return Kind.LEUKOCYTE, leukocyte


def _ramp(value: float, low: float, high: float) -> float:
    """0.05 at `low`, 0.99 at `high`, straight between; `high` may be the smaller."""
    share = (value - low) / (high - low)
    return 0.05 + 0.94 * min(max(share, 0.0), 1.0)
