"""The history as its page reads it: the keys of what matches first, then the counts of the few cases it shows."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from django.db.models import Q, QuerySet

from diagnosis import selectors
from diagnosis.models import Case, SignedFinding, SmearImage, User
from diagnosis.selectors import DEFAULT_SORT, HistoryFilters

MOST_FOUND: Final = 1000
"""Cases that a search by words or images finds; there are more than that in the archive if it finds so many."""
SORTS: Final = tuple(name for name in selectors.SORTS if name.lstrip("-") not in ("urgency", "activity"))
"""Orders of the page: those that an index has. What follows from a case's images would be counted for all cases."""


class Found:
    """The cases that match, as a paginator takes them: exactly those of `selectors.history`, in its order.

    A search by words or by what the images came to ends with the first `MOST_FOUND` cases, and `is_cut` says so: nobody
    turns forty pages, and to count a hundred thousand cases would keep everybody waiting.
    """

    def __init__(self, *, user: User, filters: HistoryFilters) -> None:
        self._user, self._filters = user, filters
        self._sort = selectors.SORTS[filters.sort if filters.sort in SORTS else DEFAULT_SORT]
        self._on_images = selectors.image_conditions(filters, user)

    def count(self) -> int:
        return len(self._keys[:MOST_FOUND]) if self._is_search else self._how_many

    def __len__(self) -> int:
        return self.count()

    @property
    def is_cut(self) -> bool:
        """Whether more cases match than are given."""
        return self._is_search and len(self._keys) > MOST_FOUND

    def __getitem__(self, which: slice) -> list[Case]:
        listed = self._keys[:MOST_FOUND] if self._is_search else self._sorted(self._cases)
        keys = list(listed[which])
        counted = selectors.with_counts(selectors.cases_of(self._user).filter(pk__in=keys), self._user)
        found = {case.pk: case for case in counted}
        return [found[key] for key in keys if key in found]

    @property
    def _is_search(self) -> bool:
        return bool(self._filters.q.split() or self._on_images)

    @property
    def _cases(self) -> QuerySet[Case]:
        cases = Case.objects.filter(laboratory_id=self._user.laboratory_id)
        return cases.filter(selectors.by_case_alone(self._filters, self._user))

    @cached_property
    def _how_many(self) -> int:
        return self._cases.count()

    @cached_property
    def _keys(self) -> list[int]:
        """Of the cases that match, in order: one more than are given."""
        if not self._on_images:
            return self._first(self._cases)
        images = SmearImage.objects.filter(self._on_images).order_by().values("case")
        if self._filters.disputed:
            # No signed case has a dispute that is open, and few others have.
            return self._first(self._cases.filter(pk__in=images))
        # Two searches, each by its own indexes, and their finds put in order: each holds all that may come first.
        signed = SignedFinding.objects.filter(_on_findings(self._filters)).order_by().values("case")
        keys = self._first(self._cases.filter(has_findings=True, pk__in=signed))
        unsigned = self._cases.filter(has_findings=False)
        of_unsigned = SmearImage.objects.filter(
            self._on_images, case__laboratory_id=self._user.laboratory_id, case__has_findings=False
        )
        keys += self._first(unsigned.filter(pk__in=of_unsigned.order_by().values("case")))
        return self._first(Case.objects.filter(pk__in=keys))

    def _first(self, cases: QuerySet[Case]) -> list[int]:
        return list(self._sorted(cases)[: MOST_FOUND + 1])

    def _sorted(self, cases: QuerySet[Case]) -> QuerySet[Case, int]:
        return cases.order_by(*self._sort).values_list("pk", flat=True)


def _on_findings(filters: HistoryFilters) -> Q:
    """The conditions on images of the filters, of a signed case's findings: its outcomes are shown to everybody."""
    wanted = Q()
    if filters.outcome == "suspected":
        wanted &= Q(is_suspected=True)
    elif filters.outcome == "unfinished":
        wanted &= Q(outcome__in=["queued", "running"])
    elif filters.outcome:
        wanted &= Q(outcome=filters.outcome)
    if filters.label:
        wanted &= Q(label=filters.label)
    if filters.reviewer is not None:
        wanted &= Q(reviewer_key=filters.reviewer)
    if filters.disagreement:
        wanted &= Q(differs=True)
    if filters.unread:
        wanted &= Q(is_unread=True)
    if filters.model_version is not None:
        wanted &= Q(version_key=filters.model_version)
    return wanted
