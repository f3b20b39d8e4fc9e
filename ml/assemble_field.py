"""Make the shipped `field` bundle from finished trainings (`ml.build_field`): assemble, measure, write the card.

    python -m ml.assemble_field --data DATA --out ml/bundles/field-1

DATA holds taleqani-all, demo-fields and the strangers of the gate. Everything in the evidence is measured on the
files that ship. Imports TensorFlow.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ml.assemble import assemble
from ml.build_field import RUNS, Study, open_study
from ml.bundle import MANIFEST, Bundle, read_bundle, seal
from ml.card import card_markdown
from ml.evaluation.evidence import read_evidence, write_evidence
from ml.evaluation.predictions import write_predictions_csv
from ml.evaluation.run import Request, evaluate, evidence_plots, write_plots
from ml.evaluation.whole import add_faithfulness
from ml.field_evidence import ablation_sections, baseline_sections, gate_rows, twins
from ml.imaging.preprocessing import Preprocessing
from ml.serving import load_predictor
from ml.tasks import FIELD

log = logging.getLogger(__name__)


def assemble_main(study: Study, out: Path, preprocessing: Preprocessing) -> Bundle:
    """Export and seal the network of the run `main`, still without evidence."""
    from ml.network import build_network

    plan = study.run.plan
    model = build_network(len(FIELD.classes), size=plan.size, dropout=plan.dropout)
    model.load_weights(study.weights_file)
    return assemble(
        model,
        out,
        task="field",
        name=out.name,
        version_text=out.name.rpartition("-")[2],
        classes=FIELD.classes,
        malignant=FIELD.malignant,
        manifest=study.manifest,
        split=study.split,
        preprocessing=preprocessing,
        training={
            "plan": plan.as_dict(),
            "start": "DenseNet-121, ImageNet",
            "history": json.loads(study.history_file.read_text()),
        },
    )


def measure(bundle: Bundle, study: Study, data: Path, *, keep_gate: bool = False) -> None:
    """Write the bundle's evidence and card, and seal it again over them.

    Args:
        keep_gate: take the gate's rows from the evidence there is; its network and domain are the same files.
    """
    folder = bundle.path / "evidence"
    folder.mkdir(exist_ok=True)
    predictor = load_predictor(bundle.path, runtime="openvino")
    evaluated = evaluate(
        predictor,
        study.manifest,
        Request(part="test", repaint=True),
        other_runtime=load_predictor(bundle.path, runtime="tensorflow"),
        track=_logged,
    )
    rows = evaluated.rows
    gate = (
        read_evidence(folder / "metrics.json").gate if keep_gate else tuple(gate_rows(predictor, data, rows))
    )
    ablations = []
    for name in RUNS:
        other = open_study(name, data / "taleqani-all")
        if name != "main" and other.weights_file.exists():
            log.info("Ablation %s", name)
            ablations += ablation_sections(other, bundle.preprocessing)
    evidence = replace(
        evaluated.evidence, baselines=tuple(baseline_sections(study)), ablations=tuple(ablations), gate=gate
    )
    write_evidence(folder / "metrics.json", evidence)
    write_predictions_csv(folder / "predictions.csv", rows, bundle.classes)
    found = [asdict(twin) for twin in twins(predictor, data)]
    (folder / "twins.json").write_text(json.dumps(found, indent=1) + "\n")
    drawn = evidence_plots(
        rows,
        classes=bundle.classes,
        malignant=bundle.malignant,
        temperature=bundle.temperature,
        history=bundle.manifest["training"]["history"],
    )
    write_plots(folder, drawn)
    (bundle.path / "card.md").write_text(card_markdown(bundle, evidence), encoding="utf-8")
    facts: dict[str, Any] = json.loads((bundle.path / MANIFEST).read_text())
    seal(bundle.path, {key: value for key, value in facts.items() if key not in ("format", "files")})
    # The comparison, whether the saliency is true, and the page of it all.
    add_faithfulness(bundle.path, study.manifest, progress=_logged)


def _logged(things: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    log.info("%s: %d", description, total)
    return things


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument(
        "--only-evidence", action="store_true", help="measure the bundle in --out again, as it is"
    )
    parser.add_argument(
        "--keep-gate", action="store_true", help="with --only-evidence: do not ask the gate again"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    study = open_study("main", arguments.data / "taleqani-all")
    if arguments.only_evidence:
        bundle = read_bundle(arguments.out)
    else:
        bundle = assemble_main(study, arguments.out, Preprocessing())
    measure(bundle, study, arguments.data, keep_gate=arguments.only_evidence and arguments.keep_gate)


if __name__ == "__main__":
    main()
