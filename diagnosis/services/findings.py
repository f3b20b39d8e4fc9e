"""What the images of signed cases came to, kept for the history (`SignedFinding`).

A signed case is closed to readings, analyses and images: what is true of it at its signature stays so until an
amendment is opened. The history asks these few short rows instead of every image, and asks the images of other cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.db import transaction
from django.db.models import BooleanField, CharField, F, Max, Q, Value, When
from django.db.models import Case as SqlCase

from diagnosis import selectors
from diagnosis.models import Analysis, Case, SignedFinding, SmearImage

A_BATCH: Final = 500
COLUMNS: Final = ("outcome", "label", "is_suspected", "is_unread", "differs", "reviewer_key", "version_key")
_CLOSED: Final = Q(status__in=[Case.Status.FINAL, Case.Status.AMENDED], amending_since__isnull=True)


def keep(*, cases: Sequence[int]) -> int:
    """Keep what the images of these cases came to, in the caller's transaction, in which the cases are locked; returns
    of how many. Cases that are not signed, or open for an amendment, are left out.
    """
    closed = list(Case.objects.filter(_CLOSED, pk__in=cases).order_by().values_list("pk", flat=True))
    SignedFinding.objects.filter(case__in=closed).delete()
    names = [f"told_{name}" for name in COLUMNS]
    rows = (
        SmearImage.objects.filter(case__in=closed)
        .order_by()
        .annotate(**TOLD)
        .values_list("case_id", *names)
        .distinct()
    )
    SignedFinding.objects.bulk_create(
        [SignedFinding(case_id=case, **dict(zip(COLUMNS, values, strict=True))) for case, *values in rows],
        batch_size=500,
    )
    Case.objects.filter(pk__in=closed).update(has_findings=True)
    return len(closed)


def forget(*, case: Case) -> None:
    """A case is open again: its images are asked until it is signed anew."""
    Case.objects.filter(pk=case.pk).update(has_findings=False)
    SignedFinding.objects.filter(case=case).delete()


def keep_all(*, anew: bool = False) -> int:
    """Keep those of every signed case that lacks them, or of all `anew`; returns of how many cases."""
    kept, last, highest = 0, 0, Case.objects.aggregate(highest=Max("pk"))["highest"] or 0
    while last < highest:
        with transaction.atomic():
            wanted = Case.objects.filter(_CLOSED, pk__gt=last) if anew else Case.objects.filter(
                _CLOSED, pk__gt=last, has_findings=False
            )  # fmt: skip
            batch = list(wanted.order_by("pk").select_for_update().values_list("pk", flat=True)[:A_BATCH])
            if not batch:
                break
            kept += keep(cases=batch)
            last = batch[-1]
    return kept


def _flag(condition: Q) -> SqlCase:
    return SqlCase(When(condition, then=Value(True)), default=Value(False), output_field=BooleanField())


_DONE: Final = Q(newest_analysis__state=Analysis.State.DONE)
TOLD: Final = {
    "told_outcome": SqlCase(
        When(_DONE, then=F("newest_analysis__outcome")),
        When(newest_analysis__isnull=False, then=F("newest_analysis__state")),
        default=Value(""),
        output_field=CharField(),
    ),
    "told_label": SqlCase(
        When(selectors.OVERRULED, then=F("newest_review__label")),
        When(selectors.UNSURE, then=Value("")),
        When(_DONE, then=F("newest_analysis__label")),
        default=Value(""),
        output_field=CharField(),
    ),
    "told_is_suspected": _flag(selectors.SUSPECTED),
    "told_is_unread": _flag(selectors.UNREAD),
    "told_differs": _flag(selectors.DISAGREEMENT),
    "told_reviewer_key": F("newest_review__reviewer_id"),
    "told_version_key": F("newest_analysis__model_version_id"),
}
"""What is kept of an image, by `COLUMNS`, as columns of a query of images."""
