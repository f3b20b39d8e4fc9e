"""Every metric against scikit-learn, weighted and not, and closed cases with known answers."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from ml.calibration import expected_calibration_error
from ml.evaluation.metrics import (
    Judged,
    MetricsError,
    abstaining_metrics,
    class_metrics,
    confusion_matrix,
    weighted_auroc,
)

CLASSES = ("benign", "early", "pre", "pro")
MALIGNANT = ("early", "pre", "pro")


def judged_at_random(n: int = 200, seed: int = 0, sharpness: float = 2.0, **options) -> Judged:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    logits = rng.normal(size=(n, 4))
    logits[np.arange(n), labels] += sharpness
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = [CLASSES[index] for index in labels]
    return Judged.of(names, probabilities, classes=CLASSES, malignant=MALIGNANT, **options)


def value(name: str, judged: Judged, weights: np.ndarray | None = None) -> float:
    return float(class_metrics(judged, weights)[name].values[0])


def by_scikit_learn(judged: Judged, weight: np.ndarray) -> dict[str, float]:
    """The same names from scikit-learn, each image counted `weight` times."""
    truth, given, chances = judged.labels, judged.predicted, judged.probabilities
    found = {
        "accuracy": reference.accuracy_score(truth, given, sample_weight=weight),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, given, sample_weight=weight),
        "log_loss": reference.log_loss(truth, chances, sample_weight=weight),
        "auroc_macro": reference.roc_auc_score(
            np.eye(4)[truth], chances, multi_class="ovr", average="macro", sample_weight=weight
        ),
        "auroc_malignant": reference.roc_auc_score(truth > 0, 1 - chances[:, 0], sample_weight=weight),
        "sensitivity_malignant": reference.recall_score(truth > 0, given > 0, sample_weight=weight),
        "specificity_malignant": reference.recall_score(truth == 0, given == 0, sample_weight=weight),
        "brier": float(np.average(((chances - np.eye(4)[truth]) ** 2).sum(axis=1), weights=weight)),
    }
    for average in ("weighted", "macro"):
        precision, recall, f1, _ = reference.precision_recall_fscore_support(
            truth, given, average=average, zero_division=0, sample_weight=weight
        )
        found |= {f"precision_{average}": precision, f"recall_{average}": recall, f"f1_{average}": f1}
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        truth, given, zero_division=0, sample_weight=weight
    )
    matrices = reference.multilabel_confusion_matrix(truth, given, sample_weight=weight)
    for index, name in enumerate(CLASSES):
        found[f"precision/{name}"] = precision[index]
        found[f"recall/{name}"] = recall[index]
        found[f"f1/{name}"] = f1[index]
        found[f"specificity/{name}"] = matrices[index][0, 0] / matrices[index][0].sum()
        found[f"auroc/{name}"] = reference.roc_auc_score(
            truth == index, chances[:, index], sample_weight=weight
        )
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
def test_every_metric_is_scikit_learns(seed, weighted):
    judged = judged_at_random(seed=seed)
    weight = np.random.default_rng(seed + 100).integers(0, 4, len(judged)).astype(float)
    weight = weight if weighted else np.ones(len(judged))
    ours = class_metrics(judged, weight[None, :])
    expected = by_scikit_learn(judged, weight)
    others = {"ece", "specificity_weighted", "specificity_macro"}
    assert set(ours) == set(expected) | others
    for name, number in expected.items():
        assert ours[name].values[0] == pytest.approx(number, abs=1e-12), name


def test_average_specificity_weighs_classes_as_recall_does():
    judged = judged_at_random(seed=5)
    each = np.asarray([value(f"specificity/{name}", judged) for name in CLASSES])
    assert value("specificity_macro", judged) == pytest.approx(each.mean())
    shares = np.bincount(judged.labels) / len(judged)
    assert value("specificity_weighted", judged) == pytest.approx(each @ shares)


def test_weights_count_images_as_copies_of_them_would():
    judged = judged_at_random(n=60, seed=2)
    weight = np.random.default_rng(3).integers(0, 4, 60)
    copies = np.repeat(np.arange(60), weight)
    repeated = Judged.of(
        [CLASSES[index] for index in judged.labels[copies]],
        judged.probabilities[copies],
        classes=CLASSES,
        malignant=MALIGNANT,
    )
    once = class_metrics(repeated)
    for name, found in class_metrics(judged, weight[None, :].astype(float)).items():
        assert found.values[0] == pytest.approx(once[name].values[0]), name


def test_rows_of_weights_do_not_touch_each_other():
    judged = judged_at_random(n=50, seed=4, kept=np.arange(50) % 3 > 0)
    weights = np.random.default_rng(1).integers(0, 3, (5, 50)).astype(float)
    for metric in (class_metrics, abstaining_metrics):
        together = metric(judged, weights)
        for row in range(5):
            alone = metric(judged, weights[row : row + 1])
            for name, found in together.items():
                assert found.values[row] == pytest.approx(alone[name].values[0], nan_ok=True), name


def test_the_calibration_error_is_calibrations():
    judged = judged_at_random(seed=8)
    expected = expected_calibration_error(judged.probabilities, judged.labels)
    assert value("ece", judged) == pytest.approx(expected)


def test_the_confusion_matrix_has_labels_in_rows():
    judged = judged_at_random(seed=6)
    assert (confusion_matrix(judged) == reference.confusion_matrix(judged.labels, judged.predicted)).all()


def test_a_faultless_model_has_faultless_figures():
    chances = np.eye(4)[[0, 1, 2, 3] * 5]
    judged = Judged.of(list(CLASSES) * 5, chances, classes=CLASSES, malignant=MALIGNANT)
    worst_is_zero = {"log_loss", "ece", "brier"}
    for name, found in class_metrics(judged).items():
        assert found.values[0] == pytest.approx(0 if name in worst_is_zero else 1, abs=1e-12), name


def test_a_sure_and_wrong_model_has_a_finite_log_loss():
    judged = Judged.of(["a", "a"], [[0.0, 1.0], [0.0, 1.0]], classes=("a", "b"))
    assert np.isfinite(value("log_loss", judged))
    assert value("accuracy", judged) == 0
    assert value("ece", judged) == 1
    assert value("brier", judged) == 2


def test_absent_classes_are_left_out_of_averages_and_named():
    judged = Judged.of(
        ["benign", "early", "early"],
        [[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]],
        classes=CLASSES,
        malignant=MALIGNANT,
    )
    assert judged.missing_classes == ("pre", "pro")
    assert value("balanced_accuracy", judged) == pytest.approx(0.75)
    assert np.isnan(value("recall/pre", judged))
    assert np.isnan(value("auroc/pro", judged))
    # Benign is told from early without fault; of early's two images one ties with the benign one.
    assert value("auroc_macro", judged) == pytest.approx((1 + 0.75) / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference.balanced_accuracy_score(judged.labels, judged.predicted)
    assert value("balanced_accuracy", judged) == pytest.approx(expected)


def test_one_class_alone_has_no_area():
    judged = Judged.of(["benign"] * 4, np.eye(4)[[0, 0, 0, 1]], classes=CLASSES, malignant=MALIGNANT)
    assert np.isnan(value("auroc_malignant", judged))
    assert np.isnan(value("auroc_macro", judged))
    assert np.isnan(value("sensitivity_malignant", judged))
    assert value("specificity_malignant", judged) == 0.75


def test_ties_count_one_half():
    area = weighted_auroc(np.asarray([True, False, True, False]), np.ones(4), np.ones((1, 4)))
    assert area == pytest.approx([0.5])


def test_malignant_images_rank_where_probabilities_round_to_one():
    chances = np.asarray([[1e-30, 1.0, 0, 0], [1e-20, 1.0, 0, 0], [1e-25, 1.0, 0, 0]])
    judged = Judged.of(["early", "benign", "early"], chances, classes=CLASSES, malignant=MALIGNANT)
    assert value("auroc_malignant", judged) == 1


def test_without_malignant_classes_nothing_is_said_of_them():
    judged = Judged.of(["a", "b"], np.eye(2), classes=("a", "b"))
    assert "auroc_malignant" not in class_metrics(judged)
    assert "malignant_not_called" not in abstaining_metrics(judged)


def test_the_abstaining_model_is_judged_on_what_it_kept():
    labels = ["benign"] * 4 + ["pro"] * 6
    given = np.asarray([0, 0, 0, 3, 3, 3, 3, 3, 0, 0])
    kept = np.asarray([1, 1, 0, 1, 1, 1, 1, 0, 1, 0], dtype=bool)
    judged = Judged.of(labels, np.eye(4)[given], classes=CLASSES, malignant=MALIGNANT, kept=kept)
    found = {name: float(one.values[0]) for name, one in abstaining_metrics(judged).items()}
    assert found == pytest.approx(
        {
            "coverage": 7 / 10,
            "risk": 2 / 7,
            "balanced_accuracy_kept": (2 / 3 + 3 / 4) / 2,
            "sensitivity_malignant_kept": 3 / 4,
            "malignant_not_called": 1 / 6,
        }
    )


def test_a_gate_that_turns_all_away_has_no_risk_to_speak_of():
    judged = judged_at_random(n=20, kept=np.zeros(20, dtype=bool))
    found = abstaining_metrics(judged)
    assert found["coverage"].values[0] == 0
    assert np.isnan(found["risk"].values[0])
    assert found["malignant_not_called"].values[0] == 0


def test_a_subset_keeps_what_belongs_to_its_images():
    judged = judged_at_random(n=40, groups=[f"b{index // 10}" for index in range(40)])
    part = judged.subset(np.arange(40) >= 25)
    assert len(part) == 15
    assert part.group_count == 2
    assert (part.predicted == judged.predicted[25:]).all()


@pytest.mark.parametrize(
    ("labels", "chances", "options", "words"),
    [
        ([], np.zeros((0, 2)), {}, "no images"),
        (["c"], [[0.5, 0.5]], {}, "no class called c"),
        (["a"], [[0.5, 0.6]], {}, "add up to 1"),
        (["a"], [[-0.5, 1.5]], {}, "negative"),
        (["a"], [[0.5, 0.2, 0.3]], {}, "2 probabilities"),
        (["a"], [[0.5, 0.5]], {"malignant": ["z"]}, "no class called z"),
        (["a"], [[0.5, 0.5]], {"groups": ["x", "y"]}, "one group"),
        (["a"], [[0.5, 0.5]], {"kept": [True, False]}, "one group"),
    ],
)
def test_it_refuses_what_cannot_be_judged(labels, chances, options, words):
    with pytest.raises(MetricsError, match=words):
        Judged.of(labels, chances, classes=("a", "b"), **options)
