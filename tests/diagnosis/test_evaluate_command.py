"""`manage.py evaluate` with a predictor that reads its answer from a corner of the picture."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image
from sklearn.metrics import balanced_accuracy_score

from diagnosis.services import predictors
from ml.data.manifest import load_manifest
from ml.evaluation.predictions import read_predictions_csv

CLASSES = ("benign", "early", "pre", "pro")


@dataclass(frozen=True)
class Said:
    outcome: str
    top_label: str
    probabilities: dict
    domain_score: float
    inside_domain: bool
    reasons: tuple


class CornerPredictor:
    """The class is written in the first pixel (50 levels a class), the gate's answer in the second."""

    device = "none"

    def __init__(self, data: dict, runtime: str) -> None:
        self.runtime = runtime
        self.bundle = SimpleNamespace(
            task="field",
            name="field-test",
            sha256="ab" * 32,
            manifest={"data": data},
            classes=CLASSES,
            malignant=CLASSES[1:],
            temperature=1.5,
        )

    def predict(self, pixels: np.ndarray) -> Said:
        given = min(int(pixels[0, 0, 0]) // 50, 3)
        kept = bool(pixels[0, 1, 0] < 128)
        chances = {name: 0.85 if index == given else 0.05 for index, name in enumerate(CLASSES)}
        return Said(
            outcome="class" if kept else "indeterminate",
            top_label=CLASSES[given],
            probabilities=chances,
            domain_score=0.4 if kept else 2.0,
            inside_domain=kept,
            reasons=() if kept else ("unlike the fields it knows",),
        )


def write_image(path: Path, given: str, rng: np.random.Generator, *, kept: bool = True) -> None:
    image = np.clip(rng.normal(loc=(235, 240, 244), scale=2, size=(30, 40, 3)), 0, 255)
    image[8:22, 10:30] = rng.uniform(100, 200, 3)
    image[0, 0] = CLASSES.index(given) * 50 + 25
    image[0, 1] = 0 if kept else 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.astype(np.uint8)).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten fields a class in five blocks at two sites; every tenth wrong, every eighth turned away."""
    rng = np.random.default_rng(0)
    lines = ["path,label,block,site"]
    for place, label in enumerate(CLASSES):
        for number in range(10):
            given = CLASSES[(place + 1) % 4] if number == 9 else label
            write_image(tmp_path / "set" / label / f"{number}.png", given, rng, kept=number != 7)
            lines.append(
                f"{label}/{number}.png,{label},{label}-{number // 2},{'north' if number < 5 else 'south'}"
            )
    (tmp_path / "set" / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "set"


@pytest.fixture
def seen() -> dict:
    """What the bundle says it was trained on; tests fill it."""
    return {"split": {"name": "block split"}, "train_sha256": [], "validation_sha256": [], "test_sha256": []}


@pytest.fixture(autouse=True)
def loader(monkeypatch: pytest.MonkeyPatch, seen: dict) -> None:
    monkeypatch.setattr(
        predictors, "load", lambda folder, runtime=None: CornerPredictor(seen, runtime or "openvino")
    )


def run(*arguments: object) -> str:
    out = io.StringIO()
    few = ["--resamples", "200"]
    call_command("evaluate", "--bundle", "field-test", *few, *map(str, arguments), stdout=out)
    return out.getvalue()


def run_json(*arguments: object) -> dict:
    return json.loads(run(*arguments, "--json", "-"))


def figure(section: dict, name: str) -> dict:
    return next(one for one in section["figures"] if one["name"] == name)


def test_it_prints_the_evidence_with_intervals_and_the_confusion_matrix(data):
    text = run("--data", data)
    assert "balanced accuracy" in text
    assert "0.9000 (" in text
    assert "AUROC, malignant against benign" in text
    assert "Confusion matrix" in text
    assert "coverage (given a class)" in text
    assert "40 images in 20 groups" in text
    assert "Research use only" in text


def test_its_figures_are_those_of_the_answers(data):
    section = run_json("--data", data)["sections"][0]
    truth = [place for place in range(4) for _ in range(10)]
    given = [(place + 1) % 4 if number == 9 else place for place in range(4) for number in range(10)]
    expected = balanced_accuracy_score(truth, given)
    found = figure(section, "balanced_accuracy")
    assert found["value"] == pytest.approx(expected)
    assert found["low"] < expected < found["high"]
    assert (found["n"], found["groups"]) == (40, 20)
    assert section["confusion"][0] == [9, 1, 0, 0]
    assert figure(section, "coverage")["value"] == pytest.approx(0.9)
    assert figure(section, "risk")["value"] == pytest.approx(4 / 36)


def test_images_of_training_are_left_out_and_counted(data, seen):
    items = load_manifest(data).items
    seen["train_sha256"] = [item.sha256 for item in items if item.label == "benign"][:6]
    seen["validation_sha256"] = [items[20].sha256]
    found = run_json("--data", data)
    assert found["evaluated"]["left_out"] == {
        "the bundle was trained on": 6,
        "the bundle was validated on": 1,
    }
    assert found["evaluated"]["n"] == 33
    assert "Left out: 6 the bundle was trained on; 1 the bundle was validated on." in run("--data", data)
    assert run_json("--data", data, "--include-seen")["evaluated"]["n"] == 40


def test_the_bundles_own_test_images_are_judged_alone_unless_all_are_asked_for(data, seen):
    items = load_manifest(data).items
    seen["test_sha256"] = [item.sha256 for item in items if item.path.stem in "34"]
    found = run_json("--data", data)
    assert found["evaluated"]["n"] == 8
    assert found["evaluated"]["split"] == "block split, test part"
    assert figure(found["sections"][0], "accuracy")["split"] == "block split, test part"
    assert run_json("--data", data, "--split", "all")["evaluated"]["n"] == 40


def test_sites_stand_beside_each_other(data):
    found = run_json("--data", data)
    assert [site["name"] for site in found["sites"]] == ["north", "south"]
    assert figure(found["sites"][0], "accuracy")["value"] == 1.0
    assert figure(found["sites"][1], "accuracy")["value"] == pytest.approx(0.8)
    assert "By site" in run("--data", data)


def test_json_says_what_was_judged_with_what(data, tmp_path):
    run("--data", data, "--json", tmp_path / "out.json", "--seed", 5, "--resamples", 300)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["bundle"] == {"name": "field-test", "sha256": "ab" * 32, "temperature": 1.5}
    assert (found["seed"], found["resamples"], found["level"]) == (5, 300, 0.95)
    assert found["evaluated"]["data"] == "set"
    assert found["evaluated"]["runtime"] == "openvino"


def test_the_same_seed_gives_the_same_figures(data):
    assert run_json("--data", data, "--seed", 1) == run_json("--data", data, "--seed", 1)
    assert run_json("--data", data, "--seed", 1) != run_json("--data", data, "--seed", 2)


def test_class_named_folders_will_do(data):
    (data / "index.csv").unlink()
    found = run_json("--data", data)
    assert (found["evaluated"]["n"], found["evaluated"]["groups"]) == (40, 40)


def test_labels_unknown_to_the_bundle_are_a_clear_sentence(data):
    index = data / "index.csv"
    index.write_text(index.read_text().replace(",pro,", ",blast,"))
    text = run("--data", data)
    assert "Not judged, because the bundle has no such class: blast (10)." in text
    assert "No image is labelled pro" in text
    assert "not defined" in text
    assert run_json("--data", data, "--map", "blast=pro")["evaluated"]["n"] == 40


def test_data_of_other_labels_altogether_are_refused(data):
    index = data / "index.csv"
    rows = [line.split(",") for line in index.read_text().splitlines()[1:]]
    index.write_text("path,label\n" + "".join(f"{row[0]},type_{row[1]}\n" for row in rows))
    with pytest.raises(CommandError, match="None of the data's labels"):
        run("--data", data)


def test_one_class_alone_has_no_area_and_says_so(data):
    index = data / "index.csv"
    lines = index.read_text().splitlines()
    index.write_text("\n".join(lines[:1] + [line for line in lines if ",benign," in line]) + "\n")
    found = run_json("--data", data)
    assert figure(found["sections"][0], "auroc_malignant")["value"] is None
    assert "not defined" in run("--data", data)


def test_duplicates_count_once(data):
    index = data / "index.csv"
    (data / "copy.png").write_bytes((data / "pre" / "0.png").read_bytes())
    index.write_text(index.read_text() + "copy.png,pre,pre-0,north\n")
    found = run_json("--data", data)
    assert found["evaluated"]["n"] == 40
    assert found["evaluated"]["left_out"] == {"exact duplicates of another image": 1}


def test_a_file_that_is_no_image_is_named(data):
    (data / "pre" / "0.png").write_text("text with the name of a picture")
    text = run("--data", data)
    assert "Not read: pre/0.png:" in text
    assert "39 images" in text


def test_repainted_images_are_judged_beside(data):
    found = run_json("--data", data, "--repaint")
    assert found["repainted"][0]["n"] == 40
    # This predictor reads a colour, so that the paint must change what it says.
    assert found["repainted"][0]["confusion"] != found["sections"][0]["confusion"]
    assert "stain repainted" in run("--data", data, "--repaint")


def test_runtimes_can_be_compared(data):
    found = run_json("--data", data, "--compare-runtime", "tensorflow")
    assert found["runtimes"][0]["classes_equal"] == found["runtimes"][0]["n"] == 40
    assert "40 of 40" in run("--data", data, "--compare-runtime", "tensorflow")


def test_predictions_and_plots_can_be_kept(data, tmp_path):
    run("--data", data, "--predictions", tmp_path / "p.csv", "--plots", tmp_path / "plots")
    rows, classes = read_predictions_csv(tmp_path / "p.csv")
    assert (len(rows), classes) == (40, CLASSES)
    assert sum(row.kept for row in rows) == 36
    assert {file.name for file in (tmp_path / "plots").iterdir()} == {
        "roc.svg",
        "precision-recall.svg",
        "confusion.svg",
        "reliability.svg",
        "risk-coverage.svg",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "nowhere"), "no folder or manifest"),
        (("--data", "{data}", "--map", "pre"), "LABEL=CLASS"),
        (("--data", "{data}", "--resamples", 0), "at least 1"),
        (("--data", "{data}", "--map", "pre=cll"), "no class called cll"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(data, arguments, words):
    with pytest.raises(CommandError, match=words):
        run(*(str(one).format(data=data) for one in arguments))


def test_a_missing_bundle_is_one_sentence(data, monkeypatch):
    def refuse(folder: Path, runtime: str | None = None) -> None:
        raise predictors.ModelUnavailable("There is no model bundle field-9.")

    monkeypatch.setattr(predictors, "load", refuse)
    with pytest.raises(CommandError, match="no model bundle field-9"):
        run("--data", data)


def test_baselines_are_fitted_on_the_bundles_training_images_and_judge_the_same_ones(data, seen):
    items = load_manifest(data).items
    seen["train_sha256"] = [item.sha256 for item in items if int(item.path.stem) < 6]
    found = run_json("--data", data, "--baselines", "--repaint")
    assert [one["name"] for one in found["baselines"]] == [
        "six colour numbers, k-NN",
        "six colour numbers, k-NN, stain repainted",
    ]
    assert [one["n"] for one in found["baselines"]] == [16, 16]
    assert "24 images of the bundle's training" in found["baselines"][0]["model"]
    assert "Baselines on the same images" in run("--data", data, "--baselines")


def test_baselines_need_the_training_images(data):
    with pytest.raises(CommandError, match="none of the bundle's training images"):
        run("--data", data, "--baselines")


def relabel(data: Path, names: dict[str, str]) -> None:
    """Give the labels of the manifest other names."""
    head, *lines = (data / "index.csv").read_text().splitlines()
    renamed = []
    for line in lines:
        path, label, rest = line.split(",", 2)
        renamed.append(f"{path},{names.get(label, label)},{rest}")
    (data / "index.csv").write_text("\n".join([head, *renamed]) + "\n")


def test_coarse_labels_are_judged_on_summed_probabilities(data):
    relabel(data, {"benign": "hem", "early": "all", "pre": "all", "pro": "all"})
    found = run_json("--data", data, "--label-map", "all=malignant,hem=benign")
    section = found["sections"][0]
    assert section["classes"] == ["benign", "malignant"]
    assert section["n"] == 40
    # Three subtypes of which one wrong in ten: early is taken for pre and pre for pro, both malignant; pro for benign.
    assert section["confusion"] == [[9, 1], [1, 29]]
    assert any("early, pre, pro are summed" in note for note in section["notes"])
    assert len(found["sections"]) == 1


def test_images_whose_subtype_is_known_stand_apart_beside_coarse_ones(data):
    relabel(data, {"pro": "all"})
    found = run_json("--data", data, "--label-map", "all=malignant")
    coarse, exact = found["sections"]
    assert (coarse["n"], coarse["classes"]) == (40, ["benign", "malignant"])
    assert (exact["n"], exact["classes"]) == (30, list(CLASSES))


def test_a_coarse_evaluation_repaints_and_fits_baselines_too(data, seen):
    relabel(data, {"early": "all", "pre": "all", "pro": "all"})
    items = load_manifest(data).items
    seen["train_sha256"] = [item.sha256 for item in items if item.group.endswith(("-0", "-1"))]
    found = run_json("--data", data, "--label-map", "all=malignant", "--repaint", "--baselines")
    assert {tuple(one["classes"]) for one in (*found["repainted"], *found["baselines"])} == {
        ("benign", "malignant")
    }


def test_dropped_labels_are_left_out(data):
    found = run_json("--data", data, "--label-map", "pro=drop")
    assert found["sections"][0]["n"] == 30
    assert found["sections"][0]["missing_classes"] == ["pro"]


def test_a_label_map_that_makes_no_sense_is_refused(data):
    with pytest.raises(CommandError, match="blast, which is no class"):
        run("--data", data, "--label-map", "early=blast")
    with pytest.raises(CommandError):
        run("--data", data, "--label-map", "early")


def test_it_writes_one_page_with_everything(data, tmp_path):
    run("--data", data, "--repaint", "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 4
    for words in ("balanced accuracy", "Confusion matrix", "stain repainted", "By site", "Left out: none."):
        assert words in page


def test_a_page_that_cannot_be_written_is_said_in_a_sentence(data, tmp_path):
    with pytest.raises(CommandError, match="cannot be written"):
        run("--data", data, "--html", tmp_path / "nowhere" / "page.html")
