"""`manage.py evaluate_gate` on the stand-in bundle, whose domain holds drawn fields."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from diagnosis.services import predictors
from ml.drawing import draw_field
from tests import stand_in


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(predictors, "load", lambda folder, runtime=None: stand_in.load_stand_in(folder))
    stand_in.make_bundle(tmp_path)
    return tmp_path / "field-test"


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """Three fields the domain was fitted on, so that the gate must keep them, and one black picture."""
    (tmp_path / "fields").mkdir()
    for seed in range(3):
        pixels = draw_field(np.random.default_rng(seed), width=400, height=300)
        Image.fromarray(pixels).save(tmp_path / "fields" / f"{seed}.png")
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(tmp_path / "fields" / "black.png")
    return tmp_path / "fields"


def run(bundle: Path, *arguments: object) -> str:
    out = io.StringIO()
    call_command("evaluate_gate", "--bundle", str(bundle), *map(str, arguments), stdout=out)
    return out.getvalue()


def test_it_prints_what_was_kept_and_turned_away_with_intervals(bundle, fields):
    text = run(bundle, f"my fields={fields}", "--photographs", 14)
    assert "my fields" in text
    assert "75.0% (30.1% to 95.4%)" in text
    assert "everyday photographs" in text
    assert "Research use only" in text


def test_it_writes_json_and_a_plot(bundle, fields, tmp_path):
    run(bundle, fields, "--json", tmp_path / "gate.json", "--plot", tmp_path / "gate.svg")
    found = json.loads((tmp_path / "gate.json").read_text())
    (row,) = found["gate"]
    assert (row["name"], row["n"], row["kept"]) == ("fields", 4, 3)
    assert row["turned_away"]["value"] == 0.25
    assert found["bundle"]["name"] == "field-test"
    assert found["evaluated"]["sources"] == [{"name": "fields", "left_out": 0, "unreadable": {}}]
    assert (tmp_path / "gate.svg").read_bytes().startswith(b"<?xml")
    assert json.loads(run(bundle, fields, "--json", "-"))["gate"] == found["gate"]


def test_it_needs_something_to_show(bundle):
    with pytest.raises(CommandError, match="at least one folder"):
        run(bundle)
    with pytest.raises(CommandError, match="no folder"):
        run(bundle, "x=nowhere")
