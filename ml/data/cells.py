"""Single leukocytes of three sources as one set: what their labels mean to the task `cell`, and folds by patient.

Blasts come from one hospital alone (`deepapl-discovery`), so what is judged is judged inside it, patients held out.
A patient, a subject or a family of near duplicates is never on two sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml.data.labels import OR
from ml.data.manifest import MICROMETRES, DataProblem, Item, Manifest, load_manifest
from ml.data.signatures import duplicate_families
from ml.data.splits import Split, keep_families_together
from ml.tasks import CELL

FOLDS: Final = 5
TEST_FOLD: Final = 0
VALIDATION_FOLD: Final = 1
"""The standing fold of the cell task: the first fold tests, the second validates, the others are learnt from."""

LEAST_GAIN: Final = 1e-9
"""By how much a move must bring shares nearer to equal, so that rounding moves nothing to and fro."""

STANDING: Final = "standing fold by patient"


@dataclass(frozen=True)
class Source:
    """A set of single-cell pictures and what its labels mean.

    Attributes:
        micrometres: that a pixel shows.
        meaning: label -> classes of the task; several where the label does not say which of them.
        dropped: label -> why its images are left out.
        subtyped: labels of which the file's name says more, in its letters before the underscore: these have
            `LABEL/LETTERS` in `meaning`.
    """

    name: str
    micrometres: float
    meaning: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, str]
    subtyped: frozenset[str] = frozenset()

    def label_of(self, item: Item) -> str:
        """The label of a picture as `meaning` and `dropped` have it."""
        if item.label not in self.subtyped:
            return item.label
        return f"{item.label}/{Path(item.name).name.partition('_')[0]}"


NEUTROPHILS: Final = ("segmented_neutrophil", "band_neutrophil")
IMMATURE_GRANULOCYTES: Final = ("promyelocyte", "myelocyte", "metamyelocyte")

CELLAVISION_MICROMETRES: Final = 0.145
"""A red cell is about 7.5 micrometres across in a dried smear. The round, lone red cells of `pbc-acevedo`, whose donors
are healthy, measure 51.8 pixels in the median (708 cells, 480 pictures). Those of `deepapl-discovery` measure 54.0
(269 cells, 899 pictures): the same analyser, and the larger red cells that go with acute myeloid leukemia."""

ON_BLACK_MICROMETRES: Final = 0.060
"""No red cell is left in `cnmc2019-fold1`, and no scale is published with it. Its normal cells are 181 pixels across in
the median, the lymphocytes of `pbc-acevedo` 10.9 micrometres; that makes 0.060, and 13.5 micrometres for its leukemic
cells. It may be off by a sixth either way: lymphoid cells of marrow are no lymphocytes of blood."""

DEEPAPL: Final = Source(
    "deepapl-discovery",
    CELLAVISION_MICROMETRES,
    meaning={
        "segmented_neutrophils": ("segmented_neutrophil",),
        "band_neutrophils": ("band_neutrophil",),
        "eosinophils": ("eosinophil",),
        "basophil": ("basophil",),
        "lymphocyte": ("lymphocyte",),
        "lymphocyte-variant": ("variant_lymphocyte",),
        "monocyte": ("monocyte",),
        "promyelocyte": ("promyelocyte",),
        "myelocyte": ("myelocyte",),
        "metamyelocyte": ("metamyelocyte",),
        "erythroblast": ("erythroblast",),
        "plasma_cells": ("plasma_cell",),
        "promonocyte": ("promonocyte",),
        "blast-no_lineage_spec": ("blast",),
        "smudge_cells": ("smudge_cell",),
        "giant_thrombocyte": ("platelet_or_artefact",),
    },
    dropped={"prolymphocyte": "one image of one patient: nothing to learn from, and nothing to judge by"},
)

PBC: Final = Source(
    "pbc-acevedo",
    CELLAVISION_MICROMETRES,
    meaning={
        "neutrophil/SNE": ("segmented_neutrophil",),
        "neutrophil/BNE": ("band_neutrophil",),
        "neutrophil/NEUTROPHIL": NEUTROPHILS,
        "eosinophil": ("eosinophil",),
        "basophil": ("basophil",),
        "lymphocyte": ("lymphocyte",),
        "monocyte": ("monocyte",),
        "ig/PMY": ("promyelocyte",),
        "ig/MY": ("myelocyte",),
        "ig/MMY": ("metamyelocyte",),
        "ig/IG": IMMATURE_GRANULOCYTES,
        "erythroblast": ("erythroblast",),
        "platelet": ("platelet_or_artefact",),
    },
    dropped={},
    subtyped=frozenset({"neutrophil", "ig"}),
)
"""26 of its images were read as neutrophil or immature granulocyte and no closer. They are kept as coarse labels, whose
probability is the sum of their classes' (`ml.losses`): true as far as they go, and dropping them would take away
just the cells on which readers hesitate. Where one class a picture is needed, `Cells.fine` leaves them out."""

CNMC: Final = Source(
    "cnmc2019-fold1",
    ON_BLACK_MICROMETRES,
    meaning={"all": ("blast",), "hem": ("lymphocyte", "variant_lymphocyte")},
    dropped={},
)
"""`hem` are normal lymphoid cells and precursors, of no type that the task has alone: a lymphocyte, ordinary or
variant, comes nearest, and what they are not is a blast."""

SOURCES: Final = {source.name: source for source in (DEEPAPL, PBC, CNMC)}


@dataclass(frozen=True)
class Cells:
    """Labelled single cells, each image once.

    Attributes:
        manifest: an item's label is its class, or its classes joined by " or "; its group is the patient, the subject,
            or (where none is known) the family of near duplicates; its columns tell `source`, `original_label` and
            `micrometres_per_pixel`.
        membership: (n, 16) float32, 1 where the label stands for that class of the task.
        family: (n,) int64, the same number for near duplicates.
        fold: (n,) int64, 0..4; all images of a group are in one fold. -1: a near duplicate of an image of another
            group in another fold, which is learnt from and judged nowhere.
        dropped: images left out, by source and label.
    """

    manifest: Manifest
    membership: NDArray[np.float32]
    family: NDArray[np.int64]
    fold: NDArray[np.int64]
    dropped: Mapping[str, int]

    @property
    def fine(self) -> NDArray[np.bool_]:
        """(n,) whether an image's label is one class."""
        return np.asarray(self.membership.sum(axis=1) == 1)

    @property
    def sources(self) -> NDArray[np.str_]:
        """(n,) names of the sources."""
        return np.asarray([item.columns["source"] for item in self.manifest])

    def standing_split(self) -> Split:
        """Train, validation and test parts that a cell bundle is made and judged with."""
        parts = {TEST_FOLD: "test", VALIDATION_FOLD: "validation", -1: "left_out"}
        wanted = [parts.get(number, "train") for number in self.fold.tolist()]
        return keep_families_together(STANDING, wanted, self.family, seed=None)


def load_cells(
    folder: Path,
    sources: Sequence[Source] = (DEEPAPL, PBC),
    *,
    find_families: Callable[[Manifest], NDArray[np.int64]] = duplicate_families,
) -> Cells:
    """The cells of some sources, each a folder of that name under `folder`.

    Args:
        find_families: gives each item a number that near duplicates share; by default every image is read once.

    Raises:
        DataProblem: a folder is missing, a label has no meaning here, an image cannot be read, or the same image bears
            labels that exclude each other.
    """
    items: list[Item] = []
    members: list[tuple[str, ...]] = []
    dropped: Counter[str] = Counter()
    for source in sources:
        own, classes, left_out = meant(load_manifest(folder / source.name), source)
        items += own
        members += classes
        dropped += left_out
    kept = _each_once(items, members)
    manifest = Manifest(" + ".join(source.name for source in sources), tuple(items[i] for i in kept))
    membership = np.zeros((len(kept), len(CELL.classes)), np.float32)
    for row, i in enumerate(kept):
        membership[row, [CELL.classes.index(name) for name in members[i]]] = 1.0
    family = find_families(manifest)
    manifest = _grouped(manifest, family)
    # Each source by itself: whatever else is given, a patient's fold stays.
    fold = np.zeros(len(manifest), np.int64)
    of_source = np.asarray([item.columns["source"] for item in manifest])
    for source in sources:
        here = np.flatnonzero(of_source == source.name).tolist()
        some = [manifest.items[i] for i in here]
        fold[here] = deal_folds([item.group for item in some], [item.label for item in some])
    return Cells(manifest, membership, family, _apart(fold, family), dropped)


def meant(images: Iterable[Item], source: Source) -> tuple[list[Item], list[tuple[str, ...]], Counter[str]]:
    """A source's images with what their labels mean, the classes of each, and how many are left out by label.

    Raises:
        DataProblem: a label has no meaning.
    """
    items: list[Item] = []
    members: list[tuple[str, ...]] = []
    dropped: Counter[str] = Counter()
    for item in images:
        label = source.label_of(item)
        if label in source.dropped:
            dropped[f"{source.name}: {label}"] += 1
            continue
        if label not in source.meaning:
            raise DataProblem(f"{item.name} of {source.name} has the label {label}, which means no class.")
        classes = source.meaning[label]
        items.append(_renamed(item, source, label, OR.join(classes)))
        members.append(classes)
    return items, members, dropped


def deal_folds(groups: Sequence[str], labels: Sequence[str], *, folds: int = FOLDS) -> NDArray[np.int64]:
    """(n,) fold of each image: whole groups, so that every label is shared out as evenly as its groups allow.

    Labels are dealt from the one with the fewest groups on, its largest group first, to the fold that lacks most of
    that label, then of all images (iterative stratification; Sechidis et al. 2011). Then single groups are moved while
    that brings the labels' shares nearer to equal, a rare label's as much as a common one's. Nothing is drawn: the same
    images give the same folds in whatever order they come.
    """
    names, kinds = sorted(set(groups)), sorted(set(labels))
    row = {name: number for number, name in enumerate(names)}
    column = {kind: number for number, kind in enumerate(kinds)}
    counts = np.zeros((len(names), len(kinds) + 1))
    for group, label in zip(groups, labels, strict=True):
        counts[row[group], [column[label], -1]] += 1  # the last column counts all images
    shares = counts / counts.sum(axis=0)
    fold = np.full(len(names), -1)
    held = np.zeros((folds, shares.shape[1]))
    for kind in sorted(range(len(kinds)), key=lambda k: (np.count_nonzero(counts[:, k]), k)):
        bearers = np.flatnonzero((counts[:, kind] > 0) & (fold < 0))
        for group in bearers[np.argsort(-counts[bearers, kind], kind="stable")].tolist():
            number = min(range(folds), key=lambda k: (round(held[k, kind], 9), round(held[k, -1], 9), k))
            fold[group] = number
            held[number] += shares[group]
    moved = True
    while moved:
        moved = False
        for place in range(len(names)):
            rest = held[fold[place]] - shares[place]
            # What the squares of all shares would gain or lose by the move, half of it.
            gain = (shares[place] * (held - rest)).sum(axis=1)
            gain[fold[place]] = 0.0
            best = int(np.argmin(gain))
            if gain[best] < -LEAST_GAIN:
                held[fold[place]] = rest
                held[best] += shares[place]
                fold[place], moved = best, True
    return np.asarray([fold[row[group]] for group in groups], np.int64)


def _renamed(item: Item, source: Source, label: str, meant: str) -> Item:
    """The item with what its label means. A patient's name is the source's own: another hospital has a Patient_06."""
    columns = {
        **item.columns,
        "source": source.name,
        "original_label": label,
        MICROMETRES: str(source.micrometres),
    }
    return replace(item, label=meant, group=f"{source.name}/{item.group}", columns=columns)


def _each_once(items: Sequence[Item], members: Sequence[tuple[str, ...]]) -> list[int]:
    """Positions of distinct images, the first of exact copies, the one with the finest label before it."""
    first: dict[str, int] = {}
    for i, item in enumerate(items):
        j = first.setdefault(item.sha256, i)
        if i == j:
            continue
        fine, coarse = sorted((i, j), key=lambda k: (len(members[k]), k))
        if not set(members[fine]) <= set(members[coarse]):
            raise DataProblem(
                f"{items[j].name} and {item.name} are the same image and bear the labels {items[j].label} and "
                f"{item.label}: correct one of them."
            )
        first[item.sha256] = fine
    return sorted(first.values())


def _grouped(manifest: Manifest, family: NDArray[np.int64]) -> Manifest:
    """Near duplicates of one source without patients share a group, the first one's."""
    first: dict[tuple[str, int], str] = {}
    items = []
    for item, number in zip(manifest, family.tolist(), strict=True):
        alone = item.group == f"{item.columns['source']}/{item.name}"
        group = first.setdefault((item.columns["source"], number), item.group) if alone else item.group
        items.append(replace(item, group=group))
    return manifest.subset(items)


def _apart(fold: NDArray[np.int64], family: NDArray[np.int64]) -> NDArray[np.int64]:
    """The folds, with -1 for near duplicates whose family lies in several: which patient's they are is not known."""
    folds_of: dict[int, set[int]] = {}
    for number, place in zip(family.tolist(), fold.tolist(), strict=True):
        folds_of.setdefault(number, set()).add(place)
    torn = [number for number, places in folds_of.items() if len(places) > 1]
    return np.where(np.isin(family, torn), -1, fold)
