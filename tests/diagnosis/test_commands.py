"""The commands: the worker's pipeline on files, which runtime serves, bundles and sweep by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from diagnosis.management.commands import analyze as analyze_command
from diagnosis.models import SmearImage
from diagnosis.services import analyze

from .conftest import encoded

pytestmark = pytest.mark.django_db

FIELDS = {
    "path",
    "outcome",
    "label",
    "probabilities",
    "confidence",
    "domain_score",
    "reasons",
    "model_version",
    "cells",
    "suspicion",
    "cell_model_version",
    "cell_problems",
    "timings_ms",
}


def run(command: str, *arguments: object, **options: object) -> str:
    out = io.StringIO()
    call_command(command, *map(str, arguments), stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def records(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def files(tmp_path, field_pixels, field_png) -> Path:
    """A folder with good and bad files, some below, some that are no images by name."""
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.png").write_bytes(field_png)
    (folder / "below" / "b.JPG").write_bytes(encoded(field_pixels, "JPEG", quality=95))
    (folder / "broken.jpg").write_bytes(b"text")
    (folder / "index.csv").write_text("path,label\n")
    (folder / ".hidden" / "c.png").write_bytes(field_png)
    (folder / "photo.png").write_bytes(encoded(field_pixels[:200, :200]))
    return folder


def test_json_has_one_object_a_line_with_the_promised_fields(files, version):
    found = records(run("analyze", files, json=True))
    assert [Path(r["path"]).name for r in found] == ["a.png", "broken.jpg", "photo.png", "b.JPG"]
    assert all(set(r) == FIELDS for r in found)
    good, broken, photo, _ = found
    assert (good["outcome"], good["label"], good["model_version"]) == ("class", "early", "field-test")
    assert good["confidence"] == max(good["probabilities"].values())
    assert sum(good["probabilities"].values()) == pytest.approx(1)
    assert good["reasons"] == []
    assert {"read", "predict", "total"} <= set(good["timings_ms"])
    assert (broken["outcome"], broken["label"], broken["confidence"]) == ("indeterminate", None, None)
    assert "text" in broken["reasons"][0]
    assert photo["outcome"] == "indeterminate"
    assert photo["reasons"]
    assert photo["probabilities"]


def test_the_command_says_what_the_worker_says(files, image, version, predictors, media):
    (record,) = records(run("analyze", media / image.file.name, json=True))
    analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors)
    stored = SmearImage.objects.get(pk=image.pk).newest_analysis
    for field in ("outcome", "label", "probabilities", "confidence", "domain_score", "reasons"):
        assert record[field] == getattr(stored, field), field


def test_the_table_names_every_file(files, version, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = run("analyze", files)
    for words in ("a.png", "b.JPG", "broken.jpg", "early pre-B", "indeterminate", "3 of 4 analysed"):
        assert words in text
    assert "Research use only" in text


def test_a_narrow_table_still_shows_the_whole_name_below_the_common_folder(files, version, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = run("analyze", files)
    assert "below/b.JPG" in text
    assert str(files) not in text


def test_a_file_named_by_itself_is_tried_whatever_it_is_called(tmp_path, field_png, version):
    odd = tmp_path / "picture.dat"
    odd.write_bytes(field_png)
    (record,) = records(run("analyze", odd, odd, json=True))
    assert record["outcome"] == "class"


def test_a_file_that_is_not_there_does_not_stop_the_others(files, version):
    found = records(run("analyze", files / "gone.png", files / "a.png", json=True))
    assert [r["outcome"] for r in found] == ["indeterminate", "class"]
    assert "can't be opened" in found[0]["reasons"][0]


def test_an_error_of_ours_does_not_stop_the_others(files, version, monkeypatch, field_png):
    (files / "z.png").write_bytes(field_png)
    real = analyze_command.pipeline.judge

    def judge(*, source, **options):
        if source.name == "a.png":
            raise ZeroDivisionError
        return real(source=source, **options)

    monkeypatch.setattr(analyze_command.pipeline, "judge", judge)
    found = records(run("analyze", files / "a.png", files / "z.png", json=True))
    assert [r["outcome"] for r in found] == ["indeterminate", "class"]


def test_it_fails_only_when_nothing_could_be_judged(files, version):
    with pytest.raises(CommandError, match="No file could be analysed"):
        run("analyze", files / "broken.jpg", json=True)
    with pytest.raises(CommandError, match="no image file"):
        run("analyze", files.parent / "bundles")


def test_a_bundle_can_be_named_by_folder_or_by_name(files, bundles, sealed_bundle):
    for bundle in (sealed_bundle, "field-test"):
        (record,) = records(run("analyze", files / "a.png", json=True, bundle=str(bundle)))
        assert record["model_version"] == "field-test"


@pytest.mark.parametrize("command", ["analyze", "runtime"])
def test_a_bundle_that_can_not_serve_is_named(files, version, bundles, command):
    arguments = [files / "a.png"] if command == "analyze" else []
    (bundles / "field-test" / "model.onnx").write_bytes(b"damage")
    with pytest.raises(CommandError, match=r"model\.onnx has changed"):
        run(command, *arguments)
    with pytest.raises(CommandError, match="no model bundle nowhere"):
        run(command, *arguments, bundle="nowhere")


def test_without_a_registered_version_the_bundle_on_disk_serves(files, bundles, db):
    (record,) = records(run("analyze", files / "a.png", json=True))
    assert record["model_version"] == "field-test"


def test_without_any_bundle_it_says_so(files, settings, tmp_path):
    settings.LEUKOSCOPE_BUNDLES = tmp_path / "none"
    with pytest.raises(CommandError, match="no field bundle"):
        run("analyze", files)


def test_runtime_says_what_serves(version):
    text = run("runtime")
    assert "stand-in" in text
    assert "field-test" in text
    facts = json.loads(run("runtime", json=True))
    assert (facts["runtime"], facts["device"], facts["model_version"]) == ("stand-in", "none", "field-test")
    assert set(facts["versions"]) == {"openvino", "tensorflow"}


def test_register_bundles_says_what_it_found(bundles):
    assert "field-test: subtype of a field, active" in run("register_bundles")


def test_register_bundles_fails_when_no_model_can_serve(settings, tmp_path):
    settings.LEUKOSCOPE_BUNDLES = tmp_path / "none"
    with pytest.raises(CommandError, match="No model is active"):
        run("register_bundles")


def test_sweep_by_hand(version, monkeypatch, media):
    monkeypatch.setattr("diagnosis.services.queue.waiting_messages", lambda: 0)
    (media / "images").mkdir(parents=True)
    (media / "images" / "orphan").write_bytes(b"x")
    assert run("sweep") == "0 sent again, 0 taken back, 0 given up after three attempts.\n"
    assert "1 unreferenced files deleted" in run("sweep", orphans=True, older_than_hours=0)
