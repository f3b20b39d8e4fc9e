"""The worker finds leukocytes beside the field's class, and whatever becomes of them, the field's analysis ends."""

from __future__ import annotations

import numpy as np
import pytest
from django.db import OperationalError
from PIL import Image

from diagnosis.models import Analysis, Cell, CellAnalysis, SmearImage
from diagnosis.services import analyze, cells, registry, upkeep
from diagnosis.services.analyze import DONE
from diagnosis.services.predictors import ModelUnavailable, PredictorCache
from tests import stand_in
from tests.stand_in_cells import TILE, USUAL, USUAL_BLASTS, Told, index

pytestmark = pytest.mark.django_db


def run(image: SmearImage, predictors) -> Analysis:
    image.refresh_from_db()
    assert analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors) == DONE
    return SmearImage.objects.get(pk=image.pk).newest_analysis


def outside(predictors) -> None:
    """Have the field model take every field for one unlike those it knows."""
    import dataclasses

    bundle = predictors._predictor.bundle
    bundle.__dict__["domain"] = dataclasses.replace(bundle.domain, threshold=1e-9)


def test_cells_are_stored_with_all_that_is_known_of_them(image, cell_version, predictors, media):
    analysis = run(image, predictors)
    found = analysis.cell_analysis
    assert (found.model_version, found.failure, found.problems) == (cell_version, "", [])
    assert (found.um_per_pixel, found.scale_is_measured, found.tile_um) == (0.1, True, 25.0)
    assert found.counted == 5, "whole leukocytes, judged or not"
    assert found.suspicion == pytest.approx(index(*USUAL_BLASTS))
    rows = list(found.cells.all())
    assert [cell.number for cell in rows] == list(range(len(USUAL)))
    assert [cell.label for cell in rows] == [
        "blast", "blast", "lymphocyte", "segmented_neutrophil", "", "lymphocyte", "",
    ]  # fmt: skip
    first, unlike, border, platelet = rows[0], rows[4], rows[5], rows[6]
    assert (first.x, first.y, first.width, first.height, first.kind) == (0, 0, 24, 24, "leukocyte")
    assert (first.confidence, first.area_um2, first.nucleus_um2) == (0.9, 120.0, 80.0)
    assert sum(first.probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert first.blast_probability == 0.9
    assert np.asarray(first.saliency).shape == (7, 7)
    assert np.frombuffer(first.embedding, "<f2").shape == (8,)
    assert (unlike.label, unlike.top_label, unlike.inside_domain) == ("", "monocyte", False)
    assert border.touches_border
    assert (platelet.kind, platelet.probabilities, platelet.blast_probability) == ("platelet", {}, None)
    assert (platelet.inside_domain, platelet.saliency, bytes(platelet.embedding)) == (None, [], b"")


def test_the_steps_of_cells_stand_among_the_timings_and_in_their_sum(image, cell_version, predictors):
    timings = run(image, predictors).timings_ms
    assert (timings["cells_find"], timings["cells_classify"], timings["cells_tiles"]) == (20.0, 30.0, 1.0)
    assert timings["cells_sprite"] >= 0
    assert timings["total"] >= timings["read"] + timings["previews"] + timings["cells_sprite"]


def test_tiles_lie_in_one_sheet_in_the_order_of_numbers(image, cell_version, predictors, media):
    found = run(image, predictors).cell_analysis
    assert (found.sprite_columns, found.tile_pixels) == (3, TILE)
    assert found.sprite.name.startswith(f"sprites/{image.stored_sha256[:2]}/")
    with Image.open(media / found.sprite.name) as sheet:
        assert (sheet.format, sheet.size) == ("JPEG", (3 * TILE, 3 * TILE))
        pixels = np.asarray(sheet)
    for number in range(len(USUAL)):
        row, column = divmod(number, found.sprite_columns)
        middle = pixels[row * TILE + TILE // 2, column * TILE + TILE // 2]
        assert np.abs(middle.astype(int) - 10 * number).max() <= 3
    assert pixels[-1, -1].min() > 250, "what no tile fills is white"


def test_a_sheet_is_no_orphan_while_its_image_is_there(image, cell_version, predictors, media):
    from datetime import timedelta

    found = run(image, predictors).cell_analysis
    other = media / "sprites" / "ab" / f"{'ab' * 32}-1.jpg"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"x")
    assert upkeep.remove_orphans(older_than=timedelta(seconds=-5)) == 1
    assert (media / found.sprite.name).exists()


def test_another_look_writes_over_no_earlier_sheet(image, cell_version, predictors, media):
    first = run(image, predictors).cell_analysis
    analyze.enqueue(image=image)
    same = run(image, predictors).cell_analysis
    predictors.cells.cells = list(USUAL[:2])
    analyze.enqueue(image=image)
    other = run(image, predictors).cell_analysis
    assert first.sprite.name == same.sprite.name
    assert first.sprite.name != other.sprite.name
    assert (media / first.sprite.name).exists()
    assert CellAnalysis.objects.count() == 3


def test_a_field_without_cells_says_why(image, cell_version, predictors):
    predictors.cells.cells, predictors.cells.problems = [], ("No leukocyte was found.",)
    found = run(image, predictors).cell_analysis
    assert (found.problems, found.counted, found.suspicion) == (["No leukocyte was found."], 0, None)
    assert (found.sprite.name, found.sprite_columns, found.tile_pixels, found.failure) == ("", 0, 0, "")


# --- suspected


@pytest.mark.parametrize(
    ("blast", "threshold", "suspected"), [(0.9, 0.5, True), (0.4, 0.5, False), (0.9, None, False)]
)
def test_where_the_field_model_may_not_judge_the_cells_decide(
    image, cell_version, predictors, blast, threshold, suspected
):
    outside(predictors)
    thresholds = {} if threshold is None else {"suspicion": threshold}
    cell_version.manifest = {**cell_version.manifest, "thresholds": thresholds}
    cell_version.save()
    predictors.cells.cells = [Told("blast", blast)] * 3
    analysis = run(image, predictors)
    assert (analysis.outcome, analysis.label) == ("indeterminate", "")
    assert analysis.cell_analysis.suspicion == pytest.approx(index(blast, blast, blast))
    assert analysis.suspected is suspected


def test_inside_its_domain_the_field_model_decides(image, cell_version, predictors):
    predictors.tell("benign")
    predictors.cells.cells = [Told("blast", 0.99)]
    analysis = run(image, predictors)
    assert (analysis.label, analysis.suspected) == ("benign", False)
    assert analysis.cell_analysis.suspicion == pytest.approx(index(0.99))


def test_no_judged_cell_makes_no_suspicion(image, cell_version, predictors):
    outside(predictors)
    predictors.cells.cells = [Told("blast", 0.99, inside=False)]
    analysis = run(image, predictors)
    assert (analysis.cell_analysis.suspicion, analysis.suspected) == (None, False)


# --- what stands in the way


def test_a_laboratory_that_never_had_a_cell_model_has_no_row(image, version, predictors):
    analysis = run(image, predictors)
    assert not CellAnalysis.objects.filter(analysis=analysis).exists()
    assert not any(step.startswith("cells") for step in analysis.timings_ms)


def test_without_an_active_cell_model_it_says_so(image, cell_version, predictors):
    type(cell_version).objects.filter(pk=cell_version.pk).update(status="retired")
    found = run(image, predictors).cell_analysis
    assert (found.failure, found.model_version, found.cells.count()) == (cells.NO_MODEL, None, 0)


@pytest.mark.parametrize("error", [ZeroDivisionError("secret detail"), MemoryError()])
def test_an_error_of_the_cell_model_does_not_fail_the_field(image, cell_version, predictors, caplog, error):
    predictors.cells.error = error
    analysis = run(image, predictors)
    assert (analysis.outcome, analysis.label) == ("class", "early")
    assert (analysis.cell_analysis.failure, analysis.cell_analysis.model_version) == (
        cells.UNEXPECTED, cell_version,
    )  # fmt: skip
    assert type(error).__name__ in caplog.text


def test_a_value_that_is_no_number_is_not_stored(image, cell_version, predictors):
    predictors.cells.cells = [Told("blast", float("nan"))]
    found = run(image, predictors).cell_analysis
    assert (found.failure, found.cells.count(), found.suspicion) == (cells.UNEXPECTED, 0, None)


def test_a_cell_model_that_can_not_be_loaded_does_not_fail_the_field(
    image, cell_version, predictors, monkeypatch
):
    reason, get = "The runtime openvino is not installed.", predictors.get

    def away(version):
        if version.task == "cell":
            raise ModelUnavailable(reason)
        return get(version)

    monkeypatch.setattr(predictors, "get", away)
    assert run(image, predictors).cell_analysis.failure == cells.NOT_LOADED
    assert registry.bundle_problem(task="cell") == reason
    assert registry.bundle_problem() is None
    monkeypatch.undo()
    analyze.enqueue(image=image)
    assert run(image, predictors).cell_analysis.failure == ""
    assert registry.bundle_problem(task="cell") is None


def test_a_damaged_cell_bundle_does_not_fail_the_field(image, cell_version, bundles):
    (bundles / cell_version.bundle_path / "model.onnx").write_bytes(b"damaged")
    assert run(image, PredictorCache()).cell_analysis.failure == cells.NOT_LOADED
    problem = registry.bundle_problem(task="cell")
    assert problem is not None
    assert problem.endswith("Leukocytes are not looked for until it is back.")


def test_a_database_that_fails_leaves_the_analysis_to_the_sweep(image, cell_version, predictors):
    predictors.cells.error = OperationalError("away")
    with pytest.raises(OperationalError):
        analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors)
    image.refresh_from_db()
    assert image.newest_analysis.state == "running"


def test_a_result_that_is_dropped_stores_no_cells(image, cell_version, predictors):
    key, read = image.newest_analysis_id, predictors.cells.read

    def taken_over(pixels):
        Analysis.objects.filter(pk=key).update(claimed_by="another")
        return read(pixels)

    predictors.cells.read = taken_over
    assert analyze.run(analysis_id=key, predictors=predictors) == analyze.LOST
    assert not CellAnalysis.objects.exists()


def test_result_and_cells_stand_or_fall_together(image, cell_version, predictors, monkeypatch):
    def away(*_, **__):
        raise OperationalError("away")

    monkeypatch.setattr(Cell.objects, "bulk_create", away)
    with pytest.raises(OperationalError):
        analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors)
    image.refresh_from_db()
    assert image.newest_analysis.state == "running"
    assert not CellAnalysis.objects.exists()


# --- versions


def test_a_laboratory_s_own_cell_version_judges_its_images(
    image, laboratory, cell_version, bundles, predictors
):
    stand_in.copy_bundle(bundles / "cell-test", bundles, name="cell-own")
    registry.register_shipped_bundles()
    own = type(cell_version).objects.get(name="cell-own")
    own.laboratory, own.status = laboratory, "active"
    own.save()
    assert run(image, predictors).cell_analysis.model_version == own
    assert [one.task for one in predictors.asked] == ["field", "cell"], "one version of each an analysis"


def test_field_and_cell_versions_are_loaded_once_for_many_images(
    image, add_image, cell_version, settings, monkeypatch
):
    loaded = []

    def load(folder, **options):
        loaded.append(folder.name)
        return stand_in.load_stand_in(folder, **options)

    monkeypatch.setattr("diagnosis.services.predictors.import_string", lambda name: load)
    cache = PredictorCache()
    for one in (image, add_image(), add_image()):
        run(one, cache)
    assert sorted(loaded) == ["cell-test", "field-test"]


def test_what_was_used_longest_ago_makes_room(cell_version, version, bundles, monkeypatch):
    for number in (2, 3):
        stand_in.copy_bundle(bundles / "field-test", bundles, name=f"field-test-{number}")
    registry.register_shipped_bundles()
    of = {one.name: one for one in type(version).objects.all()}
    cache = PredictorCache(size=2)
    cell = cache.get(of["cell-test"])
    cache.get(of["field-test"])
    assert cache.get(of["cell-test"]) is cell
    cache.get(of["field-test-2"])
    assert cache.get(of["cell-test"]) is cell
