"""What a report says of the leukocytes of a case: both differentials, what they suffice for, and the alert of APL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from diagnosis import cell_selectors, wording
from diagnosis.models import Case, CellAnalysis, SmearImage
from diagnosis.services import apl
from diagnosis.services.report_outcomes import rounded
from diagnosis.services.report_schema import AlertPart, CountPart, CountRow, LeukocytesPart
from ml.cells.apl import PROMYELOCYTE
from ml.cells.counting import BLASTS, DIAGNOSTIC, FEW, NOT_LEUKOCYTES, Differential
from ml.tasks import CELL

UNFINISHED: Final = "The images are still being analysed."
NO_LEUKOCYTE: Final = "No leukocyte was found in this case."
NOT_COUNTED: Final = "No cell model has looked at this case: its leukocytes are not counted."
SUFFICIENCY_WORDS: Final = {
    "insufficient": f"Insufficient: under {FEW} leukocytes.",
    "limited": f"Under {DIAGNOSTIC} leukocytes: too few for a diagnostic statement.",
    "diagnostic": f"{DIAGNOSTIC} leukocytes or more.",
}

SHARE_DIGITS: Final = 4
"""Pages and papers show one, and round once: of 17.647, kept as 17.65, they would make 17.7."""


def leukocytes_part(
    *, case: Case, found: Sequence[CellAnalysis], images: Sequence[SmearImage]
) -> LeukocytesPart:
    """`found` is what `cell_selectors.newest_cell_analyses` gives, `images` those of the case. Two queries."""
    cells = cell_selectors.case_cells(case=case)
    by_model, by_reader = _count(cells.model), _count(cells.reader)
    beside = ("counted", "erythroblasts", "smudge_cells", "artefacts", "unclassified", "on_border")
    is_found = any(dict(by_reader)[key] for key in beside)
    enough = "diagnostic" if cells.reader.is_diagnostic else "limited"
    enough = "insufficient" if cells.reader.is_insufficient else enough
    return LeukocytesPart(
        found=is_found,
        sentence="" if is_found else _nothing(found, images),
        model=by_model,
        reader=by_reader,
        read=cells.read,
        sufficiency=enough,
        sufficiency_words=SUFFICIENCY_WORDS[enough],
        suspicion=rounded(cells.reader_suspicion),
        suspicion_model=rounded(cells.suspicion),
        suspicion_highest=rounded(cells.highest),
        suspicion_words=wording.SUSPICION_NOTICE,
        problems=_problems(found),
    )


def alerts(*, case: Case, leukocytes: LeukocytesPart) -> list[AlertPart]:
    """The alerts that the reader's counts raise, none or one: *possible APL*."""
    count = leukocytes["reader"]
    promyelocytes = sum(row["count"] for row in count["classes"] if row["label"] == PROMYELOCYTE)
    raised = apl.alert(promyelocytes=promyelocytes, leukocytes=count["counted"], specimen=case.specimen)
    if raised is None:
        return []
    return [AlertPart(word=raised.word, sentence=raised.sentence, advice=raised.advice, limits=raised.limits)]


def _nothing(found: Sequence[CellAnalysis], images: Sequence[SmearImage]) -> str:
    if any(i.newest_analysis is not None and not i.newest_analysis.is_finished for i in images):
        return UNFINISHED
    return NO_LEUKOCYTE if any(not one.failure for one in found) else NOT_COUNTED


def _problems(found: Iterable[CellAnalysis]) -> list[str]:
    """Each sentence once, with the images it holds for."""
    where: dict[str, list[int]] = {}
    for one in found:
        for sentence in [*one.problems, *([one.failure] if one.failure else [])]:
            where.setdefault(sentence, []).append(one.analysis.image.position)
    return [f"{of_images(positions)}: {sentence}" for sentence, positions in where.items()]


def of_images(positions: Sequence[int]) -> str:
    """`Image 3`, or `Images 1, 2 and 5`."""
    if len(positions) == 1:
        return f"Image {positions[0]}"
    *others, last = map(str, positions)
    return f"Images {', '.join(others)} and {last}"


def _count(count: Differential) -> CountPart:
    low, high = count.blasts_interval or (None, None)
    return CountPart(
        counted=count.total,
        classes=[
            _row(count, name)
            for name in CELL.classes
            if name not in NOT_LEUKOCYTES and count.counts.get(name)
        ],
        blasts=count.blasts,
        blasts_per_100=rounded(count.blasts_per_100, SHARE_DIGITS),
        blasts_low=rounded(low, SHARE_DIGITS),
        blasts_high=rounded(high, SHARE_DIGITS),
        erythroblasts=count.erythroblasts,
        erythroblasts_per_100=rounded(count.erythroblasts_per_100, SHARE_DIGITS),
        smudge_cells=count.smudges,
        artefacts=count.others,
        unclassified=count.unclassified,
        on_border=count.on_border,
    )


def _row(count: Differential, name: str) -> CountRow:
    low, high = count.interval(name) or (0.0, 0.0)
    return CountRow(
        label=name,
        word=wording.class_word(name),
        blast=name in BLASTS,
        count=count.counts[name],
        percent=round(100 * count.share(name), SHARE_DIGITS),
        low=round(100 * low, SHARE_DIGITS),
        high=round(100 * high, SHARE_DIGITS),
    )
