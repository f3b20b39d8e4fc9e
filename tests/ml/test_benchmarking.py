"""Rows of a comparison on painted sets: what they hold, what they refuse, and that finished ones are kept."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ml import benchmark_data, benchmarking
from ml.benchmark_data import Bench, BenchmarkProblem, Request, open_bench
from ml.clocks import processor_clock, wall_clock
from ml.data.manifest import DataProblem, Manifest
from ml.evaluation import benchmark_report
from tests.painted import paint_set

ROWS = {row.key: row for row in benchmarking.ROWS}


@pytest.fixture(scope="module")
def set_of_cells(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return paint_set(tmp_path_factory.mktemp("cells"), {"all": 4, "hem": 3}, images=6, cells=True)


@pytest.fixture
def request_for_cells(set_of_cells: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    return Request(set_of_cells, tmp_path / "out", minutes=1, size=64)


@pytest.fixture
def bench(request_for_cells: Request) -> Bench:
    return open_bench(request_for_cells)


def test_cells_on_black_are_told_from_fields(bench, tmp_path):
    assert bench.cells
    assert bench.malignant == ("all",)
    assert (bench.images[:, :3, :3] == 0).all(), "black stays black: no illumination is divided by"
    fields = paint_set(tmp_path / "fields", {"benign": 5, "pre": 5}, images=1)
    assert not benchmark_data.shows_cells(fields)
    found = open_bench(Request(fields, tmp_path / "out", size=64))
    assert found.classes == ("benign", "early", "pre", "pro")
    assert found.malignant == ("early", "pre", "pro")
    capital = Manifest("capital", tuple(replace(item, label=item.label.title()) for item in fields))
    assert open_bench(Request(capital, tmp_path / "out", size=64)).malignant == ("Pre",)


def test_the_middle_keeps_the_scale():
    pixels = np.zeros((450, 450, 3), np.uint8)
    pixels[225, 225] = 255
    found = benchmark_data.middle(pixels, 0.72)
    assert found.shape == (324, 324, 3)
    assert found[162, 162].tolist() == [255, 255, 255]


@pytest.mark.parametrize("key", ["six-colours", "texture-knn"])
def test_a_row_answers_every_image_from_a_fold_that_did_not_learn_it(bench, key):
    row = benchmarking.run_row(bench, ROWS[key])
    names = [one["name"] for one in row["predictions"]]
    assert sorted(names) == sorted(item.name for item in bench.items)
    fold_of = {one["group"]: one["fold"] for one in row["predictions"]}
    assert all(fold_of[one["group"]] == one["fold"] for one in row["predictions"])
    assert len(row["chosen"]) == 3
    assert set(row["seconds"]) == {"measuring", "choosing", "fitting"}
    assert row["benchmark"]["split"].startswith("3 folds")


def test_texture_tells_the_painted_cells_apart_and_colour_alone_does_not(bench):
    texture = benchmark_report.row_section(benchmarking.run_row(bench, ROWS["texture-svm"]), resamples=50)
    colours = benchmark_report.row_section(benchmarking.run_row(bench, ROWS["six-colours"]), resamples=50)
    assert texture["balanced_accuracy"].value > 0.9 > colours["balanced_accuracy"].value
    assert texture.groups == 7


def test_shuffled_labels_are_not_predicted(request_for_cells):
    # Were test images among those learnt from, nearest neighbours would give their very labels back.
    rng = np.random.default_rng(0)
    labels = rng.permutation([item.label for item in request_for_cells.manifest]).tolist()
    items = [
        replace(item, label=label, group=f"{label}-{number % 3}")
        for number, (item, label) in enumerate(zip(request_for_cells.manifest, labels, strict=True))
    ]
    mixed = open_bench(replace(request_for_cells, manifest=Manifest("mixed", tuple(items))))
    section = benchmark_report.row_section(benchmarking.run_row(mixed, ROWS["texture-knn"]), resamples=50)
    assert section["balanced_accuracy"].value < 0.75


def test_a_second_row_finds_pictures_and_measurements_ready(bench, monkeypatch):
    first = benchmarking.run_row(bench, ROWS["texture-knn"])

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("measured or read again")

    monkeypatch.setattr(benchmark_data, "measure_texture", refuse)
    again = benchmarking.run_row(bench, ROWS["texture-knn"])
    assert again["predictions"] == first["predictions"]
    assert again["seconds"]["measuring"] == first["seconds"]["measuring"] > 0, (
        "its cost is stated all the same"
    )
    monkeypatch.setattr(benchmark_data.Preprocessing, "correct", refuse)
    assert np.array_equal(open_bench(bench.request).images, bench.images)


def test_the_search_for_settings_keeps_to_the_budget(bench):
    hasty = replace(bench, request=replace(bench.request, minutes=1e-9))
    assert [one["tried"] for one in benchmarking.run_row(hasty, ROWS["texture-svm"])["chosen"]] == [1, 1, 1]
    assert [one["tried"] for one in benchmarking.run_row(bench, ROWS["texture-svm"])["chosen"]] == [3, 3, 3]


@pytest.mark.slow
def test_a_network_shares_its_minutes_among_the_folds(bench):
    quick = replace(bench, request=replace(bench.request, minutes=0.2))
    row = benchmarking.run_row(quick, ROWS["alexnet"])
    assert len(row["trained"]) == 3
    assert row["seconds"]["tracing"] > 0
    assert all(one["steps"] >= 1 for one in row["trained"])
    assert row["parameters"] > 1_000_000
    assert row["device"] in ("CPU", "GPU")
    assert len(row["predictions"]) == len(bench.items)
    assert benchmark_report.row_section(row, resamples=20).n == len(bench.items)


def test_a_finished_row_is_read_back_and_another_benchmarks_is_refused(bench):
    assert benchmarking.read_row(bench, ROWS["six-colours"]) is None
    row = benchmarking.run_row(bench, ROWS["six-colours"])
    path = benchmarking.write_row(bench.request.out, row)
    assert benchmarking.read_row(bench, ROWS["six-colours"]) == json.loads(path.read_text()) == row
    longer = replace(bench, request=replace(bench.request, minutes=2))
    with pytest.raises(BenchmarkProblem, match="minutes"):
        benchmarking.read_row(longer, ROWS["six-colours"])
    path.write_text("half a fi")
    with pytest.raises(BenchmarkProblem, match="no row"):
        benchmarking.read_row(bench, ROWS["six-colours"])


def test_a_full_disk_leaves_no_half_row(bench, monkeypatch):
    row = benchmarking.run_row(bench, ROWS["six-colours"])

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(benchmark_data.os, "replace", full)
    with pytest.raises(BenchmarkProblem, match="No space left"):
        benchmarking.write_row(bench.request.out, row)
    assert not list(bench.request.out.iterdir())


def test_it_refuses_what_cannot_be_compared(request_for_cells, tmp_path):
    for minutes in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BenchmarkProblem, match="no minutes"):
            open_bench(replace(request_for_cells, minutes=minutes))
    with pytest.raises(BenchmarkProblem, match="64 to 512"):
        open_bench(replace(request_for_cells, size=16))
    with pytest.raises(BenchmarkProblem, match="blasts"):
        open_bench(replace(request_for_cells, malignant=("blasts",)))
    with pytest.raises(BenchmarkProblem, match="no row called resnet"):
        benchmarking.rows_named(["resnet"])
    for subjects in (3, 6):  # subjects held out in turn, and the standing split
        broken = paint_set(tmp_path / str(subjects), dict.fromkeys(("all", "hem"), subjects), images=1)
        broken.items[2].path.write_bytes(b"no picture")
        with pytest.raises(DataProblem, match=r"1 of \d+ images cannot be read: all/2-0\.png"):
            open_bench(replace(request_for_cells, manifest=broken))


def test_rows_from_imagenet_need_its_weights(bench):
    for key in ("densenet-svm", "densenet-imagenet"):
        with pytest.raises(BenchmarkProblem, match="not at hand"):
            benchmarking.run_row(bench, ROWS[key])


def test_features_and_rows_of_other_imagenet_weights_do_not_count(bench, tmp_path, monkeypatch):
    asked = []

    def features(images, *, weights, preprocessing):
        asked.append(weights.name)
        return np.random.default_rng(len(asked)).normal(size=(len(images), 8))

    monkeypatch.setattr("ml.rivals.pooled_features", features)
    one, other = tmp_path / "one.h5", tmp_path / "other.h5"
    one.write_bytes(b"one")
    other.write_bytes(b"other")
    row = ROWS["densenet-svm"]
    with_one, with_other = (
        replace(bench, request=replace(bench.request, weights=path)) for path in (one, other)
    )
    found = [benchmarking.run_row(given, row) for given in (with_one, with_other, with_one)]
    assert asked == ["one.h5", "other.h5"]
    assert found[0]["predictions"] == found[2]["predictions"] != found[1]["predictions"]
    benchmarking.write_row(bench.request.out, found[0])
    for given in (with_one, bench):  # the table is drawn anew without weights, too
        assert benchmarking.read_row(given, row) == found[0]
    with pytest.raises(BenchmarkProblem, match=r"another benchmark \(weights differ\)"):
        benchmarking.read_row(with_other, row)


def test_a_figure_without_interval_has_its_place_in_the_tables(request_for_cells, tmp_path):
    # Each label has one test group: no resample of groups tells anything.
    few = paint_set(tmp_path / "few", {"[red]all": 5, "hem": 5}, images=1)
    bench = open_bench(replace(request_for_cells, manifest=replace(few, name="set [/b]"), malignant=("hem",)))
    row = benchmarking.run_row(bench, ROWS["six-colours"])
    section = benchmark_report.row_section(row, resamples=20)
    section = replace(
        section, figures=tuple(replace(one, low=np.nan, high=np.nan) for one in section.figures)
    )
    console = Console(file=io.StringIO(), width=200)
    console.print(benchmark_report.rich_table([row], [section]))
    printed = console.file.getvalue()
    assert "Models compared on set [/b]" in printed
    assert "(no interval)" in printed
    assert "(no interval)" in benchmark_report.markdown_table([row], [section])
    assert benchmark_report.benchmark_plot([row], [section]).axes


def test_every_network_of_the_table_can_be_built():
    from ml.rivals import RIVALS

    networks = [row for row in benchmarking.ROWS if row.measure is None]
    assert [row.key for row in networks] == list(RIVALS)
    assert [row.words for row in networks] == [rival.words for rival in RIVALS.values()]
    assert [row.start == "ImageNet" for row in networks] == [rival.pretrained for rival in RIVALS.values()]


def test_processor_seconds_do_not_count_waiting():
    import time

    before = processor_clock(), wall_clock()
    time.sleep(0.3)
    assert wall_clock() - before[1] >= 0.3
    assert processor_clock() - before[0] < 0.2


def test_the_report_names_split_size_minutes_start_and_what_was_published(bench):
    named = replace(bench, request=replace(bench.request, manifest=Manifest("cnmc2019-fold1", bench.items)))
    rows = [benchmarking.run_row(named, ROWS[key]) for key in ("six-colours", "texture-knn")]
    sections = [benchmark_report.row_section(row, resamples=50) for row in rows]
    text = benchmark_report.markdown_table(rows, sections, ["VGG16, because."])
    assert text.count("\n|") == 3
    for words in ("3 folds over subjects", "64 px", "1 minutes", "n = 42 images in 7 groups", "0.889", "0.910",
                  "Left out: VGG16", "no network"):  # fmt: skip
        assert words in text
    plot = benchmark_report.benchmark_plot(rows, sections)
    (axes,) = plot.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [row["words"] for row in rows]
    assert "F1, weighted" in axes.get_xlabel()
    landmarks = [line.get_xdata()[0] for line in axes.lines if "published" in str(line.get_label())]
    assert landmarks == [0.889, 0.91]
