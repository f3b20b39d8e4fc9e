"""When a count of leukocytes raises the alert *possible APL*: one rule, for the worker, the pages and the evidence.

Acute promyelocytic leukemia kills within days by bleeding and is cured by a treatment that is begun on suspicion, so a
count that might be one is pointed out. How well this rule does is measured by `ml.evaluation.apl_rule`: badly enough
that its silence means nothing, which every page that shows it has to say.
"""

from __future__ import annotations

from typing import Final

from ml.calibration import Z_95, wilson_interval

PROMYELOCYTE: Final = "promyelocyte"

LEAST_SHARE_OF_BLOOD: Final = 0.05
"""What the lower end of the 95 % interval of the promyelocytes' share must exceed. Healthy blood has none, and the left
shift of an infection, of growth factors or of a regenerating marrow sends out single ones. A network errs as well:
cell-1 calls about 1 in 80 leukocytes of unseen patients one that no reader called so. Twenty per 100, as many as the
blasts that make an acute leukemia (WHO), would be reached by hardly any patient: APL is often poor in leukocytes, and
readers call many of its cells blasts."""

LEAST_SHARE_OF_MARROW: Final = 0.2
"""The same in bone marrow, where promyelocytes belong: up to 8 per 100 in health, more in a regenerating one. Twenty
per 100, as many as the blasts that make an acute leukemia (WHO). No data here measure it."""

LEAST_PROMYELOCYTES: Final = 5
"""So that a few cells that the network mistakes do not make an alert."""

LEAST_LEUKOCYTES: Final = 20
"""Leukocytes counted below which nothing is said of shares."""


def least_share(*, is_marrow: bool) -> float:
    """The share that the interval's lower end must exceed, 0..1."""
    return LEAST_SHARE_OF_MARROW if is_marrow else LEAST_SHARE_OF_BLOOD


def is_possible_apl(promyelocytes: int, leukocytes: int, *, is_marrow: bool = False) -> bool:
    """Whether this many promyelocytes among the leukocytes counted raise the alert."""
    if promyelocytes < LEAST_PROMYELOCYTES or leukocytes < LEAST_LEUKOCYTES:
        return False
    # wilson_interval(promyelocytes, leukocytes)[0] > least, in the form that a database can work out too: the interval
    # is made of the shares that the share seen does not differ from.
    least = least_share(is_marrow=is_marrow)
    excess = promyelocytes - least * leukocytes
    return excess > 0 and excess * excess > squared_spread(least) * leukocytes


def squared_spread(least: float) -> float:
    """By which, times the leukocytes, a squared excess over `least` of them must be larger for the alert."""
    return Z_95 * Z_95 * least * (1 - least)


def promyelocyte_interval(promyelocytes: int, leukocytes: int) -> tuple[float, float] | None:
    """Wilson's 95 % interval of the promyelocytes' share, 0..1; None where nothing was counted."""
    return wilson_interval(promyelocytes, leukocytes) if leukocytes else None
