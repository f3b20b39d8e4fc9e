"""What the history's filters ask of images, as a condition on cases: by what is kept of the images, or by themselves.

Three answer alike, each faster where it can: the findings of a signed case, the tally of an open one, the images.
"""

from __future__ import annotations

import functools
import operator
from typing import Final

from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, Subquery, Value, When
from django.db.models import Case as SqlCase
from django.db.models.functions import Coalesce

from diagnosis import selectors
from diagnosis.models import Case, CaseTally, SmearImage, StaleTally, User
from diagnosis.selectors import HistoryFilters
from diagnosis.services import case_tallies as tally
from diagnosis.word_search import some

_TALLIED: Final = {
    "suspected": "suspected_count",
    "indeterminate": "indeterminate_count",
    "failed": "failed_count",
    "unfinished": "unfinished_count",
}
"""What a case's tally counts of an outcome."""


def by_images(filters: HistoryFilters, user: User) -> Q:
    """Of any case: whether it has an image that matches."""
    images = selectors.image_conditions(filters, user)
    return Q(some(SmearImage.objects.filter(images, case=OuterRef("pk"))))


def by_tally(filters: HistoryFilters, user: User) -> Q | Coalesce | SqlCase:
    """Of an open case: the same, by its tally where that holds and knows of it, which spares the look at images."""
    images = by_images(filters, user)
    counts = [_TALLIED.get(filters.outcome), "unread_count" if filters.unread else None]
    traits = [
        tally.trait(name, value)
        for name, value in (
            ("label", filters.label or None),
            ("reader", filters.reviewer),
            ("version", filters.model_version),
        )
        if value is not None
    ] + ([tally.DIFFERS] if filters.disagreement else [])
    conditions = [Q(**{f"{name}__gt": 0}) for name in counts if name]
    conditions += [Q(traits__contains=f" {one} ") for one in traits]
    is_veiled = selectors.searches_veiled(filters, user)
    # Of two things asked a tally does not tell whether one image has both; and SQLite finds "Pre" for "pre".
    is_all = len(conditions) == 1 and not (is_veiled or filters.label)
    is_all &= filters.outcome in ("", *_TALLIED)
    if is_veiled:
        has_seen = f" {tally.trait(tally.SEEN_BY, user.pk)} "
        conditions.append(Q(traits__contains=has_seen) | ~Q(case__status=Case.Status.PRELIMINARY))
    if not conditions:
        return images
    wanted = functools.reduce(operator.and_, conditions)
    # Asked of each case: of a set of cases, PostgreSQL would read the tallies of all.
    holding = CaseTally.objects.filter(~Exists(StaleTally.objects.filter(case_key=OuterRef("case"))))
    told = Subquery(
        holding.filter(case=OuterRef("pk")).values_list(ExpressionWrapper(wanted, BooleanField()))
    )
    # Not by AND and OR: PostgreSQL would ask in an order of its own.
    if is_all:
        return Coalesce(told, images, output_field=BooleanField())
    return SqlCase(
        When(Coalesce(told, Value(True)), then=images),
        default=Value(False),
        output_field=BooleanField(),
    )


def on_findings(filters: HistoryFilters) -> Q:
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
