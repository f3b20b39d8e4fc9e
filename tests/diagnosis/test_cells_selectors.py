"""What pages read of a case's leukocytes: the gallery, both counts, the suspicion, similar cells, the worklist."""

from __future__ import annotations

import json

import numpy as np
import pytest
from django.db import connection
from django.http import Http404
from django.test import Client
from django.test.utils import CaptureQueriesContext

from diagnosis import cell_selectors, model_selectors, permissions, selectors
from diagnosis.models import Analysis, Case, Cell, CellAnalysis, ModelVersion
from diagnosis.selectors import HistoryFilters
from diagnosis.services import analyze, intake
from diagnosis.services.cell_readings import re_class
from ml.cells.cell import Kind
from tests import stand_in
from tests.diagnosis.told_worklist import listed
from tests.stand_in_cells import USUAL, USUAL_BLASTS, Told, index

pytestmark = pytest.mark.django_db


@pytest.fixture
def with_cells(add_image, cell_version, predictors, judge):
    """Adds an image whose newest analysis finds the given cells; returns their keys."""

    def add(*told: Told, to: Case | None = None, label: str = "early", **more) -> list[int]:
        predictors.cells.cells = list(told)
        return [cell.pk for cell in judge(add_image(to=to, **more), label).cell_analysis.cells.all()]

    return add


def new_case(user, number: str) -> Case:
    return intake.create_case(user=user, accession_number=number, patient_code=f"P-{number}")


def queries(read) -> int:
    with CaptureQueriesContext(connection) as asked:
        read()
    return len(asked)


# --- gallery


def test_the_gallery_has_a_row_for_every_cell(cast, case, with_cells):
    first = with_cells(*USUAL)
    second = with_cells(Told("monocyte", 0.2))
    re_class(user=cast.hematologist, cells=first[:1], label="monocyte")
    rows = cell_selectors.gallery_rows(case=case)
    assert [row["id"] for row in rows] == first + second
    sheets = {sheet["id"]: sheet for sheet in cell_selectors.gallery_sheets(case=case)}
    assert [sheets[row["analysis"]]["position"] for row in rows] == [1] * 7 + [2]
    images = {sheet["position"]: sheet["image"] for sheet in sheets.values()}
    assert images == {image.position: str(image.pk) for image in case.images.all()}
    top = rows[0]
    assert (top["label"], top["top_label"], top["reader_label"], top["reader"]) == (
        "blast", "blast", "monocyte", "Hedy Hematologist",
    )  # fmt: skip
    assert (top["number"], top["box"], top["kind"], top["touches_border"]) == (
        0,
        [0, 0, 24, 24],
        "leukocyte",
        False,
    )
    assert (top["confidence"], top["area_um2"]) == (0.9, 120.0)
    assert (top["blast_probability"], top["inside_domain"]) == (0.9, True)
    assert (rows[1]["reader_label"], rows[1]["reader"]) == ("", "")
    assert (rows[4]["label"], rows[4]["top_label"], rows[4]["inside_domain"]) == ("", "monocyte", False)
    assert (rows[6]["kind"], rows[6]["blast_probability"]) == ("platelet", None)
    assert json.loads(json.dumps(rows)) == rows


def test_a_class_that_was_taken_back_shows_no_reader(cast, case, with_cells):
    keys = with_cells(*USUAL)
    re_class(user=cast.hematologist, cells=keys[:1], label="monocyte")
    re_class(user=cast.hematologist, cells=keys[:1], label="")
    top = cell_selectors.gallery_rows(case=case)[0]
    assert (top["reader_label"], top["reader"]) == ("", "")


@pytest.mark.parametrize(
    ("area", "nucleus", "ratio"), [(120.0, 80.0, 2.0), (80.0, 80.0, None), (0.0, 0.0, None)]
)
def test_a_naked_nucleus_has_no_ratio(area, nucleus, ratio):
    assert cell_selectors.nc_ratio(area=area, nucleus=nucleus) == ratio


def test_only_the_newest_analysis_of_an_image_speaks(case, with_cells, predictors, judge):
    with_cells(*USUAL)
    shown = case.images.get(position=1)
    predictors.cells.cells = [Told("monocyte")]
    analyze.enqueue(image=shown)
    assert cell_selectors.gallery_rows(case=case) == [], "while it is analysed anew there is nothing to show"
    judge(shown)
    rows = cell_selectors.gallery_rows(case=case)
    assert [row["label"] for row in rows] == ["monocyte"]
    assert cell_selectors.case_cells(case=case).model.total == 1
    assert Cell.objects.count() == len(USUAL) + 1


def test_sheets_say_where_tiles_lie_and_what_stood_in_the_way(
    case, with_cells, cell_version, predictors, add_image, judge
):
    with_cells(*USUAL)
    predictors.cells.error = ValueError()
    judge(add_image())
    good, bad = cell_selectors.gallery_sheets(case=case)
    assert (good["position"], good["columns"], good["tile_pixels"], good["tile_um"]) == (1, 3, 32, 25.0)
    assert (good["failure"], good["counted"]) == ("", 5)
    assert good["suspicion"] == pytest.approx(index(*USUAL_BLASTS))
    assert (bad["position"], bad["columns"], bad["suspicion"]) == (2, 0, None)
    assert bad["failure"]
    assert {row["analysis"] for row in cell_selectors.gallery_rows(case=case)} == {good["id"]}
    json.dumps([good, bad])


def test_cells_of_another_case_are_not_among_them(cast, case, with_cells):
    other = new_case(cast.technician, "H-2")
    with_cells(*USUAL, to=other)
    assert cell_selectors.gallery_rows(case=case) == []
    assert cell_selectors.gallery_sheets(case=case) == []


# --- counts


def test_the_model_counts_whole_leukocytes_inside_its_domain(case, with_cells):
    with_cells(*USUAL, Told("erythroblast", 0.0), Told("smudge_cell", 0.0, kind=Kind.SMUDGE))
    model, reader = cell_selectors.case_counts(case=case)
    assert model == reader
    assert model.counts == {"blast": 2, "lymphocyte": 1, "segmented_neutrophil": 1}
    assert (model.total, model.blasts, model.erythroblasts, model.smudges) == (4, 2, 1, 1)
    assert (model.unclassified, model.on_border) == (1, 1)


def test_a_correction_changes_the_reader_s_count_alone(cast, case, with_cells):
    keys = with_cells(*USUAL)
    before, _ = cell_selectors.case_counts(case=case)
    re_class(user=cast.hematologist, cells=[keys[0], keys[4], keys[6]], label="monocyte")
    model, reader = cell_selectors.case_counts(case=case)
    assert model == before
    assert reader.counts == {"monocyte": 3, "blast": 1, "lymphocyte": 1, "segmented_neutrophil": 1}
    assert (reader.total, reader.unclassified) == (6, 0)


@pytest.mark.parametrize(
    ("place", "label", "counting"),
    [
        (0, "lymphocyte", (0.0, 0.8, 0.1, 0.02)),
        (2, "blast", (0.9, 0.8, 1.0, 0.02)),
        (2, "promonocyte", (0.9, 0.8, 1.0, 0.02)),
        (2, "platelet_or_artefact", (0.9, 0.8, 0.02)),
        (4, "blast", (0.9, 0.8, 0.1, 0.02, 1.0)),
        (5, "blast", (0.9, 0.8, 0.1, 0.02)),
        (6, "blast", (0.9, 0.8, 0.1, 0.02, 1.0)),
    ],
)
def test_a_correction_counts_as_one_or_nought_in_the_reader_s_index(
    cast, case, with_cells, place, label, counting
):
    keys = with_cells(*USUAL)
    re_class(user=cast.hematologist, cells=[keys[place]], label=label)
    found = cell_selectors.case_cells(case=case)
    assert found.suspicion == pytest.approx(index(*USUAL_BLASTS))
    assert found.reader_suspicion == pytest.approx(index(*counting))
    assert found.read == 1


def test_the_index_of_a_case_is_over_all_its_leukocytes_and_the_highest_of_one_image(case, with_cells):
    with_cells(Told("blast", 0.9))
    with_cells(*[Told("lymphocyte", 0.1)] * 3)
    found = cell_selectors.case_cells(case=case)
    assert found.suspicion == pytest.approx(index(0.9, 0.1, 0.1, 0.1))
    assert found.highest == pytest.approx(index(0.9))


def test_a_case_without_cells_comes_to_nothing(case, image):
    found = cell_selectors.case_cells(case=case)
    assert (found.model.total, found.suspicion, found.reader_suspicion, found.highest, found.read) == (
        0, None, None, None, 0,
    )  # fmt: skip
    assert found.model.blasts_per_100 is None


def test_three_cells_and_three_hundred_take_the_same_queries(cast, case, with_cells):
    def asked() -> list[int]:
        return [
            queries(lambda: cell_selectors.gallery_rows(case=case)),
            queries(lambda: cell_selectors.gallery_sheets(case=case)),
            queries(lambda: cell_selectors.case_counts(case=case)),
            queries(lambda: cell_selectors.case_cells(case=case)),
        ]

    keys = with_cells(*[Told("lymphocyte")] * 3)
    few = asked()
    many_keys = with_cells(*[Told("lymphocyte")] * 300)
    re_class(user=cast.hematologist, cells=many_keys[:150], label="blast")
    cell = permissions.get_cell_for(cast.hematologist, keys[0])
    assert asked() == few == [2, 1, 1, 2]
    assert queries(lambda: cell_selectors.similar_cells(user=cast.hematologist, cell=cell)) == 3


# --- one cell


@pytest.mark.parametrize("who", ["technician", "hematologist", "administrator", "outsider"])
def test_a_cell_is_shown_in_its_laboratory(cast, with_cells, who):
    (key,) = with_cells(Told("blast", 0.9))
    if who == "outsider":
        cell = Cell.objects.get(pk=key)
        with pytest.raises(Http404):
            permissions.get_cell_for(cast.outsider, key)
        with pytest.raises(Http404):
            cell_selectors.similar_cells(user=cast.outsider, cell=cell)
        assert not permissions.can(cast.outsider, permissions.VIEW, cell.cell_analysis)
        return
    assert permissions.get_cell_for(cast[who], key).pk == key
    assert not permissions.can(cast.technician, permissions.REVIEW, Cell.objects.get(pk=key))


# --- similar cells


def test_similar_cells_are_reviewed_ones_nearest_first(cast, case, with_cells):
    other = new_case(cast.technician, "H-2")
    (wanted,) = with_cells(Told("blast", 0.9))
    keys = with_cells(*[Told("blast", 0.9)] * 3, *[Told("lymphocyte")] * 3, to=other)
    re_class(user=cast.hematologist, cells=keys[1:3], label="blast")
    re_class(user=cast.administrator, cells=keys[3:5], label="lymphocyte")
    re_class(user=cast.hematologist, cells=keys[4:5], label="")
    cell = permissions.get_cell_for(cast.technician, wanted)
    found = cell_selectors.similar_cells(user=cast.technician, cell=cell)
    assert {row["cell"] for row in found[:2]} == set(keys[1:3])
    assert [row["cell"] for row in found[2:]] == [keys[3]]
    assert [row["label"] for row in found] == ["blast", "blast", "lymphocyte"]
    distances = [row["distance"] for row in found]
    assert distances == sorted(distances)
    assert distances[1] < 0.01
    assert distances[2] == pytest.approx(1, abs=0.1)
    last = found[-1]
    assert (last["reader"], last["accession_number"], last["case"]) == ("Ada Administrator", "H-2", other.pk)
    assert (last["number"], last["columns"], last["tile_pixels"], last["position"]) == (3, 3, 32, 1)
    assert last["image"] == str(other.images.get().pk)
    assert last["analysis"] == CellAnalysis.objects.get(analysis__image__case=other).pk
    assert len(cell_selectors.similar_cells(user=cast.technician, cell=cell, limit=1)) == 1
    json.dumps(found)


def test_similarity_is_the_cosine_of_the_embeddings(cast, case, with_cells):
    keys = with_cells(*[Told("blast", 0.9)] * 4)
    vectors = np.array([[1, 0], [2, 2], [0, 3], [-1, 0]], "<f2")
    for key, vector in zip(keys, vectors, strict=True):
        Cell.objects.filter(pk=key).update(embedding=vector.tobytes())
    re_class(user=cast.hematologist, cells=keys, label="blast")
    cell = permissions.get_cell_for(cast.hematologist, keys[0])
    found = cell_selectors.similar_cells(user=cast.hematologist, cell=cell)
    assert [row["cell"] for row in found] == keys[1:]
    assert [row["distance"] for row in found] == pytest.approx([1 - 2**-0.5, 1, 2], abs=1e-3)


def test_what_can_not_be_compared_is_passed_over(cast, case, with_cells, cell_version, bundles, monkeypatch):
    (wanted,) = with_cells(Told("blast", 0.9))
    short, none, other, fine = with_cells(*[Told("blast", 0.9)] * 4)
    re_class(user=cast.hematologist, cells=[short, none, other, fine], label="blast")
    Cell.objects.filter(pk=short).update(embedding=np.ones(3, "<f2").tobytes())
    Cell.objects.filter(pk=none).update(embedding=b"")
    stranger = ModelVersion.objects.create(
        task="cell", name="cell-2", bundle_path="x", bundle_sha256="2" * 64
    )
    with_cells(Told("blast", 0.9))
    third = CellAnalysis.objects.order_by("-pk").first()
    CellAnalysis.objects.filter(pk=third.pk).update(model_version=stranger)
    re_class(user=cast.hematologist, cells=[third.cells.get().pk], label="blast")
    cell = permissions.get_cell_for(cast.hematologist, wanted)
    monkeypatch.setattr(cell_selectors, "_A_BATCH", 2)
    found = cell_selectors.similar_cells(user=cast.hematologist, cell=cell)
    assert {row["cell"] for row in found} == {other, fine}
    blank = permissions.get_cell_for(cast.hematologist, none)
    assert cell_selectors.similar_cells(user=cast.hematologist, cell=blank) == []


def test_a_cell_is_not_similar_to_itself_in_an_earlier_analysis(cast, case, with_cells, judge):
    (old,) = with_cells(Told("blast", 0.9))
    re_class(user=cast.hematologist, cells=[old], label="blast")
    image = case.images.get()
    analyze.enqueue(image=image)
    new = judge(image).cell_analysis.cells.get()
    cell = permissions.get_cell_for(cast.hematologist, new.pk)
    assert cell_selectors.similar_cells(user=cast.hematologist, cell=cell) == []


def test_other_laboratories_cells_are_never_shown(cast, case, with_cells):
    theirs = new_case(cast.outsider, "O-1")
    (wanted,) = with_cells(Told("blast", 0.9))
    keys = with_cells(Told("blast", 0.9), to=theirs, user=cast.outsider)
    re_class(user=cast.outsider, cells=keys, label="blast")
    cell = permissions.get_cell_for(cast.hematologist, wanted)
    assert cell_selectors.similar_cells(user=cast.hematologist, cell=cell) == []


# --- worklist


def numbers(cases) -> list[str]:
    return [case.accession_number for case in cases]


def test_within_a_rank_the_most_suspicious_cells_come_first(cast, with_cells, add_image, judge):
    def opened(number: str, blast: float | None, label: str = "early") -> None:
        told = [] if blast is None else [Told("blast", blast)]
        with_cells(*told, to=new_case(cast.technician, number), label=label)

    opened("suspected-none", None)
    opened("suspected-low", 0.2)
    opened("suspected-high", 0.9)
    opened("benign-low", 0.1, "benign")
    opened("benign-high", 0.7, "benign")
    ordered = ["suspected-high", "suspected-low", "suspected-none", "benign-high", "benign-low"]
    found = list(listed(user=cast.hematologist))
    assert numbers(found) == ordered
    assert [one.suspicion for one in found] == pytest.approx(
        [index(0.9), index(0.2), None, index(0.7), index(0.1)]
    )
    assert (
        numbers(selectors.history(user=cast.hematologist, filters=HistoryFilters(sort="urgency"))) == ordered
    )


def test_more_images_never_lower_a_case_or_change_its_counts(cast, case, with_cells, add_image):
    with_cells(*[Told("blast", 0.9)] * 3)
    with_cells(*[Told("lymphocyte", 0.0)] * 50)
    add_image()
    (found,) = listed(user=cast.hematologist)
    assert found.suspicion == pytest.approx(index(0.9, 0.9, 0.9))
    assert (found.image_count, found.suspected_count, found.unfinished_count) == (3, 2, 1)


def test_an_image_that_only_its_cells_make_suspected_ranks_its_case(cast, with_cells, predictors):
    import dataclasses

    plain = new_case(cast.technician, "benign")
    with_cells(Told("lymphocyte", 0.1), to=plain, label="benign")
    bundle = predictors._predictor.bundle
    bundle.__dict__["domain"] = dataclasses.replace(bundle.domain, threshold=1e-9)
    with_cells(*[Told("blast", 0.9)] * 3, to=new_case(cast.technician, "by-cells"))
    found = list(listed(user=cast.hematologist))
    assert numbers(found) == ["by-cells", "benign"]
    assert (found[0].rank, found[0].suspected_count, found[0].indeterminate_count) == (0, 1, 1)


def test_the_worklist_asks_the_same_queries_whatever_it_lists(cast, with_cells):
    with_cells(*USUAL, to=new_case(cast.technician, "1"))
    client = Client()
    client.force_login(cast.hematologist)
    client.get("/?show=all")  # the first request of a session writes down that somebody works
    few = queries(lambda: client.get("/?show=all"))
    for number in range(2, 6):
        with_cells(*USUAL, to=new_case(cast.technician, str(number)))
    assert queries(lambda: client.get("/?show=all")) == few


def test_a_row_of_the_worklist_shows_the_index_and_what_it_is_not(cast, case, with_cells, image):
    client = Client()
    client.force_login(cast.hematologist)
    page = client.get("/?show=all").content.decode()
    assert "not validated here" not in page
    with_cells(*[Told("blast", 1.0)] * 3)
    page = client.get("/?show=all").content.decode()
    assert "highest suspicion of an image 0.75 (index, not validated here)" in page


def test_the_case_page_says_that_cells_made_an_image_suspected(cast, case, with_cells, predictors):
    import dataclasses

    bundle = predictors._predictor.bundle
    bundle.__dict__["domain"] = dataclasses.replace(bundle.domain, threshold=1e-9)
    with_cells(*[Told("blast", 0.9)] * 3)
    client = Client()
    client.force_login(cast.hematologist)
    page = client.get(f"/cases/{case.pk}").content.decode()
    assert "by its cells" in page
    assert "its leukocytes reach the cell model's threshold" in page
    assert "Leukemia suspected" in page


def test_a_shadow_is_compared_with_what_the_field_model_said(cast, case, with_cells, predictors, version):
    """A shadow of fields that finds an image outside its domain too does not differ where cells made it suspected."""
    from diagnosis import model_selectors
    from diagnosis.models import ShadowAnalysis

    with_cells(Told("blast", 0.9))
    analysis = Analysis.objects.get()
    Analysis.objects.update(outcome="indeterminate", label="", suspected=True)
    ShadowAnalysis.objects.create(analysis=analysis, model_version=version, outcome="indeterminate")
    (agreement,) = model_selectors.agreements(user=cast.administrator).values()
    assert agreement.only_active_suspects == 0


def test_the_models_page_counts_what_a_cell_version_has_judged(cast, with_cells):
    for _ in range(2):
        with_cells(Told("blast", 0.9))
    counts = {one.name: one.analysis_count for one in model_selectors.model_versions(user=cast.administrator)}
    assert counts == {"field-test": 2, "cell-test": 2}
    assert {one.analysis_count for one in model_selectors.model_versions(user=cast.outsider)} == {0}


def test_the_stand_in_is_what_the_loader_gives(bundles, cell_version):
    loaded = stand_in.load_stand_in(bundles / "cell-test")
    assert (loaded.bundle.task, loaded.runtime) == ("cell", "stand-in")
