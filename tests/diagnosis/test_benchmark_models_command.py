"""`manage.py benchmark-models` on a painted set: tables and files, going on, and sentences for what is wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from ml import benchmarking
from tests.painted import paint_set

QUICK = ("six-colours", "texture-knn")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LEUKOSCOPE_WEIGHTS", raising=False)
    paint_set(tmp_path / "data", {"benign": 5, "pre": 5}, images=2)
    return tmp_path / "data"


def run(data: Path, *arguments: object, out: Path | None = None) -> str:
    stream = io.StringIO()
    folder = out or data.parent / "out"
    call_command(
        "benchmark_models", "--data", str(data), "--out", str(folder), "--size", "64", "--budget", "1",
        "--resamples", "40", *map(str, arguments), stdout=stream,
    )  # fmt: skip
    return stream.getvalue()


def test_it_prints_one_table_and_writes_table_plot_and_figures(data):
    text = run(data, "--rows", *QUICK)
    for words in ("six colour numbers", "balanced accuracy", "standing block split", "1 minutes", "64 px"):
        assert words in text
    out = data.parent / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["comparison.svg", "results.json", "six-colours.json", "table.md", "texture-knn.json"]
    )
    results = json.loads((out / "results.json").read_text())
    assert [row["key"] for row in results["rows"]] == list(QUICK)
    figures = {one["name"]: one for one in results["rows"][0]["section"]["figures"]}
    assert figures["balanced_accuracy"]["n"] == 4
    assert figures["balanced_accuracy"]["split"] == results["benchmark"]["split"]


def test_a_finished_row_is_not_run_again_and_joins_the_next_table(data, monkeypatch):
    run(data, "--rows", QUICK[0])
    ran = []
    real = benchmarking.run_row

    def counted(bench, row, **kwargs):
        ran.append(row.key)
        return real(bench, row, **kwargs)

    monkeypatch.setattr(benchmarking, "run_row", counted)
    text = run(data, "--rows", *QUICK)
    assert ran == [QUICK[1]]
    assert "six colour numbers" in text


def test_an_interrupt_keeps_what_is_finished(data, monkeypatch):
    real = benchmarking.run_row

    def stopped(bench, row, **kwargs):
        if row.key == QUICK[1]:
            raise KeyboardInterrupt
        return real(bench, row, **kwargs)

    monkeypatch.setattr(benchmarking, "run_row", stopped)
    with pytest.raises(CommandError, match="goes on with the next") as stop:
        run(data, "--rows", *QUICK)
    assert stop.value.returncode == 130
    assert (data.parent / "out" / "six-colours.json").exists()


def test_rows_without_weights_are_left_out_and_named(data):
    text = run(data, "--rows", QUICK[0], "densenet-svm")
    assert "Left out: DenseNet-121 features; SVM" in text.replace("\n", " ")
    with pytest.raises(CommandError, match=r"No row was run.*DenseNet-121 features"):
        run(data, "--rows", "densenet-svm", out=data.parent / "other")


def test_json_goes_to_standard_output_alone(data):
    assert json.loads(run(data, "--rows", QUICK[0], "--json", "-"))["rows"][0]["key"] == QUICK[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rows", "resnet"), "no row called resnet"),
        (("--budget", "0"), "no minutes"),
        (("--size", "9999"), "64 to 512"),
        (("--weights", "nowhere.h5"), "no weights file"),
        (("--malignant", "blasts"), "labelled blasts"),
        (("--resamples", "0"), "at least 1"),
        (("--budget", "inf"), "no minutes"),
        (("--json", "/nowhere/at/all.json"), "--json: /nowhere/at/all.json cannot be written"),
        (("--json", "/tmp"), "--json: /tmp cannot be written"),
    ],
)
def test_what_is_wrong_is_said_before_any_row_runs(data, arguments, words):
    with pytest.raises(CommandError, match=words):
        run(data, "--rows", QUICK[0], *arguments) if "--rows" not in arguments else run(data, *arguments)


def test_an_image_that_cannot_be_read_is_named(data):
    (data / "pre" / "2-1.png").write_bytes(b"no picture")
    with pytest.raises(CommandError, match=r"1 of 20 images cannot be read: pre/2-1\.png"):
        run(data, "--rows", QUICK[0])


def test_a_disk_that_fills_up_while_the_table_is_written_is_said(data, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diagnosis.management.commands.benchmark_models.write_svg", full)
    with pytest.raises(CommandError, match=r"No space left on device\. Finished rows are kept"):
        run(data, "--rows", QUICK[0])


def test_rows_of_another_benchmark_are_not_mixed_in(data):
    run(data, "--rows", QUICK[0])
    with pytest.raises(CommandError, match=r"another benchmark \(seed"):
        run(data, "--rows", QUICK[0], "--seed", 3)


def test_data_without_groups_enough_are_refused(data, tmp_path):
    paint_set(tmp_path / "few", {"benign": 2, "pre": 5}, images=2)
    with pytest.raises(CommandError, match="2 groups"):
        run(tmp_path / "few", "--rows", QUICK[0])
    with pytest.raises(CommandError, match="no folder or manifest"):
        run(tmp_path / "nowhere", "--rows", QUICK[0])
