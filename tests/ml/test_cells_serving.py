"""Serving a `cell` bundle: what the network sees of a cell, what is said of it, and when nothing is said."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.bundle import BundleCorrupt, BundleTooNew, preparation_from, read_bundle
from ml.cells.cell import Cell, Detection, Kind
from ml.cells.cutout import GROUND
from ml.cells.drawn import drawn_with_truth
from ml.cells.findings import CellFinding
from ml.cells.gate import MEASUREMENTS, shape_of
from ml.cells.preprocessing import CellPreprocessing
from ml.cells.scale import Scale
from ml.cells.serving import BATCH, TILE_PIXELS, CellPredictor
from ml.data.manifest import MICROMETRES, Item
from ml.imaging.preprocessing import Preprocessing, UnknownPreprocessing
from ml.pictures import (
    NO_CELL,
    NOT_FIELD_SHAPED,
    corrected_picture,
    picture_of,
    prepared_picture,
    scale_stated,
)
from ml.serving import CELL_OUT_OF_DOMAIN
from ml.tasks import CELL
from tests.painted_cell_bundle import SIZE, logits, painted
from tests.painted_cells import PIXELS, UM, paint_cell
from tests.stand_in import StandInRuntime, make_bundle

BLAST = CELL.classes.index("blast")


@pytest.fixture
def predictor_of(cell_bundle_folder):
    def make(*, detector=None, **told):
        options = {} if detector is None else {"detector": detector}
        return CellPredictor(read_bundle(cell_bundle_folder), StandInRuntime(logits(**told)), **options)

    return make


# --- a single-cell picture ----------------------------------------------------------------------------------


def test_the_cell_in_the_middle_gets_a_class_with_all_that_belongs_to_it(predictor_of):
    found = predictor_of(blast=3.0, promonocyte=2.0).classify(painted(1), UM)
    assert (found.label, found.top_label) == ("blast", "blast")
    assert found.inside_domain
    assert sum(found.probabilities.values()) == pytest.approx(1.0)
    assert list(found.probabilities) == list(CELL.classes)
    both = found.probabilities["blast"] + found.probabilities["promonocyte"]
    assert found.blast_probability == pytest.approx(both), "a promonocyte counts as a blast"
    assert found.blast_probability > 0.6
    assert found.saliency is not None
    assert found.saliency.min() >= 0
    assert found.saliency.max() <= 1
    assert found.embedding is not None
    x, y, width, height = found.cell.box
    assert abs(x + width / 2 - PIXELS / 2) < 6
    assert abs(y + height / 2 - PIXELS / 2) < 6
    assert found.cell.area_um2 == pytest.approx(found.cell.mask.sum() * UM**2)
    assert not found.cell.touches_border


def test_predict_says_the_same_as_classify_in_the_words_of_any_bundle(predictor_of):
    predictor = predictor_of(monocyte=4.0)
    said, found = predictor.predict(painted(2), UM), predictor.classify(painted(2), UM)
    assert (said.outcome, said.label, said.reasons) == ("class", "monocyte", ())
    assert said.probabilities == pytest.approx(found.probabilities)
    assert said.domain_score == pytest.approx(found.domain_score, rel=1e-5)
    assert said.model_version == "cell-test"


def test_no_field_s_checks_are_asked_of_a_single_cell(predictor_of):
    """A small square picture is refused as a field; as a cell it is what it should be."""
    assert predictor_of(blast=3.0).predict(painted(3), UM).outcome == "class"


def test_a_picture_without_a_cell_gets_no_class(predictor_of):
    blank = np.full((PIXELS, PIXELS, 3), 240, np.uint8)
    predictor = predictor_of(blast=9.0)
    said, found = predictor.predict(blank, UM), predictor.classify(blank, UM)
    assert said.outcome == "indeterminate"
    assert said.label is None
    assert NO_CELL in said.reasons
    assert (found.cell.kind, found.label, found.blast_probability) == (Kind.PRECIPITATE, None, None)
    assert not found.counted.is_leukocyte


def test_a_cell_of_another_size_lies_outside(predictor_of):
    """The same picture, were a pixel to show three times as much: a cell of 40 micrometres."""
    predictor = predictor_of(blast=9.0)
    found, said = predictor.classify(painted(4), 3 * UM), predictor.predict(painted(4), 3 * UM)
    assert (found.label, found.top_label, found.inside_domain) == (None, "blast", False)
    assert found.counted.blast_probability is None, "what lies outside weighs nothing"
    assert CELL_OUT_OF_DOMAIN in said.reasons


def test_a_cell_on_black_is_no_cell_on_the_border(predictor_of):
    pixels = paint_cell(np.random.default_rng(5), 8, on_black=True)
    large = cv2.resize(pixels, None, fx=4, fy=4)
    found = predictor_of(blast=3.0).classify(large)
    assert found.cell.kind is Kind.LEUKOCYTE
    assert not found.cell.touches_border


# --- a field ------------------------------------------------------------------------------------------------


def detection_of(truth, shape, um, kinds=None):
    """What was drawn, as a finder of cells would tell it."""
    cells = []
    for number, (x, y, radius) in enumerate(truth.leukocytes):
        left, top = max(0, int(x - radius)), max(0, int(y - radius))
        right, bottom = min(shape[1], int(x + radius) + 1), min(shape[0], int(y + radius) + 1)
        rows, columns = np.mgrid[top:bottom, left:right]
        mask = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
        area = float(mask.sum()) * um**2
        kind = kinds[number] if kinds else Kind.LEUKOCYTE
        box = (left, top, right - left, bottom - top)
        cells.append(Cell(box, mask, mask, area, area, 0.9, kind, touches_border=False))
    return Detection(tuple(cells), Scale(um, 7.5 / um, 20, 0.9, True))


@pytest.fixture(scope="module")
def drawn():
    return drawn_with_truth(np.random.default_rng(3), width=640, height=480, leukocytes=8)


def test_every_leukocyte_of_a_field_is_judged_and_what_is_none_is_not(predictor_of, drawn):
    pixels, truth = drawn
    count = len(truth.leukocytes)
    kinds = [Kind.PLATELET, Kind.SMUDGE, *[Kind.LEUKOCYTE] * (count - 2)]
    told = detection_of(truth, pixels.shape, 112 / 640, kinds)
    found = predictor_of(detector=lambda given: told, blast=2.0).read(pixels)
    assert [one.cell for one in found.findings] == list(told.cells), "in their order, with their places"
    assert found.findings[0] == CellFinding(told.cells[0]), "a platelet is named by the finder alone"
    assert {one.top_label for one in found.findings[1:]} == {"blast"}
    assert found.tiles.shape == (count, TILE_PIXELS, TILE_PIXELS, 3)
    assert set(found.timings_ms) == {"cells", "tiles", "classify"}
    assert (found.model_version, found.problems, found.scale) == ("cell-test", (), told.scale)


def test_a_field_without_leukocytes_has_none_and_no_suspicion(predictor_of):
    nothing = Detection((), Scale(0.2, 37.0, 0, 0.0, False), ("there is no leukocyte",))
    found = predictor_of(detector=lambda pixels: nothing).read(np.full((240, 320, 3), 240, np.uint8))
    assert (found.findings, found.suspicion, found.record()) == ((), None, [])
    assert found.problems == ("there is no leukocyte",)
    assert found.tiles.shape == (0, TILE_PIXELS, TILE_PIXELS, 3)


def test_cells_go_through_the_network_in_batches(predictor_of, drawn):
    pixels, truth = drawn
    told = detection_of(truth, pixels.shape, 112 / 640)
    many = Detection((told.cells * (BATCH // len(told.cells) + 2))[: BATCH + 3], told.scale)
    predictor = predictor_of(blast=1.0)
    asked = []
    run = predictor._runtime.run
    predictor._runtime.run = lambda images: asked.append(len(images)) or run(images)
    found = predictor.judge(pixels, many)
    assert asked == [BATCH, 3]
    one_by_one = [predictor.judge(pixels, Detection((cell,), told.scale))[0] for cell in many.cells[:3]]
    for alone, together in zip(one_by_one, found, strict=False):
        assert alone.domain_score == pytest.approx(together.domain_score, rel=1e-5)
        assert np.allclose(alone.embedding, together.embedding, atol=1e-5)


def test_a_record_holds_what_the_command_prints(predictor_of, drawn):
    pixels, truth = drawn
    told = detection_of(truth, pixels.shape, 112 / 640)
    records = predictor_of(detector=lambda given: told, lymphocyte=4.0).read(pixels).record()
    assert len(records) == len(told.cells)
    assert set(records[0]) >= {"box", "label", "probabilities", "blast_probability", "area_um2"}
    json.dumps(records, allow_nan=False)
    assert records[0]["box"] == list(told.cells[0].box)


# --- what a bundle may not be -------------------------------------------------------------------------------


def test_a_bundle_of_fields_serves_no_cells(tmp_path):
    bundle = make_bundle(tmp_path)
    with pytest.raises(BundleCorrupt, match="no preprocessing of cells"):
        CellPredictor(bundle, StandInRuntime())


def test_a_bundle_of_cells_judges_no_fields(cell_bundle_folder):
    with pytest.raises(BundleCorrupt, match="no preprocessing of fields"):
        read_bundle(cell_bundle_folder).preprocessing  # noqa: B018 - asking is what is refused


def test_a_preprocessing_of_a_later_version_is_refused_by_name(cell_bundle_folder, tmp_path):
    facts = json.loads((cell_bundle_folder / "bundle.json").read_text())
    facts["preprocessing"]["version"] += 1
    (tmp_path / "bundle.json").write_text(json.dumps(facts))
    with pytest.raises(BundleTooNew, match="preprocessing of cells"):
        read_bundle(tmp_path, verify=False)


# --- preprocessing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [{"version": 0}, {"cut": "torn"}, {"stain": "red"}, {"colour": 1}],
    ids=lambda one: next(iter(one)),
)
def test_parameters_that_this_code_does_not_know_are_refused(changed):
    with pytest.raises(UnknownPreprocessing):
        CellPreprocessing.from_dict({**CellPreprocessing().as_dict(), **changed})


@given(
    st.builds(
        CellPreprocessing,
        size=st.sampled_from([32, 64, 128]),
        crop_um=st.floats(10, 60),
        cut=st.sampled_from(["natural", "cutout"]),
        stain=st.sampled_from(["none", "reinhard", "macenko"]),
    )
)
def test_parameters_survive_their_way_through_json(preprocessing):
    assert preparation_from(json.loads(json.dumps(preprocessing.as_dict()))) == preprocessing


def test_the_kind_tells_cells_from_fields():
    assert isinstance(preparation_from(Preprocessing().as_dict()), Preprocessing)
    assert isinstance(preparation_from(CellPreprocessing().as_dict()), CellPreprocessing)


@settings(max_examples=25, deadline=None)
@given(
    x=st.floats(0, 200), y=st.floats(0, 150), um=st.floats(0.05, 1.0), stain=st.sampled_from(["none", "reinhard"]),
    cut=st.sampled_from(["natural", "cutout"]), seed=st.integers(0, 9),
)  # fmt: skip
def test_whatever_is_shown_is_a_picture_of_the_network_s_size(x, y, um, stain, cut, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (150, 200, 3)).astype(np.uint8)
    mask = np.zeros((150, 200), bool)
    mask[60:90, 80:120] = True
    preprocessing = CellPreprocessing(size=32, stain=stain, cut=cut)
    shown = preprocessing.show(pixels, mask, (x, y), um, origin=(0, 0))
    assert (shown.shape, shown.dtype) == ((32, 32, 3), np.uint8)


def test_around_a_cut_out_cell_there_is_nothing_to_see():
    pixels = painted(1)
    mask = cv2.circle(np.zeros((PIXELS, PIXELS), np.uint8), (64, 64), 22, 1, -1) > 0
    ways = {cut: CellPreprocessing(size=SIZE, cut=cut, stain="none") for cut in ("natural", "cutout")}
    shown = {cut: way.show(pixels, mask, (64, 64), UM, origin=(0, 0)) for cut, way in ways.items()}
    assert (shown["cutout"][0, 0] == GROUND).all()
    assert (shown["cutout"][32, 32] == shown["natural"][32, 32]).all()
    changed = pixels.copy()
    changed[~mask] = 7
    other = ways["cutout"].show(changed, mask, (64, 64), UM, origin=(0, 0))
    outside = (other == GROUND).all(axis=-1)
    assert (outside == (shown["cutout"] == GROUND).all(axis=-1)).all(), "the surroundings tell it nothing"


def test_a_mask_of_a_part_of_the_picture_is_the_same_as_one_of_all_of_it():
    pixels, preprocessing = painted(2), CellPreprocessing(size=SIZE)
    whole = cv2.circle(np.zeros((PIXELS, PIXELS), np.uint8), (60, 66), 20, 1, -1) > 0
    part = whole[40:90, 36:86]
    assert np.array_equal(
        preprocessing.show(pixels, whole, (60, 66), UM, origin=(0, 0)),
        preprocessing.show(pixels, part, (60, 66), UM, origin=(36, 40)),
    )


# --- the seam from a picture to what is seen of it ----------------------------------------------------------


def test_a_cell_is_shown_at_its_scale_and_a_field_is_squashed():
    pixels = painted(3)
    cell = picture_of(CellPreprocessing(size=SIZE), pixels, UM)
    assert (cell.problem, cell.prepared.shape, cell.plain.shape) == ("", (SIZE, SIZE, 3), (MEASUREMENTS,))
    half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    smaller = picture_of(CellPreprocessing(size=SIZE), half, 2 * UM)
    assert np.abs(smaller.plain - cell.plain).max() < 1.0, "at half the pixels it is the same cell"
    assert picture_of(Preprocessing(size=SIZE), pixels).problem == NOT_FIELD_SHAPED


@pytest.mark.parametrize("preparation", [Preprocessing(size=SIZE), CellPreprocessing(size=SIZE)])
def test_what_training_keeps_becomes_what_serving_sees(preparation, tmp_path):
    pixels = painted(4)
    cv2.imwrite(str(tmp_path / "cell.png"), pixels[..., ::-1])
    item = Item(tmp_path / "cell.png", "cell.png", "blast", "1", {MICROMETRES: str(UM)})
    kept = corrected_picture(preparation, pixels, UM)
    assert np.array_equal(preparation.contrast(kept), prepared_picture(preparation, item))


def test_a_scale_is_read_off_the_manifest_where_it_is_stated(tmp_path):
    def stated(**columns):
        return scale_stated(Item(tmp_path, "x", "blast", "1", columns))

    assert (stated(), stated(**{MICROMETRES: ""}), stated(**{MICROMETRES: "0.145"})) == (None, None, 0.145)


# --- the outline, for the gate ------------------------------------------------------------------------------


def disc(radius, side=120):
    return cv2.circle(np.zeros((side, side), np.uint8), (side // 2, side // 2), radius, 1, -1) > 0


@given(radius=st.integers(8, 50), um=st.floats(0.05, 1.0))
def test_a_disc_measures_its_area_and_nothing_else(radius, um):
    area, thick, hull, axes = shape_of(disc(radius), um)
    assert area == pytest.approx(np.log(np.pi * (radius * um) ** 2) / 0.4, abs=0.4)
    assert abs(thick) < 1.5
    assert 0 <= hull < 1.5
    assert 0 <= axes < 0.5


def test_what_is_no_disc_measures_otherwise():
    base = shape_of(disc(20), 0.3)
    long = cv2.ellipse(np.zeros((120, 120), np.uint8), (60, 60), (40, 10), 0, 0, 360, 1, -1) > 0
    two = disc(15) & False
    two[20:50, 20:50], two[70:100, 70:100] = True, True
    assert shape_of(long, 0.3)[3] > base[3] + 3
    assert shape_of(two, 0.3)[2] > base[2] + 3, "a hull around two is much larger"
    assert np.isfinite(shape_of(np.zeros((9, 9), bool), 0.3)).all()


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 70), columns=st.integers(0, 70), turns=st.integers(0, 3))
def test_place_and_direction_of_a_cell_change_nothing(rows, columns, turns):
    mask = cv2.ellipse(np.zeros((50, 50), np.uint8), (25, 25), (20, 12), 30, 0, 360, 1, -1) > 0
    moved = np.zeros((120, 120), bool)
    moved[rows : rows + 50, columns : columns + 50] = np.rot90(mask, turns)
    assert shape_of(moved, 0.3) == pytest.approx(shape_of(mask, 0.3), abs=0.15)
