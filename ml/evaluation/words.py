"""What the metrics are called, on the terminal and on pages: one vocabulary, in the order they are shown."""

from __future__ import annotations

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
