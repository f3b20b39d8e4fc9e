"""What stands beside a `field` bundle in its evidence: baselines, ablations, the gate on strangers, twins.

Each figure comes from a training of its own or from images no part of the bundle was fitted on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.build_field import Study
from ml.calibration import apply_temperature, fit_temperature
from ml.data.manifest import Item, load_manifest
from ml.data.preparing import corrected_images
from ml.evaluation.baselines import six_colour_baseline
from ml.evaluation.evidence import GateRow, Section, gate_row, make_section
from ml.evaluation.gates import drawn_source, folder_source, judge_gate, photograph_source
from ml.evaluation.judging import Repainter
from ml.evaluation.metrics import Judged
from ml.evaluation.predictions import Row
from ml.evaluation.run import SEED
from ml.imaging.preprocessing import Preprocessing
from ml.imaging.reading import read_image
from ml.serving import Predictor
from ml.tasks import FIELD

log = logging.getLogger(__name__)

STRANGERS = ("pbc-acevedo", "cnmc2019-fold1", "txl-pbc-v2")
DRAWN_FIELDS = 100
PHOTOGRAPH_CROPS = 240
TXL_FIELD_SIZE = (640, 480)
"""Width and height of the whole fields among the pictures of txl-pbc-v2, counted apart."""


def baseline_sections(study: Study) -> list[Section]:
    """Six colour numbers with nearest neighbours, on the split's test part and on the same images repainted."""
    training, test = study.items("train"), _test_images(study)
    baseline = six_colour_baseline().fit(
        (read_image(item.path).pixels for item in training),
        [item.label for item in training],
        classes=FIELD.classes,
    )
    painter = Repainter(test, np.random.default_rng(SEED))
    plain = baseline.predict_proba(read_image(item.path).pixels for item in test)
    painted = baseline.predict_proba(painter(item, read_image(item.path).pixels) for item in test)
    return [
        _section(study, "six colour numbers", baseline.name, plain),
        _section(
            study, "six colour numbers, stain repainted to that of another class", baseline.name, painted
        ),
    ]


def ablation_sections(study: Study, preprocessing: Preprocessing) -> list[Section]:
    """A finished run's network on its own test part, calibrated on its own validation part, and repainted."""
    from ml.network import build_network
    from ml.training import predict_logits

    plan = study.run.plan
    model = build_network(len(FIELD.classes), size=plan.size, dropout=plan.dropout, blocks=plan.blocks)
    model.load_weights(study.weights_file)
    test = _test_images(study)
    painter = Repainter(test, np.random.default_rng(SEED))

    def logits(items: Sequence[Item], paint: Repainter | None = None) -> NDArray[np.float32]:
        images = corrected_images(
            items, preprocessing, change=(lambda pixels, i: paint(items[i], pixels)) if paint else None
        )
        return predict_logits(model, images, preprocessing=preprocessing)

    temperature = fit_temperature(logits(study.items("validation")), study.labels("validation"))
    words = f"{study.run.name}: {study.run.question} ({_stages(study)})"
    return [
        _section(study, words, "DenseNet-121", apply_temperature(logits(test), temperature)),
        _section(
            study,
            f"{words}, stain repainted to that of another class",
            "DenseNet-121",
            apply_temperature(logits(test, painter), temperature),
        ),
    ]


def gate_rows(predictor: Predictor, data: Path, held_out: Sequence[Row]) -> Iterator[GateRow]:
    """The gate on held-out fields, on each set of strangers, on drawn fields and on everyday photographs.

    None of these images chose the gate's form or its limit.
    """
    yield gate_row("held-out fields (standing test split)", held_out)
    sources = [
        *(folder_source(name, data / name) for name in STRANGERS),
        drawn_source(DRAWN_FIELDS, seed=SEED),
        photograph_source(PHOTOGRAPH_CROPS, seed=SEED),
    ]
    for source in sources:
        log.info("The gate on %s: %d", source.name, source.count)
        result = judge_gate(source, predictor)
        fields = [answer for answer in result.answers if answer.size == TXL_FIELD_SIZE]
        if source.name == "txl-pbc-v2" and fields:
            others = [answer for answer in result.answers if answer.size != TXL_FIELD_SIZE]
            yield gate_row("txl-pbc-v2, fields of 640x480", fields)
            yield gate_row("txl-pbc-v2, other pictures", others)
        else:
            yield gate_row(result.name, result.answers)


@dataclass(frozen=True)
class Twin:
    """A field as the microscope made it, against its 224-pixel copy in the training collection."""

    name: str
    twin: str
    label: str
    twin_label: str
    inside: bool
    largest_difference: float


def twins(predictor: Predictor, data: Path) -> list[Twin]:
    """Every field of demo-fields beside its twin; `largest_difference` is over the class probabilities."""
    found = []
    for item in load_manifest(data / "demo-fields"):
        small = data / "taleqani-all" / item.columns["same_field_as"]
        one, other = (predictor.predict(read_image(path).pixels) for path in (item.path, small))
        differences = [abs(one.probabilities[name] - other.probabilities[name]) for name in FIELD.classes]
        found.append(
            Twin(item.name, item.columns["same_field_as"], one.top_label, other.top_label, one.inside_domain,
                 max(differences))
        )  # fmt: skip
    return found


def _section(study: Study, name: str, model: str, probabilities: NDArray[np.float64]) -> Section:
    items = _test_images(study)
    judged = Judged.of(
        [item.label for item in items],
        probabilities,
        classes=FIELD.classes,
        malignant=FIELD.malignant,
        groups=[item.group for item in items],
    )
    return make_section(
        judged,
        name=name,
        model=model,
        data=study.manifest.name,
        split=f"{study.split.name}, test part",
        seed=SEED,
        abstains=False,
    )


def _test_images(study: Study) -> list[Item]:
    """The images of the test part, exact copies once, as `evaluate` counts them."""
    return list({item.sha256: item for item in reversed(study.items("test"))}.values())[::-1]


def _stages(study: Study) -> str:
    return " then ".join(f"{stage.epochs} epochs at {stage.size} px" for stage in study.run.plan.stages)
