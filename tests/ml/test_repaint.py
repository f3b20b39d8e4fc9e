"""Repainted stain: the colours move, the structure stays, and a reader of colours alone follows the paint."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evaluation.baselines import six_colour_baseline
from ml.evaluation.repaint import choose_targets, repaint, six_colour_numbers, stained_pixels
from ml.imaging.reading import read_image

BLUE = np.asarray([235, 245, 246, 160, 168, 230], dtype=float)
PINK = np.asarray([250, 252, 246, 205, 190, 235], dtype=float)


def field_of(colours: np.ndarray, seed: int = 0, size: int = 120) -> np.ndarray:
    """A field of discs: red cells of the stain's colour, some darker leukocytes, on the background."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), colours[:3])
    for index in range(26):
        centre = tuple(int(value) for value in rng.integers(8, size - 8, 2))
        colour = colours[3:] * (0.65 if index % 6 == 0 else 1.0)
        cv2.circle(image, centre, 9, tuple(float(value) for value in colour), -1)
    image = cv2.GaussianBlur(image, (0, 0), 0.8) + rng.normal(scale=1.5, size=image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def test_the_six_numbers_are_the_colours_a_field_was_drawn_with():
    assert six_colour_numbers(field_of(BLUE)) == pytest.approx(BLUE, abs=3)


def test_leukocytes_and_red_cells_both_count_as_stained():
    field = field_of(BLUE)
    darker_than_half_way = field[..., 1] < (BLUE[1] + BLUE[4]) / 2
    assert (stained_pixels(field) == darker_than_half_way).mean() > 0.97


def test_without_red_cells_the_leukocytes_alone_are_stained():
    field = np.full((60, 80, 3), 240.0)
    cv2.circle(field, (40, 30), 15, (150, 130, 200), -1)
    noisy = np.clip(field + np.random.default_rng(0).normal(scale=2, size=field.shape), 0, 255).astype(
        np.uint8
    )
    assert (stained_pixels(noisy) == (field[..., 1] < 200)).all()


def test_a_field_of_one_colour_has_one_median_and_stays_as_it_is():
    blank = np.full((20, 30, 3), 200, dtype=np.uint8)
    assert (six_colour_numbers(blank) == 200).all()
    assert (repaint(blank, BLUE) == blank).all()


@pytest.mark.parametrize(("start", "aim"), [(BLUE, PINK), (PINK, BLUE), (BLUE, BLUE)])
def test_paint_moves_the_six_numbers_onto_the_targets(start, aim):
    painted = repaint(field_of(start), aim)
    assert painted.dtype == np.uint8
    assert six_colour_numbers(painted) == pytest.approx(aim, abs=3)


def test_paint_can_turn_a_channel_round():
    """In blue the stain is lighter than the background before, darker after: no curve does it."""
    before = np.asarray([229, 238, 232, 163, 150, 243], dtype=float)
    assert six_colour_numbers(repaint(field_of(before), BLUE)) == pytest.approx(BLUE, abs=3)


def test_paint_leaves_the_structure_alone():
    field = field_of(BLUE, seed=3)
    painted = repaint(field, PINK)
    green = np.corrcoef(field[..., 1].ravel(), painted[..., 1].ravel())[0, 1]
    assert green > 0.98
    assert (stained_pixels(field) == stained_pixels(painted)).mean() > 0.98


def test_paint_does_not_touch_its_input():
    field = field_of(BLUE)
    copy = field.copy()
    repaint(field, PINK)
    assert (field == copy).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=6, max_size=6), st.integers(0, 50))
def test_any_colours_give_a_picture(colours, seed):
    painted = repaint(field_of(BLUE, seed=seed, size=40), np.asarray(colours, dtype=float))
    assert painted.shape == (40, 40, 3)
    assert painted.dtype == np.uint8


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=40), st.integers(0, 1000))
def test_targets_are_of_another_class_and_repeat_with_the_seed(labels, seed):
    if len(set(labels)) < 2:
        with pytest.raises(ValueError, match="two classes"):
            choose_targets(labels, np.random.default_rng(seed))
        return
    chosen = choose_targets(labels, np.random.default_rng(seed))
    assert all(labels[index] != label for index, label in zip(chosen, labels, strict=True))
    assert (chosen == choose_targets(labels, np.random.default_rng(seed))).all()


def test_rare_classes_are_targets_as_often_as_common_ones():
    labels = ["a"] * 600 + ["b"] * 590 + ["c"] * 10
    chosen = np.asarray(labels)[choose_targets(labels, np.random.default_rng(0))[:600]]
    assert np.mean(chosen == "c") == pytest.approx(0.5, abs=0.08)


@pytest.fixture(scope="module")
def standing_split(data_dir: Path) -> dict[str, list[tuple[np.ndarray, str]]]:
    """Every third training field and every test field of the standing split, as pixels and label."""
    root = data_dir / "taleqani-all"
    with (root / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["duplicate_of"]]
    blocks = {
        label: sorted({row["block"] for row in rows if row["label"] == label})
        for label in {row["label"] for row in rows}
    }
    test = {block for names in blocks.values() for block in names[2::5]}

    def load(chosen: list[dict[str, str]]) -> list[tuple[np.ndarray, str]]:
        return [(read_image(root / row["path"]).pixels, row["label"]) for row in chosen]

    return {
        "train": load([row for row in rows if row["block"] not in test][::3]),
        "test": load([row for row in rows if row["block"] in test][::2]),
    }


@pytest.mark.data
def test_a_reader_of_colours_follows_the_paint(standing_split):
    images, labels = zip(*standing_split["train"], strict=True)
    fields, truth = zip(*standing_split["test"], strict=True)
    classes = sorted(set(truth))
    reader = six_colour_baseline().fit(images, labels, classes=classes)

    def called(pictures: list[np.ndarray]) -> np.ndarray:
        return np.asarray(classes)[reader.predict_proba(pictures).argmax(axis=1)]

    targets = choose_targets(truth, np.random.default_rng(0))
    painted = [
        repaint(field, six_colour_numbers(fields[target]))
        for field, target in zip(fields, targets, strict=True)
    ]
    given_paint = np.asarray(truth)[targets]
    after = called(painted)
    assert (called(list(fields)) == truth).mean() > 0.85
    assert (after == truth).mean() < 0.1
    assert (after == given_paint).mean() > 0.85


@pytest.mark.data
def test_painted_fields_keep_their_structure(standing_split):
    fields, truth = zip(*standing_split["test"], strict=True)
    targets = choose_targets(truth, np.random.default_rng(1))
    kept = [
        np.corrcoef(field[..., 1].ravel(), repaint(field, six_colour_numbers(fields[target]))[..., 1].ravel())
        for field, target in list(zip(fields, targets, strict=True))[::4]
    ]
    assert np.median([one[0, 1] for one in kept]) > 0.97
