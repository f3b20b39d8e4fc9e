"""Make the shipped `cell` bundle from a finished training (`ml.build_cell`): assemble, measure, write the card.

    python -m ml.assemble_cell --data DATA --out ml/bundles/cell-1

DATA holds the public sets of cells and the strangers of the gate. Everything in the evidence is measured on the files
that ship. Imports TensorFlow.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ml.assemble import assemble
from ml.build_cell import RUNS, CellStudy, open_study
from ml.bundle import MANIFEST, Bundle, read_bundle, seal
from ml.cache import cache_dir
from ml.card import card_markdown
from ml.cells.preprocessing import CellPreprocessing
from ml.cells.serving import CellPredictor
from ml.data.cells import CNMC, DEEPAPL, load_cells
from ml.evaluation import cell_evidence
from ml.evaluation.cell_evidence import FILE
from ml.evaluation.cell_measuring import progress_said
from ml.evaluation.evidence import GateRow, read_evidence, write_evidence
from ml.evaluation.intervals import Figure
from ml.evaluation.whole import add_faithfulness, write_whole_evidence
from ml.runtimes import open_runtime
from ml.tasks import CELL

log = logging.getLogger(__name__)


def assemble_run(study: CellStudy, out: Path, preprocessing: CellPreprocessing) -> Bundle:
    """Export and seal the network of a run, still without evidence."""
    from ml.network import build_network

    plan = study.run.plan
    model = build_network(len(CELL.classes), size=plan.size, dropout=plan.dropout)
    model.load_weights(study.weights_file)
    return assemble(
        model,
        out,
        task=CELL.name,
        name=out.name,
        version_text=out.name.rpartition("-")[2],
        classes=CELL.classes,
        malignant=CELL.malignant,
        manifest=study.cells.manifest,
        split=study.split,
        preprocessing=preprocessing,
        membership=study.cells.membership,
        training={
            "plan": plan.as_dict(),
            "start": "DenseNet-121, ImageNet",
            "history": json.loads(study.history_file.read_text()),
        },
        progress=progress_said("calibrating:"),
    )


def measure_cells(bundle: Bundle, study: CellStudy, data: Path) -> dict[str, Any]:
    """Figures by hospital, under spoilt pictures, and of the gate; written into the bundle, which is sealed again."""
    runtime = open_runtime(bundle, "openvino")
    predictor = CellPredictor(bundle, runtime)
    hospitals: dict[str, Sequence[Figure]] = {}
    own, seen = cell_evidence.by_hospital(bundle, runtime, study.cells, study.split.test, tell=log.info)
    hospitals.update(own)
    strangers = load_cells(data, (CNMC,), find_families=lambda manifest: _each(len(manifest)))
    hospitals[CNMC.name], unseen = cell_evidence.elsewhere(bundle, runtime, strangers, tell=log.info)
    gate = cell_evidence.gate_rows(predictor, seen, unseen, data, tell=log.info)
    places = [
        place
        for place in study.split.test
        if study.cells.sources[place] == DEEPAPL.name and study.cells.fine[place]
    ]
    spoilt = cell_evidence.spoilt_figures(
        bundle,
        runtime,
        [study.cells.manifest.items[i] for i in places],
        study.cells.membership[places],
        cache=cache_dir() / "cells",
        tell=log.info,
    )
    fields = cell_evidence.field_figures(predictor, data, tell=log.info)
    found = cell_evidence.as_json(hospitals, spoilt, gate, fields)
    _write(bundle, found, gate)
    return found


def _write(bundle: Bundle, found: dict[str, Any], gate: Sequence[GateRow]) -> None:
    folder = bundle.path / "evidence"
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text(json.dumps(found, indent=1) + "\n")
    if (folder / "metrics.json").is_file():
        evidence = replace(read_evidence(folder / "metrics.json"), gate=tuple(gate))
        write_evidence(folder / "metrics.json", evidence)
        (bundle.path / "card.md").write_text(card_markdown(bundle, evidence), encoding="utf-8")
    facts: dict[str, Any] = json.loads((bundle.path / MANIFEST).read_text())
    seal(bundle.path, {key: value for key, value in facts.items() if key not in ("format", "files")})


def _each(count: int) -> Any:
    """Every picture a family of its own: among pictures that nothing is fitted to, copies leak nowhere."""
    return np.arange(count, dtype=np.int64)


def _logged(things: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    log.info("%s: %d", description, total)
    return things


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--run", choices=RUNS, default="main", help="default: %(default)s")
    parser.add_argument(
        "--only-evidence", action="store_true", help="measure the bundle in --out again, as it is"
    )
    parser.add_argument("--no-saliency", action="store_true", help="leave out whether the saliency is true")
    parser.add_argument(
        "--only-saliency",
        action="store_true",
        help="measure whether the saliency is true; keep all other figures",
    )
    parser.add_argument("--only-cells", action="store_true", help=f"measure {FILE} alone")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    study = open_study(arguments.run, arguments.data)
    if arguments.only_saliency:
        add_faithfulness(arguments.out, study.cells.manifest, progress=_logged)
        return
    if not (arguments.only_evidence or arguments.only_cells):
        assemble_run(study, arguments.out, CellPreprocessing())
    bundle = read_bundle(arguments.out)
    if not arguments.only_cells:
        bundle = write_whole_evidence(
            bundle.path,
            study.cells.manifest,
            progress=_logged,
            baselines=False,
            gate=False,
            repaint=False,  # among the spoilt pictures
            faithfulness=not arguments.no_saliency,
        )
    measure_cells(bundle, study, arguments.data)


if __name__ == "__main__":
    main()
