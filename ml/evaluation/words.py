"""What the metrics are called, on the terminal and on pages: one vocabulary, in the order they are shown."""

from __future__ import annotations

from collections.abc import Iterable

from ml.saliency import DEFAULT_METHOD, METHOD_WORDS

CLASS_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision_weighted": "precision, weighted",
    "precision_macro": "precision, macro",
    "recall_weighted": "recall (sensitivity), weighted",
    "recall_macro": "recall (sensitivity), macro",
    "specificity_weighted": "specificity, weighted",
    "specificity_macro": "specificity, macro",
    "f1_weighted": "F1, weighted",
    "f1_macro": "F1, macro",
    "auroc_macro": "AUROC, one against the rest, mean",
    "auroc_malignant": "AUROC, malignant against benign",
    "sensitivity_malignant": "sensitivity for malignant",
    "specificity_malignant": "specificity for malignant",
    "log_loss": "log loss",
    "log_loss_before_scaling": "log loss before temperature scaling",
    "ece": "ECE",
    "ece_before_scaling": "ECE before temperature scaling",
    "brier": "Brier score",
}
ABSTAINING_METRICS = {
    "coverage": "coverage (given a class)",
    "risk": "risk (wrong among those)",
    "balanced_accuracy_kept": "balanced accuracy among those",
    "sensitivity_malignant_kept": "sensitivity for malignant among those",
    "malignant_not_called": "malignant images called benign, of all",
}
PER_CLASS = {
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "f1": "F1",
    "auroc": "AUROC",
}
_OF_A_MAP = {
    "saliency_randomised_correlation": "rank correlation with maps of the network, all weights drawn anew",
    "saliency_randomised_linear": "the same, linear correlation",
    "saliency_randomised_absolute": "the same, size of the rank correlation whatever its sign",
    "saliency_cascade/head": "head alone drawn anew",
    "saliency_cascade/block5": "head and last dense block drawn anew",
    "saliency_cascade/block4": "head and last two blocks drawn anew",
    "saliency_cascade/block3": "head and last three blocks drawn anew",
    "saliency_other_image": "rank correlation between maps of different images",
    "saliency_deletion/map": "deletion, area under the probability: the map's order (less is better)",
    "saliency_deletion/shuffled": "deletion: the map's cells shuffled",
    "saliency_deletion/centre": "deletion: from the middle outwards",
    "saliency_deletion_gain/shuffled": "deletion, gain over shuffled cells (above 0 is better)",
    "saliency_deletion_gain/centre": "deletion, gain over the middle first",
    "saliency_insertion/map": "insertion, area under the probability: the map's order (more is better)",
    "saliency_insertion/shuffled": "insertion: the map's cells shuffled",
    "saliency_insertion/centre": "insertion: from the middle outwards",
    "saliency_insertion_gain/shuffled": "insertion, gain over shuffled cells (above 0 is better)",
    "saliency_insertion_gain/centre": "insertion, gain over the middle first",
    "saliency_on_leukocytes": "share of the map's mass on leukocyte nuclei",
    "saliency_on_leukocytes_chance": "chance: share of the area that nuclei take",
    "saliency_on_leukocytes_gain": "mass on nuclei above chance",
    "saliency_on_leukocytes_best": "best a map this coarse could do",
    "saliency_peak_on_leukocytes": "share of images whose map peaks on a nucleus",
    "saliency_blank": "share of images whose map is empty",
    "saliency_randomised_blank": "share of maps that are empty, all weights drawn anew (counted as correlation 0)",
}
METHOD_BESIDE = "gradcam++"
"""Measured beside the method shown first, from the same feature maps; LayerCAM's maps are the same for our networks."""
SAME_FOR_ALL = (
    "saliency_deletion/centre", "saliency_insertion/centre", "saliency_on_leukocytes_chance",
    "saliency_on_leukocytes_best",
)  # fmt: skip
"""What chance or any map would give, whatever the method: measured once."""


def of_method(name: str, method: str) -> str:
    """The name of a figure about a method's maps: plain for the method shown first, else `NAME@METHOD`."""
    return name if method == DEFAULT_METHOD else f"{name}@{method}"


SALIENCY_METRICS = {
    **_OF_A_MAP,
    **{
        of_method(name, METHOD_BESIDE): f"{METHOD_WORDS[METHOD_BESIDE]}: {words}"
        for name, words in _OF_A_MAP.items()
        if name not in SAME_FOR_ALL
    },
}


def plain_method(names: Iterable[str]) -> str:
    """The method that figures with plain names are about.

    Evidence without a figure `NAME@METHOD` is older than the second method: its plain names were of Grad-CAM++.
    """
    return DEFAULT_METHOD if any("@" in name for name in names) else METHOD_BESIDE


SALIENCY_LIMIT = 0.3
"""Above this mean correlation with the maps of a network that has learnt nothing, promotion is refused."""
