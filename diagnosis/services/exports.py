"""Tables that leave Leukoscope: the cases of a history view as CSV, row by row, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from django.db import transaction

from diagnosis import permissions, selectors, wording
from diagnosis.models import User
from diagnosis.selectors import HistoryFilters
from diagnosis.services import audit

A_BATCH = 500
"""Cases read at a time: the memory an export takes, however many there are."""

MOST_CASES = 10_000
"""More take longer than a request may: a page says so before, and the last line after."""

BYTE_ORDER_MARK = "\ufeff"

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes spreadsheets take a cell for a formula (OWASP, CSV injection), full width too."""

HEADINGS = (
    "accession number", "patient code", "specimen", "age (years)", "leukocytes (10^9/l)", "received on", "report",
    "images", "suspected", "indeterminate", "failed", "being analysed", "unread", "overruled",
    "index of suspicion (0 to 1)", "assigned to", "opened by", "opened at",
)  # fmt: skip


class _Echo:
    """A file whose writes are what the writer returns."""

    def write(self, text: str) -> str:
        return text


def harmless(cell: object) -> str:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe before it."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if isinstance(cell, str) and text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def history_csv(*, user: User, filters: HistoryFilters, with_mark: bool = False) -> Iterator[str]:
    """The cases of a history view as lines of CSV (RFC 4180), in the order of the view: the first `MOST_CASES`.

    The export is in the audit before its first line is given out. `with_mark` begins with a byte order mark, by which
    Excel knows UTF-8. Raises what `permissions.require` raises.
    """
    permissions.require(user, permissions.VIEW)
    with transaction.atomic():
        audit.record(
            action="export",
            actor=user,
            laboratory=user.laboratory,
            detail={"what": "history.csv", "filters": _told(filters)},
        )
    return _lines(user=user, filters=filters, with_mark=with_mark)


def _told(filters: HistoryFilters) -> dict[str, Any]:
    """The filters as the audit keeps them: what was searched for may be a patient's, and is left out."""
    told = {name: value for name, value in vars(filters).items() if value not in ("", None, False)}
    if told.pop("q", ""):
        told["searched"] = True
    return {name: value if isinstance(value, bool | int) else str(value) for name, value in told.items()}


def _lines(*, user: User, filters: HistoryFilters, with_mark: bool) -> Iterator[str]:
    writer = csv.writer(_Echo())
    mark = BYTE_ORDER_MARK if with_mark else ""
    yield mark + writer.writerow(HEADINGS)
    cases = selectors.history(user=user, filters=filters).select_related("assigned_to")
    # One more is asked for, to know whether there are more.
    found = cases[: MOST_CASES + 1].iterator(chunk_size=A_BATCH)
    for case in islice(found, MOST_CASES):
        yield writer.writerow([harmless(cell) for cell in _row(case)])
    if next(found, None) is not None:
        yield writer.writerow(
            [f"Not all: there are more cases. Narrow by dates; at most {MOST_CASES:,} go out."]
        )


def _row(case: Any) -> Sequence[object]:
    suspicion = case.suspicion
    return (
        case.accession_number, case.patient_code, wording.SPECIMEN_WORDS[case.specimen], case.age_years,
        case.white_cell_count, case.received_on.isoformat(), case.get_status_display(), case.image_count,
        case.suspected_count, case.indeterminate_count, case.failed_count, case.unfinished_count, case.unread_count,
        case.overruled_count, None if suspicion is None else round(suspicion, 3),
        case.assigned_to.display_name if case.assigned_to else "", case.created_by.display_name,
        case.created_at.isoformat(timespec="seconds"),
    )  # fmt: skip
