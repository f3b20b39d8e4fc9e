"""The gallery of cells: who may see and class, what the pages say, what the script is told, and in how many queries."""

from __future__ import annotations

import html
import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from diagnosis.models import Analysis, Case, Cell, CellReading, SmearImage
from diagnosis.views import cell_words
from diagnosis.views.cells import FIELDS
from diagnosis.views.first_tiles import FIRST_TILES
from ml.tasks import CELL
from tests.diagnosis.told_cells import add_cells, beside, cell, without_class

COUNTED = {one.name for one in cell_words.CLASSES if one.counts}
SCRIPT = {"X-Requested-With": "leukoscope"}
Judge = Callable[..., Analysis]
AddImage = Callable[..., SmearImage]
MIXED: list[str | dict[str, Any]] = [
    "blast", "blast", "lymphocyte", "segmented_neutrophil", "segmented_neutrophil", "smudge_cell", "erythroblast",
    cell("blast", 7, touches_border=True), without_class(8), beside("platelet", 9),
]  # fmt: skip


@pytest.fixture
def done(image: SmearImage, judge: Judge) -> SmearImage:
    judge(image)
    return image


@pytest.fixture
def found(done: SmearImage) -> list[Cell]:
    """Five leukocytes that count, two of them blasts, and one of everything else."""
    return add_cells(done, MIXED)


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def text(response: Any) -> str:
    assert response.status_code == 200
    return " ".join(html.unescape(response.text).split())


def page(client: Client, case: Case) -> str:
    return text(client.get(reverse("diagnosis:cells", args=[case.pk])))


def give(client: Client, case: Case, cells: list[Cell], label: str, **more: Any) -> Any:
    keys = ",".join(str(one.pk) for one in cells)
    url = reverse("diagnosis:cells-read", args=[case.pk])
    return client.post(url, {"cells": keys, "label": label}, headers=SCRIPT, **more)


# --- who may ------------------------------------------------------------------------------------------------

WHO = ("technician", "hematologist", "administrator", "outsider")
READS = [
    ("cells", 200, 200, 200, 404),
    ("cell", 302, 302, 302, 404),
    ("cell-saliency", 200, 200, 200, 404),
    ("image-cells", 200, 200, 200, 404),
    ("image-sprite", 200, 200, 200, 404),
]
WRITES = [("cells-read", 403, 200, 200, 404), ("cells-undo", 403, 200, 200, 404)]


def table(rows: list[tuple[Any, ...]]) -> list[Any]:
    return [
        pytest.param(name, who, expected, id=f"{name}-{who}")
        for name, *row in rows
        for who, expected in zip(WHO, row, strict=True)
    ]


def address(name: str, one: Cell) -> str:
    image = one.cell_analysis.analysis.image
    if name.startswith("image-"):
        query = f"?cells={one.cell_analysis_id}" if name == "image-sprite" else ""
        return reverse(f"diagnosis:{name}", args=[image.pk]) + query
    return reverse(f"diagnosis:{name}", args=[image.case_id if name.startswith("cells") else one.pk])


@pytest.mark.parametrize(("name", "who", "expected"), table(READS))
def test_looking(client: Client, cast: Any, found: list[Cell], name: str, who: str, expected: int) -> None:
    client.force_login(cast[who])

    response = client.get(address(name, found[0]))
    response.close()

    assert response.status_code == expected


@pytest.mark.parametrize(("name", "who", "expected"), table(WRITES))
def test_classing(
    client: Client, cast: Any, case: Case, found: list[Cell], name: str, who: str, expected: int
) -> None:
    client.force_login(cast[who])
    batch = uuid.uuid4()
    CellReading.objects.create(
        cell=found[0],
        reader=cast[who] if who != "outsider" else cast.hematologist,
        label="monocyte",
        batch=batch,
    )
    Cell.objects.filter(pk=found[0].pk).update(newest_reading=CellReading.objects.get())
    body = {"cells": found[0].pk, "label": "lymphocyte", "batch": batch}

    response = client.post(address(name, found[0]), body, headers=SCRIPT)

    assert response.status_code == expected
    assert CellReading.objects.count() == (2 if expected == 200 else 1)


def test_cells_of_another_laboratory_are_not_there(client: Client, cast: Any, found: list[Cell]) -> None:
    """Also where the case is the outsider's own and only the cells are not."""
    from diagnosis.services import intake

    own = intake.create_case(user=cast.outsider, accession_number="X-1", patient_code="P-1")
    client.force_login(cast.outsider)

    response = give(client, own, found[:1], "blast")

    assert response.status_code == 422
    assert "earlier analysis" in response.json()["message"]
    assert not CellReading.objects.exists()


# --- what the page says -------------------------------------------------------------------------------------


def test_the_counts_stand_without_a_script(reader: Client, case: Case, found: list[Cell]) -> None:
    said = page(reader, case)

    assert '<span class="figure">40.0</span>' in said  # 2 of 5, the one on the border not counted
    assert "95 % interval 11.8 to 76.9" in said
    assert "Insufficient: under 100 leukocytes" in said.replace("<b>", "").replace("</b>", "")
    assert "not validated at this site" in said
    assert "by the model alone" in said
    assert "The other tiles need JavaScript" in said
    for inline in ("<style", " style=", "<script>", " onclick="):
        assert inline not in said


@pytest.mark.parametrize(
    ("leukocytes", "said"), [(99, "Insufficient"), (100, "too few for a diagnostic"), (200, "")]
)
def test_how_many_leukocytes_are_enough(
    reader: Client, case: Case, done: SmearImage, leukocytes: int, said: str
) -> None:
    add_cells(done, ["lymphocyte"] * leukocytes, with_sprite=False)
    shown = page(reader, case)

    for sentence in ("Insufficient", "too few for a diagnostic"):
        assert (sentence in shown) == (sentence == said)


def test_many_promyelocytes_are_pointed_out(reader: Client, case: Case, done: SmearImage) -> None:
    add_cells(done, ["promyelocyte"] * 8 + ["lymphocyte"] * 14, with_sprite=False)

    assert "Possible APL" in page(reader, case)


def test_without_a_cell_model_it_says_so(reader: Client, case: Case, done: SmearImage) -> None:
    said = page(reader, case)

    assert "No cell model has looked at this case" in said
    assert 'id="grid"' not in said


def test_why_an_image_has_no_cells_is_said_with_its_number(
    reader: Client, case: Case, done: SmearImage
) -> None:
    add_cells(done, [], problems=["No leukocyte was found."])
    said = page(reader, case)

    assert "No leukocyte was found in this case." in said
    assert "<b>Image 1:</b> No leukocyte was found." in said


def test_images_still_being_analysed_are_awaited(reader: Client, case: Case, image: SmearImage) -> None:
    assert "still being analysed" in page(reader, case)


def test_a_technician_looks_and_does_not_class(
    client: Client, cast: Any, case: Case, found: list[Cell]
) -> None:
    client.force_login(cast.technician)
    said = page(client, case)

    assert "Only hematologists may class cells." in said
    assert 'class="give"' not in said
    assert "data-give" not in said


def test_every_class_has_a_key_of_its_own() -> None:
    keys = list(cell_words.KEYS.values())

    assert set(cell_words.KEYS) == set(CELL.classes)
    assert len(set(keys)) == len(keys)
    assert not set(keys) & cell_words.PAGE_KEYS
    assert all(len(key) == 1 and key.isalpha() and key.islower() for key in keys)


# --- what the script is told --------------------------------------------------------------------------------


def test_the_rows_are_compact_and_whole(reader: Client, case: Case, found: list[Cell]) -> None:
    told = reader.get(reverse("diagnosis:cells", args=[case.pk])).context["gallery"]
    rows = [dict(zip(FIELDS, row, strict=True)) for row in told["cells"]]

    assert told["fields"] == FIELDS
    assert [row["id"] for row in rows] == [one.pk for one in found]
    assert rows[0]["label"] == "blast"
    assert rows[0]["read"] == ""
    assert rows[7]["border"] is True
    assert rows[8]["inside"] is False
    assert rows[9]["kind"] == "platelet"
    assert {one["name"] for one in told["classes"]} == set(CELL.classes)
    picture = reader.get(told["images"][0]["sprite"])
    assert picture["Content-Type"] == "image/jpeg"
    assert picture["Cache-Control"] == "private, no-cache"
    again = reader.get(told["images"][0]["sprite"], headers={"If-None-Match": picture["ETag"]})
    assert again.status_code == 304
    b"".join(picture.streaming_content)


def test_what_the_page_carries_is_what_its_script_reads(
    reader: Client, case: Case, found: list[Cell]
) -> None:
    answer = reader.get(reverse("diagnosis:cells", args=[case.pk]))
    (told,) = re.findall(r'<script id="cells" type="application/json">(.*?)</script>', answer.text)
    assert json.loads(told) == json.loads(json.dumps(answer.context["gallery"]))


def first_of(reader: Client, case: Case, **query: str) -> list[tuple[int, str]]:
    """Keys and words of the tiles that the page draws itself."""
    said = reader.get(reverse("diagnosis:cells", args=[case.pk]), query).text
    return [
        (int(key), word.strip())
        for key, word in re.findall(r'data-first="(\d+)".*?<span class="cap">(.*?)</span>', said)
    ]


def test_the_page_draws_the_first_tiles_of_its_script(
    reader: Client, case: Case, found: list[Cell], add_image: AddImage, judge: Judge
) -> None:
    """Counted leukocytes alone, the most suspicious first whatever their image; none where a filter knows better."""
    later = add_image()
    judge(later)
    sure, unjudged = add_cells(later, ["blast", "lymphocyte"])
    Cell.objects.filter(pk=sure.pk).update(blast_probability=1.0)
    Cell.objects.filter(pk=unjudged.pk).update(blast_probability=None)

    drawn = first_of(reader, case)
    counted = [one.pk for one in found if one.label in COUNTED and not one.touches_border]
    assert drawn[0] == (sure.pk, "▲ blast")
    assert drawn[-1] == (unjudged.pk, "lympho.")
    assert {key for key, _ in drawn} == {sure.pk, unjudged.pk, *counted}
    assert first_of(reader, case, label="monocyte") == []
    assert give(reader, case, [sure], "platelet_or_artefact").status_code == 200
    assert sure.pk not in {key for key, _ in first_of(reader, case)}


def test_no_more_tiles_than_two_rows_come_with_the_page(
    reader: Client, case: Case, add_image: AddImage, judge: Judge
) -> None:
    image = add_image()
    judge(image)
    add_cells(image, ["lymphocyte"] * 40)
    assert len(first_of(reader, case)) == FIRST_TILES


@pytest.mark.parametrize("content", [None, b"no picture", b""], ids=["lost", "broken", "empty"])
def test_a_sheet_that_is_lost_ends_the_first_tiles(
    reader: Client, case: Case, found: list[Cell], content: bytes | None
) -> None:
    path = Path(found[0].cell_analysis.sprite.path)
    path.unlink() if content is None else path.write_bytes(content)
    assert first_of(reader, case) == []


@pytest.mark.parametrize(
    ("cookie", "size"),
    [("", ""), ("152", "152"), ("55", ""), ("1000", ""), ("9" * 40, ""), ("²00", ""), ("x", "")],
)
def test_the_first_tiles_are_as_large_as_the_reader_chose(
    reader: Client, case: Case, found: list[Cell], cookie: str, size: str
) -> None:
    reader.cookies["tile_size"] = cookie
    said = page(reader, case)
    assert set(re.findall(r'width="(\d+)" height="\1" data-first', said)) == ({size} if size else set())
    assert f'data-size="{size}"' in said


def test_as_many_queries_for_300_cells_as_for_3(
    reader: Client, case: Case, add_image: AddImage, judge: Judge
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert reader.get(reverse("diagnosis:cells", args=[case.pk])).status_code == 200
        return len(asked)

    image = add_image()
    judge(image)
    add_cells(image, ["blast"] * 3)
    queries()  # the first request of a session writes down that somebody works
    few = queries()
    for _ in range(2):
        another = add_image()
        judge(another)
        add_cells(another, ["blast", "lymphocyte", "monocyte"] * 50)

    assert queries() == few


def test_a_class_given_comes_back_with_both_counts(reader: Client, case: Case, found: list[Cell]) -> None:
    response = give(reader, case, found[:2], "lymphocyte")
    told = response.json()

    assert response.status_code == 200
    assert told["cells"] == [[one.pk, "lymphocyte", "Hedy Hematologist"] for one in found[:2]]
    assert '<span class="figure">0.0</span>' in told["differential"]
    assert "2 read by hand" in " ".join(told["differential"].split())

    undone = reader.post(
        reverse("diagnosis:cells-undo", args=[case.pk]), {"batch": told["batch"]}, headers=SCRIPT
    ).json()
    assert undone["cells"] == [[one.pk, "", ""] for one in found[:2]]
    assert '<span class="figure">40.0</span>' in undone["differential"]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"cells": "", "label": "blast"}, 422, "Choose a cell first."),
        ({"cells": "one", "label": "blast"}, 400, "could not be understood"),
        ({"cells": "{0}", "label": "prolymphocyte"}, 422, "Choose one of the classes"),
        ({"cells": "{0},99999", "label": "blast"}, 422, "reload the page"),
        ({"cells": "{0}", "label": ""}, 422, "take back"),
    ],
)
def test_refusals_are_sentences(
    reader: Client, case: Case, found: list[Cell], body: dict[str, str], status: int, sentence: str
) -> None:
    url = reverse("diagnosis:cells-read", args=[case.pk])
    body = {**body, "cells": body["cells"].format(found[0].pk)}
    response = reader.post(url, body, headers=SCRIPT)

    assert response.status_code == status
    assert sentence in response.json()["message"]
    assert not CellReading.objects.exists()


# --- one cell -----------------------------------------------------------------------------------------------


def panel(client: Client, one: Cell) -> str:
    return text(client.get(reverse("diagnosis:cell", args=[one.pk]), headers=SCRIPT))


def test_the_panel_of_a_cell(reader: Client, case: Case, done: SmearImage, found: list[Cell]) -> None:
    give(reader, case, found[:1], "monocyte")
    said = panel(reader, found[0])

    assert "Monocyte" in said
    assert "Read by Hedy Hematologist. The model says blast." in said
    assert "Regions that influenced the score; not a lesion outline" in said
    assert "µm²" in said
    assert "✓ inside" in said
    assert f"?image={done.pk}&cell={found[0].pk}" in said


def test_a_cell_outside_the_domain_has_no_class(reader: Client, found: list[Cell]) -> None:
    said = panel(reader, found[8])

    assert "No class" in said
    assert "! outside: no class is given" in said
    assert "Not a result" in said
    assert "Class probabilities" not in said


def test_a_cell_cut_by_the_edge_says_so(reader: Client, found: list[Cell]) -> None:
    assert "Cut by the edge" in panel(reader, found[7])


def test_boxes_of_an_image(reader: Client, done: SmearImage, found: list[Cell]) -> None:
    told = reader.get(reverse("diagnosis:image-cells", args=[done.pk])).json()["cells"]

    assert len(told) == len(found)
    assert told[0] == {
        "id": found[0].pk,
        "box": [found[0].x, found[0].y, 40, 40],
        "word": "blast",
        "blast": True,
        "border": False,
    }
    assert told[8]["word"] == "no class"
