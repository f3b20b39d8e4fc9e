"""The whole evidence of a bundle, of any task and classes, measured on its files as they lie there.

    python -m ml.evaluation.whole BUNDLE --data DATA                  everything
    python -m ml.evaluation.whole BUNDLE --data DATA --only-saliency  is the saliency true; all other figures are kept

Imports TensorFlow (where the runtimes are compared and weights are drawn anew).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml.bundle import MANIFEST, Bundle, read_bundle, seal
from ml.card import card_markdown, write_into_readme
from ml.data.labelled import load_labelled
from ml.data.manifest import Manifest
from ml.evaluation import plots
from ml.evaluation.cell_strangers import photographs_for
from ml.evaluation.evidence import Evidence, GateRow, gate_row, read_evidence, write_evidence
from ml.evaluation.faithfulness import IMAGES, Faithfulness, measure_faithfulness
from ml.evaluation.gates import drawn_source, judge_gate
from ml.evaluation.html_report import report_html
from ml.evaluation.judging import select, with_class_labels
from ml.evaluation.predictions import Row, read_predictions_csv, write_predictions_csv
from ml.evaluation.run import SEED, Request, evaluate, evidence_plots, left_out_words, write_plots
from ml.evaluation.saliency_plots import saliency_plots
from ml.evaluation.search_plots import search_plots
from ml.runtimes import choose_runtime
from ml.serving import Predictor, load_predictor
from ml.tasks import FIELD

Track = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Hands on what it is given, and may draw progress: (things, how many, description); as `evaluate` takes it."""

DRAWN_FIELDS = 100
PHOTOGRAPH_CROPS = 240
SALIENCY_FILE = "saliency.json"
TRIALS_FILE = "trials.json"


@dataclass(frozen=True)
class _Written:
    """What goes into the evidence folder."""

    evidence: Evidence
    rows: Sequence[Row]
    plots: Mapping[str, bytes]
    saliency: Faithfulness | None = None
    trials: Sequence[Mapping[str, Any]] = ()
    remarks: Sequence[str] = ()


def write_whole_evidence(
    bundle_path: Path,
    manifest: Manifest,
    *,
    progress: Track = lambda things, total, description: things,
    history: Mapping[str, Sequence[float]] | None = None,
    search_trials: Sequence[Mapping[str, Any]] = (),
    label_map: Mapping[str, str] | None = None,
    other_runtime: bool = True,
    repaint: bool = True,
    faithfulness: bool = True,
    baselines: bool = True,
    gate: bool = True,
    images: int = IMAGES,
    seed: int = SEED,
) -> Bundle:
    """Measure a sealed bundle on its own test images in `manifest`, write evidence and card, and seal it again.

    All is measured and written beside the bundle, which is replaced at the end, in a moment: whoever stops this
    leaves it as it was.

    Args:
        manifest: the data the bundle was made from; its test images are found by SHA-256.
        history: of the training, as Keras names it; None takes the one in `bundle.json`.
        search_trials: the search's trials as JSON holds them: number, state, value, setting, fidelity, seconds.
        label_map: data label -> class, `malignant` or `drop`, as in training.
        other_runtime, repaint, faithfulness, baselines, gate: what to measure beside the figures themselves.
        images: at most so many are drawn to measure the saliency on.

    Raises:
        EvaluationError: the data hold none of the bundle's test images.
    """
    bundle = read_bundle(bundle_path)
    runtime = choose_runtime()
    predictor = load_predictor(bundle_path, runtime=runtime)
    second = {"openvino": "tensorflow", "tensorflow": "openvino"}[runtime]
    request = Request(
        part="test", repaint=repaint, baselines=baselines, mapping=dict(label_map or {}), seed=seed
    )
    found = evaluate(
        predictor,
        manifest,
        request,
        other_runtime=load_predictor(bundle_path, runtime=second) if other_runtime else None,
        track=progress,
    )
    evidence = found.evidence
    if gate:
        evidence = replace(evidence, gate=tuple(_gate_rows(predictor, found.rows, progress)))
    saliency = (
        _faithfulness(bundle, manifest, label_map or {}, images=images, seed=seed, progress=progress)
        if faithfulness
        else None
    )
    if saliency is not None:
        evidence = replace(evidence, saliency=saliency.figures)
    history = history if history is not None else (bundle.manifest.get("training") or {}).get("history")
    drawn = evidence_plots(
        found.rows,
        classes=bundle.classes,
        malignant=bundle.malignant,
        temperature=bundle.temperature,
        history=history,
    )
    drawn.update(_more_plots(evidence, saliency, search_trials, seed))
    return _replace(
        bundle, _Written(evidence, found.rows, drawn, saliency, search_trials, left_out_words(found))
    )


def add_faithfulness(
    bundle_path: Path,
    manifest: Manifest,
    *,
    progress: Track = lambda things, total, description: things,
    images: int = IMAGES,
    seed: int = SEED,
    measured: Faithfulness | None = None,
) -> Bundle:
    """Measure whether a bundle's saliency is true, and seal it over all its other figures as they are.

    Args:
        measured: by `measure_faithfulness` on this bundle's test part already.

    Raises:
        EvaluationError: the bundle has no evidence that can be read, or the data hold none of its test images.
    """
    bundle = read_bundle(bundle_path)
    place = bundle.path / "evidence"
    evidence = read_evidence(place / "metrics.json")
    rows, _ = read_predictions_csv(place / "predictions.csv")
    saliency = measured or _faithfulness(bundle, manifest, {}, images=images, seed=seed, progress=progress)
    evidence = replace(evidence, saliency=saliency.figures)
    history = (bundle.manifest.get("training") or {}).get("history")
    drawn = evidence_plots(
        rows,
        classes=bundle.classes,
        malignant=bundle.malignant,
        temperature=bundle.temperature,
        history=history,
    )
    kept = place / TRIALS_FILE
    trials = json.loads(kept.read_text()) if kept.is_file() else []
    drawn.update(_more_plots(evidence, saliency, trials, seed))
    return _replace(bundle, _Written(evidence, rows, drawn, saliency, trials))


def _faithfulness(
    bundle: Bundle,
    manifest: Manifest,
    label_map: Mapping[str, str],
    *,
    images: int,
    seed: int,
    progress: Track,
) -> Faithfulness:
    items, _ = with_class_labels(manifest.items, bundle.classes, label_map, bundle.malignant)
    selection = select(items, bundle.manifest["data"], part="test")
    return measure_faithfulness(
        bundle, selection.items, seed=seed, images=images, progress=progress, split=selection.split
    )


def _gate_rows(predictor: Predictor, held_out: Sequence[Row], progress: Track) -> Iterator[GateRow]:
    """The gate on the test part, and on what any bundle can be shown: everyday photographs, and drawn fields where
    fields are judged. A drawn cell is no stranger that a gate of cells need turn away.
    """
    yield gate_row("held-out images (test part)", held_out)
    task = predictor.bundle.task
    drawn = [drawn_source(DRAWN_FIELDS, seed=SEED)] if task == FIELD.name else []
    for source in (*drawn, photographs_for(task, PHOTOGRAPH_CROPS, seed=SEED)):
        yield gate_row(source.name, judge_gate(source, predictor, track=progress).answers)


def _more_plots(
    evidence: Evidence, saliency: Faithfulness | None, trials: Sequence[Mapping[str, Any]], seed: int
) -> dict[str, bytes]:
    drawn = {}
    beside = (*evidence.repainted, *evidence.baselines, *evidence.ablations)
    if beside:
        figures = {short_name(one.name): one["balanced_accuracy"] for one in (*evidence.sections, *beside)}
        drawn["comparison"] = plots.to_svg(
            plots.comparison_plot(figures, "Balanced accuracy"), "Balanced accuracy"
        )
    drawn.update(
        {name: plots.to_svg(plot, "Search") for name, plot in search_plots(trials, seed=seed).items()}
    )
    if saliency is not None:
        drawn.update(saliency_plots(saliency.figures, saliency.by_network, saliency.curves))
    return drawn


def short_name(name: str) -> str:
    """A section's name for an axis: `reduced: why (how), stain repainted to ...` becomes `reduced, repainted`."""
    what, repainted, _ = name.partition(", stain repainted")
    return what.partition(":")[0] + (", repainted" if repainted else "")


def _replace(bundle: Bundle, written: _Written) -> Bundle:
    """Put the evidence and card into a copy of the bundle, seal the copy, and let it take the bundle's place."""
    facts = json.loads((bundle.path / MANIFEST).read_text())
    with _copied(bundle.path) as part:
        folder = part / "evidence"
        folder.mkdir(exist_ok=True)
        write_evidence(folder / "metrics.json", written.evidence)
        write_predictions_csv(folder / "predictions.csv", written.rows, bundle.classes)
        write_plots(folder, written.plots)
        if written.saliency is not None:
            (folder / SALIENCY_FILE).write_text(json.dumps(written.saliency.details(), indent=1) + "\n")
        if written.trials:
            (folder / TRIALS_FILE).write_text(json.dumps(list(written.trials), indent=1) + "\n")
        page = report_html(
            bundle, written.evidence, written.plots, trials=written.trials, remarks=written.remarks
        )
        (folder / "report.html").write_text(page, encoding="utf-8")
        (part / "card.md").write_text(card_markdown(bundle, written.evidence), encoding="utf-8")
        seal(part, {key: value for key, value in facts.items() if key not in ("format", "files")})
    return read_bundle(bundle.path)


@contextmanager
def _copied(folder: Path) -> Iterator[Path]:
    """A copy of the folder that takes its place at the end, unless something is raised; large files are links.

    The copy lies a floor below the folder's neighbours, where nobody who looks for bundles finds it half made.
    """
    work = folder.with_name(f".{folder.name}.work")
    new, old = work / "new", work / "old"
    shutil.rmtree(work, ignore_errors=True)
    try:
        shutil.copytree(folder, new, copy_function=_link_or_copy)
        yield new
        folder.rename(old)
        new.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(work, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    if Path(source).suffix in (".keras", ".onnx", ".npz"):
        try:
            os.link(source, target)
            return
        except OSError:  # a file system without hard links
            pass
    shutil.copy2(source, target)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--data", type=Path, required=True, help="the labelled data it was made from")
    parser.add_argument("--only-saliency", action="store_true", help="keep all other figures as they are")
    parser.add_argument("--readme", type=Path, help="also write the table of evidence into this README")
    parser.add_argument("--images", type=int, default=IMAGES, help="drawn for the saliency (%(default)s)")
    arguments = parser.parse_args()
    manifest = load_labelled(arguments.data, task=read_bundle(arguments.bundle, verify=False).task)
    write = add_faithfulness if arguments.only_saliency else write_whole_evidence
    bundle = write(arguments.bundle, manifest, progress=_told, images=arguments.images)
    evidence = read_evidence(bundle.path / "evidence" / "metrics.json")
    for figure in evidence.saliency:
        print(f"{figure.name}: {figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}), n {figure.n}")
    if arguments.readme:
        write_into_readme(arguments.readme, evidence)


def _told(things: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    print(f"{description}: {total}", flush=True)
    return things


if __name__ == "__main__":
    main()
