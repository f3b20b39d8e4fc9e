"""The models page: figures with their split, plots, card, and nothing outside the evidence folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from diagnosis.models import ModelVersion
from diagnosis.services import registry
from diagnosis.views.evidence import metric_word
from diagnosis.views.evidence_reading import read_evidence
from ml.bundle import seal
from tests import stand_in

FIGURE = {
    "name": "balanced_accuracy",
    "value": 0.98765,
    "low": 0.971,
    "high": 0.994,
    "n": 641,
    "split": "block test",
}
SECTION = {
    "name": "field-test on taleqani",
    "model": "field-test on openvino",
    "data": "taleqani",
    "split": "block test",
    "n": 641,
    "groups": 17,
    "classes": ["benign", "early"],
    "confusion": [[90, 2], [1, 180]],
    "figures": [FIGURE, {**FIGURE, "name": "recall/early", "value": None, "low": None, "high": None}],
}
METRICS = {
    "sections": [SECTION],
    "baselines": [{**SECTION, "name": "six colour numbers", "split": "random split", "figures": []}],
    "gate": [
        {
            "name": "drawn fields",
            "turned_away": {**FIGURE, "name": "turned_away", "value": 0.98, "n": 100, "split": "all"},
            "reasons": {"out of focus": 3, "unlike": 95},
        }
    ],
    "runtimes": [
        {
            "runtime": "tensorflow",
            "against": "openvino",
            "n": 641,
            "classes_equal": 641,
            "largest_difference": 0.0008,
        }
    ],
}
CARD = "# Card\n\nFor <script>alert(1)</script> research.\n\n| split | n |\n|---|---|\n| block | 641 |\n\n![x](http://a/b.png)\n"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 300"><style>*{fill:red}</style></svg>'


@pytest.fixture
def told(bundles: Path) -> ModelVersion:
    """A registered bundle with figures, a plot and a card."""
    folder = bundles / "field-test"
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "evidence" / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "evidence" / "roc.svg").write_text(SVG)
    (folder / "card.md").write_text(CARD)
    for key in ("files", "format"):
        manifest.pop(key)
    seal(folder, manifest)
    (version,) = registry.register_shipped_bundles().versions
    return version


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def test_a_figure_is_never_shown_without_split_n_and_interval(reader: Client, told: ModelVersion) -> None:
    page = reader.get(reverse("diagnosis:models")).text

    assert "0.988" in page
    assert "0.971 to 0.994" in page
    assert "taleqani, block test" in page
    assert "641 in 17 groups" in page
    assert "six colour numbers" in page
    assert "random split" in page


def test_what_has_no_value_reads_na(reader: Client, told: ModelVersion) -> None:
    assert "n/a" in reader.get(reverse("diagnosis:models")).text


def test_what_is_turned_away_is_told_with_its_reasons(reader: Client, told: ModelVersion) -> None:
    page = reader.get(reverse("diagnosis:models")).text

    assert "drawn fields" in page
    assert "0.980" in page
    assert "unlike (95); out of focus (3)" in page
    assert "Tensorflow gives the class of openvino on 641 of 641 test images" in page


def test_a_confusion_matrix_is_a_table(reader: Client, told: ModelVersion) -> None:
    page = reader.get(reverse("diagnosis:models")).text

    assert '<td class="num diagonal">180</td>' in page
    assert "Rows are labels" in page


def test_the_card_is_rendered_and_its_markup_stays_text(reader: Client, told: ModelVersion) -> None:
    page = reader.get(reverse("diagnosis:models")).text

    assert "<h3>Card</h3>" in page
    assert "<td>block</td>" in page
    assert "<script>alert" not in page
    assert '<img src="http://a' not in page


def test_a_plot_is_served_so_that_nothing_in_it_runs(reader: Client, told: ModelVersion) -> None:
    url = reverse("diagnosis:bundle-evidence", args=[told.pk, "roc.svg"])
    assert (
        f'<img src="{url}" alt="ROC" loading="lazy" width="900" height="300">' in reader.get("/models").text
    )
    response = reader.get(url)

    assert response["Content-Type"] == "image/svg+xml"
    assert response["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert b"".join(response.streaming_content).decode() == SVG


OUTSIDE = [
    "../bundle.json",
    "..%2Fbundle.json",
    "../card.md",
    "/etc/passwd",
    "sub/roc.svg",
    "roc.SVG.exe",
    "model.onnx",
    ".hidden.svg",
    "none.svg",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_the_evidence_is_served(reader: Client, told: ModelVersion, path: str) -> None:
    assert reader.get(f"/models/versions/{told.pk}/evidence/{path}").status_code == 404


def test_a_link_out_of_the_evidence_is_not_followed(
    reader: Client, told: ModelVersion, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "file_problem", lambda version: None)  # which would refuse it already
    (bundles / "secret.svg").write_text("secret")
    (bundles / "field-test" / "evidence" / "link.svg").symlink_to(bundles / "secret.svg")

    assert reader.get(f"/models/versions/{told.pk}/evidence/link.svg").status_code == 404


def test_an_unknown_model_has_no_evidence(reader: Client, told: ModelVersion) -> None:
    assert reader.get(f"/models/versions/{told.pk + 1}/evidence/roc.svg").status_code == 404


@pytest.mark.parametrize(
    "damage", ["{", "[]", "null", '{"name": "x", "figures": 3}', '{"name": "x", "figures": [1]}']
)
def test_evidence_that_can_not_be_read_does_not_break_the_page(
    reader: Client, version: ModelVersion, bundles: Path, damage: str
) -> None:
    (bundles / "field-test" / "evidence" / "metrics.json").write_text(damage)
    response = reader.get(reverse("diagnosis:models"))

    assert response.status_code == 200
    assert "has changed" in response.text
    evidence = read_evidence(bundles / "field-test")
    assert evidence.is_empty
    assert evidence.problem or json.loads(damage) in ([], None, {"name": "x", "figures": 3})


def test_files_that_are_not_those_registered_show_no_evidence(
    reader: Client, told: ModelVersion, bundles: Path
) -> None:
    """Another version's may lie there by now."""
    (bundles / "field-test" / "evidence" / "metrics.json").write_text(
        json.dumps(METRICS).replace("641", "642")
    )
    page = reader.get(reverse("diagnosis:models")).text

    assert "has changed" in page
    assert "642" not in page
    assert reader.get(f"/models/versions/{told.pk}/evidence/roc.svg").status_code == 404


def test_a_bundle_that_is_gone_is_told(reader: Client, version: ModelVersion, bundles: Path) -> None:
    (bundles / "field-test").rename(bundles / "elsewhere")
    response = reader.get(reverse("diagnosis:models"))

    assert response.status_code == 200
    assert "There is no model bundle" in response.text


def test_no_model_at_all_is_an_empty_page(reader: Client) -> None:
    assert "No model is registered" in reader.get(reverse("diagnosis:models")).text


def test_evidence_of_a_bundle_without_any_is_empty(tmp_path: Path) -> None:
    stand_in.make_bundle(tmp_path)
    evidence = read_evidence(tmp_path / "field-test")

    assert evidence.is_empty
    assert evidence.headlines == []


def test_metrics_have_words() -> None:
    assert metric_word("auroc_malignant") == "AUROC, malignant against benign"
    assert metric_word("recall/early") == "recall, early pre-B"
    assert metric_word("something_new") == "something new"
