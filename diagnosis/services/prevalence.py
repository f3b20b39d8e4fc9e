"""The laboratory's own prevalence: what a calibrated probability comes to where another share of fields is malignant.

A probability holds at the prevalence that its model was calibrated at. At another one it follows by Bayes' rule, as
long as the fields of a class look the same at both (Saerens et al. 2002): `ml.calibration.reweight`. Among the
malignant classes, and among the others, the shares keep the bundle's proportions: the laboratory names one number.

The class given, and whether its image is suspected, do not follow: the class is what the network saw, the threshold of
suspicion was set for a sensitivity, which no prevalence changes, and a laboratory's setting must not silently take a
mark off a case. Where another class would come first, the page says so beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnosis import wording
from diagnosis.models import Analysis, Laboratory, ModelVersion
from ml.calibration import reweight


@dataclass(frozen=True)
class Reweighted:
    """The probabilities of one analysis at the laboratory's prevalence.

    Attributes:
        label: the class given. calibrated_share, own_share: share of malignant fields where the model was calibrated,
            and at the laboratory, 0..1. probabilities: class -> re-weighted, 0..1, together 1.
        confidence, low, high: of the class given, with the interval that its calibrated one was measured with; that
            interval is None where the calibrated one is. calibrated_confidence, calibrated_low, calibrated_high: those
            as the model gave them. malignant, calibrated_malignant: the malignant classes
            together.
        first: the class that would come first.
    """

    label: str
    calibrated_share: float
    own_share: float
    probabilities: Mapping[str, float]
    confidence: float
    low: float | None
    high: float | None
    calibrated_confidence: float
    calibrated_low: float | None
    calibrated_high: float | None
    malignant: float
    calibrated_malignant: float
    first: str

    @property
    def changes_the_first(self) -> bool:
        """Whether another class than the one given would come first."""
        return self.first != self.label


def calibrated_share(version: ModelVersion | None) -> float | None:
    """Share of malignant images that a version was calibrated at, 0..1; None where its bundle states none."""
    stated = _stated(version)
    if version is None or stated is None:
        return None
    malignant = malignant_classes(version)
    return sum(share for label, share in stated.items() if label in malignant) / sum(stated.values())


def own_share(laboratory: Laboratory) -> float | None:
    """The laboratory's own share, 0..1; None where it set none. Neither 0 nor 1 counts: nothing could be told then."""
    share = laboratory.malignant_share
    return share if share is not None and 0 < share < 1 else None


def of_analysis(*, analysis: Analysis | None, laboratory: Laboratory) -> Reweighted | None:
    """The class given by an analysis, re-weighted; None where there is no class, or one of the shares is not known."""
    share = own_share(laboratory)
    if analysis is None or analysis.outcome != Analysis.Outcome.CLASS or share is None:
        return None
    version = analysis.model_version
    stated = _stated(version)
    known = analysis.probabilities
    if version is None or stated is None or known.keys() != stated.keys() or analysis.label not in known:
        return None
    malignant = malignant_classes(version)
    if {name in malignant for name in stated} != {True, False}:
        return None
    there = reweighted(known, stated, malignant=malignant, share=share)
    confidence = there[analysis.label]
    weights = target(stated, malignant=malignant, share=share)
    bounds = [
        None if bound is None else carried_over(bound, analysis.label, known, stated, weights)
        for bound in (analysis.confidence_low, analysis.confidence_high)
    ]
    return Reweighted(
        label=analysis.label,
        calibrated_share=calibrated_share(version) or 0.0,
        own_share=share,
        probabilities=there,
        confidence=confidence,
        low=bounds[0],
        high=bounds[1],
        calibrated_confidence=known[analysis.label],
        calibrated_low=analysis.confidence_low,
        calibrated_high=analysis.confidence_high,
        malignant=sum(value for name, value in there.items() if name in malignant),
        calibrated_malignant=sum(value for name, value in known.items() if name in malignant),
        first=max(there, key=lambda name: there[name]),
    )


def target(stated: Mapping[str, float], *, malignant: frozenset[str], share: float) -> dict[str, float]:
    """The prevalence of every class where `share` is malignant: both sides keep their own proportions."""
    sides = {
        side: sum(value for name, value in stated.items() if (name in malignant) is side)
        for side in (True, False)
    }
    return {
        name: (share if name in malignant else 1 - share) * value / sides[name in malignant]
        for name, value in stated.items()
    }


def reweighted(
    probabilities: Mapping[str, float],
    stated: Mapping[str, float],
    *,
    malignant: frozenset[str],
    share: float,
) -> dict[str, float]:
    """Probabilities calibrated at the prevalence `stated`, as they stand where `share` of the images is malignant.

    All three name the same classes; `stated` is positive for each, and some classes are malignant and some not.
    """
    names = list(stated)
    weights = target(stated, malignant=malignant, share=share)
    values = reweight(
        [probabilities[name] for name in names],
        [stated[name] for name in names],
        [weights[name] for name in names],
    )
    return dict(zip(names, map(float, values), strict=True))


def carried_over(
    bound: float,
    label: str,
    probabilities: Mapping[str, float],
    stated: Mapping[str, float],
    weights: Mapping[str, float],
) -> float:
    """A bound of the interval of `label`'s probability, 0..1, re-weighted: its odds change as those of the probability
    do, against the other classes in the proportion that they have in this answer (in `stated`, where they have none).
    """
    others = {name: value for name, value in probabilities.items() if name != label}
    if not sum(others.values()):
        others = {name: value for name, value in stated.items() if name != label}
    own = weights[label] / stated[label]
    against = sum(value * weights[name] / stated[name] for name, value in others.items()) / sum(
        others.values()
    )
    return bound * own / (bound * own + (1 - bound) * against)


def malignant_classes(version: ModelVersion) -> frozenset[str]:
    """The classes of a version that mean leukemia."""
    return frozenset(version.manifest.get("malignant", wording.MALIGNANT))


def _stated(version: ModelVersion | None) -> dict[str, float] | None:
    """The prevalence that a bundle states, if it is one: a positive number for every class."""
    stated: Any = version.manifest.get("prevalence") if version is not None else None
    if not isinstance(stated, dict) or not stated:
        return None
    numbers = all(isinstance(value, int | float) and value > 0 for value in stated.values())
    return {name: float(value) for name, value in stated.items()} if numbers else None
