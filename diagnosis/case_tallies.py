"""What is counted of cases, read from their tallies where these hold, and counted where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Aggregate, Count, Exists, Max, OuterRef, QuerySet, Sum, Value
from django.db.models.functions import Coalesce

from diagnosis import selectors, veil
from diagnosis.models import Case, SmearImage, StaleTally, User
from diagnosis.services import apl
from diagnosis.services.case_tallies import KEPT, SEEN_BY, trait

_ARRIVAL = ("received_on", "created_at", "pk")
_OF_CASE = ("pk", "status", "specimen")
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
_NOTHING = {**dict.fromkeys(_TOLD, 0), "suspicion": None}


def counted(*, user: User, cases: QuerySet[Case]) -> dict[int, dict[str, Any]]:
    """The counts `selectors.COUNTED` of these cases by key, with `pk`, `status` and `specimen`; as
    `selectors.with_counts` makes them for this person, to the value. In the order in which the cases came, by which
    dates need not be read: of hundreds that takes milliseconds. A few queries, however many cases.
    """
    asked = cases.order_by()
    # In one query, which sees one state: a count that ends between two might pass for newer than it is.
    is_stale = Exists(StaleTally.objects.filter(case_key=OuterRef("pk")))
    found: dict[int, dict[str, Any]] = {}
    to_count: set[int] = set()
    is_blind = veil.reads_blind(user)
    kept = (*KEPT, "traits") if is_blind else KEPT
    names = (*_OF_CASE, *kept)
    columns = (*_OF_CASE, *(f"tally__{name}" for name in kept))
    for *values, has_changed in asked.order_by(*_ARRIVAL).values_list(*columns, is_stale):
        row = dict(zip(names, values, strict=True))
        found[row["pk"]] = {**row, "veiled_count": 0}
        if has_changed or row["rank"] is None:
            to_count.add(row["pk"])
    if is_blind:
        _veil(user, {key: row for key, row in found.items() if key not in to_count})
    if to_count:  # to put the question together takes longer than all the rest
        live = selectors.with_counts(Case.objects.filter(pk__in=to_count).order_by(), user)
        counts = {row["pk"]: row for row in live.values(*_OF_CASE, *selectors.COUNTED)}
        for key in to_count:  # each keeps its place; one that is gone by now has none
            if key in counts:
                found[key] = counts[key]
            else:
                del found[key]
    return found


def with_tallies(*, user: User, cases: QuerySet[Case]) -> dict[int, Case]:
    """These cases by key, each with the counts of `selectors.with_counts`."""
    rows = counted(user=user, cases=cases)
    found = {case.pk: case for case in cases.order_by() if case.pk in rows}
    for key, case in found.items():
        case.__dict__.update({name: rows[key][name] for name in selectors.COUNTED})
    return found


def _veil(user: User, rows: Mapping[int, dict[str, Any]]) -> None:
    """Take from rows what is kept from who reads blind and has not seen an image; a signed case is shown to all, also
    while it is open for an amendment. Each row's `traits` say whether she has seen any of its images.
    """
    has_seen = f" {trait(SEEN_BY, user.pk)} "
    traits = {key: row.pop("traits") for key, row in rows.items()}
    veiled = {key: row for key, row in rows.items() if row["status"] == Case.Status.PRELIMINARY}
    if not veiled:
        return
    told: dict[int, dict[str, Any]] = {}
    partly = [key for key in veiled if has_seen in traits[key]]
    if partly:
        seen = (
            SmearImage.objects.filter(pk__in=veil.seen_of(user=user, cases=partly))
            .order_by()
            .values("case")
            .annotate(seen=Count("pk"), **_TOLD)
        )
        told = {row.pop("case"): row for row in seen}
    for key, row in veiled.items():
        known = told.get(key)
        if known is None:
            row.update(_NOTHING, veiled_count=row["image_count"], rank=selectors.RANK_OTHER)
            continue
        row["veiled_count"] = row["image_count"] - known.pop("seen")
        row.update(known)
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
    first, then those whose cells are the most suspicious, then those that come first: the older ones, as `counted`
    gives them. Each row says `is_disputed`.
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
        )

    return sorted(rows, key=place)
