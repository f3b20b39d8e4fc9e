"""The HTML report: all of the evidence, in one file that fetches nothing and runs nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from ml.evaluation.evidence import Evidence, RuntimeRow, gate_row, make_section
from ml.evaluation.html_report import report_html
from ml.evaluation.intervals import Figure
from ml.evaluation.metrics import Judged
from ml.evaluation.predictions import Row
from ml.evaluation.run import evidence_plots
from ml.evaluation.words import ABSTAINING_METRICS, CLASS_METRICS, SALIENCY_METRICS

CLASSES = ("benign", "early", "pre")
HISTORY = {"loss": [1.0, 0.5], "val_loss": [1.1, 0.7], "accuracy": [0.5, 0.8], "val_accuracy": [0.4, 0.7]}


class Reading(HTMLParser):
    """Collects the words, the tags and the ids; complains about tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._keep(attrs)
        if tag not in {"meta", "br"}:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self._keep(attrs)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, tag

    def handle_data(self, data):
        self.words.append(data)

    def _keep(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in {"src", "href", "xlink:href"}:
                self.links.append(value)


def read(page: str) -> Reading:
    reading = Reading()
    reading.feed(page)
    reading.close()
    assert reading._open == []
    return reading


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(60):
        chances = rng.dirichlet(np.ones(3)) * 0.4 + 0.6 * np.eye(3)[number % 3]
        found.append(
            Row(
                name=f"{number}.png", sha256=str(number), label=CLASSES[number % 3], group=f"g{number // 6}", site="",
                predicted=CLASSES[int(chances.argmax())], kept=number % 10 > 0, inside_domain=True,
                domain_score=float(rng.uniform(0.2, 0.9)), reasons=() if number % 10 else ("too <dark>",),
                probabilities=tuple(chances),
            )
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def evidence(rows) -> Evidence:
    judged = Judged.of(
        [row.label for row in rows], [row.probabilities for row in rows], classes=CLASSES, malignant=CLASSES[1:],
        groups=[row.group for row in rows], kept=[row.kept for row in rows],
    )  # fmt: skip
    words = {"model": "field-9 on openvino", "data": "drawn & more", "split": "blocks, test part", "seed": 1}
    own, painted, simple = (
        make_section(judged, name=name, temperature=2.0, resamples=50, **words)
        for name in ("field-9 on drawn", "field-9, stain repainted", "six colour numbers")
    )
    return Evidence(
        bundle={"name": "field-9", "sha256": "ab" * 32, "temperature": 2.0},
        seed=1,
        resamples=50,
        sections=(own,),
        repainted=(painted,),
        baselines=(simple,),
        gate=(gate_row("held-out images", rows),),
        runtimes=(RuntimeRow("tensorflow", "CPU", "openvino", 60, 60, 0.0004),),
        saliency=tuple(Figure(name, 0.25, 0.2, 0.31, 60, 10, "blocks") for name in SALIENCY_METRICS),
    )


@pytest.fixture(scope="module")
def page(rows, evidence) -> str:
    drawn = evidence_plots(rows, classes=CLASSES, malignant=CLASSES[1:], temperature=2.0, history=HISTORY)
    trials = [
        {"number": 0, "state": "complete", "value": 0.21, "setting": {"dropout": 0.3}, "fidelity": "128 px"}
    ]
    return report_html(None, evidence, drawn, trials=trials, remarks=["Left out: none."])


def test_it_fetches_nothing_and_runs_nothing(page):
    reading = read(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(reading.tags)
    assert all(link.startswith("#") for link in reading.links)
    assert not re.search(r"@import|url\((?!#)", page)


def test_it_shows_every_figure_with_its_interval_and_images(page, evidence):
    said = " ".join(read(page).words)
    for words in {**CLASS_METRICS, **ABSTAINING_METRICS, **SALIENCY_METRICS}.values():
        assert words in said, words
    accuracy = evidence.sections[0]["balanced_accuracy"]
    assert f"{accuracy.value:.3f}" in said
    assert f"{accuracy.low:.3f} to {accuracy.high:.3f}" in said
    assert "drawn & more; blocks, test part; 60 images in 10 groups" in said
    for part in (
        "Against others",
        "The gate",
        "Runtimes",
        "Is the saliency true?",
        "The search",
        "Left out: none.",
    ):
        assert part in said


def test_its_plots_share_no_id_and_keep_what_they_refer_to(page):
    reading = read(page)
    assert page.count("<svg") == 5  # ROC, precision-recall, reliability, risk and coverage, history
    repeated = {one for one in reading.ids if reading.ids.count(one) > 1}
    assert repeated == set()
    wanted = {link[1:] for link in reading.links} | set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(reading.ids)


def test_its_plots_take_the_pages_ink_and_paper(page):
    assert "fill: var(--paper)" in page
    assert "#16191d" not in page[page.index("<main>") :]


def test_what_comes_from_outside_cannot_become_markup(page):
    assert "too <dark>" not in page
    assert "too &lt;dark&gt;" in page


def test_without_any_section_it_says_what_there_is():
    empty = Evidence(bundle={"name": "field-9", "sha256": None, "temperature": 1.0}, seed=1)
    said = " ".join(read(report_html(None, empty, {})).words)
    assert "not sealed" in said


def test_it_tells_how_the_bundle_came_about(evidence):
    part = {"images": 5, "groups": 2, "by_label": {"benign": 2, "early": 3}}
    bundle = SimpleNamespace(
        name="field-9", sha256="ab" * 32, classes=CLASSES, malignant=CLASSES[1:], temperature=2.0,
        manifest={"task": "field", "code_version": "abc", "training": {"start": "field-1"},
                  "data": {"split": {"name": "drawn split", "train": part, "test": part}}},
    )  # fmt: skip
    said = " ".join(read(report_html(bundle, evidence, {})).words)
    assert "benign 2, early 3" in said
    assert "field-1" in said
