"""Reviewed cells as single-cell pictures: which count, what is cut out, and what it must not tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnosis.models import Site
from diagnosis.services import analyze, intake, proposals
from diagnosis.services.cell_readings import re_class, undo
from diagnosis.services.reviewed import new_reviews_since, reviewed_items
from diagnosis.services.reviewed_cells import SIDE_UM, around
from ml.data.manifest import MICROMETRES, DataProblem
from ml.imaging.reading import read_image
from tests.diagnosis.told_cells import add_cells, beside, cell

pytestmark = pytest.mark.django_db

UM = 0.28
"""A drawn field of 400 pixels is 112 micrometres wide."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def cells(image, judge):
    """Four things in one image, the last on its border."""
    judge(image)
    told = ["lymphocyte", "blast", beside("smudge", 2), cell("monocyte", 3, touches_border=True)]
    return [one.pk for one in add_cells(image, told, with_sprite=False, um_per_pixel=UM)]


def items_of(laboratory, **more):
    return reviewed_items(laboratory=laboratory, task="cell", **more)


def test_a_cell_comes_with_the_reader_s_class_and_its_surroundings(cast, case, laboratory, image, cells):
    re_class(user=cast.hematologist, cells=cells[:2], label="monocyte")
    re_class(user=cast.administrator, cells=cells[1:2], label="blast")
    one, other = items_of(laboratory)
    assert (one.label, other.label) == ("monocyte", "blast")
    assert one.group == other.group == f"case-{case.pk}"
    assert one.columns == {"site": "", "source": "reviews", MICROMETRES: repr(UM)}
    whole, pixels = (read_image(path).pixels for path in (Path(image.file.path), one.path))
    assert pixels.shape == (48, 48, 3), "the box of 40 pixels at (4, 4): as much on every side as above it"
    assert np.array_equal(pixels, whole[:48, :48])
    assert one.path.suffix == ".png"
    assert new_reviews_since(laboratory=laboratory, since=None, task="cell") == 2


def test_what_is_on_the_border_taken_back_or_drawn_is_left_out(cast, case, laboratory, cells, judge):
    batch = re_class(user=cast.hematologist, cells=cells, label="blast")
    assert len(items_of(laboratory)) == 3, "the one on the border is cut"
    re_class(user=cast.hematologist, cells=cells[:1], label="")
    assert len(items_of(laboratory)) == 2
    again = re_class(user=cast.hematologist, cells=cells[1:2], label="lymphocyte")
    undo(user=cast.hematologist, batch=again)
    assert {item.label for item in items_of(laboratory)} == {"blast"}
    assert batch != again
    drawn = intake.add_drawn_sample(user=cast.technician, case=case, seed=3)
    judge(drawn)
    (one,) = add_cells(drawn, ["blast"], with_sprite=False)
    re_class(user=cast.hematologist, cells=[one.pk], label="blast")
    assert len(items_of(laboratory)) == new_reviews_since(laboratory=laboratory, since=None, task="cell") == 2


def test_pictures_are_cut_out_once_and_anew_where_they_were_removed(cast, laboratory, cells, cache):
    re_class(user=cast.hematologist, cells=cells[:2], label="blast")
    first = items_of(laboratory)
    before = {item.path: item.path.stat().st_mtime_ns for item in first}
    hashes = [item.sha256 for item in first]
    assert all(item.path.is_relative_to(cache / "reviewed-cells") for item in first)
    again = items_of(laboratory)
    assert {item.path: item.path.stat().st_mtime_ns for item in again} == before
    first[0].path.unlink()
    assert [item.sha256 for item in items_of(laboratory)] == hashes


def test_an_image_that_was_analysed_again_shows_each_cell_once(cast, laboratory, image, cells, judge):
    re_class(user=cast.hematologist, cells=cells[:2], label="monocyte")
    analyze.retry(user=cast.technician, image=image)
    judge(image)
    assert [item.label for item in items_of(laboratory)] == ["monocyte", "monocyte"], (
        "what was read stays read"
    )
    newer = add_cells(image, ["blast"], with_sprite=False, um_per_pixel=UM)
    re_class(user=cast.hematologist, cells=[newer[0].pk], label="blast")
    assert sorted(item.label for item in items_of(laboratory)) == ["blast", "monocyte"]


def test_a_laboratory_and_a_site_have_their_own(cast, laboratory, image, cells):
    re_class(user=cast.hematologist, cells=cells[:1], label="blast")
    assert not items_of(cast.outsider.laboratory)
    site = Site.objects.create(laboratory=laboratory, name="Ward 3")
    assert not items_of(laboratory, site=site)
    image.site = site
    image.save(update_fields=["site"])
    (item,) = items_of(laboratory, site=site)
    assert item.columns["site"] == "Ward 3"


def test_no_name_tells_of_the_patient_or_the_file(cast, case, laboratory, image, cells):
    re_class(user=cast.hematologist, cells=cells[:1], label="blast")
    (item,) = items_of(laboratory)
    told = " ".join([item.name, item.group, item.path.name, *item.columns.values()])
    for secret in (case.accession_number, case.patient_code, image.original_name):
        assert secret not in told


def test_an_image_that_is_gone_is_named(cast, laboratory, image, cells):
    re_class(user=cast.hematologist, cells=cells[:1], label="blast")
    image.file.storage.delete(image.file.name)
    with pytest.raises(DataProblem, match="stored image of 1 reviewed cells can't be read"):
        items_of(laboratory)


def test_a_hundred_readings_propose_a_retraining(cast, laboratory, cells, cell_version, monkeypatch):
    monkeypatch.setattr(proposals, "ENOUGH_REVIEWS", 2)
    assert proposals.retraining_proposal(laboratory=laboratory, task="cell") is None
    re_class(user=cast.hematologist, cells=cells[:2], label="blast")
    proposal = proposals.retraining_proposal(laboratory=laboratory, task="cell")
    assert proposal.kinds == ("reviews",)
    assert "2 cells were given a class" in proposal.reasons[0]


@given(
    x=st.integers(0, 300), y=st.integers(0, 200), width=st.integers(8, 90), height=st.integers(8, 90),
    um=st.floats(0.05, 1.0),
)  # fmt: skip
def test_the_cell_lies_in_the_middle_of_what_is_cut_out(x, y, width, height, um):
    pixels = np.zeros((290, 390, 3), np.uint8)
    pixels[y + height // 2, x + width // 2] = 255
    found = around(pixels, (x, y, width, height), um)
    assert max(found.shape[:2]) <= SIDE_UM / um + 2
    (rows,), (columns,) = (np.unique(axis) for axis in np.nonzero(found[..., 0]))
    assert abs(rows - (found.shape[0] - 1) / 2) <= 1.5
    assert abs(columns - (found.shape[1] - 1) / 2) <= 1.5
