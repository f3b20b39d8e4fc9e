"""Dense heads trained on what a bundle's own network makes of its images, and written as real bundles.

For studies that need many models of one network, good and bad: the network runs over each image once, and a head
is then trained in seconds. Heads learn from the bundle's training part, are calibrated on its validation part, and
judged on its locked test images; network and gate stay the bundle's. Imports TensorFlow.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml.assemble import Measured, calibrated, code_version
from ml.batches import image_weights
from ml.bundle import Bundle, seal
from ml.calibration import apply_temperature
from ml.card import card_markdown
from ml.data.manifest import Item
from ml.evaluation.evidence import Evidence, make_section, read_evidence, write_evidence
from ml.evaluation.intervals import RESAMPLES, Figure
from ml.evaluation.predictions import EvaluationError, Row, to_judged, write_predictions_csv
from ml.evaluation.run import evidence_plots, write_plots
from ml.evaluation.study_images import Looked
from ml.head_export import check_head, replace_head, rounded
from ml.heads import HeadWeights, log_loss, train_head
from ml.imaging.preprocessing import normalise
from ml.imaging.reading import read_image
from ml.plan import Plan
from ml.runtimes import OpenVinoRuntime
from ml.search import Setting
from ml.serving import OUT_OF_DOMAIN
from ml.site_images import FloatArray, SiteImages

SETTING = Setting(learning_rate=5e-3, augmentation=0.0, depth="head", size=224)
"""Otherwise as the standing recipe trains: AdamW, batches of 32, dropout 0.3, label smoothing 0.05."""

EPOCHS = 30
PROBES = 2
"""Locked images on which a written bundle must say what was computed from the features."""

CLOSE = 0.01
"""Largest difference of a probability that two ways of computing it may show."""

REFUSED = "turned away by the checks of quality or shape"


def own_weights(bundle: Bundle) -> HeadWeights:
    """The head a bundle serves with."""
    arrays = bundle.arrays
    return HeadWeights(
        np.asarray(arrays["head_kernel"], np.float32), np.asarray(arrays["head_bias"], np.float32)
    )


def fit_head(looked: Looked, train: FloatArray, validation: FloatArray, *, seed: int) -> HeadWeights:
    """Train a dense head from random weights on labels (n, k); the epoch of the least validation loss is kept."""
    start = HeadWeights.drawn(looked.train.pooled.shape[1], train.shape[1], np.random.default_rng((seed, 0)))
    best, least = start, np.inf
    trained = train_head(
        looked.train.pooled[None],
        train,
        image_weights(train, Plan().class_weight_power),
        start=start,
        setting=SETTING,
        epochs=EPOCHS,
        seed=seed,
    )
    for head, _ in trained:
        loss = log_loss(head.logits(looked.validation.pooled), validation)
        if loss < least:
            best, least = HeadWeights(head.kernel.copy(), head.bias.copy()), loss
    return best


def write_model(
    looked: Looked,
    head: HeadWeights,
    folder: Path,
    *,
    validation: FloatArray,
    words: str,
    seed: int,
    resamples: int = RESAMPLES,
) -> tuple[Bundle, list[Row]]:
    """Write the looked-at bundle with another head, calibrated anew, with evidence and card; and what it says.

    Args:
        folder: named as the bundle is to be; what lies there is replaced.
        validation: (n, k) labels it is calibrated by.
        words: how the head came about, a sentence for the card.

    Returns:
        The sealed bundle and a row for each locked image. The bundle itself, on the serving runtime, has been seen
        to say the same of `PROBES` of them.

    Raises:
        HeadProblem, EvaluationError: the files do not say what the head says.
    """
    source, name = looked.bundle, folder.name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "evidence").mkdir(parents=True)
    for file in ("model.keras", "model.onnx"):
        shutil.copyfile(source.path / file, folder / file)
    old = own_weights(source)
    head = HeadWeights(rounded(head.kernel), rounded(head.bias))
    replace_head(folder, (old.kernel, old.bias), (head.kernel, head.bias))
    arrays = {**source.arrays, "head_kernel": head.kernel, "head_bias": head.bias}
    np.savez(folder / "serving.npz", allow_pickle=False, **arrays)
    held = looked.validation
    facts = {key: value for key, value in source.manifest.items() if key not in ("files", "format")}
    facts |= {
        **calibrated(
            Measured(head.logits(held.pooled), held.features, held.seen, validation),
            source.classes,
            source.malignant,
            source.domain.threshold,
        ),
        "name": name,
        "version": f"study of {source.name}",
        "training": {"start": source.name, "chosen": words},
        "code_version": code_version(),
    }
    bundle = seal(folder, facts)
    rows = rows_of(bundle, looked.locked, looked.items)
    _prove(bundle, rows, looked.items)
    saliency = looked.maps.figure(head, seed=seed, resamples=resamples)
    return _with_evidence(bundle, facts, rows, looked, saliency, seed, resamples), rows


def rows_of(bundle: Bundle, images: SiteImages, items: Sequence[Item]) -> list[Row]:
    """What a bundle says of images that its network has seen already: its head, temperature and gate."""
    chances = apply_temperature(own_weights(bundle).logits(images.pooled), bundle.temperature)
    scores = bundle.domain.score(images.features, images.seen)
    rows = []
    for item, line, score, refused in zip(
        items, chances, scores.tolist(), images.refused.tolist(), strict=True
    ):
        inside = score <= bundle.domain.threshold
        reasons = [*([REFUSED] if refused else []), *([] if inside else [OUT_OF_DOMAIN])]
        rows.append(
            Row(
                name=item.name,
                sha256=item.sha256,
                label=item.label,
                group=item.group,
                site="",
                predicted=bundle.classes[int(line.argmax())],
                kept=not reasons,
                inside_domain=inside,
                domain_score=score,
                reasons=tuple(reasons),
                probabilities=tuple(line.tolist()),
            )
        )
    return rows


def _prove(bundle: Bundle, rows: Sequence[Row], items: Sequence[Item]) -> None:
    """Have the written graph judge some images, and raise where it says anything else than the rows."""
    runtime = OpenVinoRuntime(bundle)
    places = np.linspace(0, len(items) - 1, PROBES).astype(int).tolist()
    images = normalise(
        np.stack([bundle.preprocessing.prepare(read_image(items[i].path).pixels) for i in places])
    )
    check_head(bundle, runtime, images)
    said = apply_temperature(runtime.run(images)[1], bundle.temperature)
    difference = float(np.abs(said - np.asarray([rows[i].probabilities for i in places])).max())
    if not difference <= CLOSE:
        raise EvaluationError(
            f"{bundle.name} says something else than its head on the features (difference {difference:.2g})."
        )


def _with_evidence(
    bundle: Bundle,
    facts: Mapping[str, Any],
    rows: Sequence[Row],
    looked: Looked,
    saliency: Figure,
    seed: int,
    resamples: int,
) -> Bundle:
    """Seal the bundle over what was measured. The baseline looks at no network, so the source's own stands."""
    data, folder = bundle.manifest["data"], bundle.path / "evidence"
    section = make_section(
        to_judged(rows, classes=bundle.classes, malignant=bundle.malignant),
        name=f"{bundle.name} on {data['name']}",
        model=bundle.name,
        data=data["name"],
        split=f"{data['split']['name']}, test part",
        seed=seed,
        temperature=bundle.temperature,
        resamples=resamples,
    )
    evidence = Evidence(
        bundle={"name": bundle.name, "sha256": None, "temperature": bundle.temperature},
        seed=seed,
        resamples=resamples,
        sections=(section,),
        baselines=read_evidence(looked.bundle.path / "evidence" / "metrics.json").baselines,
        saliency=(saliency,),
    )
    write_evidence(folder / "metrics.json", evidence)
    write_predictions_csv(folder / "predictions.csv", rows, bundle.classes)
    drawn = evidence_plots(
        rows, classes=bundle.classes, malignant=bundle.malignant, temperature=bundle.temperature
    )
    write_plots(folder, drawn)
    (bundle.path / "card.md").write_text(card_markdown(bundle, evidence), encoding="utf-8")
    return seal(bundle.path, dict(facts))
