"""The history as its page reads it: the keys of what matches first, then the counts of the few cases it shows."""

from __future__ import annotations

import datetime
from functools import cached_property
from typing import Any, Final

from django.db import connection
from django.db.models import (
    BooleanField,
    ExpressionWrapper,
    Max,
    OrderBy,
    OuterRef,
    Q,
    QuerySet,
    Value,
)
from django.db.models.functions import Coalesce
from django.utils import timezone

from diagnosis import case_tallies, selectors, word_search
from diagnosis.history_images import by_images, by_tally, on_findings
from diagnosis.models import Case, SignedFinding, SmearImage, User
from diagnosis.selectors import DEFAULT_SORT, HistoryFilters
from diagnosis.word_search import some

MOST_FOUND: Final = 250
"""Cases that a search by words or images finds; there are more than that in the archive if it finds so many."""
LATELY: Final = datetime.timedelta(days=60)
"""The newest cases that may match, as far back as this, are gone through in order before others are looked for."""
SORTS: Final = tuple(name for name in selectors.SORTS if name != "urgency")
"""Orders of the page: those that an index has. What follows from a case's images would be counted for all cases."""
_BY_DATE: Final = ("received_on", "created_at", "pk")

_Row = tuple[Any, ...]
"""Of a case: what `_BY_DATE` names."""


def _has_text_indexes() -> bool:
    """Whether this database can find words by an index (services.search_indexes)."""
    return connection.vendor == "postgresql"


class Found:
    """The cases that match, as a paginator takes them: exactly those of `selectors.history`, in its order.

    A search by words or by what the images came to ends with the first `MOST_FOUND` cases, and `is_cut` says so: nobody
    turns ten pages, and to count a hundred thousand cases would keep everybody waiting. What is searched is searched
    place by place, each by its own indexes, and the finds are put in order: each place gives all that may come first.
    """

    def __init__(self, *, user: User, filters: HistoryFilters) -> None:
        self._user, self._filters = user, filters
        sort = filters.sort if filters.sort in SORTS else DEFAULT_SORT
        self._sort, self._is_newest_first = selectors.SORTS[sort], sort == DEFAULT_SORT
        self._on_images = selectors.image_conditions(filters, user)
        self._words = filters.q.split()

    def count(self) -> int:
        return len(self._keys[:MOST_FOUND]) if self._is_search else self._how_many

    def __len__(self) -> int:
        return self.count()

    @property
    def is_cut(self) -> bool:
        """Whether more cases match than are given."""
        return self._is_search and len(self._keys) > MOST_FOUND

    def __getitem__(self, which: slice) -> list[Case]:
        if not isinstance(which, slice):  # as templates try before attributes
            raise TypeError("Cases are given by the page.")
        keys = self._keys[:MOST_FOUND][which] if self._is_search else self._keys_of_page(which)
        cases = Case.objects.filter(laboratory_id=self._user.laboratory_id, pk__in=keys)
        found = case_tallies.with_tallies(user=self._user, cases=cases)
        return [found[key] for key in keys if key in found]

    def _keys_of_page(self, which: slice) -> list[int]:
        """Of a page of all cases; of the second half from the end: a database reads all that a page passes over."""
        first, last = which.start or 0, min(which.stop or self._how_many, self._how_many)
        ordered = self._sorted(self._cases)
        if first <= self._how_many // 2:
            return list(ordered[first:last])
        return list(ordered.reverse()[self._how_many - last : max(0, self._how_many - first)])[::-1]

    @property
    def _is_search(self) -> bool:
        return bool(self._words or self._on_images)

    @property
    def _cases(self) -> QuerySet[Case]:
        """Of the laboratory, as the filters of cases and the short words have them."""
        cases = Case.objects.filter(
            selectors.by_columns(self._filters), laboratory_id=self._user.laboratory_id
        )
        for word in filter(word_search.is_short, self._words):
            cases = cases.filter(word_search.begins_with(word))
        return cases

    @property
    def _is_narrowed(self) -> bool:
        """Whether more is asked of cases than words to be found within texts."""
        is_asked = self._on_images or selectors.by_columns(self._filters)
        return bool(is_asked) or any(map(word_search.is_short, self._words))

    @cached_property
    def _how_many(self) -> int:
        return self._cases.count()

    @cached_property
    def _keys(self) -> list[int]:
        """Of the cases that match, in order: one more than are given."""
        words = [word for word in self._words if not word_search.is_short(word)]
        if words:
            rows = self._with_words(word_search.most_telling_first(words))
        elif not self._on_images:
            rows = self._first(self._cases)
        elif self._filters.disputed:
            # No signed case has a dispute that is open, and few others have.
            images = SmearImage.objects.filter(self._on_images).order_by().values("case")
            rows = self._first(self._cases.filter(pk__in=images))
        else:
            signed = SignedFinding.objects.filter(on_findings(self._filters)).order_by().values("case")
            rows = self._merged(
                self._first(self._cases.filter(has_findings=True, pk__in=signed)),
                self._first(self._cases.filter(by_tally(self._filters, self._user), has_findings=False)),
            )
        return [row[-1] for row in rows]

    def _with_words(self, words: list[str]) -> list[_Row]:
        """The first word is looked for by its indexes, the others and the images are asked of what it finds."""
        word, *others = words
        cases = self._narrowed(others, few=False)
        with_word = cases.filter(word_search.in_case(word))
        # With more words the others are asked of each case: of as few as will do.
        in_case = self._first(with_word) if others else self._in_case(with_word)
        conclusions = word_search.conclusions(word, self._user).values("case")
        concluded = self._first(cases.filter(pk__in=conclusions))
        commented, day = self._lately_commented(word, others)
        if day and day < datetime.date.max:
            rows = [row for row in self._merged(in_case, concluded, commented) if row[0] > day]
            if len(rows) > MOST_FOUND:
                return rows
        if day:
            keys: QuerySet[Any, Any] = word_search.comments(word, self._user).values("image__case")
            if others:  # sets of cases: each of so many asked for the other words would take longer
                keys = keys.intersection(*(word_search.found_anywhere(one, self._user) for one in others))
            commented = self._first(self._narrowed([], few=False).filter(pk__in=keys))
        return self._merged(in_case, concluded, commented)

    def _in_case(self, cases: QuerySet[Case]) -> list[_Row]:
        """The first cases with a word in what they hold themselves.

        PostgreSQL would go through the cases in order until it has enough, which takes long where the newest lack the
        word. So it goes through those of some weeks, and if that is not enough, its indexes tell all that have the
        word (or, where it has none, all cases). SQLite has no such indexes: it can but go through the cases.
        """
        if not _has_text_indexes() or not self._is_newest_first or self._on_images:
            return self._first(cases)
        arrived = Case.objects.filter(laboratory_id=self._user.laboratory_id)
        if self._filters.date_to:
            arrived = arrived.filter(received_on__lte=self._filters.date_to)
        newest = arrived.aggregate(day=Max("received_on"))["day"]
        if newest is None:
            return []
        day, first = max(newest, datetime.date.min + LATELY) - LATELY, self._filters.date_from
        rows = self._first(cases.filter(received_on__gt=day))
        if len(rows) > MOST_FOUND or (first and first > day):
            return rows
        unindexed = OrderBy(Coalesce("received_on", "received_on"), descending=True)
        return list(cases.order_by(unindexed, *self._sort[1:]).values_list(*_BY_DATE)[: MOST_FOUND + 1])

    def _narrowed(self, words: list[str], *, few: bool) -> QuerySet[Case]:
        """The cases that have these words and images, for a search that gives few of them to ask, or many."""
        cases = self._cases
        for word in words:
            cases = cases.filter(word_search.of_each(word, self._user, few=few))
        if self._filters.disputed:
            cases = cases.filter(by_images(self._filters, self._user))
        elif self._on_images:
            findings = SignedFinding.objects.filter(on_findings(self._filters), case=OuterRef("pk"))
            # The column first: the database asks in the order of writing.
            is_unsigned = Q(has_findings=False) & by_images(self._filters, self._user)
            cases = cases.filter(Q(has_findings=True) & Q(some(findings)) | is_unsigned)
        return cases

    def _lately_commented(self, word: str, others: list[str]) -> tuple[list[_Row], datetime.date | None]:
        """Cases that match and whose newest comments have the word; and the day after which all cases that came are
        among them, if there are more comments than looked at: none came after `date.max`.

        To join all that have a frequent word with their cases would take longer than a page may. A comment is never
        older than its case's arrival: no case that came after the oldest comment looked at has older ones alone.
        """
        most = MOST_FOUND + MOST_FOUND // 4
        columns = ("created_at", "has_others", *(f"image__case__{name}" for name in _BY_DATE))
        has_others = Q(*(Q(comment__icontains=other) for other in others)) if others else Value(True)
        # Said so, an index has the newest; the search for all of them has a better one (services.search_indexes).
        comments = word_search.comments(word, self._user).filter(comment__gt="").order_by("-created_at")
        comments = comments.annotate(has_others=ExpressionWrapper(has_others, BooleanField()))
        newest = list(comments.values_list(*columns)[: most + 1])
        day = timezone.localdate(newest[most][0]) if len(newest) > most else None
        if day and (not self._is_newest_first or self._filters.date_to):
            return [], datetime.date.max
        looked_at = [(has_all, row) for _, has_all, *row in newest if day is None or row[0] > day]
        with_all = {row[-1]: tuple(row) for has_all, row in looked_at if has_all}
        others_elsewhere = {row[-1] for _, row in looked_at} - with_all.keys()
        rows = list(with_all.values())
        if rows and (self._is_narrowed or not self._is_newest_first):
            rows = self._first(self._narrowed([], few=True).filter(pk__in=with_all))
        if others_elsewhere:
            elsewhere = self._first(self._narrowed(others, few=True).filter(pk__in=others_elsewhere))
            rows = self._merged(rows, elsewhere)
        return rows, day

    def _first(self, cases: QuerySet[Case]) -> list[_Row]:
        return list(cases.order_by(*self._sort).values_list(*_BY_DATE)[: MOST_FOUND + 1])

    def _merged(self, *found: list[_Row]) -> list[_Row]:
        """Finds of several places in order, each case once."""
        rows = {row[-1]: row for rows in found for row in rows}
        if self._sort[0] in ("received_on", "-received_on"):
            return sorted(rows.values(), reverse=self._is_newest_first)[: MOST_FOUND + 1]
        if len([rows for rows in found if rows]) < 2:
            return list(rows.values())
        # The order of letters is the database's.
        return self._first(Case.objects.filter(pk__in=rows))

    def _sorted(self, cases: QuerySet[Case]) -> QuerySet[Case, int]:
        return cases.order_by(*self._sort).values_list("pk", flat=True)
