"""Gathering labelled data: what is joined, what is left away, and every kind of data that is refused."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from ml.bundle import SHIPPED
from ml.data import signatures as signatures_module
from ml.data.duplicates import near_duplicates, perceptual_hash, thumbnail
from ml.data.gathering import DataProblem, describe, gather, split_for
from ml.data.manifest import Item, Manifest, load_manifest
from ml.data.splits import PARTS
from ml.tasks import FIELD


@pytest.fixture
def make(tmp_path):
    """Makes a source of small pictures of noise, every one another: `make("name", "pre/block-1/5")` for five."""

    def source(name, *groups):
        items = []
        for text in groups:
            label, group, count = text.split("/")
            for i in range(int(count)):
                path = tmp_path / name / label / f"{group}-{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = np.random.default_rng([*f"{name}/{text}/{i}".encode()])
                cv2.imwrite(str(path), picture.integers(0, 255, (40, 50, 3), dtype=np.uint8))
                relative = path.relative_to(tmp_path / name).as_posix()
                items.append(Item(path, relative, label, group if group != "-" else relative))
        return Manifest(name, tuple(items))

    return source


@pytest.fixture
def gathered(tmp_path):
    def act(*sources, **options):
        options = {"classes": FIELD.classes, "malignant": FIELD.malignant, **options}
        return gather(sources, cache=tmp_path / "signatures", **options)

    return act


def copied(item, *, name, label=None, group=None):
    """Another manifest row with the same bytes."""
    return Item(item.path, name, label or item.label, group or item.group)


def plus(source, *items):
    return Manifest(source.name, (*source.items, *items))


def test_sources_are_joined_with_what_their_labels_mean(make, gathered):
    found = gathered(
        make("ours", "pre/b1/2", "benign/b2/1"),
        make("theirs", "all/s1/2", "hem/s2/1", "debris/s3/4"),
        label_map="all=malignant,hem=benign,debris=drop",
    )
    assert found.manifest.name == "ours + theirs"
    assert [item.label for item in found.manifest] == [
        "pre",
        "pre",
        "benign",
        "malignant",
        "malignant",
        "benign",
    ]
    assert found.membership.tolist()[2:4] == [[1, 0, 0, 0], [0, 1, 1, 1]]
    assert found.membership.dtype == np.float32
    assert found.coarse
    assert (found.copies, found.dropped, found.sources) == (0, 4, ("ours", "theirs"))
    last = found.manifest.items[-1]
    assert (last.columns["source"], last.columns["original_label"]) == ("theirs", "hem")


def test_plain_classes_are_not_coarse(make, gathered):
    assert not gathered(make("ours", "pre/b1/2", "Benign/b2/1")).coarse


def test_a_group_is_one_group_in_every_source_but_an_ungrouped_image_its_own(make, gathered):
    found = gathered(make("a", "pre/patient-1/1", "benign/-/1"), make("b", "pre/patient-1/1", "benign/-/1"))
    assert [item.group for item in found.manifest] == [
        "patient-1", "a/benign/--0.png", "patient-1", "b/benign/--0.png",
    ]  # fmt: skip


def test_two_sources_of_one_name_are_told_apart(make, gathered):
    one, other = make("cells", "pre/x/1"), make("more", "benign/y/1")
    assert gathered(one, Manifest("cells", other.items)).sources == ("cells", "cells (2)")


def test_progress_counts_every_image_up(make, gathered):
    seen = []
    gathered(make("a", "pre/b1/3", "benign/b2/2"), progress=seen.append)
    assert seen == [1, 2, 3, 4, 5]


# --- copies -------------------------------------------------------------------------------------------------


def test_an_exact_copy_within_a_class_is_left_away_and_said(make, gathered):
    source = make("a", "pre/b1/3", "benign/b2/2")
    found = gathered(plus(source, copied(source.items[0], name="again.png")))
    assert len(found.manifest) == 5
    assert found.copies == 1
    assert found.notes == ("exact copies of other images, left away: 1",)


def test_the_copy_in_the_block_that_tests_is_the_one_that_counts(make, gathered):
    """As the standing split leaves out the other: else a test image would train."""
    source = make("a", *(f"pro/pro-0{number}/2" for number in range(5)), "benign/b/2")
    in_train = source.items[2]  # of pro-01
    found = gathered(plus(source, copied(in_train, name="copy.png", group="pro-02")))
    (kept,) = (item for item in found.manifest if item.sha256 == in_train.sha256)
    assert (kept.group, kept.columns["other_groups"]) == ("pro-02", "pro-01")


def test_which_copy_counts_does_not_hang_on_other_sources(make, gathered):
    source = make("a", *(f"pro/pro-0{number}/2" for number in range(5)), "benign/b/2")
    source = plus(source, copied(source.items[2], name="copy.png", group="pro-02"))
    more = make("more", "pro/an earlier name/2", "pro/one more/2")
    alone, beside = (
        [item.group for item in gathered(*given).manifest][:12] for given in ((source,), (source, more))
    )
    assert alone == beside


def test_of_copies_with_a_coarse_and_a_fine_label_the_fine_one_counts(make, gathered):
    source = make("a", "malignant/b1/2", "benign/b2/2")
    found = gathered(plus(source, copied(source.items[0], name="same.png", label="pro")))
    assert Counter(item.label for item in found.manifest) == {"malignant": 1, "pro": 1, "benign": 2}


def test_near_copies_are_a_family_and_said_if_their_labels_differ(make, gathered, tmp_path):
    source = make("a", "pre/b1/2", "benign/b2/2")
    picture = cv2.imread(str(source.items[0].path))
    brighter = tmp_path / "brighter.png"
    cv2.imwrite(str(brighter), np.clip(picture.astype(int) + 4, 0, 255).astype(np.uint8))
    found = gathered(plus(source, Item(brighter, "brighter.png", "pro", "b9")))
    assert found.family.tolist() == [0, 1, 2, 3, 0]
    assert found.notes == (
        "near duplicates: 2 images, which show 1 fields or cells",
        "near duplicates that bear different labels, to be read again: 1",
    )


def cell(seed, *, texture):
    """A disc on a plain black ground, 128 px, textured inside."""
    rng = np.random.default_rng(seed)
    inside = cv2.resize(rng.integers(0, texture + 1, (9, 9), dtype=np.uint8), (128, 128)) + 120
    disc = cv2.circle(np.zeros((128, 128), np.uint8), (64, 64), 40, 1, -1)
    return np.repeat((inside * disc)[..., None], 3, axis=2).astype(np.uint8)


def test_cut_out_cells_are_copies_by_their_insides_and_not_by_their_outline():
    pictures = [cell(seed, texture=60) for seed in range(4)]
    _, packed = cv2.imencode(".jpg", pictures[1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    pictures.append(np.where(pictures[1] > 0, cv2.imdecode(packed, cv2.IMREAD_COLOR), 0).astype(np.uint8))
    hashes, thumbnails = (np.stack([f(p) for p in pictures]) for f in (perceptual_hash, thumbnail))
    assert np.corrcoef(thumbnails)[0, 1] > 0.9  # the outline alone would take these two for one
    assert near_duplicates(hashes, thumbnails, max_distance=64) == [(1, 4)]


# --- the cache ----------------------------------------------------------------------------------------------


def test_no_image_is_decoded_a_second_time(make, gathered, monkeypatch):
    sources = [make("a", "pre/b1/3", "benign/b2/2")]
    first = gathered(*sources)
    monkeypatch.setattr(
        signatures_module, "read_image", lambda path: pytest.fail(f"{path} was decoded again")
    )
    again = gathered(*sources)
    assert again.manifest == first.manifest
    assert np.array_equal(again.family, first.family)


def test_without_a_cache_that_works_it_goes_on_and_says_so(make, tmp_path, caplog):
    (tmp_path / "signatures").write_bytes(b"this is no database" * 100)
    source = make("a", "pre/b1/3", "benign/b2/2")
    found = gather([source], classes=FIELD.classes, malignant=FIELD.malignant, cache=tmp_path / "signatures")
    assert len(found.manifest) == 5
    assert "cannot be read, so every image is decoded" in caplog.text
    assert "cannot be written" in caplog.text


def test_the_cache_holds_a_signature_for_each_image_and_no_name(make, gathered, tmp_path):
    source = make("a", "pre/b1/3", "benign/b2/2")
    gathered(source)
    rows = sqlite3.connect(tmp_path / "signatures").execute("SELECT * FROM signature").fetchall()
    assert {row[0] for row in rows} == {item.sha256 for item in source}
    assert all(len(row[1]) == 8 and len(row[2]) == 1024 for row in rows)


# --- bad input ----------------------------------------------------------------------------------------------


def refused(gathered, *sources, **options):
    with pytest.raises(DataProblem) as caught:
        gathered(*sources, **options)
    return str(caught.value)


def test_no_data_is_refused(gathered):
    assert refused(gathered).startswith("There is no labelled image: give a folder")


def test_one_class_is_refused(make, gathered):
    assert refused(gathered, make("a", "pre/b1/5")) == (
        "Every image is labelled pre: a training needs two classes or more."
    )


def test_a_map_that_leaves_one_class_is_refused(make, gathered):
    sentence = refused(gathered, make("a", "all/b1/5", "hem/b2/5"), label_map={"all": "pre", "hem": "drop"})
    assert sentence.startswith("Every image is labelled pre")


def test_labels_without_a_meaning_are_refused_all_at_once(make, gathered):
    sentence = refused(gathered, make("a", "all/b1/1", "hem/b2/1", "pre/b3/1"))
    assert "the labels all, hem, but the task knows benign, early, pre, pro" in sentence
    assert "--label-map all=CLASS" in sentence


def test_images_that_cannot_be_read_are_counted_and_the_first_named(make, gathered):
    source = make("a", "pre/b1/8", "benign/b2/2")
    for item in source.items[:5]:
        item.path.write_bytes(item.path.read_bytes()[:200])
    source.items[5].path.unlink()
    source.items[6].path.write_bytes(b"")
    sentence = refused(gathered, source)
    assert sentence.startswith(
        "7 of 10 images cannot be read: pre/b1-0.png (The image is incomplete or damaged"
    )
    assert "pre/b1-2.png" in sentence
    assert "pre/b1-3.png" not in sentence
    assert "; and 4 more. Mend those files, or take them out of the data." in sentence


def test_a_file_that_is_gone_is_an_image_that_cannot_be_read(make, gathered):
    source = make("a", "pre/b1/2", "benign/b2/2")
    source.items[1].path.unlink()
    assert "1 of 4 images cannot be read: pre/b1-1.png (The file can't be opened" in refused(gathered, source)


def test_a_copy_across_classes_is_refused_with_both_names(make, gathered):
    source = make("a", "pre/b1/3", "benign/b2/2")
    copies = [copied(source.items[i], name=f"copy-{i}.png", label="benign") for i in range(2)]
    sentence = refused(gathered, plus(source, *copies))
    assert sentence == (
        "The same image bears labels that exclude each other: pre/b1-0.png is pre and copy-0.png is benign; "
        "pre/b1-1.png is pre and copy-1.png is benign. Correct the labels, or take those images out of the data."
    )


def test_a_coarse_label_does_not_hide_two_fine_ones_that_exclude_each_other(make, gathered):
    source = make("a", "malignant/b1/3", "benign/b2/2")
    copies = [copied(source.items[0], name=f"{label}.png", label=label) for label in ("early", "pre")]
    assert "early.png is early and pre.png is pre" in refused(gathered, plus(source, *copies))


def test_the_description_holds_no_path_and_is_json(make, gathered, tmp_path):
    source = make("a", *(f"{label}/{label}-{i}/6" for label in FIELD.classes for i in range(5)))
    found = gathered(plus(source, copied(source.items[0], name="again.png")))
    split = split_for(found, seed=1, previous=None, classes=FIELD.classes)
    told = json.dumps(describe(found, split))
    assert str(tmp_path) not in told
    assert ".png" not in told
    again = json.loads(told)
    assert again["by_label"] == dict.fromkeys(FIELD.classes, 30)
    assert again["duplicates"]["exact"] == 1
    assert again["split"]["name"] == "standing block split"
    assert again["leaks"] == {"groups": 0, "families": 0, "images": 0}


# --- the public data ----------------------------------------------------------------------------------------


@pytest.mark.data
def test_the_public_fields_are_split_exactly_as_the_shipped_bundle_was(data_dir: Path):
    manifest = load_manifest(data_dir / "taleqani-all")
    found = gather([manifest], classes=FIELD.classes, malignant=FIELD.malignant)
    assert (len(manifest), len(found.manifest), found.copies) == (2775, 2743, 32)
    shipped = json.loads((SHIPPED / "field-1" / "bundle.json").read_text())["data"]
    for previous in (None, shipped):
        split = split_for(found, seed=5, previous=previous, classes=FIELD.classes)
        hashes = split.hashes(found.manifest)
        for part in PARTS:
            assert set(hashes[f"{part}_sha256"]) == set(shipped[f"{part}_sha256"])
        assert split.name == "standing block split"
        assert not split.left_out
