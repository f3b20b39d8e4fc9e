"""Locked images are found by hash, once each, and never among what the candidate learnt; predictions are kept."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ml.bundle import Bundle
from ml.data.manifest import load_manifest
from ml.evaluation.predictions import Row, Unreadable
from ml.evaluation.remembered import remembered_rows
from ml.locked import locked_images
from tests import told


def knowing(*, name="locked", classes=told.CLASSES, train=(), validation=(), test=()) -> Bundle:
    data = {
        "name": name,
        "train_sha256": list(train),
        "validation_sha256": list(validation),
        "test_sha256": list(test),
    }
    manifest = {"name": "b", "classes": list(classes), "malignant": list(told.MALIGNANT), "data": data}
    return Bundle(None, manifest, "0" * 64)  # type: ignore[arg-type]  # nothing of its files is asked


@pytest.fixture
def data(tmp_path):
    return told.write_data(tmp_path / "locked", each=10, groups=5)


def test_the_test_images_are_found_among_others_once_each(data, tmp_path):
    test = [item.sha256 for item in data.items[::2]]
    shutil.copytree(tmp_path / "locked", tmp_path / "copy")
    found = locked_images(knowing(test=test), [load_manifest(tmp_path / "copy"), data])
    assert [item.sha256 for item in found] == test
    assert {item.path.parent.name for item in found} == {"locked"}  # the data it was made from come first
    assert found[0].group == "locked/benign-0"


def test_what_the_candidate_learnt_is_left_out_with_its_whole_group(data):
    test = [item.sha256 for item in data]
    learnt = {"train": [data.items[0].sha256], "validation": [data.items[11].sha256]}
    found = locked_images(knowing(test=test), [data], candidate=knowing(**learnt))
    groups = {item.group for item in found}
    assert "locked/benign-0" not in groups
    assert "locked/early-0" not in groups
    assert len(found) == len(data) - 4


def test_a_copy_elsewhere_does_not_let_a_learnt_group_in(data, tmp_path):
    shutil.copytree(tmp_path / "locked", tmp_path / "copy")
    index = tmp_path / "copy" / "index.csv"
    index.write_text(index.read_text().replace(",benign-0\n", ",renamed\n"))
    (tmp_path / "copy" / data.items[0].path.relative_to(tmp_path / "locked")).unlink()
    lines = [line for line in index.read_text().splitlines(True) if data.items[0].name not in line]
    index.write_text("".join(lines))
    test = [item.sha256 for item in data]
    candidate = knowing(train=[data.items[0].sha256])
    found = locked_images(knowing(test=test), [data, load_manifest(tmp_path / "copy")], candidate=candidate)
    assert "copy/renamed" not in {item.group for item in found}
    assert len(found) == len(data) - 2


def test_images_of_a_class_the_bundle_lacks_are_left_out(data):
    test = [item.sha256 for item in data]
    found = locked_images(knowing(test=test, classes=("benign", "early")), [data])
    assert {item.label for item in found} == {"benign", "early"}


def test_data_without_any_of_them_give_none(data):
    assert locked_images(knowing(test=["0" * 64]), [data]) == []
    assert locked_images(knowing(test=[item.sha256 for item in data]), []) == []


# --- predictions that are kept ------------------------------------------------------------------------------


class Counting:
    """A predictor that counts what it is asked, and stops at the image it is told to."""

    bundle = SimpleNamespace(name="b", sha256="a" * 64, classes=told.CLASSES)
    runtime = "counting"

    def __init__(self, stop_at: int | None = None) -> None:
        self.asked, self._stop_at = 0, stop_at

    def predict(self, pixels):
        if self.asked == self._stop_at:
            raise KeyboardInterrupt
        self.asked += 1
        chances = dict(zip(told.CLASSES, (0.7, 0.1, 0.1, 0.1), strict=True))
        return SimpleNamespace(
            outcome="class",
            top_label="benign",
            probabilities=chances,
            domain_score=0.25,
            inside_domain=True,
            reasons=("why",),
        )


@pytest.fixture
def pictures(tmp_path):
    for number in range(6):
        place = tmp_path / "pictures" / ("early" if number % 2 else "benign")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((30, 40, 3), 10 * number, np.uint8)).save(place / f"{number}.png")
    return load_manifest(tmp_path / "pictures")


def test_an_image_is_judged_once_and_keeps_its_place(pictures, tmp_path):
    first, second = Counting(), Counting()
    rows = remembered_rows(first, pictures.items, folder=tmp_path / "memory")
    again = remembered_rows(second, pictures.items[::-1], folder=tmp_path / "memory")
    assert (first.asked, second.asked) == (6, 0)
    assert again == rows[::-1]
    assert [row.label for row in rows] == [item.label for item in pictures]


def test_a_run_that_was_killed_goes_on_where_it_was(pictures, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        remembered_rows(Counting(stop_at=4), pictures.items, folder=tmp_path / "memory")
    (file,) = (tmp_path / "memory").iterdir()
    file.write_text(file.read_text()[:-9] + "\n")  # the last line was cut off
    after = Counting()
    assert len(remembered_rows(after, pictures.items, folder=tmp_path / "memory")) == 6
    assert after.asked == 3


def test_another_bundle_or_runtime_is_asked_itself(pictures, tmp_path):
    remembered_rows(Counting(), pictures.items, folder=tmp_path / "memory")
    other = Counting()
    other.runtime = "another"
    remembered_rows(other, pictures.items, folder=tmp_path / "memory")
    assert other.asked == 6


def test_an_unreadable_image_is_said_and_not_kept(pictures, tmp_path):
    pictures.items[2].path.write_bytes(b"no picture")
    fresh = load_manifest(tmp_path / "pictures")
    rows = remembered_rows(Counting(), fresh.items, folder=tmp_path / "memory")
    assert [type(row) for row in rows].count(Unreadable) == 1
    assert isinstance(rows[2], Unreadable)
    assert sum(isinstance(row, Row) for row in rows) == 5


def test_a_folder_that_cannot_be_written_costs_the_memory_alone(pictures, tmp_path):
    (tmp_path / "file").write_text("")
    assert len(remembered_rows(Counting(), pictures.items, folder=tmp_path / "file" / "memory")) == 6
