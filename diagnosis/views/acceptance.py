"""What was measured at a site, set against the limits the laboratory accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnosis.models import Laboratory, ModelVersion, SiteValidation
from diagnosis.views.evidence import FigureRow, Section, read_section

MET, NOT_MET, NOT_SET, NOT_MEASURED = "met", "not met", "not set", "not measured"
NOT_VALIDATED = "not validated at this site"
SENSITIVITY, SPECIFICITY = "sensitivity_malignant", "specificity_malignant"
SHOWN = (SENSITIVITY, SPECIFICITY, "auroc_malignant", "balanced_accuracy", "ece", "log_loss", "coverage")


@dataclass(frozen=True)
class Check:
    """One acceptance limit: what was measured, what the laboratory asks for, and whether that is proven."""

    word: str
    figure: FigureRow | None
    limit: float | None
    state: str
    reason: str = ""


@dataclass(frozen=True)
class Change:
    """One figure before and after a version was adapted to the site, on the same images."""

    word: str
    before: FigureRow | None
    after: FigureRow


@dataclass(frozen=True)
class AtSite:
    """A model version at a site; without a validation it is not validated there."""

    version: ModelVersion
    validation: SiteValidation | None
    before: Section | None
    after: Section | None
    checks: tuple[Check, ...]

    @property
    def state(self) -> str:
        """One state for both limits: the worse of the two; `NOT_VALIDATED` where nothing was measured."""
        if self.validation is None or self.after is None:
            return NOT_VALIDATED
        states = {check.state for check in self.checks}
        return next((state for state in (NOT_MET, NOT_MEASURED, NOT_SET) if state in states), MET)

    @property
    def changes(self) -> list[Change]:
        """The figures of both sections, those a reader asks for first."""
        if self.after is None:
            return []
        rows = [
            (self.before.figure(name) if self.before else None, self.after.figure(name)) for name in SHOWN
        ]
        return [Change(after.short_word, before, after) for before, after in rows if after is not None]


def at_site(*, version: ModelVersion, validation: SiteValidation | None, laboratory: Laboratory) -> AtSite:
    """Set a validation against the limits of the laboratory."""
    after = _section(validation.after) if validation else None
    checks = (
        _check(after, SENSITIVITY, laboratory.accepted_sensitivity),
        _check(after, SPECIFICITY, laboratory.accepted_specificity),
    )
    return AtSite(version, validation, _section(validation.before) if validation else None, after, checks)


def _check(section: Section | None, name: str, limit: float | None) -> Check:
    """A limit is met when the lower end of the 95 % interval reaches it: a small sample proves little."""
    figure = section.figure(name) if section else None
    word = FigureRow(name, None, None, None, 0, "").short_word
    if figure is None or figure.value is None:
        return Check(word, figure, limit, NOT_MEASURED)
    if limit is None:
        return Check(word, figure, limit, NOT_SET)
    if figure.value < limit:
        return Check(word, figure, limit, NOT_MET, "what was measured is below the limit")
    if figure.low is None or figure.low < limit:
        return Check(
            word, figure, limit, NOT_MET, "the 95 % interval begins below the limit: more images may prove it"
        )
    return Check(word, figure, limit, MET)


def _section(told: Any) -> Section | None:
    """A stored evidence section; None where there is none, or it can't be read."""
    if not isinstance(told, Mapping) or not told:
        return None
    try:
        return read_section(dict(told))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
