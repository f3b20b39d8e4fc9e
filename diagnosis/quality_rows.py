"""The stored rows that quality is counted from: each as one flat tuple, whatever their number in constant memory.

Drawn samples are nobody's work and are left out everywhere.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from diagnosis import turnaround, wording
from diagnosis.models import Analysis, BlindReading, Case, Dispute, Laboratory, Review, SignOut

A_BATCH = 2000

_NO_CLASS = (wording.UNSURE, wording.NOT_JUDGEABLE)


@dataclass(frozen=True)
class Window:
    """Days from `since` to `until`, both included, of one laboratory or of all."""

    since: datetime.date
    until: datetime.date
    laboratory: Laboratory | None = None

    def within(self, when: str, owner: str) -> Q:
        """Rows whose moment `when` lies in these days, as the clinic's clock has them."""
        begin, end = (
            timezone.make_aware(datetime.datetime.combine(day, datetime.time.min))
            for day in (self.since, self.until + datetime.timedelta(days=1))
        )
        found = Q(**{f"{when}__gte": begin, f"{when}__lt": end})
        return found if self.laboratory is None else found & Q(**{owner: self.laboratory})


class AnalysisRow(NamedTuple):
    laboratory: int
    case: int
    version: int
    state: str
    queued_at: datetime.datetime
    started_at: datetime.datetime | None
    finished_at: datetime.datetime
    outcome: str
    label: str
    reasons: list[str]
    inside_domain: bool | None
    confidence: float | None
    domain_percentile: float | None
    quality: dict[str, Any]


class ReviewRow(NamedTuple):
    laboratory: int
    case: int
    reader: int
    created_at: datetime.datetime
    label: str
    seconds: float | None
    was_blind: bool
    version: int
    outcome: str
    model_label: str


class BlindRow(NamedTuple):
    """`settled` is the class that stands in a signed report or settled a dispute, `settled_by` who gave it; empty and
    None while there is none. `after` is the reader's own class once she had seen the model's; None without one.
    """

    laboratory: int
    case: int
    reader: int
    created_at: datetime.datetime
    label: str
    is_class: bool
    seconds: float | None
    version: int
    model_label: str
    after: str | None
    settled: str
    settled_by: int | None


class SignedRow(NamedTuple):
    laboratory: int
    case: int
    received_at: datetime.datetime
    signed_at: datetime.datetime
    hours: int


def analyses(window: Window) -> Iterator[AnalysisRow]:
    """Every analysis that ended."""
    owner = "image__case__laboratory"
    found = Analysis.objects.filter(
        window.within("finished_at", owner),
        state__in=[Analysis.State.DONE, Analysis.State.FAILED],
        image__is_drawn=False,
    ).order_by()
    rows = found.values_list(
        owner, "image__case", "model_version", "state", "queued_at", "started_at", "finished_at", "outcome", "label",
        "reasons", "inside_domain", "confidence", "domain_percentile", "quality",
    )  # fmt: skip
    return (AnalysisRow(*row) for row in rows.iterator(chunk_size=A_BATCH))


def _standing() -> QuerySet[Review]:
    return Review.objects.filter(withdrawn_by__isnull=True).exclude(verdict=Review.Verdict.WITHDRAW)


def reviews(window: Window) -> Iterator[ReviewRow]:
    """Of each reader and analysis the newest review that was not taken back."""
    owner = "image__case__laboratory"
    later = _standing().filter(
        analysis=OuterRef("analysis"), reviewer=OuterRef("reviewer"), pk__gt=OuterRef("pk")
    )
    found = (
        _standing()
        .filter(
            ~Exists(later),
            window.within("created_at", owner),
            analysis__state=Analysis.State.DONE,
            image__is_drawn=False,
        )
        .order_by()
    )
    rows = found.values_list(
        owner, "image__case", "reviewer", "created_at", "label", "seconds", "blind_reading",
        "analysis__model_version", "analysis__outcome", "analysis__label",
    )  # fmt: skip
    for row in rows.iterator(chunk_size=A_BATCH):
        yield ReviewRow._make((*row[:6], row[6] is not None, *row[7:]))


def blind_readings(window: Window) -> Iterator[BlindRow]:
    """Every blind reading of an analysed image, with what came of it."""
    owner = "image__case__laboratory"
    hers = (
        _standing()
        .filter(image=OuterRef("image"), reviewer=OuterRef("reader"))
        .order_by("-pk")
        .values("label")
    )
    found = (
        BlindReading.objects.filter(
            window.within("created_at", owner), analysis__state=Analysis.State.DONE, image__is_drawn=False
        )
        .annotate(
            after=Subquery(hers[:1]),
            ends_dispute=Exists(Dispute.objects.filter(settled_by=OuterRef("image__newest_review"))),
        )
        .order_by()
    )
    rows = found.values_list(
        owner, "image__case", "reader", "created_at", "label", "seconds", "analysis__model_version",
        "analysis__outcome", "analysis__label", "after", "image__newest_review__label",
        "image__newest_review__reviewer", "image__case__status", "ends_dispute",
    )  # fmt: skip
    for *first, seconds, version, outcome, model, after, last, last_by, status, ends in rows.iterator(
        chunk_size=A_BATCH
    ):
        is_settled = bool(last) and (ends or status != Case.Status.PRELIMINARY)
        yield BlindRow._make(
            (
                *first,
                first[-1] not in _NO_CLASS,
                seconds,
                version,
                model if outcome == Analysis.Outcome.CLASS else "",
                after,
                last if is_settled else "",
                last_by if is_settled else None,
            )
        )


def signed(window: Window) -> Iterator[SignedRow]:
    """Every first signature, with when its case came in."""
    found = (
        SignOut.objects.filter(window.within("signed_at", "case__laboratory"), number=1)
        .select_related("case__laboratory")
        .only("signed_at", "case__created_at", "case__received_on", "case__laboratory__turnaround_hours")
        .order_by()
    )
    for row in found.iterator(chunk_size=A_BATCH):
        case = row.case
        hours = case.laboratory.turnaround_hours
        yield SignedRow(case.laboratory_id, case.pk, turnaround.received_at(case), row.signed_at, hours)
