"""The gallery of cells in a browser: classes by key, by drag and in bulk, undo, and two thousand tiles."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from diagnosis.models import Analysis, Case, Cell, CellReading, SmearImage
from diagnosis.services import cell_readings
from tests.browser.conftest import Person
from tests.diagnosis.told_cells import add_cells, beside, cell, without_class

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]

FEW: list[str | dict[str, Any]] = [
    *["blast"] * 4, *["lymphocyte"] * 3, "segmented_neutrophil", "monocyte", "smudge_cell",
    cell("blast", 10, touches_border=True), without_class(11), beside("platelet", 12),
]  # fmt: skip

# On a telephone the page scrolls, and a picture of a tile scrolls it.
PLACE = """(tile) => {
  const { x, y, width, height } = tile.getBoundingClientRect();
  return [x, y + scrollY, width, height];
}"""


@pytest.fixture
def done(case: Case, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]) -> SmearImage:
    image = add_image()
    judge(image, "early")
    return image


@pytest.fixture
def found(done: SmearImage) -> list[Cell]:
    """Nine leukocytes that count, four of them blasts, and four things that do not."""
    return add_cells(done, FEW)


def open_gallery(person: Person, case: Case, query: str = "") -> None:
    person.goto(f"/cases/{case.pk}/cells{query}")
    person.page.locator("#gallery[data-ready]").wait_for(state="attached")


@pytest.fixture
def gallery(hedy: Person, case: Case, found: list[Cell]) -> Person:
    open_gallery(hedy, case)
    return hedy


def tile(person: Person, one: Cell) -> Any:
    return person.page.locator(f"#cell-{one.pk}")


def counts(person: Person, label: str) -> Any:
    """The numbers of a class in the differential: model, %, reader, %."""
    return person.page.locator(f'#differential tr[data-label="{label}"] td')


def expect_count(person: Person, label: str, model: int, reader: int) -> None:
    expect(counts(person, label).nth(0)).to_have_text(f"{model:,}")
    expect(counts(person, label).nth(2)).to_have_text(f"{reader:,}")


def test_suspects_come_first_and_what_does_not_count_last(gallery: Person, found: list[Cell]) -> None:
    captions = gallery.page.locator(".tile .cap").all_text_contents()

    assert captions[:4] == ["▲ blast"] * 4
    assert "blast" not in "".join(captions[4:9])
    assert captions[9] == "outside"
    assert {"smudge", "▲ blast", "platelet"} == set(captions[10:])
    expect(tile(gallery, found[10])).to_have_attribute("data-badge", "edge")
    expect(gallery.page.locator(".grouphead").nth(0)).to_contain_text("Leukocytes counted, suspects first 9")


def test_a_key_gives_a_class_and_the_differential_follows(
    gallery: Person, case: Case, found: list[Cell]
) -> None:
    page = gallery.page
    tile(gallery, found[0]).click()
    expect(page.locator("#facts .figure")).to_contain_text("Blast")
    page.keyboard.press("l")

    expect(tile(gallery, found[0])).to_have_attribute("data-badge", "read")
    expect(tile(gallery, found[0]).locator(".cap")).to_have_text("lympho.")
    expect_count(gallery, "blast", 4, 3)
    expect_count(gallery, "lymphocyte", 3, 4)
    expect(page.locator("#differential .figure").first).to_have_text("33.3")
    expect(page.locator("#undo")).to_have_text("Undo: 1 cell to lymphocyte")
    assert CellReading.objects.get().label == "lymphocyte"

    page.goto(f"{gallery.address}/cases/{case.pk}")
    expect(page.locator("#cellsummary")).to_contain_text("33.3 per 100")


def test_a_single_class_hands_on_to_the_next_cell(gallery: Person) -> None:
    page = gallery.page
    page.locator(".tile").first.click()
    first = page.locator(".tile.active").get_attribute("data-cell")
    page.keyboard.press("b")

    expect(page.locator(".tile.active")).not_to_have_attribute("data-cell", str(first))
    expect(page.locator(".tile[aria-selected=true]")).to_have_count(1)


def test_undo_by_key_and_by_button(gallery: Person, found: list[Cell]) -> None:
    page = gallery.page
    for key, label in (("m", "monocyte"), ("e", "eosinophil")):
        tile(gallery, found[1]).click()
        page.keyboard.press(key)
        expect(page.locator("#undo")).to_have_text(f"Undo: 1 cell to {label}")
    page.keyboard.press("Control+z")
    expect(tile(gallery, found[1]).locator(".cap")).to_have_text("monocyte")
    expect_count(gallery, "monocyte", 1, 2)
    page.click("#undo")

    expect(tile(gallery, found[1]).locator(".cap")).to_have_text("▲ blast")
    expect_count(gallery, "blast", 4, 4)
    expect(page.locator("#undo")).to_be_disabled()
    page.keyboard.press("Control+z")
    expect(page.locator("#announce")).to_have_text("There is nothing to undo.")
    assert [one.label for one in CellReading.objects.order_by("pk")] == [
        "monocyte",
        "eosinophil",
        "monocyte",
        "",
    ]


def test_a_tile_dragged_onto_a_class(gallery: Person, found: list[Cell]) -> None:
    tile(gallery, found[4]).drag_to(gallery.page.locator('#differential tr[data-label="plasma_cell"]'))

    expect(tile(gallery, found[4]).locator(".cap")).to_have_text("plasma cell")
    expect_count(gallery, "plasma_cell", 0, 1)


def test_many_at_once(gallery: Person, found: list[Cell]) -> None:
    """Shift and Ctrl with the mouse, then a click on the class instead of its key."""
    page = gallery.page
    page.locator(".tile").nth(0).click()
    page.locator(".tile").nth(3).click(modifiers=["Shift"])
    expect(page.locator("#status")).to_contain_text("4 cells selected")
    page.locator(".tile").nth(3).click(modifiers=["Control"])
    expect(page.locator("#status")).to_contain_text("3 cells selected")
    page.click('button.give[data-label="promonocyte"]')

    expect_count(gallery, "promonocyte", 0, 3)
    expect(page.locator("#undo")).to_have_text("Undo: 3 cells to promonocyte")
    assert CellReading.objects.values("batch").distinct().count() == 1
    page.keyboard.press("Control+z")
    expect_count(gallery, "promonocyte", 0, 0)


def test_a_frame_drawn_around_tiles(gallery: Person) -> None:
    page = gallery.page
    first, second = (page.locator(".tile").nth(n).bounding_box() for n in (0, 1))
    assert first
    assert second
    page.mouse.move(first["x"] + 10, first["y"] - 6)
    page.mouse.down()
    page.mouse.move(second["x"] + 20, second["y"] + 20, steps=4)
    expect(page.locator(".band")).to_be_visible()
    page.mouse.up()

    expect(page.locator(".tile[aria-selected=true]")).to_have_count(2)
    expect(page.locator(".band")).to_have_count(0)


def test_a_whole_group_by_keyboard_alone(hedy: Person, case: Case, found: list[Cell]) -> None:
    """From the filter to the grid, into a group, select it, class it, undo it: no mouse."""
    open_gallery(hedy, case, "?order=class")
    page = hedy.page
    page.locator("#grid").focus()
    expect(page.locator("#grid")).to_have_attribute("aria-activedescendant", re.compile(r"cell-\d+"))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("a")
    expect(page.locator("#status")).to_contain_text("3 cells selected")
    page.keyboard.press("v")
    expect_count(hedy, "variant_lymphocyte", 0, 3)
    page.keyboard.press("0")
    expect_count(hedy, "variant_lymphocyte", 0, 0)
    page.keyboard.press("Control+z")
    expect_count(hedy, "variant_lymphocyte", 0, 3)
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    expect(page.locator(".tile[aria-selected=true]")).to_have_count(0)


def test_a_refusal_puts_the_tile_back_and_says_why(gallery: Person, cast: Any, found: list[Cell]) -> None:
    page = gallery.page
    tile(gallery, found[0]).click()
    cast.hematologist.role = "technician"
    cast.hematologist.save()
    page.keyboard.press("l")

    expect(page.locator("#problem")).to_contain_text("Only hematologists may review")
    expect(tile(gallery, found[0]).locator(".cap")).to_have_text("▲ blast")
    expect(page.locator("#undo")).to_be_disabled()
    expect_count(gallery, "blast", 4, 4)


def test_a_lost_network_puts_the_tile_back_too(gallery: Person, found: list[Cell]) -> None:
    gallery.page.route("**/cells/read", lambda route: route.abort())
    tile(gallery, found[0]).click()
    gallery.page.keyboard.press("l")

    expect(gallery.page.locator("#problem")).to_contain_text("The server can't be reached")
    expect(tile(gallery, found[0]).locator(".cap")).to_have_text("▲ blast")


def test_filters_narrow_and_stay_in_the_address(gallery: Person, found: list[Cell]) -> None:
    page = gallery.page
    page.select_option("select[name=label]", "lymphocyte")
    expect(page.locator(".tile")).to_have_count(3)
    page.check("input[name=read]")
    expect(page.locator("#nothing")).to_be_visible()
    assert page.url.endswith("?label=lymphocyte&read=1")
    page.click("#clear-filters")
    expect(page.locator(".tile")).to_have_count(len(found))
    page.check("input[name=counted]")
    expect(page.locator(".tile")).to_have_count(9)


def test_two_thousand_cells_are_few_in_the_document(
    hedy: Person, case: Case, add_image: Callable[..., SmearImage], judge: Callable[..., Analysis]
) -> None:
    labels: list[str | dict[str, Any]] = [*["blast"] * 20, *["lymphocyte"] * 180]
    for _ in range(10):
        image = add_image()
        judge(image)
        add_cells(image, labels)
    open_gallery(hedy, case)
    page = hedy.page
    scroller = page.locator(".tilescroll")
    most = 0
    for share in (0.0, 0.3, 0.7, 1.0):
        scroller.evaluate("(e, share) => (e.scrollTop = share * e.scrollHeight)", share)
        page.wait_for_timeout(150)
        most = max(most, page.locator(".tile").count())
    assert 0 < most < 200
    assert scroller.evaluate("e => e.scrollHeight") > 15_000
    expect(page.locator("#status")).to_contain_text("2,000 cells")

    page.locator("#grid").focus()
    page.keyboard.press("Control+End")
    expect(page.locator(".tile.active")).to_be_in_viewport()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".tile").last).to_have_class(re.compile("active"))
    page.keyboard.press("Control+Home")
    expect(page.locator(".tile.active .cap")).to_have_text("▲ blast")
    page.keyboard.press("a")
    page.keyboard.press("p")
    expect_count(hedy, "promyelocyte", 0, 2000)


def test_the_cell_in_its_field(gallery: Person, done: SmearImage, found: list[Cell]) -> None:
    page = gallery.page
    tile(gallery, found[2]).click()
    expect(page.locator("#facts [data-does=field]")).to_be_visible()
    page.keyboard.press("f")
    page.wait_for_url(f"**/cases/{done.case_id}?image={done.pk}&cell={found[2].pk}")

    expect(page.locator(f'.cellbox[data-cell="{found[2].pk}"]')).to_have_class(re.compile("wanted"))
    expect(page.locator("[data-tool=cells]")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("c")
    expect(page.locator(".cellbox")).to_have_count(0)
    page.keyboard.press("c")
    expect(page.locator(".cellbox")).to_have_count(len(found))


def test_the_panel_shows_what_influenced_the_score(gallery: Person, found: list[Cell]) -> None:
    page = gallery.page
    tile(gallery, found[0]).click()
    expect(page.locator("#facts .phrase")).to_be_hidden()
    with page.expect_response(lambda response: "/saliency.png" in response.url) as answer:
        page.keyboard.press("h")
    assert answer.value.ok
    expect(page.locator("#facts .phrase")).to_have_text(
        "Regions that influenced the score; not a lesion outline"
    )


@pytest.mark.parametrize(
    ("width", "kept"), [(1440, ""), (1440, "152"), (390, "")], ids=["desktop", "large-tiles", "telephone"]
)
def test_the_script_takes_over_the_tiles_that_the_page_drew(
    sit_down: Callable[..., Person], cast: Any, case: Case, found: list[Cell], width: int, kept: str
) -> None:
    """Same cells, same words, same places, same pixels: nobody sees the moment."""
    hedy = sit_down(cast.hematologist, viewport={"width": width, "height": 900})
    page = hedy.page
    cell_readings.re_class(user=cast.hematologist, cells=[found[5].pk], label="monocyte")
    if kept:
        hedy.goto(f"/cases/{case.pk}")
        page.evaluate("(size) => (document.cookie = `tile_size=${size}; path=/cases`)", kept)
    page.route(re.compile(r"/cells\.[0-9a-f]+\.js|/cells\.js"), lambda route: route.abort())
    hedy.goto(f"/cases/{case.pk}/cells")
    early = _tiles(page, 9)
    expect(page.locator(".grouphead")).to_have_text("Leukocytes counted, suspects first 9")
    page.unroute_all()
    held: list[Any] = []
    page.route("**/cells.jpg*", lambda route: held.append(route))
    page.goto(page.url, wait_until="commit")  # all is loaded only when the sheets are
    page.locator("#gallery[data-ready]").wait_for(state="attached")
    before_the_sheet = _tiles(page, 9)
    assert held
    with page.expect_response("**/cells.jpg*"):
        for route in held:
            route.continue_()
    page.wait_for_load_state("networkidle")

    for drawn, taken, whole in zip(early, before_the_sheet, _tiles(page, 9), strict=True):
        assert drawn[:2] == taken[:2] == whole[:2]
        assert np.abs(drawn[2] - taken[2]).mean() < 1
        assert np.abs(drawn[2] - whole[2]).mean() < 4


def _tiles(page: Any, count: int) -> list[tuple[str, list[float], Any]]:
    """The words, place and pixels of the first tiles."""
    tiles = page.locator(".tile")
    return [
        (
            tiles.nth(n).inner_text(),
            tiles.nth(n).evaluate(PLACE),
            np.asarray(Image.open(io.BytesIO(tiles.nth(n).screenshot())).convert("RGB"), np.float32),
        )
        for n in range(count)
    ]


def test_the_first_tiles_stand_without_a_script(
    sit_down: Callable[..., Person], cast: Any, case: Case, found: list[Cell]
) -> None:
    plain = sit_down(cast.hematologist, java_script_enabled=False)
    plain.goto(f"/cases/{case.pk}/cells")

    captions = plain.page.locator(".tile .cap").all_inner_texts()
    assert captions[:4] == ["▲ blast"] * 4
    assert sorted(captions[4:]) == ["lympho.", "lympho.", "lympho.", "monocyte", "segmented"]
    expect(plain.page.locator(".js-only:visible")).to_have_count(0)
    expect(plain.page.locator(".give kbd:visible")).to_have_count(0)
    expect(plain.page.locator(".tilescroll .nothing:visible")).to_contain_text(
        "The other tiles need JavaScript"
    )


def test_on_a_telephone_the_table_opens_also_where_the_script_does_not_come(
    sit_down: Callable[..., Person], cast: Any, case: Case, found: list[Cell]
) -> None:
    hedy = sit_down(cast.hematologist, viewport={"width": 390, "height": 844})
    hedy.page.route(re.compile(r"/cells\.[0-9a-f]+\.js|/cells\.js"), lambda route: route.abort())
    hedy.goto(f"/cases/{case.pk}/cells")
    table = hedy.page.locator("#differential table")
    expect(table).to_be_hidden()
    expect(table).to_be_visible()
    hedy.said.clear()  # the browser complains of the script that was kept from it


def test_a_lost_sprite_says_so(hedy: Person, case: Case, found: list[Cell]) -> None:
    sprite = found[0].cell_analysis.sprite
    sprite.storage.delete(sprite.name)
    open_gallery(hedy, case)

    expect(hedy.page.locator(".pic.lost").first).to_have_attribute("data-lost", "picture of image 1 is lost")


def test_a_technician_looks_and_cannot_class(
    sit_down: Callable[..., Person], cast: Any, case: Case, found: list[Cell]
) -> None:
    tina = sit_down(cast.technician)
    open_gallery(tina, case)
    tile(tina, found[0]).click()
    tina.page.keyboard.press("l")
    tina.page.wait_for_timeout(300)

    expect(tile(tina, found[0]).locator(".cap")).to_have_text("▲ blast")
    expect(tile(tina, found[0])).to_have_attribute("draggable", "false")
    assert not CellReading.objects.exists()


def test_on_a_telephone_the_page_scrolls_and_the_panel_closes(
    sit_down: Callable[..., Person], cast: Any, case: Case, found: list[Cell]
) -> None:
    hedy = sit_down(cast.hematologist, viewport={"width": 390, "height": 844}, has_touch=True)
    open_gallery(hedy, case)
    page = hedy.page
    page.locator(".tile").first.tap()
    expect(page.locator("#panel .figure")).to_contain_text("Blast")
    page.select_option("#give-class", "monocyte")
    expect(page.locator(".tile[data-badge=read] .cap")).to_have_text("monocyte")
    page.click("#close-panel")
    expect(page.locator("#panel")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
