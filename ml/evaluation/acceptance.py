"""Does a model version reach what a laboratory asks of it at a site? Sensitivity and specificity for malignant.

The rule: a limit is met where the lower end of the 95 % interval reaches it. That end is the lower one of two, the
bootstrap's over groups, which knows that images of one patient agree, and Wilson's over the images of that kind,
which knows how few there are (a bootstrap of five images without an error does not). All images count, those that
the gate turned away too.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ml.calibration import Z_95, wilson_interval
from ml.data.labels import says_malignant
from ml.evaluation.evidence import Section
from ml.evaluation.intervals import Figure

State = Literal["met", "not met", "not set", "too few images to say"]
MET: State = "met"
NOT_MET: State = "not met"
NOT_SET: State = "not set"
TOO_FEW: State = "too few images to say"

RULE = (
    "A limit is met where the lower end of the 95 % interval reaches it, by bootstrap over groups and by Wilson's "
    "interval over the images alike; every image counts, also those given no class."
)
SENSITIVITY = "sensitivity_malignant"
SPECIFICITY = "specificity_malignant"
_WORDS = {SENSITIVITY: ("sensitivity", "malignant"), SPECIFICITY: ("specificity", "other")}


@dataclass(frozen=True)
class Acceptance:
    """One limit against what was measured.

    Attributes:
        name: of the figure. limit: 0..1, None where the laboratory set none.
        value, low: the figure and the lower end of its interval by the rule, 0..1; nan where not measured.
        n: images of the kind that the figure is a share of.
        words: why, in one sentence.
    """

    name: str
    limit: float | None
    state: State
    value: float
    low: float
    n: int
    words: str


def judge_limits(
    section: Section, *, malignant: Collection[str], sensitivity: float | None, specificity: float | None
) -> tuple[Acceptance, Acceptance]:
    """Set the sensitivity and the specificity of a section against limits in 0..1, None for one that is not set.

    `malignant` names the classes that stand for leukemia.
    """
    counts = {False: 0, True: 0}
    for label, row in zip(section.classes, section.confusion, strict=True):
        counts[says_malignant(label, malignant)] += sum(row)
    return (
        _judge(section, SENSITIVITY, counts[True], sensitivity),
        _judge(section, SPECIFICITY, counts[False], specificity),
    )


def images_needed(limit: float) -> int | None:
    """Fewest images, none of them wrong, whose Wilson interval begins at `limit` (0..1); None where none suffice."""
    return None if limit >= 1 else max(1, math.ceil(Z_95**2 * limit / (1 - limit) - 1e-9))


def _judge(section: Section, name: str, n: int, limit: float | None) -> Acceptance:
    word, kind = _WORDS[name]
    figure = section[name] if name in section and section[name].defined else None
    value = figure.value if figure else math.nan
    low = _lower_end(figure, n) if figure else math.nan

    def say(state: State, words: str) -> Acceptance:
        return Acceptance(name, limit, state, value, low, n, words)

    if limit is None:
        return say(NOT_SET, f"The laboratory has set no limit for the {word}.")
    if figure is None:
        return say(TOO_FEW, f"There is no {kind} image of this site to measure the {word} on.")
    if value < limit:
        return say(
            NOT_MET, f"The {word} of {value:.1%} on {n} {kind} images is below the limit of {limit:.1%}."
        )
    if not math.isfinite(low):
        return say(TOO_FEW, f"All images are of one group, so that the {word} has no interval.")
    if low < limit:
        needed = images_needed(limit)
        more = (
            f"with none wrong, {needed} would do"
            if needed and needed > n
            else "more of other groups may prove it"
        )
        return say(
            TOO_FEW,
            f"The {word} of {value:.1%} on {n} {kind} images may be as low as {low:.1%}, below the limit of "
            f"{limit:.1%}: {more}.",
        )
    return say(MET, f"The {word} is {low:.1%} or more, by {n} {kind} images; the limit is {limit:.1%}.")


def _lower_end(figure: Figure, n: int) -> float:
    """Of the interval, by the rule; nan where the images are of one group."""
    if not math.isfinite(figure.low):
        return math.nan
    return min(figure.low, wilson_interval(round(figure.value * n), n)[0])
