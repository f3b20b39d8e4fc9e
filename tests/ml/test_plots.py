"""Plots: what they show is what was measured, and their SVG is the same every time."""

import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sklearn.metrics import average_precision_score, roc_curve

from ml.calibration import softmax
from ml.evaluation import plots
from ml.evaluation.intervals import Figure
from ml.evaluation.metrics import Judged, confusion_matrix

CLASSES = ("benign", "early", "pre", "pro")


def judged_at_random(sharpness: float, n: int = 200) -> Judged:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, n)
    logits = rng.normal(size=(n, 4))
    logits[np.arange(n), labels] += sharpness
    return Judged.of(
        [CLASSES[index] for index in labels],
        softmax(np.round(logits, 1)),
        classes=CLASSES,
        malignant=CLASSES[1:],
    )


JUDGED = judged_at_random(3.0)
FIGURE = Figure("accuracy", 0.9, 0.85, 0.94, 200, 20, "blocks")
UNDEFINED = Figure("accuracy", float("nan"), float("nan"), float("nan"), 200, 20, "blocks", "none")
HISTORY = {"loss": [1.0, 0.5], "val_loss": [1.1, 0.7], "accuracy": [0.5, 0.8], "val_accuracy": [0.4, 0.7]}
ONE_OF_EACH = {
    "roc": lambda: plots.roc_plot(JUDGED),
    "precision-recall": lambda: plots.precision_recall_plot(JUDGED),
    "confusion": lambda: plots.confusion_plot(confusion_matrix(JUDGED), CLASSES),
    "reliability": lambda: plots.reliability_plot(JUDGED, JUDGED.probabilities),
    "history": lambda: plots.history_plot(HISTORY),
    "risk-coverage": lambda: plots.risk_coverage_plot(
        JUDGED.predicted == JUDGED.labels, {"confidence": JUDGED.probabilities.max(1)}, (0.9, 0.05)
    ),
    "domain": lambda: plots.domain_plot({"held out": np.linspace(0.2, 1.1, 50), "other": [3.0, 4.0]}, 1.0),
    "comparison": lambda: plots.comparison_plot({"network": FIGURE, "nothing": UNDEFINED}, "Accuracy"),
}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_same_plot_is_the_same_svg(name):
    first = plots.to_svg(ONE_OF_EACH[name](), name)
    assert first == plots.to_svg(ONE_OF_EACH[name](), name)
    assert b"<dc:date>" not in first
    assert first.startswith(b"<?xml")


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_plot_stands_on_opaque_white_and_keeps_red_for_leukemia(name):
    svg = plots.to_svg(ONE_OF_EACH[name](), name).decode()
    background = svg[svg.index('id="patch_1"') :][:400]
    assert "fill: #ffffff" in background
    for colour in set(re.findall(r"#[0-9a-f]{6}", svg)):
        red, green, blue = to_rgb(colour)
        assert not (red > 0.6 and green < 0.35 and blue < 0.35), colour


def test_settings_of_the_process_do_not_reach_a_plot():
    import matplotlib as mpl

    expected = plots.to_svg(ONE_OF_EACH["roc"](), "roc")
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.grid": False}):
        assert plots.to_svg(ONE_OF_EACH["roc"](), "roc") == expected


def test_curves_are_scikit_learns():
    judged = judged_at_random(1.0)
    for line, index in zip(plots.roc_plot(judged).axes[0].lines[1:5], range(4), strict=True):
        false, true, _ = roc_curve(
            judged.labels == index, judged.probabilities[:, index], drop_intermediate=False
        )
        assert np.allclose(line.get_xdata(), false)
        assert np.allclose(line.get_ydata(), true)
    for line, index in zip(plots.precision_recall_plot(judged).axes[0].lines[:4], range(4), strict=True):
        expected = average_precision_score(judged.labels == index, judged.probabilities[:, index])
        assert line.get_label().endswith(f"{expected:.4f}")


def test_only_curves_that_hug_the_corner_are_magnified():
    assert len(plots.roc_plot(judged_at_random(6.0)).axes[0].child_axes) == 1
    assert len(plots.roc_plot(judged_at_random(0.5)).axes[0].child_axes) == 0


def test_a_class_without_images_has_no_curve():
    chances = np.full((6, 4), 0.25)
    judged = Judged.of(["benign", "early"] * 3, chances, classes=CLASSES, malignant=CLASSES[1:])
    labels = [line.get_label() for line in plots.roc_plot(judged).axes[0].lines[1:]]
    assert [label.split()[0] for label in labels] == ["benign", "early", "malignant"]


def test_risk_at_full_coverage_is_the_error():
    correct = np.asarray([True] * 15 + [False] * 5)
    line = plots.risk_coverage_plot(correct, {"confidence": np.linspace(1, 0.3, 20)}).axes[0].lines[0]
    assert (line.get_xdata()[-1], line.get_ydata()[-1]) == (1.0, 0.25)
    assert line.get_ydata()[0] == 0


def test_the_confusion_matrix_shows_counts_and_shares():
    texts = [text.get_text() for text in ONE_OF_EACH["confusion"]().axes[0].texts]
    matrix = confusion_matrix(JUDGED)
    assert texts[0] == f"{matrix[0, 0]}\n{matrix[0, 0] / matrix[0].sum():.1%}"


def test_a_plot_is_written_whole(tmp_path):
    plots.write_svg(ONE_OF_EACH["roc"](), tmp_path / "roc.svg", "ROC")
    assert [file.name for file in tmp_path.iterdir()] == ["roc.svg"]
