"""`manage.py analyze` says of leukocytes what the worker stores, and judges pictures of single cells."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from diagnosis.models import SmearImage
from diagnosis.services import analyze, pipeline
from tests import stand_in
from tests.stand_in_cells import USUAL, USUAL_BLASTS, CellStandIn, Told, index

pytestmark = pytest.mark.django_db

CELL_FIELDS = {
    "path", "outcome", "label", "probabilities", "confidence", "blast_probability", "inside_domain", "domain_score",
    "reasons", "model_version", "timings_ms",
}  # fmt: skip


def run(*arguments: object, **options: object) -> str:
    out = io.StringIO()
    call_command("analyze", *map(str, arguments), stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def records(*arguments: object, **options: object) -> list[dict]:
    return [json.loads(line) for line in run(*arguments, json=True, **options).splitlines()]


@pytest.fixture
def field(tmp_path, field_png) -> Path:
    path = tmp_path / "field.png"
    path.write_bytes(field_png)
    return path


@pytest.fixture
def found(monkeypatch) -> list[Told]:
    """What every cell stand-in finds from now on."""
    told = list(USUAL)
    monkeypatch.setattr(CellStandIn.__init__, "__defaults__", (told,))
    return told


def test_a_field_comes_with_its_cells_and_its_suspicion(field, cell_version):
    (record,) = records(field)
    assert (record["outcome"], record["label"], record["model_version"]) == ("class", "early", "field-test")
    assert (record["cell_model_version"], record["cell_problems"]) == ("cell-test", [])
    assert record["suspicion"] == pytest.approx(index(*USUAL_BLASTS))
    assert len(record["cells"]) == len(USUAL)
    first, platelet = record["cells"][0], record["cells"][6]
    assert {"box", "label", "probabilities", "blast_probability", "area_um2"} <= set(first)
    assert (first["box"], first["label"], first["blast_probability"]) == ([0, 0, 24, 24], "blast", 0.9)
    assert (platelet["kind"], platelet["label"], platelet["probabilities"]) == ("platelet", None, {})
    assert {"read", "predict", "cells_find", "cells_classify", "total"} <= set(record["timings_ms"])


def test_the_command_says_what_the_worker_says(image, cell_version, predictors, media):
    (record,) = records(media / image.file.name)
    analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors)
    stored = SmearImage.objects.get(pk=image.pk).newest_analysis.cell_analysis
    assert record["suspicion"] == pytest.approx(stored.suspicion)
    assert record["cell_model_version"] == stored.model_version.name
    assert [cell["label"] or "" for cell in record["cells"]] == [cell.label for cell in stored.cells.all()]


def test_without_a_cell_bundle_fields_are_judged_all_the_same(field, version):
    (record,) = records(field)
    assert record["outcome"] == "class"
    assert (record["cells"], record["suspicion"], record["cell_model_version"]) == (None, None, None)
    assert "no cell bundle" in record["cell_problems"][0]
    assert not any(step.startswith("cells") for step in record["timings_ms"])
    assert "Leukocytes were not looked for" in run(field)


def test_a_damaged_cell_bundle_costs_the_cells_alone(field, cell_version, bundles):
    (bundles / "cell-test" / "model.onnx").write_bytes(b"damage")
    (record,) = records(field)
    assert (record["outcome"], record["cells"]) == ("class", None)
    assert "model.onnx has changed" in record["cell_problems"][0]


def test_a_cell_model_that_fails_costs_the_cells_alone(field, cell_version, monkeypatch):
    monkeypatch.setattr(CellStandIn, "read", lambda self, pixels: 1 / 0)
    (record,) = records(field)
    assert (record["outcome"], record["cells"]) == ("class", None)
    assert record["cell_problems"] == ["Looking for leukocytes failed: division by zero"]


def test_a_file_that_can_not_be_read_has_no_cells(field, cell_version, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"text")
    broken, fine = records(tmp_path / "broken.png", field)
    assert (broken["cells"], broken["suspicion"], broken["cell_problems"]) == (None, None, broken["reasons"])
    assert set(broken) == set(fine)


def test_a_cell_bundle_can_be_named(field, cell_version, bundles, tmp_path):
    stand_in.copy_bundle(bundles / "cell-test", bundles, name="cell-other")
    shutil.copytree(bundles / "cell-test", tmp_path / "elsewhere")
    for name, version in (("cell-other", "cell-other"), (str(tmp_path / "elsewhere"), "cell-test")):
        (record,) = records(field, cell_bundle=name)
        assert record["cell_model_version"] == version
    with pytest.raises(CommandError, match="no model bundle nowhere"):
        records(field, cell_bundle="nowhere")


@pytest.mark.parametrize(
    "options",
    [{"bundle": "cell-test"}, {"cell_bundle": "field-test"}, {"task": "cell", "bundle": "field-test"}],
)
def test_a_bundle_of_another_task_is_refused(field, cell_version, options):
    with pytest.raises(CommandError, match="is a bundle of the task"):
        records(field, **options)


def test_the_table_counts_whole_leukocytes(field, cell_version, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = run(field)
    assert "leukocytes" in text
    line = next(line for line in text.splitlines() if line.startswith("field.png"))
    assert line.split()[-3:-1] == ["5", f"({index(*USUAL_BLASTS):.2f})"]
    assert "index, not validated here" in text


def test_each_bundle_is_loaded_once(field, cell_version, monkeypatch, tmp_path, field_png):
    (tmp_path / "b.png").write_bytes(field_png)
    loaded = []

    def load(folder, **options):
        loaded.append(folder.name)
        return stand_in.load_stand_in(folder, **options)

    monkeypatch.setattr("diagnosis.services.predictors.import_string", lambda name: load)
    records(field, tmp_path / "b.png")
    assert sorted(loaded) == ["cell-test", "field-test"]
    loaded.clear()
    records(field, tmp_path / "b.png", task="cell")
    assert loaded == ["cell-test"]


# --- pictures of single cells


def test_a_picture_of_a_single_cell_gets_its_class(field, cell_version):
    (record,) = records(field, task="cell")
    assert set(record) == CELL_FIELDS
    assert (record["outcome"], record["label"], record["confidence"]) == ("class", "blast", 0.9)
    assert record["probabilities"]["blast"] == 0.9
    assert (record["blast_probability"], record["inside_domain"], record["domain_score"]) == (0.9, True, 0.5)
    assert (record["reasons"], record["model_version"]) == ([], "cell-test")
    assert set(record["timings_ms"]) == {"read", "classify", "total"}


def test_a_cell_unlike_those_known_gets_none(field, cell_version, found):
    found[:] = [Told("monocyte", 0.2, inside=False)]
    (record,) = records(field, task="cell")
    assert (record["outcome"], record["label"], record["confidence"]) == ("indeterminate", None, None)
    assert (record["inside_domain"], record["reasons"]) == (False, [pipeline.CELL_OUT_OF_DOMAIN])
    assert record["probabilities"]


def test_a_picture_without_a_cell_says_so(field, cell_version, found):
    found.clear()
    (record,) = records(field, task="cell")
    assert (record["outcome"], record["probabilities"], record["blast_probability"]) == (
        "indeterminate", {}, None,
    )  # fmt: skip
    assert record["reasons"] == [pipeline.NO_CELL]


def test_what_can_not_be_judged_does_not_stop_the_others(field, cell_version, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"text")
    broken, fine = records(tmp_path / "broken.png", field, task="cell")
    assert set(broken) == set(fine) == CELL_FIELDS
    assert (broken["label"], fine["label"]) == (None, "blast")
    with pytest.raises(CommandError, match="No file could be analysed"):
        records(tmp_path / "broken.png", task="cell")


def test_the_table_of_single_cells(field, cell_version, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = run(field, task="cell")
    for words in ("blast", "90.0 %", "1 of 1 analysed by cell-test", "Research use only"):
        assert words in text


def test_single_cells_need_a_cell_bundle(field, version):
    with pytest.raises(CommandError, match="no cell bundle"):
        records(field, task="cell")
