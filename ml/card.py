"""The model card of a bundle, and the evidence table that the README shows: both made from the evidence.

python -m ml.card ml/bundles/field-1 --readme README.md
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml.bundle import Bundle, read_bundle
from ml.evaluation.evidence import Evidence, read_evidence
from ml.evaluation.evidence_tables import evidence_markdown
from ml.evaluation.intervals import Figure
from ml.evaluation.readme_marks import write_between
from ml.evaluation.saliency_words import on_leukocytes

BEGIN = "<!-- evidence: begin (written by `python -m ml.card`) -->"
END = "<!-- evidence: end -->"

DATA = {
    "taleqani-all": "fields of Taleqani Hospital, Tehran (Aria et al. 2021, DOI 10.34740/KAGGLE/DSV/2175623; "
    "Ghaderzadeh et al. 2022, DOI 10.1002/int.22753). Licence: ODbL for the database, contents (c) the authors. No "
    "patient numbers exist, so that blocks of 37 consecutive file numbers stand in for them.",
    "deepapl-discovery": "single cells of 82 patients with acute myeloid leukemia (Sidhom et al. 2021, npj Precision "
    "Oncology, DOI 10.1038/s41698-021-00179-y). (c) 2020 The Johns Hopkins University, no licence stated: research "
    "use.",
    "pbc-acevedo": "single cells of healthy donors (Acevedo et al. 2020, DOI 10.17632/snkd93bnjr.1), no patients "
    "known. Licence: CC BY 4.0.",
    "cnmc2019-fold1": "single lymphoid cells cut out onto black, of patients with B-ALL and of others (Gupta and Gupta "
    "2019, DOI 10.7937/tcia.2019.dc64i46r). Licence: CC BY 3.0.",
    "reviews": "images of the laboratory's own cases, labelled by the reviews of its readers; a case is a group.",
}
"""What is known of the data sets by name; of others, their name is all that a bundle keeps."""


def card_markdown(bundle: Bundle, evidence: Evidence) -> str:
    """The model card (after Mitchell et al. 2019): intended use, data, training, results, limits."""
    parts = [
        f"# {bundle.name}",
        f"A DenseNet that gives {_subject(bundle)} one of the classes {', '.join(bundle.classes)}, with a calibrated "
        "probability, or nothing where the image is unlike those it was validated on. **Research use only.**",
        "## Intended use",
        _intended_use(bundle),
        "## Data",
        *_data(bundle),
        "## Training",
        *_training(bundle),
        "## Results",
        evidence_markdown(evidence),
        "Predictions for every test image are in `evidence/predictions.csv`, all figures in `evidence/metrics.json`"
        + (", tables and plots on one page in `evidence/report.html`." if evidence.saliency else "."),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(bundle, evidence)),
    ]
    return "\n\n".join(parts) + "\n"


def _subject(bundle: Bundle) -> str:
    subjects = {"field": "a whole smear field", "cell": "a single leukocyte"}
    return subjects.get(bundle.task, f"an image (task `{bundle.task}`)")


def _intended_use(bundle: Bundle) -> str:
    if bundle.task == "field":
        return (
            "Second look at whole fields of Wright-stained smears (4:3, 100x) by a hematologist who reads every image "
            "herself. Not for diagnosis, triage without a reader, single cells, other stains or magnifications. B-ALL "
            "only: it does not exclude AML, T-ALL, CLL, CML, MDS or lymphoma. *Benign* means hematogones in patients "
            "suspected of ALL, not healthy blood."
        )
    if bundle.task == "cell":
        return (
            "Second look at single leukocytes of Romanowsky-stained smears, found in a field or in pictures of their "
            "own, by a hematologist who reads every cell herself. Not for diagnosis, nor for counts that nobody reads. "
            "Blast and promonocyte together make the blast probability; a class says nothing of lineage or clonality."
        )
    return "Second look by a hematologist who reads every image herself. Not for diagnosis or triage without a reader."


def _data(bundle: Bundle) -> list[str]:
    data = bundle.manifest["data"]
    names = str(data.get("name", "not stated")).split(" + ")
    told = "\n".join(
        f"- `{name}`: {DATA.get(name, 'as the laboratory labelled it; origin and licence are for it to say.')}"
        for name in names
    )
    parts = [told, "No image is part of this bundle; the SHA-256 of each is."]
    split = data.get("split")
    if isinstance(split, Mapping):
        seed = "" if split.get("seed") is None else f", seed {split['seed']}"
        rows = [
            f"| {part.replace('_', ' ')} | {split[part]['images']} | {split[part]['groups']} | "
            + ", ".join(f"{label} {n}" for label, n in split[part]["by_label"].items())
            + " |"
            for part in ("train", "validation", "test", "left_out")
            if part in split
        ]
        parts += [
            f"Split: {split.get('name', 'not named')}{seed}. Groups are never torn apart; exact and near duplicates "
            "(perceptual hash and correlation) are on one side, and *left out* are those that another part would have "
            "held.",
            "\n".join(["| part | images | groups | by label |", "|---|---|---|---|", *rows]),
        ]
    shares = ", ".join(f"{label} {share:.2f}" for label, share in bundle.manifest["prevalence"].items())
    return [*parts, f"Calibrated at the prevalence of the validation part: {shares}."]


def _training(bundle: Bundle) -> list[str]:
    facts = bundle.manifest
    training: Mapping[str, Any] = facts.get("training") or {}
    parts = []
    if (plan := training.get("plan")) is not None:
        parts.append(_plan(plan, str(training.get("start", "")), facts["preprocessing"]))
    if training.get("chosen"):
        parts.append(str(training["chosen"]))
    search = training.get("search") or {}
    if search.get("trials"):
        parts.append(
            f"The search: {search['trials']} trials ({search.get('by', 'random')}, seed {search.get('seed')}), judged "
            "by the validation part alone."
        )
    fitted = (
        f"Temperature {bundle.temperature:.3f}, fitted on the validation part. Code {facts['code_version']}."
    )
    return [*parts, fitted]


def _plan(plan: Mapping[str, Any], start: str, preprocessing: Mapping[str, Any]) -> str:
    depth = {"head": "the dense head alone", "block": "the last dense block and the head"}
    stages = " then ".join(
        f"{stage['epochs']} epochs at {stage['size']} px (peak rate {stage['learning_rate']:.2g})"
        for stage in plan["stages"]
    )
    if "ImageNet" in start and "DenseNet" in start:
        start = "ImageNet weights (DenseNet-121, (c) 2016 Zhuang Liu, BSD 3-Clause)"
    loss = plan.get("loss", "cross_entropy").replace("_", "-")
    focal = f" (gamma {plan['focal_gamma']:g})" if loss == "focal" else ""
    optimiser = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}[plan.get("optimiser", "adamw")]
    return (
        f"From {start or 'weights drawn at random'}, through {depth.get(plan.get('depth', 'all'), 'all layers')}: "
        f"{stages}, {optimiser}, batch {plan['batch_size']}, dropout {plan['dropout']:.2g}, weight decay "
        f"{plan['weight_decay']:.2g}, {loss} loss{focal}, label smoothing {plan['label_smoothing']:.2g}, "
        f"early stopping on validation loss, seed {plan['seed']}. Preprocessing version {preprocessing['version']} "
        f"({_preprocessing(preprocessing)}); stain, colour, geometry and camera are varied in training."
    )


def _preprocessing(values: Mapping[str, Any]) -> str:
    if values.get("kind") != "cell":
        return "noise reduction, illumination, CLAHE on lightness, scale bar hidden"
    cut = {"natural": "with its surroundings", "cutout": "cut out"}[values["cut"]]
    stain = (
        "as it is"
        if values["stain"] == "none"
        else f"brought to a reference ({values['stain'].capitalize()})"
    )
    return f"{values['crop_um']:g} micrometres around the cell, {cut}, its stain {stain}"


def _limits(bundle: Bundle, evidence: Evidence) -> list[str]:
    shared = bundle.manifest["data"].get("name") == "taleqani-all"
    limits = []
    if shared:
        limits += [
            "One hospital, one stain, one camera family. Earlier work on the same data fell to chance (AUROC 0.47) at "
            "another hospital: outside the domain this model stays silent, and inside another laboratory's domain it "
            "is not validated.",
            "Blocks stand in for patients; a patient may span two blocks, so the figures may still flatter.",
            "The classes can be told apart by stain to a large part (see the baseline that looks at no cell). Colour "
            "augmentation and the repainted test show how much of that is left.",
        ]
    else:
        limits.append(
            "The figures hold for images like those of the test part: the same microscopes, stains and patients. At "
            "another site this model is not validated, and outside its domain it stays silent."
        )
    if evidence.sections and (missing := evidence.sections[0].missing_classes):
        limits.append(f"No test image is labelled {' or '.join(missing)}: of these nothing is known.")
    limits.append(_saliency_limit(evidence.saliency, bundle.task))
    limits.append(
        "A probability holds at the prevalence above, not at that of a laboratory where few patients have leukemia."
    )
    return limits


def _saliency_limit(figures: Sequence[Figure], task: str) -> str:
    if not any(figure.name == "saliency_on_leukocytes_gain" for figure in figures):
        return "Saliency shows what moved the score; whether its maps are true has not been measured for this bundle."
    found = on_leukocytes(figures)
    if found == "mostly":
        return (
            "Saliency shows what moved the score, and is no outline of a lesion (see the measurements above)."
        )
    chance = (
        "no more than chance would have it" if found == "not" else "hardly more than chance would have it"
    )
    if task == "cell":
        return (
            "Saliency shows what moved the score; measured on test images, its maps lie on the cell's nucleus "
            f"{chance}, and are no outline of anything."
        )
    return (
        "Saliency shows what moved the score, and that is for the most part not the leukocytes: measured on test "
        f"images, its maps lie on leukocyte nuclei {chance}. The network reads the whole field; a map must not be "
        "read as pointing at blasts."
    )


def write_into_readme(readme: Path, evidence: Evidence) -> None:
    """Replace what stands between the two marks; ValueError where the marks are missing."""
    write_between(readme, evidence_markdown(evidence), begin=BEGIN, end=END)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a bundle's evidence table into a README.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--readme", type=Path, required=True)
    arguments = parser.parse_args()
    bundle = read_bundle(arguments.bundle)
    write_into_readme(arguments.readme, read_evidence(bundle.path / "evidence" / "metrics.json"))


if __name__ == "__main__":
    main()
