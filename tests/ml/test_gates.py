"""The gate on images of any kind: every picture once, none of the training's, shares with intervals."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.calibration import wilson_interval
from ml.evaluation.gates import all_rows, drawn_source, folder_source, judge_gate, photograph_source
from ml.evaluation.predictions import EvaluationError


@dataclass(frozen=True)
class Said:
    outcome: str
    inside_domain: bool
    domain_score: float
    reasons: tuple
    top_label: str = "pre"
    probabilities: tuple = ()


class BrightnessGate:
    """Keeps pictures of a mean level above 127."""

    def __init__(self) -> None:
        self.seen = 0

    def predict(self, pixels: np.ndarray) -> Said:
        self.seen += 1
        kept = bool(pixels.mean() > 127)
        return Said(
            "class" if kept else "indeterminate", kept, 2 - pixels.mean() / 127, () if kept else ("dark",)
        )


def picture(folder: Path, name: str, level: int, size: tuple[int, int] = (20, 15)) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(name.encode()))
    noise = rng.integers(0, 9, (size[1], size[0], 3))
    Image.fromarray((noise + level).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        picture(tmp_path / "set", f"a/{number}.png", 200 if number < 2 else 20)
    picture(tmp_path / "set", "b/deep/wide.png", 220, size=(40, 30))
    (tmp_path / "set" / "index.csv").write_text("path,label\n")
    return tmp_path / "set"


def test_every_image_below_a_folder_is_shown(folder):
    gate = BrightnessGate()
    (row,) = judge_gate(folder_source("mixed", folder), gate).rows()
    assert gate.seen == 7
    assert (row.n, row.kept, row.inside_domain) == (7, 3, 3)
    assert (row.turned_away.low, row.turned_away.high) == wilson_interval(4, 7)
    assert row.reasons == {"dark": 4}


def test_few_sizes_get_a_line_each(folder):
    rows = judge_gate(folder_source("mixed", folder), BrightnessGate()).rows(by_size=True)
    assert [(row.name, row.n, row.kept) for row in rows] == [
        ("mixed", 7, 3),
        ("mixed, 20x15", 6, 2),
        ("mixed, 40x30", 1, 1),
    ]


def test_many_sizes_are_no_cameras(tmp_path):
    for number in range(10):
        picture(tmp_path, f"{number}.png", 200, size=(20 + number, 15))
    assert len(judge_gate(folder_source("crops", tmp_path), BrightnessGate()).rows(by_size=True)) == 1


def test_images_of_training_and_copies_do_not_count(folder):
    (folder / "copy.png").write_bytes((folder / "a" / "3.png").read_bytes())
    seen = {hashlib.sha256((folder / "a" / "0.png").read_bytes()).hexdigest()}
    source = folder_source("mixed", folder, seen=seen)
    assert (source.count, source.left_out) == (6, 2)


def test_a_limit_draws_the_same_images_with_the_same_seed(folder):
    def drawn(seed: int) -> list[float]:
        source = folder_source("mixed", folder, limit=3, seed=seed)
        return [float(np.mean(pixels)) for pixels in source.pictures()]

    assert len(drawn(1)) == 3
    assert drawn(1) == drawn(1)
    assert any(drawn(1) != drawn(seed) for seed in range(2, 6))


def test_files_that_are_no_images_are_counted_apart(folder):
    (folder / "text.png").write_text("no picture")
    result = judge_gate(folder_source("mixed", folder), BrightnessGate())
    assert len(result.answers) == 7
    assert sum(result.unreadable.values()) == 1


def test_nothing_to_show_is_a_sentence(tmp_path, folder):
    with pytest.raises(EvaluationError, match="no folder"):
        folder_source("x", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="no image"):
        folder_source("x", tmp_path / "empty")
    (tmp_path / "empty" / "text.png").write_text("no picture")
    with pytest.raises(EvaluationError, match="could be read"):
        judge_gate(folder_source("x", tmp_path / "empty"), BrightnessGate())


def test_drawn_fields_and_photographs_come_in_the_number_asked_for():
    results = [judge_gate(source, BrightnessGate()) for source in (drawn_source(2), photograph_source(15))]
    assert [(row.name, row.n) for row in all_rows(results)] == [
        ("drawn fields", 2),
        ("everyday photographs", 15),
    ]


def test_drawn_fields_repeat_with_their_seed():
    first, again = (list(drawn_source(2, seed=4).pictures()) for _ in range(2))
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert (first[0] != first[1]).any()
