"""What adapting a cell bundle to another hospital buys: who learns, who is judged, and what the table says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml.bundle import read_bundle
from ml.data.cells import CNMC
from ml.evaluation import cell_site_study
from ml.evaluation.cell_site_study import BY_SUBJECT, markdown, resampled, run
from ml.site_images import SiteImages
from ml.tasks import CELL
from tests.painted_cells import paint_cells
from tests.stand_in import StandInRuntime


@pytest.fixture
def bundle(cell_bundle_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cell_site_study, "open_runtime", lambda bundle, name: StandInRuntime((0.0,) * 16))
    return read_bundle(cell_bundle_folder)


def test_each_cell_is_judged_by_what_learnt_from_other_subjects(bundle, tmp_path, monkeypatch):
    site = paint_cells(tmp_path / CNMC.name, {"all": 6, "hem": 3}, images=4, on_black=True)
    learnt = []
    fit = cell_site_study.fit_site
    monkeypatch.setattr(
        cell_site_study,
        "fit_site",
        lambda one, images, **more: learnt.append(images) or fit(one, images, **more),
    )
    result = run(bundle, site, sizes=(20,), seeds=1, resamples=40, strangers=4)
    json.dumps(result, allow_nan=False)
    assert (result["n"], result["subjects"]) == (36, 9)
    assert len(learnt) == 3, "one draw, three parts of the subjects"
    assert all(len(images) == 20 for images in learnt)
    for images in learnt:
        kinds = {group.rpartition("/")[2].partition("-")[0] for group in images.groups}
        assert kinds == {"all", "hem"}
        assert len({group for group in images.groups if "hem" in group}) == 2, "the third is judged"
    assert set(result["rows"][0]["methods"]) <= {"keep", "recalibrate", "refit_head"}
    assert len(result["parts_before"]) == len(result["rows"][0]["parts_after"]) == 3
    assert {one["name"] for one in result["before"]} == {"auroc_malignant", "ece", "coverage"}
    assert "since 3 normal subjects are too few" in result["intervals"]

    table = markdown(result)
    assert "| 0 | |" in table
    assert "| 20 |" in table
    assert "AUROC of blast" in table
    assert "36 cells; 9 subjects dealt into 3 parts" in table
    assert str(tmp_path) not in table


def test_with_enough_subjects_of_either_kind_they_are_drawn_anew(bundle):
    count = 24
    membership = np.zeros((count, len(CELL.classes)), np.float32)
    membership[::2, CELL.classes.index("blast")] = 1
    membership[1::2, CELL.classes.index("lymphocyte")] = 1
    groups = tuple(f"{i % 2}-{i // 4}" for i in range(count))
    images = SiteImages(
        np.zeros((count, 8), np.float32), np.zeros((count, 4), np.float32), membership, groups,
        np.zeros(count, bool), tuple(str(i) for i in range(count)),
    )  # fmt: skip
    assert resampled(bundle, images) == (images, BY_SUBJECT)
    fewer = images.subset(list(range(12)))
    assert resampled(bundle, fewer)[0].groups == fewer.sha256
