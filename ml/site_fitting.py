"""From what a bundle sees of a site's images to an adapted head, a wider gate and the site's own thresholds.

The head goes as far as cross-validation on those images says (`ml.head_fitting`), the gate takes the site in
(`Domain.widened`), and threshold, prevalence and confidence intervals are those of the site's images, each judged
when its own group was left out. The network's features stay as they are. Needs no training framework.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ml.bundle import Bundle
from ml.calibration import MINIMUM_BIN_SIZE, ConfidenceBins, softmax
from ml.domain import Domain
from ml.head_export import rounded
from ml.head_fitting import (
    REPEATS,
    WAYS,
    Choice,
    Head,
    IntArray,
    Way,
    choose,
    deal_folds,
    fit_scale,
    fit_way,
)
from ml.site_images import FloatArray, SiteImages, SiteProblem, is_malignant

SEED = 20
MINIMUM_IMAGES = 20
"""Below, cross-validation of anything is a lottery."""

SUSPICION_SENSITIVITY = 0.98
"""Share of malignant images at or above the threshold of suspicion (DESIGN, Words)."""

DOMAIN_KEEP = 0.97
"""Share of a site's images that the gate is to keep, where the bundle does not say what it was made with."""


@dataclass(frozen=True)
class Fitted:
    """An adaptation before it is written.

    Attributes:
        head, domain: of the adapted bundle; the head rounded as the files store it.
        choice: what was tried, and which way was taken.
        probabilities: (n, k) of the n images learnt from, each when its group was left out.
        scores: (n,) domain scores of the same, likewise.
        facts: what changes in `bundle.json`: temperature, thresholds, prevalence, confidence_bins.
        notes: what a reader must know, a sentence each.
    """

    head: Head
    domain: Domain
    choice: Choice
    probabilities: NDArray[np.float64]
    scores: FloatArray
    facts: dict[str, Any]
    notes: tuple[str, ...]

    def answers(self, images: SiteImages) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(n, k) probabilities of any images, and (n,) whether each is given a class."""
        return _answers(self.head, self.domain, images)


def own_head(bundle: Bundle) -> Head:
    """The head and temperature of a bundle."""
    arrays = bundle.arrays
    return Head(
        arrays["head_kernel"].astype(np.float64), arrays["head_bias"].astype(np.float64), bundle.temperature
    )


def own_answers(bundle: Bundle, images: SiteImages) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(n, k) probabilities, and (n,) whether each image is given a class, by the bundle as it is."""
    return _answers(own_head(bundle), bundle.domain, images)


def choose_way(
    bundle: Bundle,
    images: SiteImages,
    *,
    seed: int = SEED,
    ways: Sequence[Way] = WAYS,
    fine_tuned: Callable[[IntArray], NDArray[np.float64]] | None = None,
) -> Choice:
    """Cross-validate the ways to adapt a bundle to a site's images; the same seed gives the same.

    Args:
        fine_tuned: fold numbers (n,) -> calibrated logits (n, k) of the fine-tuned network, each image's from a
            training without its fold. None leaves that way out.

    Raises:
        SiteProblem: too few images, of one kind or of one group alone.
    """
    refuse_too_few(bundle, images.membership, images.groups)
    rng = np.random.default_rng(seed)
    folds = np.stack([deal_folds(images.groups, images.membership, rng) for _ in range(REPEATS)])
    # One dealing for a way that takes a training a fold.
    others = {Way("fine_tune"): fine_tuned(folds[0])[None]} if fine_tuned else {}
    # The matrices are small: on a busy machine, threads that wait for each other cost a hundred times what they save.
    with threadpool_limits(1):
        return choose(
            own_head(bundle),
            images.pooled,
            images.membership,
            images.groups,
            rng=rng,
            ways=ways,
            others=others,
            folds=folds,
        )


def fit_site(
    bundle: Bundle,
    images: SiteImages,
    *,
    seed: int = SEED,
    ways: Sequence[Way] = WAYS,
    choice: Choice | None = None,
) -> Fitted:
    """Adapt a bundle's head, gate and thresholds to a site's images; the same seed gives the same.

    Args:
        choice: made before; where it is to fine-tune, `bundle` is the tuned one and `images` are what it sees.

    Raises:
        SiteProblem: too few images, of one kind or of one group alone.
    """
    chosen = choice or choose_way(bundle, images, seed=seed, ways=ways)
    with threadpool_limits(1):
        return _fit(bundle, images, chosen)


def _fit(bundle: Bundle, images: SiteImages, choice: Choice) -> Fitted:
    old = own_head(bundle)
    tuned = choice.way.method == "fine_tune"
    head = old if tuned else fit_way(choice.way, old, images.pooled, images.membership)
    logits = choice.logits
    if choice.way.method != "keep":
        # A fit on few images is too sure of itself; those that were left out say by how much.
        scale = fit_scale(logits, images.membership)
        head, logits = Head(head.kernel, head.bias, head.temperature / scale), logits * scale
    kernel, bias = (rounded(weights).astype(np.float64) for weights in (head.kernel, head.bias))
    head = Head(kernel, bias, head.temperature)
    probabilities = softmax(logits).mean(axis=0)
    keep = float(bundle.thresholds.get("domain_keep", DOMAIN_KEEP))
    domain, scores, notes = _widened(bundle.domain, images, choice.folds[0], keep)
    facts = {"temperature": head.temperature, **_facts(bundle, images, probabilities, choice.way, keep)}
    return Fitted(head, domain, choice, probabilities, scores, facts, notes)


def _answers(head: Head, domain: Domain, images: SiteImages) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    inside = domain.score(images.features, images.seen) <= domain.threshold
    return softmax(head.logits(images.pooled)), ~images.refused & inside


def refuse_too_few(bundle: Bundle, membership: FloatArray, groups: Sequence[str]) -> None:
    """Raise `SiteProblem` where images with labels (n, k) are too few, of one kind or of one group alone."""
    n = len(membership)
    if n < MINIMUM_IMAGES:
        raise SiteProblem(
            f"{n} labelled images are too few to adapt to a site: {MINIMUM_IMAGES} are needed, "
            "and 50 are worth far more."
        )
    if len(set(groups)) < 2:
        raise SiteProblem(
            "All images are of one group (patient or block): images of at least two are needed."
        )
    malignant = int(is_malignant(bundle, membership).sum())
    if not 2 <= malignant <= n - 2:
        raise SiteProblem(
            f"{malignant} of the {n} images are malignant: at least two malignant ones and two others are needed."
        )


def _widened(
    domain: Domain, images: SiteImages, folds: NDArray[np.intp], keep: float
) -> tuple[Domain, FloatArray, tuple[str, ...]]:
    """The gate, the images' scores when left out, and what to say of it. What quality refuses does not widen it."""
    good = ~images.refused
    scores = domain.score(images.features, images.seen)
    if 2 * good.sum() < MINIMUM_IMAGES or len(np.unique(folds[good])) < 2:
        words = (
            f"The gate was not widened: {int(images.refused.sum())} of {len(images)} images fail the checks "
            "of quality or shape."
        )
        return domain, scores, (words,)
    wide, scores[good] = domain.widened(images.features[good], images.seen[good], folds[good], keep=keep)
    rises = [getattr(wide, view).limit / getattr(domain, view).limit for view in ("features", "appearance")]
    words = (
        f"{int(good.sum())} images of the site joined the gate; its limits are {rises[0]:.2f} (features) and "
        f"{rises[1]:.2f} (appearance) times the old ones."
    )
    return wide, scores, (words,)


def _facts(
    bundle: Bundle, images: SiteImages, probabilities: NDArray[np.float64], way: Way, keep: float
) -> dict[str, Any]:
    """What the site's images, each when left out, say of the threshold, the prevalence and the intervals."""
    names = np.array(bundle.classes)
    score = probabilities[:, np.isin(names, bundle.malignant)].sum(axis=1)
    malignant = score[is_malignant(bundle, images.membership)]
    needed = float(np.quantile(malignant, 1 - SUSPICION_SENSITIVITY, method="lower"))
    fine = (images.membership > 0).sum(axis=1) == 1
    correct = images.membership.argmax(axis=1) == probabilities.argmax(axis=1)
    bins = (
        ConfidenceBins.fit(probabilities[fine].max(axis=1), correct[fine])
        if fine.sum() >= MINIMUM_BIN_SIZE
        else None
    )
    return {
        # With few images the site's quantile is its lowest one, and the old threshold may be the safer of the two.
        "thresholds": {
            **bundle.thresholds,
            "suspected": min(needed, bundle.thresholds["suspected"]),
            "domain_keep": keep,
        },
        "confidence_bins": bins.to_dict() if bins else None,
        "prevalence": _prevalence(bundle, images, way),
    }


def _prevalence(bundle: Bundle, images: SiteImages, way: Way) -> dict[str, float]:
    """Shares of the classes that the probabilities are calibrated at: the site's, once anything was fitted to them.

    One image's weight of the old shares is added, so that a class without images has a share; a coarse label is
    shared out as the old ones.
    """
    old = np.array([bundle.manifest["prevalence"][name] for name in bundle.classes], dtype=np.float64)
    if way.method == "keep":
        return dict(zip(bundle.classes, old.tolist(), strict=True))
    shares = images.membership * np.maximum(old, 1e-6)
    counts = (shares / shares.sum(axis=1, keepdims=True)).sum(axis=0) + old / old.sum()
    return dict(zip(bundle.classes, (counts / counts.sum()).tolist(), strict=True))
