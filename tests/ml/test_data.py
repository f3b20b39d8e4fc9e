"""Manifests, duplicates, splits, augmentation."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data.augmentation import Augmentation
from ml.data.duplicates import families, near_duplicates, perceptual_hash, thumbnail
from ml.data.manifest import Item, Manifest, ManifestError, load_manifest
from ml.data.signatures import duplicate_families
from ml.data.splits import random_split, standing_split
from ml.drawing import draw_field


def write_manifest(folder: Path, rows: list[dict[str, str]]) -> Path:
    for row in rows:
        file = folder / row["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(row["path"].encode())
    with (folder / "index.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_it_reads_a_folder_with_an_index(tmp_path):
    rows = [{"path": "a/1.jpg", "label": "a", "block": "a-0"}, {"path": "b/1.jpg", "label": "b", "block": ""}]
    manifest = load_manifest(write_manifest(tmp_path, rows))
    assert manifest.labels == ("a", "b")
    assert [item.group for item in manifest] == ["a-0", "b/1.jpg"]
    assert manifest.items[0].sha256 == hashlib.sha256(b"a/1.jpg").hexdigest()
    assert load_manifest(tmp_path / "index.csv").items == manifest.items


def test_it_reads_class_named_folders(tmp_path):
    for name in ("pre/x.JPG", "pre/y.png", "pro/z.tif", "pro/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert load_manifest(tmp_path).counts == {"pre": 2, "pro": 1}


def test_a_name_that_is_no_utf_8_can_be_written_down_and_its_file_read(tmp_path):
    (tmp_path / "pre").mkdir()
    with open(bytes(tmp_path / "pre") + b"/\xe9tude.png", "wb") as file:
        file.write(b"x")
    (item,) = load_manifest(tmp_path).items
    assert item.name == item.group == r"pre/\xe9tude.png"
    assert item.sha256 == hashlib.sha256(b"x").hexdigest()


def test_patients_group_before_blocks(tmp_path):
    rows = [{"path": "1.jpg", "label": "a", "block": "b0", "patient": "p7"}]
    assert load_manifest(write_manifest(tmp_path, rows)).items[0].group == "p7"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("path,colour\nx.jpg,red\n", "no column named label"), ("path,label\n", "lists no image"), ("", "lists no image"),
     ("path,label\nnowhere.jpg,a\n", "line 2: there is no file nowhere.jpg"), ("path,label\n,a\n", "line 2"),
     ("path,label\n\xff\xfe\n", "UTF-8")],
)  # fmt: skip
def test_it_says_what_is_wrong_with_a_manifest(tmp_path, content, sentence):
    (tmp_path / "index.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(ManifestError, match=sentence):
        load_manifest(tmp_path)


def test_it_says_when_there_is_nothing(tmp_path):
    with pytest.raises(ManifestError, match="neither"):
        load_manifest(tmp_path)
    with pytest.raises(ManifestError, match="no folder or manifest"):
        load_manifest(tmp_path / "gone")


def made_up(blocks: dict[str, list[int]]) -> Manifest:
    return Manifest(
        "made-up",
        tuple(
            Item(Path(f"{label}-{block}-{i}"), f"{label}-{block}-{i}", label, f"{label}-{block:02d}")
            for label, sizes in blocks.items()
            for block, size in enumerate(sizes)
            for i in range(size)
        ),
    )


def test_the_standing_split_tests_every_fifth_block_from_the_third():
    manifest = made_up({"benign": [2] * 12, "pro": [2] * 8})
    split = standing_split(manifest, np.arange(len(manifest)))
    blocks = {
        part: sorted({manifest.items[i].group for i in getattr(split, part)})
        for part in ("test", "validation")
    }
    assert blocks["test"] == ["benign-02", "benign-07", "pro-02", "pro-07"]
    assert blocks["validation"] == ["benign-00", "benign-05", "benign-10", "pro-00", "pro-05"]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.dictionaries(
        st.sampled_from(["benign", "early", "pre", "pro"]),
        st.lists(st.integers(1, 5), min_size=3, max_size=9),
        min_size=1,
    ),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_a_split_never_parts_a_family_or_loses_an_image(sizes, seed, data):
    manifest = made_up(sizes)
    count = len(manifest)
    pairs = data.draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=10))
    family = families(count, pairs)
    for split in (standing_split(manifest, family), random_split(manifest, family, seed=seed)):
        parts = (split.train, split.validation, split.test, split.left_out)
        assert sorted(i for part in parts for i in part) == list(range(count))
        owner = {i: number for number, part in enumerate(parts[:3]) for i in part}
        for i, number in owner.items():
            assert all(number == other for j, other in owner.items() if family[j] == family[i])
    blocks = [{manifest.items[i].group for i in part} for part in parts_of(standing_split(manifest, family))]
    assert not (blocks[0] & blocks[1])
    assert not (blocks[1] & blocks[2])
    assert not (blocks[0] & blocks[2])


def parts_of(split):
    return (split.train, split.validation, split.test)


def test_a_random_split_repeats_with_its_seed():
    manifest = made_up({"a": [5] * 6, "b": [5] * 6})
    family = np.arange(len(manifest))
    assert random_split(manifest, family, seed=1) == random_split(manifest, family, seed=1)
    assert random_split(manifest, family, seed=1).test != random_split(manifest, family, seed=2).test


def test_families_are_the_connected_components():
    assert families(6, [(4, 1), (1, 3), (0, 5)]).tolist() == [0, 1, 2, 1, 1, 0]


def test_a_recompressed_and_brightened_copy_is_a_near_duplicate_and_another_field_is_not():
    fields = [draw_field(np.random.default_rng(seed), width=320, height=240) for seed in range(4)]
    _, packed = cv2.imencode(".jpg", fields[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])
    copy = np.clip(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1].astype(int) + 9, 0, 255).astype(np.uint8)
    pictures = [*fields, copy]
    hashes, thumbnails = (np.stack([f(p) for p in pictures]) for f in (perceptual_hash, thumbnail))
    assert near_duplicates(hashes, thumbnails) == [(0, 4)]


@pytest.mark.data
def test_the_listed_duplicates_of_the_public_fields_are_found(data_dir):
    manifest = load_manifest(data_dir / "taleqani-all")
    by_name = {item.path.name: i for i, item in enumerate(manifest)}
    family = duplicate_families(manifest)
    listed = [
        (by_name[item.path.name], by_name[Path(item.columns["duplicate_of"]).name])
        for item in manifest
        if item.columns["duplicate_of"]
    ]
    assert listed
    assert all(family[i] == family[j] for i, j in listed)
    split = standing_split(manifest, family)
    assert dict(split.summary(manifest)["test"]["by_label"].items()) == {
        "benign": 74, "early": 171, "pre": 149, "pro": 148,
    }  # fmt: skip


def test_augmentation_repeats_with_its_seed_and_varies_without():
    image = cv2.resize(draw_field(np.random.default_rng(1), width=320, height=240), (96, 96))
    one, again, other = (Augmentation().apply(image, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert one.shape == image.shape
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_without_colour_a_grey_picture_stays_grey():
    grey = np.repeat(np.random.default_rng(0).integers(0, 255, (64, 64, 1), dtype=np.uint8), 3, axis=2)
    still = Augmentation(colour=False, noise_probability=0, jpeg_probability=0)
    for seed in range(5):
        varied = still.apply(grey, np.random.default_rng(seed))
        assert np.array_equal(varied[..., 0], varied[..., 1])
        assert np.array_equal(varied[..., 1], varied[..., 2])
    stained = Augmentation(grey_probability=0).apply(grey, np.random.default_rng(0)).astype(int)
    assert np.abs(stained[..., 0] - stained[..., 2]).max() > 5
