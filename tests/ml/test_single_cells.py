"""The cell in the middle of a picture: its mask, its crop and its cut-out, on drawn cells whose size is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ml.cells.cutout import CROP_UM, GROUND, alone, square, square_mask
from ml.cells.single import (
    cut_out_on_black,
    find_cell,
)
from ml.drawing import CELL_KINDS, draw_cell

UM = 0.145
PICTURES = arrays(np.uint8, st.tuples(st.integers(3, 40), st.integers(3, 40), st.just(3)))


def disc(shape, centre, radius):
    """(H, W) bool, radius and centre (x, y) in pixels."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= radius**2


def overlap(one, other):
    """Intersection over union."""
    return (one & other).sum() / (one | other).sum()


# A drawn eosinophil's granules lie as coarse as red cells on pale ground, with nothing between: no real one looks so.
@pytest.mark.parametrize("kind", sorted({*CELL_KINDS} - {"eosinophil"}))
def test_it_finds_nucleus_and_cytoplasm_of_every_drawn_type(kind):
    found = []
    for seed in range(2):
        pixels, radius = draw_cell(np.random.default_rng(seed), kind=kind)
        cell = find_cell(pixels, UM)
        assert cell.found
        assert not cell.on_black
        found.append(overlap(cell.mask, disc(pixels.shape, (127.5, 127.5), radius / UM)))
    assert np.median(found) > 0.8
    assert min(found) > 0.6


def test_the_scale_of_the_picture_does_not_matter():
    for seed in range(2):
        pixels, _ = draw_cell(np.random.default_rng(seed), kind="monocyte")
        half = cv2.resize(pixels, (128, 128), interpolation=cv2.INTER_AREA)
        one, other = find_cell(pixels, UM), find_cell(half, 2 * UM)
        assert other.mask.sum() * 4 == pytest.approx(one.mask.sum(), rel=0.1)
        seen = [square(*args, size=64) for args in ((pixels, one.centre, UM), (half, other.centre, 2 * UM))]
        assert np.abs(seen[0].astype(float) - seen[1]).mean() < 8


def test_touching_leukocytes_are_parted():
    glass, nucleus, cytoplasm = (254, 229, 202), (90, 50, 135), (190, 170, 190)
    pixels = np.full((256, 256, 3), glass, np.uint8)
    for x in (128, 212):
        cv2.circle(pixels, (x, 128), 42, cytoplasm, -1)
        cv2.circle(pixels, (x, 128), 30, nucleus, -1)
    cell = find_cell(pixels, UM)
    assert overlap(cell.mask, disc(pixels.shape, (128, 128), 42)) > 0.9


def test_lobes_of_one_nucleus_belong_together_and_a_platelet_in_a_corner_does_not():
    pixels = np.full((256, 256, 3), (254, 229, 202), np.uint8)
    cv2.circle(pixels, (128, 128), 48, (222, 196, 196), -1)
    for x, y in ((110, 110), (146, 112), (128, 150)):
        cv2.circle(pixels, (x, y), 14, (90, 50, 135), -1)
    cv2.circle(pixels, (220, 30), 9, (120, 80, 150), -1)
    cell = find_cell(pixels, UM)
    assert overlap(cell.mask, disc(pixels.shape, (128, 128), 48)) > 0.85
    assert not cell.mask[30, 220]


def test_a_red_cell_beside_the_leukocyte_stays_outside():
    pixels = np.full((256, 256, 3), (254, 229, 202), np.uint8)
    for x, y in ((60, 60), (200, 60), (60, 200), (128, 205)):
        cv2.circle(pixels, (x, y), 26, (185, 140, 152), -1)
    cv2.circle(pixels, (128, 128), 50, (190, 170, 190), -1)
    cv2.circle(pixels, (128, 128), 38, (90, 50, 135), -1)
    cell = find_cell(pixels, UM)
    assert overlap(cell.mask, disc(pixels.shape, (128, 128), 50)) > 0.9
    assert not cell.mask[215, 128]


def test_a_cell_on_black_is_what_is_not_black():
    pixels = np.zeros((300, 300, 3), np.uint8)
    cv2.ellipse(pixels, (150, 140), (70, 55), 20, 0, 360, (70, 30, 100), -1)
    cv2.circle(pixels, (140, 140), 6, (0, 0, 0), -1)  # a hole, as of a dark granule
    cell = find_cell(pixels, 0.06)
    assert cell.found
    assert cell.on_black
    truth = cv2.ellipse(np.zeros((300, 300), np.uint8), (150, 140), (70, 55), 20, 0, 360, 1, -1) > 0
    assert overlap(cell.mask, truth) > 0.9
    assert cell.centre == pytest.approx((150, 140), abs=3)
    assert not cut_out_on_black(draw_cell(np.random.default_rng(0))[0])


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_picture_gives_a_disc_in_the_middle_and_says_so(level):
    cell = find_cell(np.full((200, 180, 3), level, np.uint8), UM)
    assert not cell.found
    assert cell.centre == (89.5, 99.5)
    assert cell.mask[100, 90]
    assert 0 < cell.mask.sum() < cell.mask.size


@settings(deadline=None, max_examples=60)
@given(PICTURES, st.floats(0.02, 2.0))
def test_any_picture_gives_a_mask_of_its_shape(pixels, micrometres):
    cell = find_cell(pixels, micrometres)
    assert cell.mask.shape == pixels.shape[:2]
    assert cell.mask.dtype == np.bool_
    assert cell.mask.any()
    assert 0 <= cell.centre[0] < pixels.shape[1]
    assert 0 <= cell.centre[1] < pixels.shape[0]


def test_the_same_picture_gives_the_same_mask():
    pixels, _ = draw_cell(np.random.default_rng(3), kind="eosinophil")
    assert (find_cell(pixels, UM).mask == find_cell(pixels.copy(), UM).mask).all()


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        find_cell(wrong, UM)


def test_a_scale_of_nothing_is_refused():
    with pytest.raises(ValueError, match="micrometres"):
        find_cell(np.zeros((9, 9, 3), np.uint8), 0.0)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (258, 296), (400, 300)])
def test_a_crop_covers_the_same_micrometres_and_is_never_squashed(height, width):
    pixels = np.full((height, width, 3), 200, np.uint8)
    centre = (width / 2 - 0.5, height / 2 - 0.5)
    pixels[disc(pixels.shape, centre, 50)] = 20
    seen = square(pixels, centre, UM, size=128)
    dark = seen[..., 0] < 110
    wanted = 2 * 50 * UM * 128 / CROP_UM
    for axis in (0, 1):
        assert dark.any(axis=axis).sum() == pytest.approx(wanted, abs=1.5)
        places = np.flatnonzero(dark.any(axis=axis))
        assert (places[0] + places[-1]) / 2 == pytest.approx(63.5, abs=0.6)


def test_a_crop_beyond_the_picture_repeats_its_edge_and_holds_no_cell():
    pixels = np.full((100, 100, 3), 230, np.uint8)
    mask = np.ones((100, 100), bool)
    assert (square(pixels, (0.0, 50.0), UM, size=64) == 230).all()
    seen = square_mask(mask, (0.0, 50.0), UM, size=64)
    assert not seen[:, :30].any()
    assert seen[32, 40]


def test_a_cut_out_shows_the_cell_alone():
    pixels, _ = draw_cell(np.random.default_rng(5))
    cell = find_cell(pixels, UM)
    shown = alone(pixels, cell.mask)
    assert (shown[cell.mask] == pixels[cell.mask]).all()
    assert (shown[~cell.mask] == GROUND).all()


@pytest.mark.data
def test_cells_of_the_public_sets_are_found_in_the_middle(data_dir):
    from ml.data.cells import DEEPAPL, PBC
    from ml.data.manifest import load_manifest
    from ml.imaging.reading import read_image

    usual = {
        "lymphocyte": (9.0, 14.0),
        "monocyte": (14.0, 22.0),
        "platelet": (4.5, 9.0),
        "eosinophil": (11.0, 17.0),
    }
    for source in (DEEPAPL, PBC):
        items = load_manifest(data_dir / source.name).items
        for label, (least, most) in usual.items():
            some = [item for item in items if item.label == label]
            some = some[:: max(1, len(some) // 12)]  # of many patients
            across, off = [], []
            for item in some:
                pixels = read_image(item.path).pixels
                cell = find_cell(pixels, source.micrometres)
                across.append(2 * np.sqrt(cell.mask.sum() / np.pi) * source.micrometres)
                middle = np.array(pixels.shape[1::-1]) / 2
                off.append(np.hypot(*(np.array(cell.centre) - middle)) * source.micrometres)
            if some:
                assert least < np.median(across) < most, f"{source.name}, {label}"
                assert np.median(off) < 1.5
