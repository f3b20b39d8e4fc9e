"""What is counted of cases, read from their tallies where these hold, and counted where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Aggregate, Count, Max, QuerySet, Sum, Value
from django.db.models.functions import Coalesce

from diagnosis import selectors, veil
from diagnosis.models import Case, SmearImage, StaleTally, User
from diagnosis.services import apl
from diagnosis.services.case_tallies import KEPT

_ORDERED_BY = ("pk", "received_on", "created_at", "status", "specimen")
_CELLS = "newest_analysis__cell_analysis__"
_TOLD: dict[str, Aggregate | Coalesce] = {
    "suspected_count": Count("pk", filter=selectors.SUSPECTED),
    "unjudged_count": Count("pk", filter=selectors.UNJUDGED),
    "indeterminate_count": Count("pk", filter=selectors.INDETERMINATE),
    "overruled_count": Count("pk", filter=selectors.OVERRULED),
    "unsure_count": Count("pk", filter=selectors.UNSURE),
    "promyelocyte_count": Coalesce(Sum(f"{_CELLS}promyelocytes"), Value(0)),
    "leukocyte_count": Coalesce(Sum(f"{_CELLS}leukocytes"), Value(0)),
    "suspicion": Max(f"{_CELLS}suspicion"),
}
"""What a model or a colleague said of images, of which who reads blind is told where she has seen them: of images."""
_NOTHING = {**dict.fromkeys(_TOLD, 0), "suspicion": None, "seen": 0}


def counted(*, user: User, cases: QuerySet[Case]) -> dict[int, dict[str, Any]]:
    """The counts `selectors.COUNTED` of these cases by key, with `pk`, `received_on`, `created_at`, `status` and
    `specimen`; as `selectors.with_counts` makes them for this person, to the value. A few queries, however many cases.
    """
    asked = cases.order_by()
    # First what is stale, then the tallies: in the other order a count that ended between the two would pass for new.
    stale = StaleTally.objects.filter(case_key__in=asked.values("pk")).order_by()
    changed = set(stale.values_list("case_key", flat=True).distinct())
    found: dict[int, dict[str, Any]] = {}
    to_count = []
    names = (*_ORDERED_BY, *KEPT)
    for values in asked.values_list(*_ORDERED_BY, *(f"tally__{name}" for name in KEPT)):
        row = dict(zip(names, values, strict=True))
        if row["pk"] in changed or row["rank"] is None:
            to_count.append(row["pk"])
        else:
            found[row["pk"]] = {**row, "veiled_count": 0}
    if veil.reads_blind(user):
        _veil(user, found, asked)
    if to_count:  # to put the question together takes longer than all the rest
        live = selectors.with_counts(Case.objects.filter(pk__in=to_count).order_by(), user)
        found |= {row["pk"]: row for row in live.values(*_ORDERED_BY, *selectors.COUNTED)}
    return found


def with_tallies(*, user: User, cases: QuerySet[Case]) -> dict[int, Case]:
    """These cases by key, each with the counts of `selectors.with_counts`."""
    rows = counted(user=user, cases=cases)
    found = {case.pk: case for case in cases.order_by() if case.pk in rows}
    for key, case in found.items():
        case.__dict__.update({name: rows[key][name] for name in selectors.COUNTED})
    return found


def _veil(user: User, rows: Mapping[int, dict[str, Any]], cases: QuerySet[Case]) -> None:
    """Take from rows what is kept from who reads blind and has not seen an image; a signed case is shown to all, also
    while it is open for an amendment.
    """
    veiled = {key: row for key, row in rows.items() if row["status"] == Case.Status.PRELIMINARY}
    if not veiled:
        return
    unsigned = cases.filter(status=Case.Status.PRELIMINARY).values("pk")
    seen = (
        SmearImage.objects.filter(pk__in=veil.seen_of(user=user, cases=unsigned))
        .order_by()
        .values("case")
        .annotate(seen=Count("pk"), **_TOLD)
    )
    told = {row.pop("case"): row for row in seen}
    for key, row in veiled.items():
        known = told.get(key, _NOTHING)
        row.update({name: known[name] for name in _TOLD})
        row["veiled_count"] = row["image_count"] - known["seen"]
        row["rank"] = _rank(row)


def _rank(row: Mapping[str, Any]) -> int:
    """As `selectors.with_counts` ranks."""
    is_apl = apl.alert(
        promyelocytes=row["promyelocyte_count"], leukocytes=row["leukocyte_count"], specimen=row["specimen"]
    )
    if row["suspected_count"] or is_apl is not None:
        return selectors.RANK_SUSPECTED
    return selectors.RANK_UNJUDGED if row["unjudged_count"] else selectors.RANK_OTHER


def by_urgency(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Suspected first, then what nobody has judged or two readers differ about, then the rest; in each the unread
    first, then those whose cells are the most suspicious, then the older. Each row says `is_disputed`.
    """

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        rank, suspicion = row["rank"], row["suspicion"]
        is_read = (
            not row["is_disputed"]
            and row["image_count"]
            and not row["unread_count"]
            and not row["unsure_count"]
        )
        return (
            min(rank, selectors.RANK_UNJUDGED) if row["is_disputed"] else rank,
            bool(is_read),
            suspicion is None,
            -(suspicion or 0.0),
            row["received_on"],
            row["created_at"],
            row["pk"],
        )

    return sorted(rows, key=place)
