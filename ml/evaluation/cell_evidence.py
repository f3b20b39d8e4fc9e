"""The evidence of a `cell` bundle beyond one set's figures: by hospital, under spoilt pictures, and what its gate does.

Measured on the files that ship, by the runtime that serves. `evidence/cells.json` holds it,
`ml.evaluation.cell_evidence_table` shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml.assemble import Measured, measure
from ml.bundle import Bundle
from ml.calibration import apply_temperature
from ml.cells.pixel_training import PLATELET, RED_CELL, WHITE_CELL
from ml.cells.serving import CellPredictor
from ml.data.cells import CNMC, DEEPAPL, PBC, Cells
from ml.data.manifest import Item, load_manifest
from ml.evaluation.cell_figures import binary_figures, cell_figures, joined_figures
from ml.evaluation.cell_pictures import SEED, SPOILT, crops_of
from ml.evaluation.cell_strangers import boxed_source, empty_source, photograph_cells
from ml.evaluation.evidence import GateRow
from ml.evaluation.gates import Source
from ml.evaluation.intervals import RESAMPLES, Figure
from ml.imaging.preprocessing import normalise
from ml.imaging.reading import read_image
from ml.runtimes import Runtime
from ml.serving import Predictor

FILE: Final = "cells.json"
UNSEEN: Final = "another hospital, nothing fitted to it"
STRANGERS: Final = 200
"""Pictures of each kind that the gate is shown."""

ARTEFACT: Final = "platelet_or_artefact"
NAMED: Final = "named platelet or artefact"

Tell = Callable[[str], None]


def by_hospital(
    bundle: Bundle,
    runtime: Runtime,
    cells: Cells,
    places: Sequence[int],
    *,
    tell: Tell,
    resamples: int = RESAMPLES,
) -> tuple[dict[str, list[Figure]], dict[str, Measured]]:
    """Figures of the test part by source, and what was measured of it; the gate is ignored.

    Args:
        places: of the test part in the cells' manifest.
    """
    found: dict[str, list[Figure]] = {}
    seen: dict[str, Measured] = {}
    sources = cells.sources
    for source in (DEEPAPL.name, PBC.name):
        here = [place for place in places if sources[place] == source]
        if not here:
            continue
        tell(f"{source}: {len(here)} cells")
        items = [cells.manifest.items[i] for i in here]
        measured = measure(runtime, bundle.preparation, items, cells.membership[here])
        seen[source] = measured
        chances = apply_temperature(measured.logits, bundle.temperature)
        fine = measured.exact
        labels = [bundle.classes[code] for code in measured.membership.argmax(axis=1)]
        groups = [item.group for item in items]
        if source == DEEPAPL.name:
            kept = [i for i in range(len(items)) if fine[i]]
            found[source] = cell_figures(
                [labels[i] for i in kept], chances[kept], [groups[i] for i in kept],
                split="standing fold by patient, test part", resamples=resamples,
            )  # fmt: skip
        else:
            found[f"{source}, 8 types"] = joined_figures(
                labels,
                chances,
                groups,
                split="standing fold, test part; no patients known",
                resamples=resamples,
            )
    return found, seen


def elsewhere(
    bundle: Bundle, runtime: Runtime, cells: Cells, *, tell: Tell, resamples: int = RESAMPLES
) -> tuple[list[Figure], Measured]:
    """Leukemic against normal cells of a hospital that the bundle never saw: the area, and what was measured."""
    items = list(cells.manifest.items)
    tell(f"{CNMC.name}: {len(items)} cells")
    measured = measure(runtime, bundle.preparation, items, cells.membership)
    malignant = np.asarray([name in bundle.malignant for name in bundle.classes])
    truth = malignant[measured.membership.argmax(axis=1)]
    figures = binary_figures(
        truth, _blast_odds(measured, bundle), [item.group for item in items], name="auroc_blast", split=UNSEEN,
        resamples=resamples,
    )  # fmt: skip
    return figures, measured


def spoilt_figures(
    bundle: Bundle,
    runtime: Runtime,
    items: Sequence[Item],
    membership: NDArray[np.float32],
    *,
    cache: Path,
    tell: Tell,
    resamples: int = RESAMPLES,
) -> dict[str, list[Figure]]:
    """Cells of the test part whose pictures were spoilt before the cell was sought: name of the spoiling -> figures."""
    found = {}
    preparation = bundle.cell_preprocessing
    labels = [bundle.classes[code] for code in membership.argmax(axis=1)]
    groups = [item.group for item in items]
    for words, spoilt in {"as it is": "", **SPOILT}.items():
        tell(words)
        crops = crops_of(items, size=preparation.size, cache=cache, spoilt=spoilt, seed=SEED)
        logits = [
            runtime.run(normalise(preparation.finish(pixels, mask))[None])[1][0]
            for pixels, mask in zip(crops.pixels, crops.masks, strict=True)
        ]
        chances = apply_temperature(np.stack(logits), bundle.temperature)
        found[words] = cell_figures(
            labels, chances, groups, split="standing fold by patient, test part", resamples=resamples
        )
    return found


def gate_rows(
    predictor: Predictor, seen: Mapping[str, Measured], unseen: Measured, data: Path, *, tell: Tell
) -> list[GateRow]:
    """What the gate lets through and what it turns away: hospitals it knows, those it does not, and no leukocytes."""
    bundle = predictor.bundle
    rows = [_domain_row(f"leukocytes of {source}, test part", bundle, one) for source, one in seen.items()]
    rows.append(_domain_row(f"leukocytes of {CNMC.name} (hospital never seen)", bundle, unseen))
    boxed = data / "txl-pbc-v2"
    sources = (
        boxed_source("leukocytes of txl-pbc-v2 (laboratories never seen)", boxed, "test", WHITE_CELL,
                     most=STRANGERS, seed=SEED),
        boxed_source("red cells", boxed, "test", RED_CELL, most=STRANGERS, seed=SEED),
        boxed_source("platelets", boxed, "test", PLATELET, most=STRANGERS, seed=SEED),
        empty_source("glass and red cells at random", boxed, "test", most=STRANGERS, seed=SEED),
        photograph_cells("everyday photographs", most=STRANGERS, seed=SEED),
    )  # fmt: skip
    for source in sources:
        tell(f"{source.name}: {source.count}")
        rows.append(_asked(source, predictor))
    return rows


def _asked(source: Source, predictor: Predictor) -> GateRow:
    """A row of pictures shown one by one, their scale unknown. What is named platelet or artefact is turned away."""
    scores, kept, inside = [], 0, 0
    reasons: Counter[str] = Counter()
    for picture in source.pictures():
        if isinstance(picture, str):
            continue
        said = predictor.predict(picture)
        scores.append(said.domain_score)
        inside += said.inside_domain
        if said.label is not None and said.label != ARTEFACT:
            kept += 1
        reasons.update([NAMED] if said.label == ARTEFACT else said.reasons)
    return GateRow(source.name, len(scores), kept, inside, float(np.median(scores)), dict(reasons))


def _domain_row(name: str, bundle: Bundle, measured: Measured) -> GateRow:
    scores = bundle.domain.score(measured.features, measured.appearance)
    inside = int((scores <= bundle.domain.threshold).sum())
    return GateRow(name, len(scores), inside, inside, float(np.median(scores)))


def _blast_odds(measured: Measured, bundle: Bundle) -> NDArray[np.float64]:
    malignant = np.asarray([name in bundle.malignant for name in bundle.classes])
    chances = apply_temperature(measured.logits, bundle.temperature)
    tiny = np.finfo(np.float64).tiny
    plus, minus = chances[:, malignant].sum(axis=1), chances[:, ~malignant].sum(axis=1)
    return np.asarray(np.log(np.maximum(plus, tiny)) - np.log(np.maximum(minus, tiny)))


def as_json(
    hospitals: Mapping[str, Sequence[Figure]],
    spoilt: Mapping[str, Sequence[Figure]],
    gate: Sequence[GateRow],
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """All of it for `evidence/cells.json`."""
    return {
        "hospitals": {name: [one.to_dict() for one in some] for name, some in hospitals.items()},
        "spoilt": {name: [one.to_dict() for one in some] for name, some in spoilt.items()},
        "gate": [row.to_dict() for row in gate],
        "fields": dict(fields),
    }


def field_figures(
    predictor: CellPredictor, data: Path, *, tell: Tell, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The index of suspicion of whole fields of hospitals that the bundle never saw, each field a group.

    Leukemic fields are those of `demo-fields` that are not benign, healthy ones the test part of `txl-pbc-v2`, whose
    makers photographed healthy blood; benign `demo-fields` (hematogones, which look like blasts) stand apart. The two
    differ in hospital, stain and number of leukocytes, so that the area of the mere number stands beside.
    """
    fields = {
        "leukemic (demo-fields)": [
            item.path for item in load_manifest(data / "demo-fields") if item.label != "benign"
        ],
        "hematogones (demo-fields)": [
            item.path for item in load_manifest(data / "demo-fields") if item.label == "benign"
        ],
        "healthy (txl-pbc-v2, test part)": sorted((data / "txl-pbc-v2" / "images" / "test").iterdir()),
    }
    index: dict[str, list[float]] = {}
    number: dict[str, list[float]] = {}
    for name, paths in fields.items():
        tell(f"{name}: {len(paths)} fields")
        read = [predictor.read(read_image(path).pixels) for path in paths]
        index[name] = [one.suspicion or 0.0 for one in read]
        number[name] = [float(sum(found.cell.counted for found in one.findings)) for one in read]
    leukemic, hematogones, healthy = fields
    figures = []
    for words, negative in (("healthy", healthy), ("hematogones", hematogones)):
        for what, scores in (("auroc", index), ("auroc_number_alone", number)):
            both = np.asarray([*scores[leukemic], *scores[negative]])
            truth = np.arange(len(both)) < len(scores[leukemic])
            figures += binary_figures(
                truth, both, [str(i) for i in range(len(both))], name=f"{what}/{words}",
                split="fields of hospitals never seen", resamples=resamples,
            )  # fmt: skip
    return {
        "figures": [one.to_dict() for one in figures],
        "index": {name: [round(value, 4) for value in values] for name, values in index.items()},
        "leukocytes": number,
    }
