"""A bundle made a site's own: written whole, alike in every runtime, judged on what it did not learn from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from ml import adaptation
from ml.adaptation import Adapted, adapt, before_after, write_adapted
from ml.bundle import Bundle, read_bundle
from ml.data.manifest import DataProblem, Item
from ml.drawing import DRAWN_CLASSES, draw_field
from ml.evaluation.evidence import read_evidence
from ml.evaluation.predictions import EvaluationError
from ml.evaluation.simulated_sites import SIMULATED_SITES, simulate
from ml.evaluation.site_places import draw
from ml.evaluation.site_study import run
from ml.evaluation.site_table import markdown
from ml.head_export import HeadProblem, replace_head
from ml.head_fitting import Way
from ml.imaging.reading import read_image
from ml.runtimes import OpenVinoRuntime
from ml.serving import load_predictor
from ml.site_fitting import choose_way, fit_site, own_answers
from ml.site_images import OwnImages, SiteProblem, measure_site

SITE = "another stain"


@pytest.fixture(scope="module")
def bundle(drawn_bundle) -> Bundle:
    return drawn_bundle[0]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """20 drawn fields of each class as the simulated site shows them, in groups of four."""
    folder = tmp_path_factory.mktemp("site")
    found = []
    for number, label in enumerate(DRAWN_CLASSES):
        for i in range(20):
            pixels = draw_field(np.random.default_rng((77, number, i)), width=320, height=240, kind=label)
            path = folder / f"{label}-{i:02d}.png"
            cv2.imwrite(str(path), simulate(pixels, SITE)[..., ::-1])
            found.append(Item(path, path.name, label, f"{label}-{i // 4}"))
    return found


def part_of(items: list[Item], *numbers: int) -> list[Item]:
    return [item for item in items if int(item.group.rsplit("-", 1)[1]) in numbers]


@pytest.fixture(scope="module")
def adapted(bundle: Bundle, items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    """Adapted with the first three groups of each class; the head refitted, whatever cross-validation says."""
    folder = tmp_path_factory.mktemp("adapted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            adaptation,
            "fit_site",
            lambda *args, **more: fit_site(*args, **more, ways=(Way("refit_head", 0.01),)),
        )
        return adapt(bundle, part_of(items, 0, 1, 2), name="drawn-site", site=SITE, folder=folder)


def test_the_adapted_bundle_is_sealed_and_says_where_it_comes_from(bundle, items, adapted):
    found = read_bundle(adapted.bundle.path)
    facts = found.manifest["site"]
    assert found.name == "drawn-site"
    assert facts["adapted_from"] == {"name": bundle.name, "sha256": bundle.sha256}
    assert (facts["method"], facts["images"], facts["groups"]) == ("refit_head", 48, 12)
    learnt = {item.sha256 for item in part_of(items, 0, 1, 2)}
    assert learnt <= set(found.manifest["data"]["train_sha256"])
    assert set(bundle.manifest["data"]["train_sha256"]) <= set(found.manifest["data"]["train_sha256"])
    assert found.manifest["data"]["test_sha256"] == bundle.manifest["data"]["test_sha256"]
    assert (found.task, found.classes, found.malignant) == (bundle.task, bundle.classes, bundle.malignant)
    assert found.preprocessing == bundle.preprocessing
    (section,) = read_evidence(found.path / "evidence" / "metrics.json").sites
    assert section == adapted.cross_validated
    assert section.n == 48
    assert "learnt from" in section.split
    assert "no other site" in (found.path / "card.md").read_text()


def test_both_graphs_and_the_stored_head_say_the_same(bundle, items, adapted):
    assert not np.array_equal(adapted.bundle.arrays["head_kernel"], bundle.arrays["head_kernel"])
    pixels = [read_image(item.path).pixels for item in part_of(items, 4)[::5]]
    fast, reference = (
        load_predictor(adapted.bundle.path, runtime=name) for name in ("openvino", "tensorflow")
    )
    images = measure_site(adapted.bundle, OpenVinoRuntime(adapted.bundle), part_of(items, 4)[::5])
    told, kept = own_answers(adapted.bundle, images)
    for picture, chances, given in zip(pixels, told, kept, strict=True):
        one, other = fast.predict(picture), reference.predict(picture)
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=1e-3)
        assert list(one.probabilities.values()) == pytest.approx(chances.tolist(), abs=1e-4)
        assert (one.outcome == "class") == given


def test_the_site_is_inside_and_judged_no_worse_than_before(bundle, items, adapted):
    unused = part_of(items, 3, 4)
    before, after = before_after(
        load_predictor(bundle.path), load_predictor(adapted.bundle.path), unused, site=SITE
    )
    assert before.n == after.n == len(unused)
    assert before.split == after.split == adaptation.UNUSED
    assert after["coverage"].value >= before["coverage"].value
    assert after["log_loss"].value < before["log_loss"].value
    assert after["coverage"].low <= after["coverage"].value <= after["coverage"].high


def test_it_is_not_judged_on_what_it_learnt(bundle, items, adapted):
    with pytest.raises(SiteProblem, match="learnt from 4 of the images"):
        before_after(
            load_predictor(bundle.path),
            load_predictor(adapted.bundle.path),
            [*part_of(items, 3), *part_of(items, 0)[:4]],
            site=SITE,
        )


def test_the_same_images_and_seed_give_the_same_bundle(bundle, items, tmp_path):
    def hashes(folder: Path) -> dict[str, str]:
        made = adapt(
            bundle, part_of(items, 0, 1, 2), name="twin", site=SITE, folder=folder, runtimes=("openvino",)
        )
        facts = json.loads((made.bundle.path / "bundle.json").read_text())["files"]
        # npz files hold the time of writing
        return {name: digest for name, digest in facts.items() if name != "serving.npz"}

    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_a_bundle_is_written_whole_or_not_at_all(bundle, items, tmp_path, monkeypatch):
    def refuse(*_: object) -> float:
        raise HeadProblem("another head")

    monkeypatch.setattr(adaptation, "check_head", refuse)
    with pytest.raises(HeadProblem):
        adapt(
            bundle, part_of(items, 0, 1, 2), name="half", site=SITE, folder=tmp_path, runtimes=("openvino",)
        )
    assert list(tmp_path.iterdir()) == []


def test_the_head_is_replaced_where_it_is_and_nowhere_else(bundle, tmp_path):
    head = (bundle.arrays["head_kernel"], bundle.arrays["head_bias"])
    for file in ("model.keras", "model.onnx"):
        (tmp_path / file).write_bytes((bundle.path / file).read_bytes())
    before = {f: hashlib.sha256((tmp_path / f).read_bytes()).digest() for f in ("model.keras", "model.onnx")}
    with pytest.raises(HeadProblem, match=r"model\.keras does not hold the head"):
        replace_head(tmp_path, (head[0] + 1, head[1]), head)
    assert before == {
        f: hashlib.sha256((tmp_path / f).read_bytes()).digest() for f in ("model.keras", "model.onnx")
    }


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda items: items[:19], "too few"),
        (lambda items: [replace(item, group="one") for item in items], "one group"),
        (
            lambda items: [item for item in items if item.label != DRAWN_CLASSES[0]],
            "at least two malignant ones",
        ),
        (lambda items: [replace(item, label="moon") for item in items], "moon"),
        (lambda items: [], "0 labelled images are too few"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_in_a_sentence(bundle, items, tmp_path, spoil, words):
    with pytest.raises(DataProblem, match=words):
        adapt(bundle, spoil(items), name="no", site=SITE, folder=tmp_path, runtimes=("openvino",))
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_image_is_named(bundle, items, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(SiteProblem, match=r"broken\.png"):
        adapt(
            bundle,
            [*items, Item(broken, "broken.png", DRAWN_CLASSES[0], "benign-0")],
            name="no",
            site=SITE,
            folder=tmp_path,
            runtimes=("openvino",),
        )


def test_test_images_of_the_bundle_never_teach(drawn_bundle, items, tmp_path):
    bundle, manifest, split = drawn_bundle
    locked = [manifest.items[i] for i in split.test[:3]]
    with pytest.raises(SiteProblem, match="3 of the images are test images"):
        adapt(bundle, [*items, *locked], name="no", site=SITE, folder=tmp_path)


def test_coarse_labels_teach_and_are_judged_on_summed_probabilities(bundle, items, tmp_path):
    coarse = [
        replace(item, label=item.label if item.label == DRAWN_CLASSES[0] else "malignant") for item in items
    ]
    images = measure_site(bundle, OpenVinoRuntime(bundle), part_of(coarse, 0, 1, 2))
    fitted = fit_site(bundle, images)
    section = adaptation.cross_validated_section(bundle, images, fitted, site=SITE)
    assert section.classes == (DRAWN_CLASSES[0], "malignant")
    assert sum(fitted.facts["prevalence"].values()) == pytest.approx(1)
    written = write_adapted(
        bundle, fitted, tmp_path / "coarse", name="coarse", site=SITE, images=images, section=section
    )
    assert written.confidence_bins is None  # a coarse label cannot say that a subtype was right


def test_the_draw_keeps_shares_and_two_of_each_label():
    membership = np.eye(3, dtype=np.float32)[np.repeat([0, 1, 2], [80, 15, 5])]
    places = draw(membership, 20, np.random.default_rng(0))
    assert len(set(places)) == 20
    assert membership[places].sum(axis=0).tolist() == [15, 3, 2]
    with pytest.raises(EvaluationError, match="asked for"):
        draw(membership, 101, np.random.default_rng(0))


def test_the_study_judges_on_groups_it_did_not_learn_from(drawn_bundle, tmp_path, monkeypatch):
    bundle, manifest, split = drawn_bundle
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ml.evaluation.site_study.STRANGERS", 6)
    one = {"another camera": SIMULATED_SITES["another camera"]}
    monkeypatch.setattr("ml.evaluation.site_places.SIMULATED_SITES", one)
    index = tmp_path / "index.csv"
    rows = [f"{item.path},{item.label},{item.group}" for item in manifest]
    index.write_text("\n".join(["path,label,group", *rows]))
    result = run(bundle, data=index, sizes=(20,), seeds=2, resamples=50)
    assert [place["name"] for place in result["places"]] == ["simulated: another camera"]
    for place in result["places"]:
        assert place["n"] <= len(split.test)
        (row,) = place["rows"]
        assert [len(part) for part in (row["after"], row["gain"], row["own_after"])] == [8, 8, 8]
        gain = {figure["name"]: figure["value"] for figure in row["gain"]}
        after, before = ({f["name"]: f["value"] for f in part} for part in (row["after"], place["before"]))
        assert gain["coverage"] == pytest.approx(after["coverage"] - before["coverage"])
        assert after["coverage"] == pytest.approx(
            np.mean([one["figures"]["coverage"] for one in row["seeds"]])
        )
    json.dumps(result, allow_nan=False)
    table = markdown(result)
    assert table.count("| **simulated: ") == 1
    assert "95 %" in table
    again = run(bundle, data=index, sizes=(20,), seeds=2, resamples=50)
    assert again == result


def test_the_last_block_is_tuned_where_its_gate_can_be_measured_anew(
    drawn_bundle, items, tmp_path, monkeypatch
):
    bundle, manifest, split = drawn_bundle
    tuned_alone = partial(choose_way, ways=())
    monkeypatch.setattr(adaptation, "choose_way", tuned_alone)
    made = adapt(
        bundle, part_of(items, 0, 1, 2), name="tuned", site=SITE, folder=tmp_path, own=manifest.items
    )
    assert made.way.method == "fine_tune"
    assert [place.name for place in tmp_path.iterdir()] == ["tuned"]
    assert made.bundle.manifest["site"]["adapted_from"]["name"] == bundle.name
    assert "not tried" not in " ".join(made.notes)
    # Left out, each image was judged by a training without its group, no worse than by chance.
    assert made.cross_validated["log_loss"].value < np.log(len(DRAWN_CLASSES))
    unused, own = part_of(items, 3, 4), [manifest.items[i] for i in split.validation]
    there, at_home, before = (
        measure_site(one, OpenVinoRuntime(one), images)
        for one, images in ((made.bundle, unused), (made.bundle, own), (bundle, unused))
    )
    assert np.abs(there.features - before.features).max() > 1e-4  # the block has learnt, not the head alone
    kept = made.bundle.domain.score(at_home.features, at_home.seen) <= 1
    assert kept.mean() >= bundle.thresholds["domain_keep"]
    probabilities, _ = own_answers(made.bundle, there)
    old, _ = own_answers(bundle, before)
    truth = there.membership.argmax(axis=1)
    rows = np.arange(len(truth))
    assert -np.log(probabilities[rows, truth]).mean() < -np.log(old[rows, truth]).mean() + 0.05


def test_without_the_images_it_was_made_from_the_block_is_not_tuned(drawn_bundle, items, adapted):
    bundle, manifest, split = drawn_bundle
    few = [manifest.items[i] for i in (*split.train[:40], *split.validation)]
    assert OwnImages.among(few, bundle) is None
    found = OwnImages.among(manifest.items, bundle)
    assert (len(found.train), len(found.validation)) == (len(split.train), len(split.validation))
    assert "not tried" in " ".join(adapted.notes)
