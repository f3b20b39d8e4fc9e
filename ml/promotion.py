"""The gate of evidence: may a candidate bundle take over from the active one?

Both judge the same locked images: test images of the active bundle that the candidate never learnt from.
The differences are paired (`ml.evaluation.paired` says how their bounds stay sound where groups are few). All bounds
are the ends of two-sided 95 % intervals, as everywhere here: a lower bound is passed with 97.5 % confidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ml.bundle import Bundle
from ml.evaluation.intervals import LEVEL, RESAMPLES, Figure, figures
from ml.evaluation.metrics import Judged
from ml.evaluation.paired import Difference, paired_differences
from ml.evaluation.predictions import EvaluationError, Row, to_judged
from ml.locked import locked_images
from ml.promotion_evidence import evidence_gaps, saliency_figure, saliency_method

__all__ = ["Check", "Verdict", "compare", "locked_images"]

LARGEST_LOSS = 0.01
"""Balanced accuracy and sensitivity may be this much lower, and no more."""
LARGEST_ECE = 0.03
LARGEST_CORRELATION = 0.3
LEAST_IMAGES = 100
COMPARED = {"balanced_accuracy": "balanced accuracy", "sensitivity_malignant": "sensitivity for malignant"}
SHOWN = (*COMPARED, "ece")
RULE_OF_THREE = 3.0
"""No event among n: with 95 % confidence its share is below 3 / n (Hanley and Lippman-Hand 1983)."""

CONTRACT, IMAGES, ECE, SALIENCY, EVIDENCE = "input_contract", "locked_images", "ece", "saliency", "evidence"


@dataclass(frozen=True)
class Check:
    """One condition. `passed` is None where it could not be looked at, which does not let a candidate through.

    `value`, `low` and `high` are what was measured with its 95 % interval, `limit` what it must keep to; shares and
    differences of shares are between -1 and 1. `words` is a sentence for the page.
    """

    name: str
    passed: bool | None
    words: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Verdict:
    """Every check, how many locked images of how many groups they rest on, and the figures of both bundles.

    `listed` is how many locked images the active bundle has; `n` of them were at hand and unknown to the candidate.
    """

    checks: tuple[Check, ...]
    n: int
    groups: int
    listed: int
    candidate: Mapping[str, str]
    active: Mapping[str, str] | None
    seed: int
    resamples: int = RESAMPLES
    figures: Mapping[str, tuple[Figure, ...]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check was passed."""
        return all(check.passed is True for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for each check that was not passed."""
        return tuple(check.words for check in self.checks if check.passed is not True)

    def __getitem__(self, name: str) -> Check:
        """Return a check by its name; KeyError where there is none."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict for JSON: checks, passed, n, groups, listed, candidate, active (name and sha256 each),
        seed, resamples, and figures of "candidate" and "active"."""
        return {
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            "n": self.n,
            "groups": self.groups,
            "listed": self.listed,
            "candidate": dict(self.candidate),
            "active": None if self.active is None else dict(self.active),
            "seed": self.seed,
            "resamples": self.resamples,
            "level": LEVEL,
            "figures": {who: [one.to_dict() for one in found] for who, found in self.figures.items()},
        }


def compare(
    candidate: Bundle,
    active: Bundle | None,
    rows_candidate: Sequence[Row],
    rows_active: Sequence[Row],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Verdict:
    """Judge a candidate by its predictions and those of the active bundle on the same locked images.

    Args:
        active: None where a task has no active bundle: then nothing is compared, and all else is looked at on the
            candidate's own test images.
        rows_candidate, rows_active: one row an image, in the same order.

    Raises:
        EvaluationError: the rows are not of the same images in the same order.
    """
    if active is not None and [row.sha256 for row in rows_candidate] != [row.sha256 for row in rows_active]:
        raise EvaluationError("Two bundles can be compared on the same images alone.")
    locked = active or candidate
    listed = len(set(locked.manifest["data"].get("test_sha256", ())))
    rng = np.random.default_rng(seed)
    contract = _contract(candidate, active)
    judged, against = None, None
    if contract.passed and rows_candidate:
        judged = to_judged(rows_candidate, classes=candidate.classes, malignant=candidate.malignant)
        if active is not None:
            against = to_judged(rows_active, classes=active.classes, malignant=active.malignant)
    shown = {
        who: tuple(one for one in _figures(which, rng, resamples) if one.name in SHOWN)
        for who, which in (("candidate", judged), ("active", against))
        if which is not None
    }
    return Verdict(
        checks=(
            contract,
            _enough(rows_candidate, judged, locked, listed),
            *_differences(judged, against, active, rng, resamples),
            _calibration(shown.get("candidate", ())),
            _saliency(candidate),
            _evidence(candidate, rows_candidate),
        ),
        n=len(rows_candidate),
        groups=len({row.group for row in rows_candidate}),
        listed=listed,
        candidate={"name": candidate.name, "sha256": candidate.sha256},
        active=None if active is None else {"name": active.name, "sha256": active.sha256},
        seed=seed,
        resamples=resamples,
        figures=shown,
    )


# --- the checks ---------------------------------------------------------------------------------------------


def _contract(candidate: Bundle, active: Bundle | None) -> Check:
    """What the application relies on: the task, the picture that goes in, the classes that come out."""
    if active is None:
        return Check(CONTRACT, True, "No version is active: there is no input contract to keep.")
    theirs, ours = _promises(candidate), _promises(active)
    changed = [words for words in ours if theirs[words] != ours[words]]
    if changed:
        return Check(CONTRACT, False, f"The input contract has changed: {', '.join(changed)}.")
    return Check(
        CONTRACT, True, "The input contract is unchanged: task, input, classes, malignant classes, size."
    )


def _promises(bundle: Bundle) -> dict[str, Any]:
    return {
        "task": bundle.task,
        "input": bundle.manifest.get("input"),
        "classes": bundle.classes,
        "malignant classes": frozenset(bundle.malignant),
        "size of the preprocessed image": bundle.preparation.size,
    }


def _enough(rows: Sequence[Row], judged: Judged | None, locked: Bundle, listed: int) -> Check:
    n = len(rows)
    missing = judged.missing_classes if judged is not None else ()
    of = f"{n} of the {listed} locked test images of {locked.name}"
    words, passed = f"Judged on {of}, {len({row.group for row in rows})} groups.", True
    if n < LEAST_IMAGES:
        words = f"Unproven: {of} are at hand and unknown to the candidate, and {LEAST_IMAGES} are the least."
        passed = False
    elif missing:
        words = f"Unproven: among {of} none is labelled {' or '.join(missing)}."
        passed = False
    return Check(IMAGES, passed, words, value=float(n), limit=float(LEAST_IMAGES))


def _differences(
    judged: Judged | None,
    against: Judged | None,
    active: Bundle | None,
    rng: np.random.Generator,
    resamples: int,
) -> list[Check]:
    if active is None:
        return [
            Check(name, True, f"No version is active: there is no {word} to compare with.")
            for name, word in COMPARED.items()
        ]
    if judged is None or against is None:
        return [
            Check(name, None, f"The {word} could not be compared.", limit=-LARGEST_LOSS)
            for name, word in COMPARED.items()
        ]
    same = bool((judged.predicted == against.predicted).all())
    found = paired_differences(judged, against, tuple(COMPARED), rng=rng, resamples=resamples)
    return [_paired_check(one, same, len(judged)) for one in found]


def _paired_check(found: Difference, same: bool, n: int) -> Check:
    word = COMPARED[found.name]
    if found.value is None or found.low is None or found.high is None:
        words = f"Unproven: the {word} rests on a class with images of a single group, or of none."
        return Check(found.name, None, words, value=found.value, limit=-LARGEST_LOSS)
    words = (
        f"The {word} differs by {_points(found.value)} percentage points (95 % interval {_points(found.low)} to "
        f"{_points(found.high)}); the lower end must be above {_points(-LARGEST_LOSS)}."
    )
    if same:
        words += (
            f" Both gave each of the {n} images the same class; up to {100 * min(1.0, RULE_OF_THREE / n):.1f} % of "
            "images like these could still be classed differently."
        )
    passed = found.low > -LARGEST_LOSS
    return Check(found.name, passed, words, found.value, found.low, found.high, -LARGEST_LOSS)


def _figures(judged: Judged, rng: np.random.Generator, resamples: int) -> list[Figure]:
    return figures(judged, split="locked test images", rng=rng, resamples=resamples)


def _calibration(found: Sequence[Figure]) -> Check:
    ece = next((one for one in found if one.name == "ece"), None)
    if ece is None:
        return Check(ECE, None, "The calibration error could not be measured.", limit=LARGEST_ECE)
    return Check(
        ECE,
        ece.value <= LARGEST_ECE,
        f"The calibration error (ECE) is {ece.value:.3f}{_interval(ece)}; {LARGEST_ECE:g} is the most allowed.",
        value=ece.value,
        low=_finite(ece.low),
        high=_finite(ece.high),
        limit=LARGEST_ECE,
    )


def _saliency(candidate: Bundle) -> Check:
    figure = saliency_figure(candidate)
    if figure is None or not figure.defined:
        words = "The evidence does not say how maps of the weight-randomised network correlate with its own."
        return Check(SALIENCY, None, words, limit=LARGEST_CORRELATION)
    return Check(
        SALIENCY,
        figure.value <= LARGEST_CORRELATION,
        f"{saliency_method(candidate)} maps of the network with random weights correlate "
        f"{round(figure.value, 2) + 0.0:.2f}{_interval(figure)} with its own; "
        f"{LARGEST_CORRELATION:g} is the most allowed.",
        value=figure.value,
        low=_finite(figure.low),
        high=_finite(figure.high),
        limit=LARGEST_CORRELATION,
    )


def _evidence(candidate: Bundle, rows: Sequence[Row]) -> Check:
    gaps = evidence_gaps(candidate, rows)
    if gaps:
        return Check(EVIDENCE, False, f"The evidence is not complete: {'; '.join(gaps)}.")
    return Check(EVIDENCE, True, "The evidence is complete.")


def _interval(figure: Figure) -> str:
    if not (math.isfinite(figure.low) and math.isfinite(figure.high)):
        return ""
    return f" (95 % interval {figure.low:.3f} to {figure.high:.3f})"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _points(share: float) -> str:
    """A difference of shares in percentage points, with its sign: `-0.34`, `+1.00`, `0.00`."""
    text = f"{100 * share:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text
