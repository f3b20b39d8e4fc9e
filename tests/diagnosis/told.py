"""Rows for tests and screenshots of the model pages: verdicts, trainings, sections, as their makers write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from diagnosis.models import Judgement, ModelVersion, Training

CLASSES = ["benign", "early", "pre", "pro"]


def figure(
    name: str, value: float | None, low: float | None, high: float | None, n: int = 532, **more: Any
) -> dict[str, Any]:
    """One figure as evidence holds it."""
    split = "standing block split, test part"
    return {"name": name, "value": value, "low": low, "high": high, "n": n, "groups": 16, "split": split,
            "method": "bootstrap", **more}  # fmt: skip


def section(
    name: str, *, loss: float = 0.0, n: int = 532, data: str = "taleqani-all", split: str = ""
) -> dict[str, Any]:
    """An evidence section of a model whose figures are `loss` lower than perfect."""
    split = split or "standing block split, test part"
    wide = 0.012 + 2.0 / n
    figures = [
        figure(key, value, max(0.0, value - wide), min(1.0, value + wide / 2), n=n, split=split)
        for key, value in (
            ("accuracy", 0.998 - loss),
            ("balanced_accuracy", 0.997 - loss),
            ("sensitivity_malignant", 0.996 - loss),
            ("specificity_malignant", 0.986 - loss),
            ("auroc_malignant", 0.9996 - loss / 4),
            ("ece", 0.003 + loss / 3),
            ("log_loss", 0.021 + loss),
            ("coverage", 0.991 - loss),
        )
    ]
    missed = round(loss * n / 3)
    per = n // 4
    return {
        "name": name, "model": f"{name} on openvino", "data": data, "split": split, "n": n, "groups": max(2, n // 33),
        "classes": CLASSES, "missing_classes": [], "figures": figures, "notes": [],
        "confusion": [[per - (missed if i == j else 0) if i == j else (missed if (i + 1) % 4 == j else 0)
                       for j in range(4)] for i in range(4)],
    }  # fmt: skip


def metrics(name: str, *, loss: float = 0.0, correlation: float | None = 0.08) -> dict[str, Any]:
    """The figures of a bundle's evidence."""
    saliency = [] if correlation is None else [
        figure("saliency_randomised_correlation", correlation, correlation - 0.05, correlation + 0.05, n=60),
        figure("saliency_on_leukocytes", 0.41, 0.37, 0.45, n=60),
        figure("saliency_on_leukocytes_chance", 0.16, 0.14, 0.18, n=60),
    ]  # fmt: skip
    return {"format": 1, "sections": [section(name, loss=loss)], "saliency": saliency}


def verdict(*, passed: bool, candidate: str = "field-2", active: str = "field-test") -> dict[str, Any]:
    """A verdict as `ml.promotion.Verdict.to_dict` gives it."""
    checks = [
        ("input_contract", True, "Input, classes and preprocessing are the active version's.", None, None, None, None),
        ("locked_images", True, "532 locked test images in 16 groups were at hand.", 532.0, None, None, 100.0),
        ("balanced_accuracy", True, "Balanced accuracy is at most 0.01 lower: its difference is above -0.01.",
         0.002, -0.004, 0.009, -0.01),
        ("sensitivity_malignant", passed,
         "Sensitivity for malignant is at most 0.01 lower." if passed
         else "Sensitivity for malignant may be more than 0.01 lower: the interval reaches to -0.031.",
         0.001 if passed else -0.017, -0.003 if passed else -0.031, 0.006 if passed else -0.004, -0.01),
        ("ece", True, "Calibration error is at most 0.03.", 0.004, 0.002, 0.007, 0.03),
        ("saliency", True, "Maps of the network with weights drawn anew are others.", 0.08, 0.03, 0.13, 0.3),
        ("evidence", True, "The evidence is complete.", None, None, None, None),
    ]  # fmt: skip
    keys = ("name", "passed", "words", "value", "low", "high", "limit")
    own, other = section(candidate, loss=0.004 if passed else 0.02), section(active, loss=0.006)
    kept = ("balanced_accuracy", "sensitivity_malignant", "ece")
    return {
        "passed": passed, "n": 532, "groups": 16, "listed": 542, "seed": 20, "resamples": 2000, "level": 0.95,
        "checks": [dict(zip(keys, check, strict=True)) for check in checks],
        "candidate": {"name": candidate, "sha256": "a" * 64}, "active": {"name": active, "sha256": "b" * 64},
        "figures": {who: [f for f in one["figures"] if f["name"] in kept]
                    for who, one in (("candidate", own), ("active", other))},
    }  # fmt: skip


def judged(version: ModelVersion, against: ModelVersion | None, *, passed: bool) -> Judgement:
    """A finished judgement, as a worker leaves it."""
    return Judgement.objects.create(
        version=version, against=against, state=Judgement.State.DONE, finished_at=timezone.now(),
        verdict=verdict(passed=passed, candidate=version.name, active=against.name if against else "none"),
    )  # fmt: skip


def judging(version: ModelVersion, against: ModelVersion | None) -> Judgement:
    """A judgement that a worker is at."""
    return Judgement.objects.create(
        version=version, against=against, state=Judgement.State.RUNNING,
        progress={"done": 211, "total": 532, "words": f"{version.name} judges the locked images"},
    )  # fmt: skip


def trials(count: int) -> list[dict[str, Any]]:
    """Trials of a search: the last one runs, every fourth was pruned."""
    found = []
    for n in range(count):
        last = n == count - 1
        found.append({
            "number": n, "state": "running" if last else "pruned" if n % 4 == 3 else "complete",
            "value": None if last else round(0.21 - 0.09 * (1 - 0.8**n) + 0.03 * ((n * 7) % 5 - 2) / 2, 4),
            "fidelity": "cached features, 128 px" if n % 3 else "reduced size, 128 px, all layers",
            "settings": {"learning_rate": 3.2e-4 * (1 + n % 5), "optimiser": ("adamw", "adam", "sgd")[n % 3],
                         "batch_size": 16 * (1 + n % 2), "dropout": 0.1 * (1 + n % 4), "weight_decay": 1e-4,
                         "augmentation": 0.5 + 0.25 * (n % 4), "depth": "head" if n % 3 else "all", "size": 128,
                         "label_smoothing": 0.05, "loss": "cross_entropy"},
        })  # fmt: skip
    return found


def searching(count: int = 9) -> dict[str, Any]:
    """Progress of a training that searches."""
    return {"stage": "search", "fidelity": "cached features, 128 px", "done": count - 1, "total": 16,
            "loss": 0.182, "metric": 0.957, "metric_name": "balanced_accuracy", "seconds_left": 1490.0,
            "trial": count - 1, "trial_phase": "epoch 2 of 5", "trial_done": 7, "trial_total": 12,
            "trials": trials(count)}  # fmt: skip


def refitting(epochs: int = 6) -> dict[str, Any]:
    """Progress of a training that refits the best trial through all layers."""
    history = {
        "loss": [round(0.9 * 0.62**i + 0.12, 4) for i in range(epochs)],
        "val_loss": [round(0.8 * 0.6**i + 0.14 + 0.02 * (i % 2), 4) for i in range(epochs)],
        "balanced_accuracy": [round(1 - 0.4 * 0.6**i, 4) for i in range(epochs)],
        "val_balanced_accuracy": [round(1 - 0.42 * 0.63**i, 4) for i in range(epochs)],
        "learning_rate": [1e-3] * epochs,
    }
    return {"stage": "refit at 224 px", "fidelity": "all layers, full size, 224 px", "done": 31, "total": 51,
            "loss": history["loss"][-1], "metric": history["val_balanced_accuracy"][-1],
            "metric_name": "balanced_accuracy", "seconds_left": 2710.0, "history": history,
            "trials": trials(12)[:-1]}  # fmt: skip


def training(
    name: str = "field-2", *, state: str = "running", ago: float = 40.0, silent: bool = False, **more: Any
) -> Training:
    """A training that began `ago` minutes ago."""
    now = timezone.now()
    ended = None if state == "running" else now - timedelta(minutes=ago) + timedelta(minutes=38)
    values: dict[str, Any] = {
        "task": "field", "name": name, "work": f"/somewhere/retrain/{name}", "state": state,
        "started_at": now - timedelta(minutes=ago), "finished_at": ended,
        "beat_at": now - timedelta(minutes=5) if silent else now,
        "options": {"data": ["/data/taleqani-all"], "trials": 16, "search": "random", "epochs": 15, "seed": 20},
        "data": {"name": "taleqani-all", "images": 2773, "groups": 77,
                 "by_label": {"benign": 430, "early": 837, "pre": 815, "pro": 691},
                 "duplicates": {"exact": 2, "near": 14, "left_out": 2},
                 "leaks": {"groups": 0, "families": 0, "images": 0}},
        **more,
    }  # fmt: skip
    return Training.objects.create(**values)
