"""The gate of evidence: may a candidate bundle take over from the active one?

Both judge the same locked images: test images of the active bundle that the candidate never learnt from. The
differences are paired: each resample draws whole groups once and measures both bundles on the same draw.

How the lower bounds stay sound where groups are few and differences rare. A percentile interval of G groups is too
narrow by sqrt((G - 1) / G), and takes the normal's tails where it knows a spread from G groups alone; so the tails
are those of the expanded percentile interval (Hesterberg 2015, *What Teachers Should Know About the Bootstrap*,
section 5.3.2): level Phi(-sqrt(G / (G - 1)) t(G - 1)), 1.4 % instead of 2.5 % for 16 groups and the lowest resample
of all for 4. A loss in a single group of many is drawn several times over in enough resamples to count. A class
whose images are of one group has no spread between groups to see, so the bounds that rest on it are refused as
unproven. Where both gave every image the same class the difference is 0, and so are its bounds: the words then say
what that many images cannot show. All bounds are the lower ends of two-sided 95 % intervals, as everywhere here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from scipy.stats import norm, t

from ml.bundle import Bundle
from ml.data.manifest import Item, Manifest
from ml.evaluation.intervals import BLOCK, LEAST_DEFINED, LEVEL, RESAMPLES, Figure, figures, group_weights
from ml.evaluation.judging import select
from ml.evaluation.metrics import FloatArray, Judged, class_metrics
from ml.evaluation.predictions import EvaluationError, Row, to_judged
from ml.promotion_evidence import evidence_gaps, saliency_figure

LARGEST_LOSS = 0.01
"""Balanced accuracy and sensitivity may be this much lower, and no more."""
LARGEST_ECE = 0.03
LARGEST_CORRELATION = 0.3
LEAST_IMAGES = 100
LEAST_GROUPS = 2
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


def locked_images(
    active: Bundle, manifests: Sequence[Manifest], *, candidate: Bundle | None = None
) -> list[Item]:
    """Return the test images of `active` among `manifests`, each once, found by SHA-256.

    Images that `candidate` was trained or validated on are left out, and so is every image of a group it learnt
    another image of. The data that the bundle was made from are looked at first, and the others only while images
    are missing. Groups of several data sets are told apart by the data's name.
    """
    wanted = set(active.manifest["data"].get("test_sha256", ()))
    classes = {name.casefold(): name for name in active.classes}
    home = active.manifest["data"].get("name")
    found: dict[str, Item] = {}
    for manifest in sorted(manifests, key=lambda one: one.name != home):
        if len(found) == len(wanted):
            break
        learnt_groups = _learnt_groups(manifest, candidate)
        for item in _test_items(manifest, active):
            label = classes.get(item.label.casefold())
            if label is None or item.group in learnt_groups or _learnt(item, candidate):
                continue
            named = replace(item, label=label, group=f"{manifest.name}/{item.group}")
            named.__dict__["sha256"] = item.sha256  # known already: a new item would read its file again
            found.setdefault(item.sha256, named)
    return list(found.values())


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
            _enough(rows_candidate, locked, listed),
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


# --- locked images ------------------------------------------------------------------------------------------


def _learnt(item: Item, bundle: Bundle | None) -> bool:
    return bundle is not None and item.sha256 in _learnt_hashes(bundle)


def _learnt_hashes(bundle: Bundle) -> frozenset[str]:
    known = bundle.__dict__.get("_learnt_hashes")
    if known is None:
        data = bundle.manifest["data"]
        known = frozenset((*data.get("train_sha256", ()), *data.get("validation_sha256", ())))
        bundle.__dict__["_learnt_hashes"] = known
    return known


def _learnt_groups(manifest: Manifest, bundle: Bundle | None) -> set[str]:
    """Groups of a manifest of which the bundle learnt an image."""
    return set() if bundle is None else {item.group for item in manifest if _learnt(item, bundle)}


def _test_items(manifest: Manifest, bundle: Bundle) -> tuple[Item, ...]:
    try:
        return select(manifest.items, bundle.manifest["data"], part="test").items
    except EvaluationError:  # none of them is here
        return ()


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
        "size of the preprocessed image": bundle.preprocessing.size,
    }


def _enough(rows: Sequence[Row], locked: Bundle, listed: int) -> Check:
    n = len(rows)
    by_class = Counter(row.label for row in rows)
    missing = [name for name in locked.classes if not by_class[name]]
    of = f"{n} of the {listed} locked test images of {locked.name}"
    if n < LEAST_IMAGES:
        words = f"Unproven: {of} are at hand and unknown to the candidate, and {LEAST_IMAGES} are the least."
        return Check(IMAGES, False, words, value=float(n), limit=float(LEAST_IMAGES))
    if missing:
        words = f"Unproven: among {of} none is labelled {' or '.join(missing)}."
        return Check(IMAGES, False, words, value=float(n), limit=float(LEAST_IMAGES))
    words = f"Judged on {of}, {len({row.group for row in rows})} groups."
    return Check(IMAGES, True, words, value=float(n), limit=float(LEAST_IMAGES))


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
    return _paired_checks(judged, against, rng, resamples)


def _paired_checks(
    candidate: Judged, active: Judged, rng: np.random.Generator, resamples: int
) -> list[Check]:
    """The differences candidate - active, with intervals from the same draws of groups for both."""
    estimates = {name: _difference(candidate, active, None, name)[0] for name in COMPARED}
    draws: dict[str, list[FloatArray]] = {name: [] for name in COMPARED}
    if candidate.group_count >= LEAST_GROUPS:
        size = max(1, min(resamples, BLOCK // len(candidate)))
        for start in range(0, resamples, size):
            weights = group_weights(candidate.groups, rng, min(size, resamples - start))
            for name in COMPARED:
                draws[name].append(_difference(candidate, active, weights, name))
    same = bool((candidate.predicted == active.predicted).all())
    return [
        _paired_check(name, estimates[name], draws[name], _groups_for(name, candidate), same, len(candidate))
        for name in COMPARED
    ]


def _difference(candidate: Judged, active: Judged, weights: FloatArray | None, name: str) -> FloatArray:
    """(b,) differences of a metric; nan where it is not defined."""
    theirs, ours = class_metrics(candidate, weights).get(name), class_metrics(active, weights).get(name)
    if theirs is None or ours is None:
        return np.full(1 if weights is None else len(weights), math.nan)
    return theirs.values - ours.values


def _groups_for(name: str, judged: Judged) -> int:
    """How many groups the spread of a metric is known from; 0 where a class it rests on is of one group alone."""
    each = [len(set(judged.groups[judged.labels == label].tolist())) for label in set(judged.labels.tolist())]
    if name == "sensitivity_malignant":
        malignant = judged.is_malignant[judged.labels]
        count = len(set(judged.groups[malignant].tolist()))
        return count if count >= LEAST_GROUPS else 0
    return judged.group_count if min(each) >= LEAST_GROUPS else 0


def _paired_check(
    name: str, estimate: float, draws: list[FloatArray], groups: int, same: bool, n: int
) -> Check:
    word = COMPARED[name]
    known = np.concatenate(draws) if draws else np.empty(0)
    share = float(np.isfinite(known).mean()) if len(known) else 0.0
    if groups == 0 or share < LEAST_DEFINED or not math.isfinite(estimate):
        words = f"Unproven: the {word} rests on a class with images of a single group, or none."
        value = float(estimate) if math.isfinite(estimate) else None
        return Check(name, None, words, value=value, limit=-LARGEST_LOSS)
    tail = expanded_tail(groups)
    low, high = (float(bound) for bound in np.nanquantile(known, [tail, 1 - tail]))
    low, high, value = min(low, float(estimate)), max(high, float(estimate)), float(estimate)
    passed = low > -LARGEST_LOSS
    words = (
        f"The {word} differs by {_points(value)} percentage points (95 % interval {_points(low)} to "
        f"{_points(high)}); the lower end must be above {_points(-LARGEST_LOSS)}."
    )
    if same:
        words += (
            f" Both gave each of the {n} images the same class; up to {100 * min(1.0, RULE_OF_THREE / n):.1f} % of "
            "images like these could still be classed differently."
        )
    return Check(name, passed, words, value=value, low=low, high=high, limit=-LARGEST_LOSS)


def expanded_tail(groups: int, level: float = LEVEL) -> float:
    """Share of resamples to leave out at each end for an interval of `level`; smaller than (1 - level) / 2.

    Hesterberg 2015, section 5.3.2: Phi(-sqrt(n / (n - 1)) t(1 - alpha / 2, n - 1)) for n >= 2 groups.
    """
    spread = math.sqrt(groups / (groups - 1)) * float(t.ppf((1 + level) / 2, groups - 1))
    return float(norm.cdf(-spread))


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
        f"Maps of the network with random weights correlate {figure.value:.2f}{_interval(figure)} with its own; "
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
