"""Readers' classes of single cells: given to many at once, taken back, and never edited.

A reading is added for every cell, and `Cell.newest_reading` follows in the same transaction. Of a cell's readings the
one added last is the newest, whatever a clock says: the images are locked first, so keys grow in the order of deeds.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.http import Http404

from diagnosis import permissions
from diagnosis.models import Case, Cell, CellAnalysis, CellReading, SmearImage, User
from diagnosis.services import audit, tallies
from diagnosis.services.signed import require_open
from ml.tasks import CELL

MOST_CELLS = 10_000
"""Cells of one action: a case of ten fields has some hundreds."""

_OF_IMAGE = "cell_analysis__analysis__image"

NO_CELLS = "Choose a cell first."
TOO_MANY = f"Choose at most {MOST_CELLS} cells at a time."
UNKNOWN_LABEL = "Choose one of the classes of cells."
SEVERAL_CASES = "These cells belong to more than one case: read one case at a time."
OUTDATED = "These cells belong to an earlier analysis of their image: reload the page."
NOTHING_TO_TAKE_BACK = "None of these cells has a reader's class to take back."
READ_SINCE = "Some of these cells were read again since: undo that first."
NOT_YOURS = "Only the reader who gave these classes can undo them; give the cells another class instead."


class ReadingRefused(Exception):
    """A class that can't be given, or taken back, as it is; the text is one sentence for the reader."""


@transaction.atomic
def re_class(*, user: User, cells: Iterable[int], label: str) -> uuid.UUID:
    """Give cells a class, or take a reader's class back with an empty label; returns the batch, which `undo` takes.

    `cells` are primary keys, all of one case and of the newest analyses of their images. A few queries whatever
    their number. Raises ReadingRefused, Http404 for cells that are not there or another laboratory's, and
    PermissionDenied for a lacking role.
    """
    keys = sorted(set(cells))
    if not keys:
        raise ReadingRefused(NO_CELLS)
    if len(keys) > MOST_CELLS:
        raise ReadingRefused(TOO_MANY)
    case = _case_of(user, keys)
    require_open(case, ReadingRefused)
    if label and label not in CELL.classes:
        raise ReadingRefused(UNKNOWN_LABEL)
    _lock_newest(keys)
    before = dict(Cell.objects.filter(pk__in=keys).values_list("pk", "newest_reading__label"))
    if not label:  # taking back what nobody gave would only fill the history
        keys = [key for key in keys if before[key]]
        if not keys:
            raise ReadingRefused(NOTHING_TO_TAKE_BACK)
    batch = _add(user, dict.fromkeys(keys, label))
    audit.record(
        action="read_cells",
        actor=user,
        laboratory=case.laboratory,
        obj=case,
        detail={
            "batch": str(batch),
            "label": label,
            "cells": len(keys),
            "before": dict(Counter(before[key] or "" for key in keys)),
        },
    )
    return batch


@transaction.atomic
def undo(*, user: User, batch: uuid.UUID) -> uuid.UUID:
    """Give every cell of a batch the reader's class it had before, or none; returns the batch of doing so, and
    undoing that one does the first again.

    Raises ReadingRefused where a cell was read again since, or the batch is another reader's; Http404 and
    PermissionDenied as `re_class`.
    """
    keys = sorted(CellReading.objects.filter(batch=batch).order_by().values_list("cell_id", flat=True))
    if not keys:
        raise Http404("There is nothing here.")
    case = _case_of(user, keys)
    require_open(case, ReadingRefused)
    _lock_newest(keys)
    earlier = CellReading.objects.filter(cell=OuterRef("cell"), pk__lt=OuterRef("pk")).order_by("-pk")
    rows = list(
        CellReading.objects.filter(batch=batch)
        .order_by()
        .values_list(
            "pk",
            "cell_id",
            "reader_id",
            "cell__newest_reading_id",
            Subquery(earlier.values("label")[:1]),
        )
    )
    if any(reader != user.pk for _, _, reader, _, _ in rows):
        raise ReadingRefused(NOT_YOURS)
    if any(newest != key for key, _, _, newest, _ in rows) and _stand_above({c: k for k, c, *_ in rows}):
        raise ReadingRefused(READ_SINCE)
    restored = {cell: label or "" for _, cell, _, _, label in rows}
    made = _add(user, restored, undoes=batch)
    audit.record(
        action="undo_cell_readings",
        actor=user,
        laboratory=case.laboratory,
        obj=case,
        detail={
            "batch": str(made),
            "undoes": str(batch),
            "cells": len(restored),
            "labels": dict(Counter(restored.values())),
        },
    )
    return made


def _stand_above(readings: Mapping[int, int]) -> bool:
    """Whether a later reading stands above any of these, given as cell -> reading. One that was undone since stands no
    more, nor does its undoing: so deeds are undone one after the other, as far back as their reader likes.
    """
    later = CellReading.objects.filter(cell__in=list(readings), pk__gt=min(readings.values())).order_by("pk")
    standing: dict[int, list[uuid.UUID]] = {}
    for cell, key, batch, undoes in later.values_list("cell_id", "pk", "batch", "undoes"):
        if key <= readings[cell]:
            continue
        above = standing.setdefault(cell, [])
        if above and above[-1] == undoes:
            above.pop()
        else:
            above.append(batch)
    return any(standing.values())


def _case_of(user: User, keys: Sequence[int]) -> Case:
    """The case of these cells, which the user may read. Raises as `re_class`."""
    found = Cell.objects.filter(pk__in=keys).order_by().values_list(f"{_OF_IMAGE}__case").distinct()
    cases = list(Case.objects.select_related("laboratory").filter(pk__in=found))
    if not cases or any(case.laboratory_id != user.laboratory_id for case in cases):
        raise Http404("There is nothing here.")
    for case in cases:
        permissions.require(user, permissions.REVIEW, case)
    if len(cases) > 1:
        raise ReadingRefused(SEVERAL_CASES)
    return cases[0]


def _lock_newest(keys: Sequence[int]) -> None:
    """Lock the images of these cells, which makes the order of two readers' deeds the order of their readings, and
    see that the cells are those of the newest analyses. Raises ReadingRefused, and Http404 where a cell is not there.
    """
    of_images = Cell.objects.filter(pk__in=keys).order_by().values(f"{_OF_IMAGE}")
    images = SmearImage.objects.select_for_update().filter(pk__in=of_images).order_by("pk")
    newest = set(images.values_list("newest_analysis_id", flat=True))
    analyses = list(
        Cell.objects.filter(pk__in=keys).order_by().values_list("cell_analysis__analysis_id", flat=True)
    )
    if len(analyses) != len(keys):
        raise Http404("There is nothing here.")
    if not newest.issuperset(analyses):
        raise ReadingRefused(OUTDATED)


def _add(user: User, labels: Mapping[int, str], *, undoes: uuid.UUID | None = None) -> uuid.UUID:
    """Add a reading for each cell, and have the cells point to it."""
    batch = uuid.uuid4()
    CellReading.objects.bulk_create(
        CellReading(cell_id=cell, reader=user, label=label, batch=batch, undoes=undoes)
        for cell, label in labels.items()
    )
    newest = CellReading.objects.filter(cell=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    Cell.objects.filter(pk__in=list(labels)).update(newest_reading=Subquery(newest))
    read = Cell.objects.filter(pk__in=list(labels)).order_by().values("cell_analysis")
    tallies.retally(found=CellAnalysis.objects.filter(pk__in=read))
    return batch
