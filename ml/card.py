"""The model card of a `field` bundle, and the evidence table that the README shows: both made from the evidence.

python -m ml.card ml/bundles/field-1 --readme README.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ml.bundle import Bundle, read_bundle
from ml.evaluation.evidence import Evidence, GateRow, Section, read_evidence
from ml.evaluation.intervals import Figure

BEGIN = "<!-- evidence: begin (written by `python -m ml.card`) -->"
END = "<!-- evidence: end -->"

COLUMNS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "F1, macro",
    "auroc_malignant": "AUROC malignant",
    "ece": "ECE",
    "coverage": "coverage",
}


def evidence_markdown(evidence: Evidence) -> str:
    """The tables of figures, each with its split, n and 95 % interval."""
    first = evidence.sections[0]
    parts = [
        "Intervals are 95 %: bootstrap over whole blocks, or Wilson's (w) where every resample agrees: over images "
        "(for averages and areas those of the rarest class), which takes them as independent. Coverage is the "
        "share given a class; all other columns count every image, the gate ignored. "
        f"{first.data}; standing split: every fifth block of 37 consecutive file numbers of each class tests. "
        f"n = {first.n} test images in {first.groups} blocks (the random split has its own, stated).",
        _comparison([*evidence.sections, *evidence.repainted, *evidence.baselines, *evidence.ablations]),
        "The model with its gate, on the same test images:",
        _named(first, {
            "coverage": "coverage (given a class)",
            "risk": "risk (wrong among those)",
            "sensitivity_malignant": "sensitivity for malignant, gate ignored",
            "specificity_malignant": "specificity for malignant, gate ignored",
            "malignant_not_called": "malignant images called benign, of all",
            "ece_before_scaling": "ECE before temperature scaling",
        }),
        "The gate, its limits set on none of these. *Turned away* is the share that gets no class; *outside the "
        "domain* counts the gate alone, without the checks of shape and quality:",
        _gate(evidence.gate),
        "How the gate came about: its two views, their neighbours and dimensions, and the share of validation fields "
        "to keep (0.97) were settled on an interim network, looking at `deepapl-discovery`, at zoomed, blurred, "
        "tiled and colour-swapped validation fields, and, in the same table, at the share kept of this test part. The "
        "limits come from the validation part of the shipped network alone.",
        "Runtimes, on the shipped files: "
        + "; ".join(
            f"{row.runtime} gives the class of {row.against} on {row.classes_equal} of {row.n} test images, "
            f"probabilities within {row.largest_difference:.4f}"
            for row in evidence.runtimes
        )
        + ".",
    ]  # fmt: skip
    return "\n\n".join(parts)


def card_markdown(bundle: Bundle, evidence: Evidence) -> str:
    """The model card (after Mitchell et al. 2019): intended use, data, training, results, limits."""
    facts = bundle.manifest
    plan = facts["training"]["plan"]
    split = facts["data"]["split"]
    stages = " then ".join(f"{stage['epochs']} epochs at {stage['size']} px" for stage in plan["stages"])
    rows = [
        f"| {part} | {split[part]['images']} | {split[part]['groups']} | "
        + ", ".join(f"{label} {n}" for label, n in split[part]["by_label"].items())
        + " |"
        for part in ("train", "validation", "test", "left_out")
    ]
    return f"""# {bundle.name}

A DenseNet-121 that gives a whole smear field one of the classes {
        ", ".join(bundle.classes)
    }, with a calibrated
probability, or nothing where the field is unlike those it was validated on. **Research use only.**

## Intended use

Second look at whole fields of Wright-stained smears (4:3, 100x) by a hematologist who reads every image herself. Not
for diagnosis, triage without a reader, single cells, other stains or magnifications. B-ALL only: it does not exclude
AML, T-ALL, CLL, CML, MDS or lymphoma. *Benign* means hematogones in patients suspected of ALL, not healthy blood.

## Data

`{
        facts["data"]["name"]
    }`: fields of Taleqani Hospital, Tehran (Aria et al. 2021, DOI 10.34740/KAGGLE/DSV/2175623;
Ghaderzadeh et al. 2022, DOI 10.1002/int.22753). Licence: ODbL for the database, contents (c) the authors. No image is
part of this bundle; their SHA-256 are. No patient numbers exist, so that blocks of 37 consecutive file numbers stand in
for them. Exact and near duplicates (perceptual hash and correlation) are on one side; *left out* are those that
another part would have held.

| part | images | blocks | by class |
|---|---|---|---|
{chr(10).join(rows)}

Calibrated at the prevalence of the validation part: {
        ", ".join(f"{label} {share:.2f}" for label, share in facts["prevalence"].items())
    }.

## Training

From ImageNet weights (DenseNet-121, (c) 2016 Zhuang Liu, BSD 3-Clause), through all layers: {
        stages
    }, AdamW, batch
{plan["batch_size"]}, dropout {plan["dropout"]}, label smoothing {
        plan["label_smoothing"]
    }, early stopping on validation
loss, seed {plan["seed"]}. Preprocessing version {
        facts["preprocessing"]["version"]
    } (noise reduction, illumination, CLAHE on
lightness, scale bar hidden); stain, colour, geometry and camera are varied in training. Temperature
{bundle.temperature:.3f}, fitted on the validation part. Code {facts["code_version"]}.

## Results

{evidence_markdown(evidence)}

Predictions for every test image are in `evidence/predictions.csv`, all figures in `evidence/metrics.json`.

## Limits

- One hospital, one stain, one camera family. Earlier work on the same data fell to chance (AUROC 0.47) at another
  hospital: outside the domain this model stays silent, and inside another laboratory's domain it is not validated.
- Blocks stand in for patients; a patient may span two blocks, so the figures may still flatter.
- The classes can be told apart by stain to a large part (see the baseline that looks at no cell). Colour augmentation
  and the repainted test show how much of that is left.
- Saliency shows what moved the score. On some fields its peak lies on red cells or the background rather than on
  leukocytes: the network reads the whole field.
- A probability holds at the prevalence above, not at that of a laboratory where few patients have leukemia.
"""


def write_into_readme(readme: Path, evidence: Evidence) -> None:
    """Replace what stands between the two marks; ValueError where the marks are missing."""
    text = readme.read_text(encoding="utf-8")
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{readme} has no place for the evidence: it lacks {BEGIN} and {END}.")
    readme.write_text(f"{before}{BEGIN}\n\n{evidence_markdown(evidence)}\n\n{END}{after}", encoding="utf-8")


def _words(figure: Figure, digits: int = 3) -> str:
    if not figure.defined:
        return "not defined"
    mark = " w" if figure.method == "wilson" else ""
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f}){mark}"


def _comparison(sections: Sequence[Section]) -> str:
    lines = [f"| | split, n | {' | '.join(COLUMNS.values())} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for section in sections:
        cells = [_words(section[name]) if name in section else "" for name in COLUMNS]
        split = section.split.removesuffix(", test part")
        lines.append(f"| {section.name} | {split}, {section.n} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _named(section: Section, names: dict[str, str]) -> str:
    lines = ["| | |", "|---|---|"]
    lines += [f"| {words} | {_words(section[name])} |" for name, words in names.items() if name in section]
    return "\n".join(lines)


def _gate(rows: Sequence[GateRow]) -> str:
    lines = ["| images of | n | turned away | outside the domain |", "|---|---|---|---|"]
    for row in rows:
        outside = (row.n - row.inside_domain) / row.n
        lines.append(f"| {row.name} | {row.n} | {_words(row.turned_away)} | {outside:.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a bundle's evidence table into a README.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--readme", type=Path, required=True)
    arguments = parser.parse_args()
    bundle = read_bundle(arguments.bundle)
    write_into_readme(arguments.readme, read_evidence(bundle.path / "evidence" / "metrics.json"))


if __name__ == "__main__":
    main()
