"""Which images count, how labels meet classes, and what a row keeps."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.data.manifest import Item
from ml.evaluation.judging import (
    DUPLICATE,
    NOT_TEST,
    TRAINED_ON,
    VALIDATED_ON,
    Repainter,
    judge,
    select,
    with_class_labels,
)
from ml.evaluation.predictions import (
    EvaluationError,
    Row,
    Unreadable,
    read_predictions_csv,
    to_judged,
    write_predictions_csv,
)
from ml.evaluation.repaint import six_colour_numbers
from ml.imaging.reading import read_image

CLASSES = ("benign", "early", "pre")


@dataclass
class Said:
    outcome: str = "class"
    top_label: str = "early"
    probabilities: dict = field(default_factory=lambda: {"pre": 0.1, "early": 0.7, "benign": 0.2})
    domain_score: float = 0.5
    inside_domain: bool = True
    reasons: tuple = ()


class FakePredictor:
    """Says the same of every image, and remembers what it was shown."""

    def __init__(self, said: Said | None = None) -> None:
        self.said = said or Said()
        self.shown: list[np.ndarray] = []

    def predict(self, pixels: np.ndarray) -> Said:
        self.shown.append(pixels)
        return self.said


def field_item(folder: Path, name: str, label: str, **columns: str) -> Item:
    """A small drawn field on disk, unlike every other one."""
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    image = rng.normal(loc=(235, 240, 244), scale=2, size=(30, 40, 3))
    image[8:22, 10:30] = rng.uniform(100, 200, 3)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path)
    return Item(path, name, label, columns.get("block", name), dict(columns))


def seen(**parts: list[Item]) -> dict:
    return {
        "split": {"name": "standing block split"},
        **{f"{part}_sha256": [item.sha256 for item in items] for part, items in parts.items()},
    }


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    return [field_item(tmp_path, f"{label}{number}.png", label) for label in CLASSES for number in range(4)]


def test_images_of_training_and_validation_are_left_out_and_counted(items):
    chosen = select(items, seen(train=items[:5], validation=items[5:7], test=items[7:9]), part="all")
    assert chosen.items == tuple(items[7:])
    assert chosen.left_out == {TRAINED_ON: 5, VALIDATED_ON: 2}
    assert "unseen in training" in chosen.split


def test_by_itself_it_judges_the_bundles_own_test_images_where_there_are_any(items):
    chosen = select(items, seen(train=items[:5], validation=[], test=items[7:9]))
    assert chosen.items == tuple(items[7:9])
    assert chosen.left_out == {TRAINED_ON: 5, NOT_TEST: 5}
    assert chosen.split == "standing block split, test part"


def test_by_itself_it_judges_all_of_other_data(items):
    chosen = select(items, seen(train=[], validation=[], test=[]))
    assert chosen.items == tuple(items)
    assert chosen.left_out == {}
    assert chosen.split == "other data: no image known to the bundle"


def test_images_of_training_count_only_when_asked_for_and_the_split_says_so(items):
    chosen = select(items, seen(train=items[:5], test=items[7:9]), include_seen=True)
    assert len(chosen.items) == 12
    assert "training included" in chosen.split


def test_a_file_that_only_bears_another_name_is_recognised(items, tmp_path):
    copy = tmp_path / "renamed.png"
    copy.write_bytes(items[0].path.read_bytes())
    chosen = select([Item(copy, "renamed.png", "benign", "x"), *items[1:]], seen(train=items[:1]), part="all")
    assert chosen.left_out == {TRAINED_ON: 1}


def test_exact_duplicates_count_once_and_contradictions_are_named(items, tmp_path):
    again = Item(items[0].path, "again.png", "benign", "x")
    otherwise = Item(items[1].path, "otherwise.png", "pre", "x")
    chosen = select([*items, again, otherwise], {})
    assert chosen.items == tuple(items)
    assert chosen.left_out == {DUPLICATE: 2}
    assert chosen.notes == ("1 exact duplicates bear another label than the copy that was counted",)


def test_a_copy_in_the_group_that_tests_counts_before_one_elsewhere(items):
    tested = [Item(item.path, item.name, item.label, "test-block") for item in items[:3]]
    elsewhere = Item(items[0].path, "elsewhere.png", items[0].label, "training-block")
    chosen = select([elsewhere, *tested], seen(test=tested), part="test")
    assert chosen.items == tuple(tested)
    assert chosen.left_out == {DUPLICATE: 1}


def test_copies_that_no_hash_can_show_are_mentioned(tmp_path):
    item = field_item(tmp_path, "large.png", "benign", same_field_as="benign/001.jpg")
    assert "no hash can show" in select([item], {}).notes[0]


def test_nothing_left_is_a_sentence(items):
    with pytest.raises(EvaluationError, match=r"12 the bundle was trained on.*--include-seen"):
        select(items, seen(train=items))
    with pytest.raises(EvaluationError, match="the data are empty"):
        select([], {})


def test_labels_meet_classes_whatever_their_case_and_by_mapping(items):
    odd = [Item(items[0].path, "a", "Benign", "g"), Item(items[1].path, "b", "hem", "g"), items[4]]
    found, others = with_class_labels(odd, CLASSES, {"HEM": "benign"})
    assert [item.label for item in found] == ["benign", "benign", "early"]
    assert not others


def test_labels_the_bundle_does_not_know_are_counted(items):
    found, others = with_class_labels([*items, Item(items[0].path, "x", "pro", "g")], CLASSES, {})
    assert len(found) == 12
    assert others == {"pro": 1}


def test_a_bundle_that_knows_none_of_the_labels_says_which_it_knows(items):
    foreign = [Item(items[0].path, "x", "all", "g"), Item(items[1].path, "y", "hem", "g")]
    with pytest.raises(EvaluationError, match=r"all, hem.*benign, early, pre"):
        with_class_labels(foreign, CLASSES, {})
    with pytest.raises(EvaluationError, match="no class called blast"):
        with_class_labels(foreign, CLASSES, {"all": "blast"})


def test_a_row_keeps_what_the_predictor_said(items):
    said = Said(outcome="indeterminate", inside_domain=False, domain_score=1.7, reasons=("out of focus",))
    (row,) = judge(items[:1], FakePredictor(said), CLASSES)
    assert row == Row(
        name="benign0.png",
        sha256=items[0].sha256,
        label="benign",
        group="benign0.png",
        site="",
        predicted="early",
        kept=False,
        inside_domain=False,
        domain_score=1.7,
        reasons=("out of focus",),
        probabilities=(0.2, 0.7, 0.1),
    )


def test_a_file_that_is_no_image_is_named_and_the_others_go_on(items, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image at all")
    broken = Item(tmp_path / "broken.png", "broken.png", "pre", "g")
    answers = list(judge([items[0], broken, items[1]], FakePredictor(), CLASSES))
    assert [type(one) for one in answers] == [Row, Unreadable, Row]
    assert answers[1].name == "broken.png"
    assert answers[1].reason


def test_a_repainted_image_has_the_colours_of_its_target_and_keeps_its_label(items):
    painter = Repainter(items, np.random.default_rng(3))
    predictor = FakePredictor()
    rows = list(judge(items, predictor, CLASSES, alter=painter))
    assert [row.label for row in rows] == [item.label for item in items]
    assert all(painter.painted_as[item.name] != item.label for item in items)
    of_others = {
        label: [six_colour_numbers(read_image(item.path).pixels) for item in items if item.label == label]
        for label in CLASSES
    }
    for item, shown in zip(items, predictor.shown, strict=True):
        colours = six_colour_numbers(shown)
        targets = of_others[painter.painted_as[item.name]]
        assert min(np.abs(colours - target).max() for target in targets) <= 3


def test_repainting_needs_a_second_class(items):
    with pytest.raises(EvaluationError, match="two classes"):
        Repainter(items[:4], np.random.default_rng(0))


def test_rows_survive_csv(items, tmp_path):
    said = Said(
        outcome="indeterminate",
        probabilities={"benign": 1e-7, "early": 0.123456789, "pre": 0.876543111},
        domain_score=float(np.float32(1.2345678)),
        reasons=("too dark", "out of focus"),
    )
    rows = list(judge(items, FakePredictor(said), CLASSES))
    write_predictions_csv(tmp_path / "predictions.csv", rows, CLASSES)
    back, classes = read_predictions_csv(tmp_path / "predictions.csv")
    assert classes == CLASSES
    assert [np.float32(row.domain_score) for row in back] == [np.float32(row.domain_score) for row in rows]
    judged, again = (to_judged(one, classes=CLASSES, malignant=("early",)) for one in (rows, back))
    assert np.allclose(judged.probabilities, again.probabilities, rtol=1e-8)
    assert back[0].reasons == ("too dark", "out of focus")
    assert [row.sha256 for row in back] == [row.sha256 for row in rows]
    assert not any(row.kept for row in back)


def test_another_table_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(EvaluationError, match="no table of predictions"):
        read_predictions_csv(tmp_path / "other.csv")


def test_no_rows_are_no_evidence():
    with pytest.raises(EvaluationError, match="could be read"):
        to_judged([], classes=CLASSES, malignant=())
