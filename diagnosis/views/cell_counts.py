"""The differential of a case as its pages show it: the model's and the reader's side by side, and what to say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnosis import cell_selectors, wording
from diagnosis.cell_selectors import CaseCells
from diagnosis.models import Case, SmearImage
from diagnosis.services import apl
from diagnosis.services.apl import Alert
from diagnosis.views.cell_words import CLASSES, CellClass
from ml.cells.counting import DIAGNOSTIC, FEW, Differential

NO_MODEL = (
    "No cell model has looked at this case: its leukocytes are not counted. Read the images themselves."
)
UNFINISHED = "The images are still being analysed; the leukocytes appear here as they are found."
NOT_ANALYSED = "None of the images was analysed."
NO_LEUKOCYTE = "No leukocyte was found in this case."


@dataclass(frozen=True)
class Share:
    """How many of a class: in percent of the leukocytes counted, or per 100 of them for what is not one."""

    count: int
    percent: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One class by model and by reader; `differs` where they do not count the same."""

    cell_class: CellClass
    model: Share
    reader: Share

    @property
    def differs(self) -> bool:
        return self.model.count != self.reader.count


@dataclass(frozen=True)
class Counts:
    """Everything a page says of the leukocytes of a case.

    Attributes:
        rows: classes of leukocytes. outside: the classes beside the count. blasts: by model and by reader.
        said: why there is nothing to count, in a sentence; empty where cells were found.
        problems: sentences of single images, each with the positions it holds for.
        sheets: of the images that were looked at, as `cell_selectors.gallery_sheets` gives them. waiting: images whose
            analysis has not ended. apl: the alert *possible APL*, by the reader's count, which is the model's until
            she corrects it.
    """

    cells: CaseCells
    rows: Sequence[Row]
    outside: Sequence[Row]
    blasts: tuple[Share, Share]
    said: str
    problems: Sequence[tuple[str, str]]
    sheets: Sequence[dict[str, Any]]
    waiting: int
    apl: Alert | None

    @property
    def shown(self) -> Differential:
        """The count that summaries give: the reader's, which is the model's until she corrects a cell."""
        return self.cells.reader

    @property
    def has_cells(self) -> bool:
        """Whether anything was found at all, counted or not."""
        found = self.shown
        beside = found.erythroblasts + found.smudges + found.others + found.unclassified + found.on_border
        return bool(found.total + beside)

    @property
    def suspicion(self) -> float | None:
        """The index as it stands with the reader's corrections."""
        return self.cells.reader_suspicion

    @property
    def few(self) -> int:
        return FEW

    @property
    def diagnostic(self) -> int:
        return DIAGNOSTIC

    @property
    def assumed_scale(self) -> int:
        """Images whose scale could not be measured on red cells."""
        return sum(bool(sheet["counted"]) and not sheet["scale_is_measured"] for sheet in self.sheets)


def _share(count: Differential, name: str) -> Share:
    if name in count.counts:
        low, high = count.interval(name) or (0.0, 0.0)
        return Share(count.counts[name], 100 * count.share(name), 100 * low, 100 * high)
    beside = {
        "erythroblast": count.erythroblasts,
        "smudge_cell": count.smudges,
        "platelet_or_artefact": count.others,
    }
    number = beside.get(name, 0)
    return Share(number, 100 * number / count.total if count.total else None)


def _blasts(count: Differential) -> Share:
    low, high = count.blasts_interval or (None, None)
    return Share(count.blasts, count.blasts_per_100, low, high)


def counts_of(
    case: Case, images: Sequence[SmearImage], found_cells: Sequence[Mapping[str, Any]] | None = None
) -> Counts:
    """The counts of a case; `images` are its images with their newest analyses. Two queries whatever it holds, one
    where its `cell_selectors.gallery_cells` are at hand.
    """
    sheets = cell_selectors.gallery_sheets(case=case)
    cells = cell_selectors.case_cells(
        case=case, indices=[sheet["suspicion"] for sheet in sheets], cells=found_cells
    )
    rows = [Row(one, _share(cells.model, one.name), _share(cells.reader, one.name)) for one in CLASSES]
    analyses = [image.newest_analysis for image in images]
    waiting = sum(analysis is not None and not analysis.is_finished for analysis in analyses)
    found = Counts(
        cells=cells,
        rows=[row for row in rows if row.cell_class.counts],
        outside=[row for row in rows if not row.cell_class.counts],
        blasts=(_blasts(cells.model), _blasts(cells.reader)),
        said="",
        problems=_problems(sheets),
        sheets=sheets,
        waiting=waiting,
        apl=apl.alert(
            promyelocytes=cells.reader.promyelocytes, leukocytes=cells.reader.total, specimen=case.specimen
        ),
    )
    return found if found.has_cells else _without_cells(found, any(a is not None for a in analyses))


def _without_cells(found: Counts, was_asked: bool) -> Counts:
    looked = [sheet for sheet in found.sheets if not sheet["failure"]]
    if found.waiting:
        said = UNFINISHED
    elif looked:
        said = NO_LEUKOCYTE
    else:
        said = NO_MODEL if was_asked else NOT_ANALYSED
    return Counts(**{**found.__dict__, "said": said})


def _problems(sheets: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each sentence once, with the images it holds for."""
    positions: dict[str, list[int]] = {}
    for sheet in sheets:
        for sentence in [*sheet["problems"], *([sheet["failure"]] if sheet["failure"] else [])]:
            positions.setdefault(sentence, []).append(sheet["position"])
    return [(_images(where), sentence) for sentence, where in positions.items()]


def _images(positions: Sequence[int]) -> str:
    """`Image 3`, `Images 1, 2 and 5`, or how many where they are more than a line."""
    if len(positions) == 1:
        return f"Image {positions[0]}"
    if len(positions) > 6:
        return f"{len(positions)} images"
    *others, last = map(str, positions)
    return f"Images {', '.join(others)} and {last}"


def field_classes(images: Sequence[SmearImage]) -> str:
    """The classes of the case's fields that lie inside the field model's domain, and why the others have none; empty
    where no field was judged.
    """
    done = [
        (i.position, i.newest_analysis) for i in images if i.newest_analysis and i.newest_analysis.outcome
    ]
    judged = Counter(a.label for _, a in done if a.outcome == a.Outcome.CLASS)
    parts = [f"{wording.class_word(label)} in {_fields(n)}" for label, n in judged.most_common()]
    reasons: dict[str, list[int]] = {}
    for position, analysis in done:
        if analysis.outcome != analysis.Outcome.CLASS:
            reason = analysis.reasons[0] if analysis.reasons else "indeterminate"
            reasons.setdefault(reason, []).append(position)
    parts += [f"none for {_images(where).lower()} ({reason})" for reason, where in reasons.items()]
    return "; ".join(parts) + (f". {wording.SCOPE_NOTICE}." if judged else ".") if parts else ""


def _fields(number: int) -> str:
    return "1 field" if number == 1 else f"{number} fields"
