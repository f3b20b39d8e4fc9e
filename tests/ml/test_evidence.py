"""The evidence as JSON and as tables: nothing is lost, and each figure has its split and interval."""

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from ml.calibration import apply_temperature, expected_calibration_error, wilson_interval
from ml.evaluation import report
from ml.evaluation.evidence import (
    Evidence,
    RuntimeRow,
    compare_runtimes,
    gate_row,
    make_section,
    read_evidence,
    write_evidence,
)
from ml.evaluation.intervals import Figure
from ml.evaluation.metrics import Judged
from ml.evaluation.predictions import EvaluationError, Row

CLASSES = ("benign", "early", "pre")


def judged_at_random(n: int = 90, present: int = 3, temperature: float = 2.0) -> tuple[Judged, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, present, n)
    logits = rng.normal(size=(n, 3)) * 2
    logits[np.arange(n), labels] += 3
    judged = Judged.of(
        [CLASSES[index] for index in labels],
        apply_temperature(logits, temperature),
        classes=CLASSES,
        malignant=("early", "pre"),
        groups=[f"b{index // 10}" for index in range(n)],
        kept=rng.random(n) < 0.9,
    )
    return judged, logits


def section(name: str = "the network", **options):
    judged, _ = judged_at_random()
    words = {"name": name, "model": "field-test", "data": "drawn", "split": "blocks, test part", "seed": 1}
    return make_section(judged, **words, resamples=100, **options)


def row(
    label: str = "early", *, kept: bool = True, chances=(0.1, 0.8, 0.1), sha256: str = "0", **options
) -> Row:
    values = {
        "name": "x",
        "group": "g",
        "site": "",
        "inside_domain": kept,
        "domain_score": 0.5,
        "reasons": (),
    }
    return Row(
        label=label,
        sha256=sha256,
        predicted=CLASSES[int(np.argmax(chances))],
        kept=kept,
        probabilities=tuple(chances),
        **{**values, **options},
    )


def printed(table) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(table)
    return out.getvalue()


def test_a_section_holds_class_metrics_and_those_of_the_gate():
    found = section()
    assert (found.n, found.groups, found.data) == (90, 9, "drawn")
    assert {"accuracy", "auroc_malignant", "f1/pre", "coverage", "risk"} <= {
        one.name for one in found.figures
    }
    assert sum(map(sum, found.confusion)) == 90
    assert all(one.split == "blocks, test part" and one.n == 90 for one in found.figures)


def test_a_model_without_a_gate_has_no_coverage():
    assert "coverage" not in section(abstains=False)
    assert "accuracy" in section(abstains=False)


def test_the_calibration_error_before_scaling_is_that_of_the_plain_softmax():
    judged, logits = judged_at_random(temperature=2.0)
    found = make_section(
        judged, name="n", model="m", data="d", split="s", seed=0, temperature=2.0, resamples=50
    )
    expected = expected_calibration_error(apply_temperature(logits, 1.0), judged.labels)
    assert found["ece_before_scaling"].value == pytest.approx(expected)
    assert found["ece_before_scaling"].low <= expected <= found["ece_before_scaling"].high
    assert found["ece"].value != pytest.approx(expected)


def test_a_section_repeats_with_its_seed():
    assert section(temperature=2.0) == section(temperature=2.0)


def test_absent_classes_are_said_and_their_figures_are_not_defined():
    judged, _ = judged_at_random(present=2)
    found = make_section(judged, name="n", model="m", data="d", split="s", seed=0, resamples=50)
    assert found.missing_classes == ("pre",)
    assert "pre" in found.notes[0]
    assert not found["auroc/pre"].defined
    assert report.NOT_DEFINED in printed(report.per_class_table(found))


def test_one_class_alone_prints_an_undefined_area():
    judged, _ = judged_at_random(present=1)
    found = make_section(judged, name="n", model="m", data="d", split="s", seed=0, resamples=50)
    text = printed(report.metrics_table(found))
    assert next(line for line in text.splitlines() if "AUROC, malignant" in line).split()[-2:] == [
        "not",
        "defined",
    ]


def test_the_gates_shares_have_wilsons_intervals():
    rows = [row(kept=index % 10 == 0, domain_score=index / 10, reasons=("too dark",)) for index in range(50)]
    found = gate_row("photographs", rows)
    assert (found.n, found.kept) == (50, 5)
    assert found.turned_away.value == 0.9
    assert (found.turned_away.low, found.turned_away.high) == wilson_interval(45, 50)
    assert found.reasons == {"too dark": 45}
    assert found.outside_domain.value == 0.9
    assert found.median_score == pytest.approx(2.45)
    text = printed(report.gate_table([found]))
    assert "90.0%" in text
    assert "45 x too dark" in text


def test_a_gate_without_images_is_no_gate():
    with pytest.raises(EvaluationError, match="photographs"):
        gate_row("photographs", [])


def test_runtimes_are_compared_image_by_image():
    first = [row(sha256="a"), row(sha256="b", chances=(0.1, 0.46, 0.44))]
    second = [row(sha256="a", chances=(0.1, 0.79, 0.11)), row(sha256="b", chances=(0.1, 0.44, 0.46))]
    found = compare_runtimes(first, second, runtime="tensorflow", device="cpu", against="openvino")
    assert (found.n, found.classes_equal) == (2, 1)
    assert found.largest_difference == pytest.approx(0.02)
    assert "1 of 2" in printed(report.runtime_table([found]))
    with pytest.raises(EvaluationError, match="same images"):
        compare_runtimes(first, second[::-1], runtime="a", device="b", against="c")


def everything() -> Evidence:
    return Evidence(
        bundle={"name": "field-test", "sha256": "ab" * 32, "temperature": 2.0},
        seed=1,
        resamples=100,
        sections=(section(temperature=2.0),),
        baselines=(section("six colour numbers", abstains=False),),
        ablations=(section("without colour augmentation"),),
        repainted=(section("repainted"),),
        sites=(section("north"), section("south")),
        gate=(gate_row("drawn fields", [row(kept=False, reasons=("unlike",))] * 3),),
        runtimes=(RuntimeRow("tensorflow", "cpu", "openvino", 90, 90, 1e-5),),
    )


def test_evidence_survives_its_file(tmp_path):
    write_evidence(tmp_path / "metrics.json", everything())
    assert read_evidence(tmp_path / "metrics.json") == everything()
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_what_is_not_defined_is_null_in_json(tmp_path):
    judged, _ = judged_at_random(present=1)
    found = make_section(judged, name="n", model="m", data="d", split="s", seed=0, resamples=50)
    write_evidence(tmp_path / "metrics.json", Evidence(bundle={}, seed=0, sections=(found,)))
    stored = json.loads((tmp_path / "metrics.json").read_text())
    area = next(one for one in stored["sections"][0]["figures"] if one["name"] == "auroc_malignant")
    assert (area["value"], area["low"], area["high"]) == (None, None, None)
    assert math.isnan(read_evidence(tmp_path / "metrics.json").sections[0]["auroc_malignant"].value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "no evidence"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1, "bundle": {}}', "damaged"),
    ],
)
def test_damaged_evidence_is_refused(tmp_path, text, words):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(EvaluationError, match=words):
        read_evidence(tmp_path / "metrics.json")


def test_every_table_names_its_images():
    found = section(temperature=2.0)
    for table in (report.metrics_table(found), report.per_class_table(found)):
        text = " ".join(printed(table).split())
        assert "drawn; blocks, test part; 90 images in 9 groups" in text


def test_the_table_shows_every_figure_with_its_interval():
    found = section(temperature=2.0)
    text = printed(report.metrics_table(found))
    for name, words in {**report.CLASS_METRICS, **report.ABSTAINING_METRICS}.items():
        line = next(line for line in text.splitlines() if line.strip().startswith(words + "  "))
        assert report.figure_words(found[name]) in line


def test_sections_stand_side_by_side():
    text = printed(report.comparison_table("By site", [section("north"), section("south")]))
    assert "north" in text
    assert "south" in text
    assert "drawn; blocks, test part" in text
    accuracy = section("north")["accuracy"]
    assert f"{accuracy.low:.3f} to {accuracy.high:.3f}" in text


def test_sections_of_several_splits_name_each():
    judged, _ = judged_at_random()
    other = make_section(judged, name="n", model="m", data="taleqani", split="random", seed=0, resamples=50)
    text = printed(report.comparison_table("Splits", [section("blocks"), other]))
    assert "taleqani; random" in " ".join(text.split())


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (Figure("a", 0.5, 0.4, 0.6, 9, 3, "s"), "0.5000 (0.4000 to 0.6000)"),
        (Figure("a", 1.0, 0.9, 1.0, 9, 3, "s", "wilson"), "1.0000 (0.9000 to 1.0000) w"),
        (Figure("a", 0.5, math.nan, math.nan, 9, 1, "s", "none"), "0.5000 (no interval)"),
        (Figure("a", math.nan, math.nan, math.nan, 9, 3, "s", "none"), "not defined"),
    ],
)
def test_a_figure_in_words(figure, words):
    assert report.figure_words(figure) == words
