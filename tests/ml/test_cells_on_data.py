"""The detector on real fields: the figures that its documentation promises, on a part of the public sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml.evaluation.detection import judge_boxes, judge_marks

pytestmark = pytest.mark.data


def test_boxes_of_the_public_set_are_found(data_dir: Path) -> None:
    everything = judge_boxes(data_dir / "txl-pbc-v2", "test", most=40)[0]
    assert everything.recall.n >= 40
    assert everything.recall.value >= 0.93
    assert everything.precision.value >= 0.93


def test_marked_leukocytes_of_the_demo_fields_are_found(data_dir: Path) -> None:
    whole, _, everything = judge_marks(data_dir / "demo-fields")
    assert whole.recall.value >= 0.95
    assert whole.precision.value >= 0.95
    assert everything.recall.n == 95
