"""What was measured at a site, set against the limits the laboratory accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnosis.models import ModelVersion, SiteValidation
from diagnosis.services import sites
from diagnosis.views.evidence import FigureRow, Section
from diagnosis.views.evidence_reading import read_section
from ml.evaluation.acceptance import MET, NOT_MET, NOT_SET, TOO_FEW, Acceptance

NOT_VALIDATED = "not validated at this site"
SHOWN = (
    "sensitivity_malignant",
    "specificity_malignant",
    "auroc_malignant",
    "balanced_accuracy",
    "ece",
    "log_loss",
    "coverage",
)


@dataclass(frozen=True)
class Check:
    """One limit: what was measured, what the laboratory asks for, and whether that is proven."""

    figure: FigureRow
    acceptance: Acceptance

    @property
    def is_measured(self) -> bool:
        return self.figure.value is not None


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
    before: Section | None = None
    after: Section | None = None
    checks: tuple[Check, ...] = ()

    @property
    def state(self) -> str:
        """One state for both limits, the worse of the two; `NOT_VALIDATED` where nothing was measured."""
        if not self.checks:
            return NOT_VALIDATED
        states = {check.acceptance.state for check in self.checks}
        return next((state for state in (NOT_MET, TOO_FEW, NOT_SET) if state in states), MET)

    @property
    def changes(self) -> list[Change]:
        """The figures of both sections, those a reader asks for first."""
        if self.after is None:
            return []
        pairs = [
            (self.before.figure(name) if self.before else None, self.after.figure(name)) for name in SHOWN
        ]
        return [Change(after.short_word, before, after) for before, after in pairs if after is not None]


def at_site(*, version: ModelVersion, validation: SiteValidation | None) -> AtSite:
    """Set a validation, fetched with its site, laboratory and version, against the limits of the laboratory."""
    after = _section(validation.after) if validation else None
    if validation is None or after is None:
        return AtSite(version, validation)
    checks = tuple(
        Check(after.figure(one.name) or FigureRow(one.name, None, None, None, after.n, after.split), one)
        for one in sites.acceptance(validation=validation)
    )
    return AtSite(version, validation, _section(validation.before), after, checks)


def _section(told: Any) -> Section | None:
    """A stored evidence section; None where there is none, as before a version that was not adapted."""
    return read_section(dict(told)) if isinstance(told, Mapping) and told else None
