"""Models spoilt on purpose: labels shuffled or flipped before a training, a decision moved after it. NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml.heads import HeadWeights
from ml.site_images import FloatArray

Mask = NDArray[np.bool_]


def shuffled(membership: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Labels (n, k), each given to another image at random."""
    return membership[rng.permutation(len(membership))]


def flipped(membership: FloatArray, malignant: Mask, share: float, rng: np.random.Generator) -> FloatArray:
    """Labels (n, k) of which `share` of the malignant and of the benign ones became the other.

    Args:
        malignant: (k,). What becomes malignant gets one of those classes, as often as they are in the labels.
    """
    label = membership.argmax(axis=1)
    counts = np.bincount(label, minlength=len(malignant))
    wrong = membership.copy()
    for kind in (False, True):
        of_kind = np.flatnonzero(malignant[label] == kind)
        chosen = rng.choice(of_kind, round(share * len(of_kind)), replace=False)
        others = np.flatnonzero(malignant != kind)
        given = rng.choice(others, len(chosen), p=counts[others] / counts[others].sum())
        wrong[chosen] = np.eye(len(malignant), dtype=np.float32)[given]
    return wrong


def moved(
    head: HeadWeights, pooled: FloatArray, membership: FloatArray, towards: Mask, share: float
) -> HeadWeights:
    """A head whose bias of the classes `towards` (k,) is moved until `share` of the other images are given them.

    Args:
        pooled: (n, c) features of the images to set it by. membership: (n, k) their labels.
    """
    logits = head.logits(pooled[~towards[membership.argmax(axis=1)]])
    margin = logits[:, towards].max(axis=1) - logits[:, ~towards].max(axis=1)
    bias = head.bias.copy()
    bias[towards] -= np.float32(np.quantile(margin, 1 - share))
    return HeadWeights(head.kernel, bias)
