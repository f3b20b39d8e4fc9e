"""What is counted of open cases, read from their tallies where these hold, and counted where they do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from diagnosis import selectors, veil
from diagnosis.models import BlindReading, Case, CaseTally, Review, StaleTally, User
from diagnosis.services.case_tallies import KEPT

_ORDERED_BY = ("pk", "received_on", "created_at", "status")
_TOLD = (
    "suspected_count", "unjudged_count", "indeterminate_count", "overruled_count", "unsure_count",
    "promyelocyte_count", "leukocyte_count",
)  # fmt: skip
"""Counts of what a model or a colleague said, which who reads blind is not told."""


def counted(*, user: User, keys: list[int]) -> list[dict[str, Any]]:
    """The counts `selectors.COUNTED` of these open cases, with `pk`, `received_on`, `created_at` and `status`; as
    `selectors.with_counts` makes them for this person, to the value. A few queries, however many cases.
    """
    # First what is stale, then the tallies: in the other order a count that ended between the two would pass for new.
    changed = set(
        StaleTally.objects.filter(case_key__in=keys).order_by().values_list("case_key", flat=True).distinct()
    )
    kept = CaseTally.objects.filter(case__in=keys).order_by()
    columns = {"pk": "case__pk", **{name: f"case__{name}" for name in _ORDERED_BY[1:]}}
    rows = {
        values[0]: dict(zip((*columns, *KEPT), values, strict=True))
        for values in kept.values_list(*columns.values(), *KEPT)
        if values[0] not in changed
    }
    to_count = set(keys) - rows.keys()
    if veil.reads_blind(user):
        seen = _seen_by(user, keys)
        to_count |= seen
        for key in rows.keys() - seen:
            _veil(rows[key])
    else:
        for row in rows.values():
            row["veiled_count"] = 0
    if to_count:  # to put the question together takes longer than all the rest
        live = selectors.with_counts(Case.objects.filter(pk__in=to_count).order_by(), user)
        rows |= {row["pk"]: row for row in live.values(*_ORDERED_BY, *selectors.COUNTED)}
    return [rows[key] for key in keys if key in rows]


def _seen_by(user: User, keys: list[int]) -> set[int]:
    """Cases with an image that she has classed or reviewed: what she may be told of them is counted by image."""
    blind = BlindReading.objects.filter(reader=user, image__case__in=keys).order_by()
    reviewed = Review.objects.filter(reviewer=user, image__case__in=keys).order_by()
    return set(
        blind.values_list("image__case", flat=True).union(reviewed.values_list("image__case", flat=True))
    )


def _veil(row: dict[str, Any]) -> None:
    """Take from a row what is kept from who reads blind and has seen none of its images; a signed case that is open for
    an amendment is shown to all.
    """
    if row["status"] != Case.Status.PRELIMINARY:
        row["veiled_count"] = 0
        return
    row.update(
        dict.fromkeys(_TOLD, 0), suspicion=None, rank=selectors.RANK_OTHER, veiled_count=row["image_count"]
    )


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
