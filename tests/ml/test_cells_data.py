"""Single cells of three sources: what their labels mean, and folds that no patient is on two sides of."""

from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ml.data.cells import (
    CNMC,
    DEEPAPL,
    FOLDS,
    PBC,
    SOURCES,
    Source,
    deal_folds,
    load_cells,
)
from ml.data.labelled import load_labelled
from ml.data.manifest import MICROMETRES, DataProblem
from ml.tasks import CELL, TASKS, task_named

PEOPLE = st.lists(
    st.tuples(
        st.sampled_from([f"patient {i}" for i in range(12)]), st.sampled_from(["blast", "monocyte", "rare"])
    ),
    min_size=1,
    max_size=120,
)


def alone(manifest):
    """No image is a near duplicate of another."""
    return np.arange(len(manifest))


@pytest.fixture
def write(tmp_path):
    """Write a source's folder: rows of (path, label, patient or None), each picture of one grey level of its own."""
    level = iter(range(256))

    def make(source, *rows, group="patient"):
        folder = tmp_path / source.name
        with_groups = any(row[2] for row in rows)
        with (
            (folder if folder.is_dir() else _made(folder))
            .joinpath("index.csv")
            .open("w", newline="") as handle
        ):
            out = csv.writer(handle)
            out.writerow(["path", "label", *([group] if with_groups else [])])
            for path, label, patient in rows:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                if not (folder / path).exists():
                    Image.fromarray(np.full((8, 8, 3), next(level), np.uint8)).save(folder / path)
                out.writerow([path, label, *([patient] if with_groups else [])])
        return tmp_path

    return make


def _made(folder):
    folder.mkdir()
    return folder


def test_every_meaning_is_a_class_of_the_task():
    for source in SOURCES.values():
        for classes in source.meaning.values():
            assert classes
            assert set(classes) <= set(CELL.classes)
        assert not set(source.meaning) & set(source.dropped)
        assert all(source.dropped.values()), "a label is dropped for a reason"


def test_every_class_is_taught_by_a_source():
    taught = {
        classes[0] for source in (DEEPAPL, PBC) for classes in source.meaning.values() if len(classes) == 1
    }
    assert taught == set(CELL.classes)


def test_blast_probability_is_of_blasts_and_promonocytes_and_not_of_promyelocytes():
    assert set(CELL.malignant) == {"blast", "promonocyte"}
    assert "promyelocyte" in CELL.classes


def test_the_task_is_known_by_name():
    assert task_named("cell") is TASKS["cell"] is CELL


def test_a_public_set_is_known_by_its_name(write):
    folder = write(
        CNMC,
        ("UID_1_1_1_all.webp", "all", "1"),
        ("UID_H2_1_1_hem.webp", "hem", "H2"),
        group="subject",
    )
    manifest = load_labelled(folder / CNMC.name, task="cell")
    assert [item.label for item in manifest] == ["blast", "lymphocyte or variant_lymphocyte"]
    assert [item.group for item in manifest] == ["cnmc2019-fold1/1", "cnmc2019-fold1/H2"]
    assert {item.columns[MICROMETRES] for item in manifest} == {str(CNMC.micrometres)}
    assert [item.label for item in load_labelled(folder / CNMC.name, task="field")] == ["all", "hem"]


def test_the_files_name_gives_the_subtype(write):
    folder = write(
        PBC,
        ("neutrophil/BNE_1.png", "neutrophil", None),
        ("ig/PMY_2.png", "ig", None),
        ("ig/IG_3.png", "ig", None),
        ("monocyte/MO_4.png", "monocyte", None),
    )
    cells = load_cells(folder, [PBC], find_families=alone)
    assert [item.label for item in cells.manifest] == [
        "band_neutrophil", "promyelocyte", "promyelocyte or myelocyte or metamyelocyte", "monocyte"
    ]  # fmt: skip
    assert cells.fine.tolist() == [True, True, False, True]
    coarse = [CELL.classes[i] for i in np.flatnonzero(cells.membership[2])]
    assert coarse == ["promyelocyte", "myelocyte", "metamyelocyte"]
    assert cells.manifest.items[0].columns["original_label"] == "neutrophil/BNE"
    assert float(cells.manifest.items[0].columns[MICROMETRES]) == PBC.micrometres


def test_what_means_nothing_is_dropped_or_refused(write):
    folder = write(
        DEEPAPL,
        ("a/1.png", "prolymphocyte", "Patient_1"),
        ("a/2.png", "blast-no_lineage_spec", "Patient_1"),
    )
    cells = load_cells(folder, [DEEPAPL], find_families=alone)
    assert len(cells.manifest) == 1
    assert dict(cells.dropped) == {"deepapl-discovery: prolymphocyte": 1}
    write(DEEPAPL, ("a/3.png", "megakaryocyte", "Patient_1"))
    with pytest.raises(DataProblem, match="megakaryocyte"):
        load_cells(folder, [DEEPAPL], find_families=alone)


def test_exact_copies_count_once_and_must_agree(write):
    folder = write(PBC, ("ig/IG_1.png", "ig", None), ("ig/MY_1.png", "ig", None))
    same = (folder / PBC.name / "ig/IG_1.png").read_bytes()
    (folder / PBC.name / "ig/MY_1.png").write_bytes(same)
    cells = load_cells(folder, [PBC], find_families=alone)
    assert [item.label for item in cells.manifest] == ["myelocyte"], "the finer label counts"
    write(PBC, ("ig/MY_1.png", "ig", None), ("ig/IG_1.png", "monocyte", None))
    with pytest.raises(DataProblem, match="same image"):
        load_cells(folder, [PBC], find_families=alone)


def test_near_duplicates_without_patients_share_a_group_and_a_fold(write):
    folder = write(PBC, *((f"monocyte/MO_{i}.png", "monocyte", None) for i in range(12)))
    cells = load_cells(folder, [PBC], find_families=lambda manifest: np.arange(len(manifest)) // 2)
    groups = [item.group for item in cells.manifest]
    assert groups[::2] == groups[1::2]
    assert len(set(groups)) == 6
    assert (cells.fold[::2] == cells.fold[1::2]).all()
    assert (cells.fold >= 0).all()


def test_near_duplicates_of_two_patients_in_two_folds_are_left_out(write):
    rows = [(f"a/{i}.png", "monocyte", f"Patient_{i}") for i in range(5)]
    folder = write(DEEPAPL, *rows)
    cells = load_cells(folder, [DEEPAPL], find_families=lambda manifest: np.array([0, 0, 2, 3, 4]))
    assert cells.fold.tolist()[:2] == [-1, -1]
    assert set(cells.fold.tolist()[2:]) <= set(range(FOLDS))
    split = cells.standing_split()
    assert not {0, 1} & {*split.train, *split.validation, *split.test}


def test_one_patients_name_in_two_hospitals_is_two_patients(write):
    folder = write(DEEPAPL, ("a/1.png", "monocyte", "7"))
    write(CNMC, ("hem/1.png", "hem", "7"), group="subject")
    cells = load_cells(folder, [DEEPAPL, CNMC], find_families=alone)
    assert len({item.group for item in cells.manifest}) == 2
    assert cells.sources.tolist() == [DEEPAPL.name, CNMC.name]


@settings(deadline=None, max_examples=40)
@given(PEOPLE)
def test_no_patient_is_in_two_folds(people):
    groups, labels = zip(*people, strict=True)
    fold = deal_folds(groups, labels)
    assert ((fold >= 0) & (fold < FOLDS)).all()
    folds_of = {}
    for group, number in zip(groups, fold.tolist(), strict=True):
        folds_of.setdefault(group, set()).add(number)
    assert all(len(found) == 1 for found in folds_of.values())


@settings(deadline=None, max_examples=40)
@given(PEOPLE, st.randoms())
def test_folds_do_not_hang_on_the_order_of_images(people, random):
    shuffled = list(people)
    random.shuffle(shuffled)
    found = [
        dict(zip([group for group, _ in order], deal_folds(*zip(*order, strict=True)).tolist(), strict=True))
        for order in (people, shuffled)
    ]
    assert found[0] == found[1]


def test_every_fold_gets_its_share_of_every_label():
    rng = np.random.default_rng(4)
    groups, labels = [], []
    for patient in range(60):
        for _ in range(int(rng.integers(20, 120))):
            groups.append(f"patient {patient}")
            labels.append(str(rng.choice(["lymphocyte", "blast", "basophil"], p=[0.6, 0.37, 0.03])))
    fold = deal_folds(groups, labels)
    for label in set(labels):
        counts = Counter(fold[[one == label for one in labels]].tolist())
        shares = [counts[number] / labels.count(label) for number in range(FOLDS)]
        assert min(shares) > 0.15
        assert max(shares) < 0.25


def test_a_source_is_dealt_by_itself(write):
    rows = [(f"a/{i}.png", ("monocyte", "basophil")[i % 2], f"Patient_{i // 3}") for i in range(30)]
    folder = write(DEEPAPL, *rows)
    first = load_cells(folder, [DEEPAPL], find_families=alone).fold
    write(PBC, *((f"basophil/BA_{i}.png", "basophil", None) for i in range(7)))
    both = load_cells(folder, [DEEPAPL, PBC], find_families=alone)
    assert (both.fold[: len(first)] == first).all()


def test_a_source_of_ones_own_can_be_added(write):
    own = Source("own", 0.1, meaning={"Blasten": ("blast",)}, dropped={"Artefakt": "unclear"})
    folder = write(own, ("1.png", "Blasten", "P1"), ("2.png", "Artefakt", "P2"))
    assert load_cells(folder, [own], find_families=alone).manifest.counts == {"blast": 1}


@pytest.mark.data
def test_the_public_cells_are_split_by_patient(data_dir):
    cells = load_cells(data_dir, find_families=alone)
    assert len(cells.manifest) == 6416 + 3200
    assert int((~cells.fine).sum()) == 26
    split = cells.standing_split()
    groups = [
        {cells.manifest.items[i].group for i in part} for part in (split.train, split.validation, split.test)
    ]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    ours = cells.sources == DEEPAPL.name
    for name in CELL.classes:
        held = cells.membership[:, CELL.classes.index(name)] > 0
        counts = [int((held & ours & (cells.fold == number)).sum()) for number in range(FOLDS)]
        assert min(counts) > 0, f"{name}: {counts}"
