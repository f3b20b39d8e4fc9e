"""The facts of a case that a smear is read by: specimen, age, white cell count. Checked at intake, and changed later.

What was changed is kept in the audit, old and new. Once a report is signed its facts are part of what was signed: they
change by an amendment alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypedDict

from django.db import transaction

from diagnosis import permissions, wording
from diagnosis.models import Case, User
from diagnosis.services import audit, signed

OLDEST: Final = 130
MOST_WHITE_CELLS: Final = Decimal(1500)
"""In 10^9/l. Leukemias reach some hundreds; more is a count per microlitre, entered without being divided."""


class Facts(TypedDict, total=False):
    """`white_cell_count` is in 10^9/l; None says that a fact is not known."""

    specimen: str
    age_years: int | None
    white_cell_count: Decimal | None


class FactRefused(Exception):
    """A fact that can't be true, or can't be changed; the text is one sentence, `field` the fact it is about."""

    def __init__(self, sentence: str, field: str = "") -> None:
        super().__init__(sentence)
        self.field = field


def check(facts: Facts) -> None:
    """Raise FactRefused for the first fact that can't be true."""
    if "specimen" in facts and facts["specimen"] not in Case.Specimen.values:
        raise FactRefused("Choose blood or marrow as the specimen.", "specimen")
    age = facts.get("age_years")
    if age is not None and not 0 <= age <= OLDEST:
        raise FactRefused(f"Give the age in whole years, from 0 to {OLDEST}.", "age_years")
    count = facts.get("white_cell_count")
    if count is not None:
        _check_count(count)


def _check_count(count: Decimal) -> None:
    if not count.is_finite() or count < 0:
        raise FactRefused("The white cell count must be a number, 0 or more.", "white_cell_count")
    if count > MOST_WHITE_CELLS:
        raise FactRefused(
            f"A white cell count above {MOST_WHITE_CELLS} × 10⁹/l can't be right: 5200 in a microlitre are 5.2.",
            "white_cell_count",
        )
    if count != round(count, 2):
        raise FactRefused("Give the white cell count with at most two decimals.", "white_cell_count")


@transaction.atomic
def change(*, user: User, case: Case, facts: Facts) -> Case:
    """Change the facts that are given, and leave the others as they are; nothing happens where none differs.

    The case is locked, so that of two people who change it at once each is recorded with what she found. Raises
    FactRefused, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.UPLOAD, case)
    check(facts)
    locked = signed.require_open(case, FactRefused)
    given: Mapping[str, Any] = facts
    changed = {name: value for name, value in given.items() if getattr(locked, name) != value}
    if not changed:
        return locked
    old = {name: getattr(locked, name) for name in changed}
    for name, value in changed.items():
        setattr(locked, name, value)
    locked.save(update_fields=list(changed))
    audit.record(
        action="change_case",
        actor=user,
        laboratory=locked.laboratory,
        obj=locked,
        detail={"old": _plain(old), "new": _plain(changed)},
    )
    return locked


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON holds them: a count as the text of its number."""
    return {
        name: wording.plain_number(value) if isinstance(value, Decimal) else value
        for name, value in facts.items()
    }
