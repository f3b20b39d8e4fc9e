"""The study of variants of the cell task: heads, figures, pictures, and one whole run on drawn cells."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ml.data.cells import CNMC, DEEPAPL, FOLDS, PBC, load_cells
from ml.evaluation.cell_figures import JOINED, cell_figures, joined_figures
from ml.evaluation.cell_heads import HEADS, RIDGES, choose_ridge, cross_fitted, fit_head, source_told
from ml.evaluation.cell_measuring import Study
from ml.evaluation.cell_pictures import (
    BASELINE,
    SPOILT,
    VARIANTS,
    Network,
    Variant,
    adapt_normalisation,
    adapting_crops,
    crops_of,
    measurements,
)
from ml.evaluation.cell_study import _best, run
from ml.evaluation.cell_table import markdown
from ml.tasks import CELL

CODE = {name: place for place, name in enumerate(CELL.classes)}
LOOKS = {
    # nucleus radius, cytoplasm radius, in pixels of 0.145 micrometres
    "blast-no_lineage_spec": (46, 52),
    "promonocyte": (46, 70),
    "lymphocyte": (28, 34),
    "monocyte": (36, 62),
    "promyelocyte": (38, 55),
}


def picture(nucleus, cytoplasm, rng, *, tone=0, on_black=False):
    """A round cell among red cells, or cut out onto black."""
    glass = np.array((254, 229, 202)) if not on_black else np.zeros(3)
    pixels = np.full((256, 256, 3), glass, np.uint8)
    if not on_black:
        for x, y in ((40, 40), (215, 50), (50, 215), (210, 212)):
            cv2.circle(pixels, (x, y), 24, (185 - tone, 140, 152 + tone), -1)
    x, y = (128 + rng.integers(-4, 5, 2)).tolist()
    cv2.circle(pixels, (x, y), cytoplasm, (190 - tone, 170, 190), -1)
    cv2.circle(pixels, (x, y), nucleus + int(rng.integers(-2, 3)), (90 + tone, 50, 135), -1)
    noise = rng.normal(0, 3, pixels.shape) * (pixels > 0)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Drawn cells in the folders and with the labels of the three public sets."""
    root, rng = tmp_path_factory.mktemp("sets"), np.random.default_rng(5)

    def write(source, column, rows):
        folder = root / source.name
        folder.mkdir()
        with (folder / "index.csv").open("w", newline="") as handle:
            out = csv.writer(handle)
            out.writerow(["path", "label", *([column] if column else [])])
            for name, label, group, pixels in rows:
                cv2.imwrite(str(folder / name), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
                out.writerow([name, label, *([group] if column else [])])

    write(
        DEEPAPL, "patient",
        [
            (f"{label}_{patient}.png", label, f"P{patient}", picture(*look, rng))
            for patient in range(6) for label, look in LOOKS.items()
        ],
    )  # fmt: skip
    write(
        PBC, None,
        [
            (f"{prefix}_{i}.png", label, "", picture(*LOOKS[like], rng, tone=15))
            for i in range(6)
            for prefix, label, like in (("LY", "lymphocyte", "lymphocyte"), ("MO", "monocyte", "monocyte"))
        ] + [("IG_1.png", "ig", "", picture(*LOOKS["promyelocyte"], rng, tone=15))],
    )  # fmt: skip
    write(
        CNMC, "subject",
        [
            (f"{label}_{i}.png", label, f"{label}{i}", picture(*look, rng, on_black=True))
            for i in range(3) for label, look in (("all", (80, 90)), ("hem", (60, 66)))
        ],
    )  # fmt: skip
    return load_cells(root, (DEEPAPL, PBC, CNMC), find_families=lambda manifest: np.arange(len(manifest)))


def tiny():
    from ml.network import build_network

    return build_network(2, size=None, blocks=(1, 1, 1, 1))


def clouds(rng, per_class=30):
    """Features in which every class is a cloud of its own, of patients 0..9."""
    codes = np.repeat([CODE[name] for name in ("lymphocyte", "monocyte", "promonocyte", "blast")], per_class)
    features = rng.normal(0, 1, (len(codes), 12)).astype(np.float32)
    features[np.arange(len(codes)), codes % 12] += 6
    return features, codes.astype(np.int64), np.tile(np.arange(FOLDS), len(codes) // FOLDS)


@pytest.mark.parametrize("kind", HEADS)
def test_heads_give_probabilities_of_all_classes_and_find_the_clouds(kind):
    features, codes, _ = clouds(np.random.default_rng(0))
    head = fit_head(features, codes, kind=kind, ridge=RIDGES[1])
    chances = head.probabilities(features)
    assert chances.shape == (len(codes), len(CELL.classes))
    assert chances.sum(axis=1) == pytest.approx(1)
    assert (chances.argmax(axis=1) == codes).mean() > 0.95
    assert (chances[:, CODE["basophil"]] == 0).all(), "a class it never saw"


@pytest.mark.parametrize("kind", HEADS)
def test_no_fold_is_judged_by_a_head_that_saw_it(kind):
    rng = np.random.default_rng(1)
    features, codes, fold = clouds(rng)
    # In one fold labels are noise: a head that had learnt them would know them.
    noise = fold == 2
    codes = codes.copy()
    codes[noise] = rng.permutation(codes[noise])
    chances, heads = cross_fitted(
        features, codes, fold, kind=kind, folds=FOLDS, may_learn=np.ones(len(codes), bool)
    )
    right = chances.argmax(axis=1) == codes
    assert right[~noise].mean() > 0.9
    assert right[noise].mean() < 0.6
    assert len(heads) == FOLDS
    assert all(head.ridge in RIDGES for head in heads)


def test_cells_that_may_not_be_learnt_from_change_nothing_and_are_judged():
    features, codes, fold = clouds(np.random.default_rng(2))
    may_learn = np.ones(len(codes), bool)
    may_learn[::7] = False
    first, _ = cross_fitted(features, codes, fold, kind="one", folds=FOLDS, may_learn=may_learn)
    other = np.where(may_learn, codes, CODE["basophil"])
    second, _ = cross_fitted(features, other, fold, kind="one", folds=FOLDS, may_learn=may_learn)
    assert np.isfinite(first).all()
    assert (first == second).all()


def test_the_ridge_is_chosen_by_held_out_patients():
    rng = np.random.default_rng(3)
    features, codes, fold = clouds(rng)
    assert choose_ridge(features, codes, fold > 0, fold == 0, kind="one") == max(RIDGES), (
        "clouds want a weak ridge"
    )
    noise = rng.permutation(codes)
    assert choose_ridge(features, noise, fold > 0, fold == 0, kind="one") == min(RIDGES), (
        "noise wants a strong one"
    )


def test_the_hospital_is_told_where_it_shows_and_not_where_it_does_not():
    rng = np.random.default_rng(4)
    features, codes, fold = clouds(rng, per_class=100)
    other = rng.random(len(codes)) < 0.4
    hidden = source_told(features, other, codes, fold, FOLDS)
    features[other, 9] += 3
    shown = source_told(features, other, codes, fold, FOLDS)
    assert roc_auc_score(other, shown) > 0.9
    assert abs(roc_auc_score(other, hidden) - 0.5) < 0.12


def test_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(6)
    labels = rng.choice(["blast", "promonocyte", "promyelocyte", "lymphocyte", "erythroblast"], 300).tolist()
    chances = rng.dirichlet(np.ones(len(CELL.classes)), 300)
    chances[np.arange(300), [CODE[label] for label in labels]] += 0.2
    chances /= chances.sum(axis=1, keepdims=True)
    groups = [f"P{i % 20}" for i in range(300)]
    found = {one.name: one for one in cell_figures(labels, chances, groups, split="folds", resamples=50)}
    place = np.array([CODE[label] for label in labels])
    wanted = np.isin(labels, ["blast", "promonocyte", "promyelocyte"])
    score = chances[:, [CODE["blast"], CODE["promonocyte"], CODE["promyelocyte"]]].sum(axis=1)
    leukocyte = np.array(labels) != "erythroblast"
    area = found["auroc_blast_or_promyelocyte"]
    assert area.value == pytest.approx(roc_auc_score(wanted[leukocyte], score[leukocyte]))
    assert area.low < area.value < area.high
    assert (area.n, area.groups, area.split) == (300, 20, "folds")
    every = found["auroc_blast_or_promyelocyte_all"]
    assert every.value == pytest.approx(roc_auc_score(wanted, score))
    given = chances.argmax(axis=1)
    f1 = f1_score(place, given, average="macro", labels=sorted(set(place.tolist())))
    assert found["f1_macro"].value == pytest.approx(f1)


def test_subtypes_of_one_type_count_as_one():
    labels = ["segmented_neutrophil", "band_neutrophil", "promyelocyte", "immature_granulocyte", "monocyte"]
    given = ["band_neutrophil", "segmented_neutrophil", "myelocyte", "metamyelocyte", "blast"]
    chances = np.eye(len(CELL.classes))[[CODE[name] for name in given]]
    figures = joined_figures(labels, chances, list("abcde"), split="x", resamples=20)
    found = {one.name: one.value for one in figures}
    assert found["f1/neutrophil"] == found["f1/immature_granulocyte"] == 1
    assert found["f1/monocyte"] == 0, "a blast's probability is no type's"
    assert {part for parts in JOINED.values() for part in parts} < set(CELL.classes)


@pytest.mark.parametrize("spoilt", ["", *SPOILT.values()])
def test_crops_show_the_cell_whatever_was_done_to_the_picture(cells, tmp_path, spoilt):
    items = [item for item in cells.manifest if item.columns["source"] == DEEPAPL.name][:5]
    found = crops_of(items, size=48, cache=tmp_path, spoilt=spoilt)
    assert found.pixels.shape == (5, 48, 48, 3)
    assert found.found.all()
    assert found.masks[:, 24, 24].all()
    again = crops_of(
        items, size=48, cache=tmp_path, spoilt=spoilt, progress=lambda done, total: pytest.fail("cached")
    )
    assert (again.pixels == found.pixels).all()
    assert (again.masks == found.masks).all()


def test_every_variant_shows_something_of_its_own(cells, tmp_path):
    crops = crops_of(cells.manifest.items[:3], size=48, cache=tmp_path)
    shown = {
        variant.name: variant.show(crops.pixels, crops.masks).tobytes()
        for variant in VARIANTS
        if not variant.adapted
    }
    assert len(set(shown.values())) == len(shown) == 6
    assert len({variant.name for variant in VARIANTS}) == 12


def test_the_baseline_knows_size_and_colour_alone(cells, tmp_path):
    crops = crops_of(cells.manifest.items[:4], size=48, cache=tmp_path)
    found = measurements(crops)
    assert found.shape == (4, 8)
    assert found[:, 0] == pytest.approx(crops.masks.mean(axis=(1, 2)))
    moved = type(crops)(crops.pixels[:, ::-1], crops.masks[:, ::-1], crops.found, "upside down")
    assert measurements(moved) == pytest.approx(found, abs=1e-3)


def test_adapted_normalisation_has_the_statistics_of_the_pictures_and_the_same_weights():
    import keras

    model = tiny()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (128, 32, 32, 3), dtype=np.uint8)
    before = [weight.copy() for weight in model.get_weights()]
    adapted = adapt_normalisation(model, pictures)
    assert all((one == other).all() for one, other in zip(before, model.get_weights(), strict=True))
    for old, new in zip(model.layers, adapted.layers, strict=True):
        learnt = zip(old.trainable_weights, new.trainable_weights, strict=True)
        assert all(np.allclose(a, b) for a, b in learnt)
    first = next(layer for layer in adapted.layers if isinstance(layer, keras.layers.BatchNormalization))
    from ml.imaging.preprocessing import normalise

    reading = keras.Model(adapted.input, first.input)
    seen = np.asarray(reading(normalise(pictures)))
    assert np.asarray(first.moving_mean) == pytest.approx(seen.mean(axis=(0, 1, 2)), abs=0.02)


def test_a_whole_study_runs_and_goes_on_where_it_was(cells, tmp_path):
    cache, out = tmp_path / "cache", tmp_path / "study.json"
    network = Network(tiny, "tiny", lambda: adapting_crops(cells, size=48, cache=cache, count=16))
    study = Study(cells, network, size=48, cache=cache, resamples=20)
    variants = [Variant("natural", "none", False), BASELINE, Variant("cutout", "reinhard", True)]
    facts = {"size": 48, "resamples": 20}
    run(study, out, facts, variants=variants[:1])
    seen = []
    study.row, plain = lambda *args: seen.append(args[0].name) or plain(*args), study.row
    result = run(study, out, facts, variants=variants)
    assert "natural-none-frozen" not in seen[:2], "what is done is not done again"
    assert [(row["variant"], row["heads"]) for row in result["rows"]] == [
        (variant.name, kind) for variant in variants for kind in HEADS
    ]
    assert set(result["robustness"]["rows"]) == set(SPOILT)
    assert json.loads(out.read_text()) == result
    row = result["rows"][0]
    blasts = {one["name"]: one for one in row["figures"][DEEPAPL.name]}["auroc_blast_or_promyelocyte"]
    assert 0 <= blasts["value"] <= 1
    assert blasts["n"] == 30
    assert blasts["groups"] == 6
    assert row["figures"][CNMC.name][0]["groups"] == 6
    assert row["figures"][f"{PBC.name}, 8 types"][0]["n"] == 13, "a coarse label says the type all the same"
    assert row["figures"][PBC.name][0]["n"] == 12
    table = markdown(result, best=_best(result["rows"], None))
    assert table.count("\n| natural crop |") == table.count("\n| cut out |") == 2
    assert out.with_suffix(".md").read_text() == table
