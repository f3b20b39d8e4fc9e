"""Reads for pages: the worklist, the history, a case, and what is still running. Nothing here writes.

Every queryset comes with what its page shows: a page asks the same number of queries whatever it lists.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from django.db.models import Case as SqlCase
from django.db.models import (
    Count,
    Exists,
    F,
    IntegerField,
    Max,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.expressions import OrderBy

from diagnosis import permissions, veil, word_search, wording
from diagnosis.models import (
    Analysis,
    Case,
    Dispute,
    ModelVersion,
    Review,
    SmearImage,
    User,
)
from diagnosis.services import apl

_DONE = Q(newest_analysis__state=Analysis.State.DONE)
OVERRULED = Q(newest_review__verdict=Review.Verdict.OVERRULE)

SUSPECTED = Q(OVERRULED & Q(newest_review__label__in=wording.MALIGNANT)) | Q(
    ~Q(newest_review__verdict=Review.Verdict.OVERRULE) | Q(newest_review__isnull=True),
    newest_analysis__suspected=True,
)
"""An image that is suspected: by its newest analysis, or by the newest review where that overrules."""
UNFINISHED = Q(newest_analysis__state__in=Analysis.UNFINISHED)
FAILED = Q(newest_analysis__state=Analysis.State.FAILED)
INDETERMINATE = _DONE & Q(newest_analysis__outcome=Analysis.Outcome.INDETERMINATE)
_OF_ITS_ANALYSIS = (Review.Verdict.AGREE, Review.Verdict.UNSURE)
_OUTDATED = Q(newest_review__verdict__in=_OF_ITS_ANALYSIS) & ~Q(newest_review__analysis=F("newest_analysis"))
READ = OVERRULED | Q(
    newest_review__verdict__in=_OF_ITS_ANALYSIS, newest_review__analysis=F("newest_analysis")
)
"""An image that has been read: an agreement, and that the reader cannot tell, hold for the analysis she saw alone,
another label for all."""
UNREAD = Q(newest_review__isnull=True) | _OUTDATED
UNSURE = Q(newest_review__verdict=Review.Verdict.UNSURE, newest_review__analysis=F("newest_analysis"))
"""An image whose reader cannot tell: it counts as read, and still needs somebody who can."""
UNJUDGED = UNSURE | (UNREAD & (Q(newest_analysis__isnull=True) | UNFINISHED | FAILED | INDETERMINATE))
"""An image nobody has judged: no reader, and no model either; or its reader cannot tell, whatever the model says."""
DISAGREEMENT = OVERRULED | (
    _OUTDATED
    & _DONE
    & Q(newest_review__verdict=Review.Verdict.AGREE)
    & ~Q(newest_review__label=F("newest_analysis__label"))
)
"""Reader and model differ: she overruled, or a re-analysis changed what she had agreed with."""
DISPUTED = Q(pk__in=Dispute.objects.filter(ended_at__isnull=True).order_by().values("image"))
"""Two readers differ, and no third has settled it."""

NOT_SIGNED = Q(status=Case.Status.PRELIMINARY) | Q(amending_since__isnull=False)
"""A case whose images may be read: not signed out yet, or open for an amendment."""

COUNTED = (
    "image_count", "suspected_count", "unjudged_count", "indeterminate_count", "failed_count", "unfinished_count",
    "reviewed_count", "unread_count", "overruled_count", "unsure_count", "veiled_count", "suspicion",
    "promyelocyte_count", "leukocyte_count", "rank",
)  # fmt: skip
"""What `with_counts` adds to a case."""

RANK_SUSPECTED, RANK_UNJUDGED, RANK_OTHER = 0, 1, 2

MOST_SUSPICIOUS_FIRST = F("suspicion").desc(nulls_last=True)
"""Within a rank. A case without a judged cell comes last in its rank and never in a lower one."""

SORTS: dict[str, tuple[str | OrderBy, ...]] = {
    "-received": ("-received_on", "-created_at", "-pk"),
    "received": ("received_on", "created_at", "pk"),
    "accession": ("accession_number", "pk"),
    "-accession": ("-accession_number", "-pk"),
    "patient": ("patient_code", "-received_on", "-pk"),
    "-patient": ("-patient_code", "-received_on", "-pk"),
    "urgency": ("rank", MOST_SUSPICIOUS_FIRST, "received_on", "created_at", "pk"),
}
DEFAULT_SORT = "-received"


@dataclass(frozen=True)
class HistoryFilters:
    """What the history is narrowed to; an empty value narrows nothing.

    `outcome` is "class", "indeterminate", "failed", "unfinished" or "suspected". `label` is the class that
    counts: the newest review's where it overrules, none where the reader cannot tell, else the model's. `unread` and
    `disagreement` are `UNREAD` and `DISAGREEMENT`: an agreement counts until the image is analysed anew. All conditions
    on images hold for one and the same image.
    """

    q: str = ""
    outcome: str = ""
    label: str = ""
    reviewer: int | None = None
    disagreement: bool = False
    unread: bool = False
    disputed: bool = False
    model_version: int | None = None
    status: str = ""
    date_from: datetime.date | None = None
    date_to: datetime.date | None = None
    sort: str = DEFAULT_SORT


def history(*, user: User, filters: HistoryFilters = HistoryFilters()) -> QuerySet[Case]:
    """Cases of the user's laboratory that match, sorted, with the counts of `with_counts`.

    To go through all of them, as an export does; a page has `history_selectors.Found`, which counts what it shows.
    """
    cases = cases_of(user).filter(by_case_alone(filters, user))
    on_image = image_conditions(filters, user)
    if on_image:
        # One pass over the images. By a correlated EXISTS, SQLite goes through those with an empty column (no
        # review yet) anew for every case: minutes for thousands of cases.
        cases = cases.filter(pk__in=SmearImage.objects.filter(on_image).order_by().values("case"))
    return with_counts(cases, user).order_by(*SORTS.get(filters.sort, SORTS[DEFAULT_SORT]))


def case_detail(*, user: User, case_id: int) -> Case:
    """A case for its page, or Http404.

    `case.images.all()` comes in order, each with `newest_analysis` (and its `model_version`),
    `newest_review` (and its `reviewer`) and `reviews_newest_first`, a list with reviewers; four queries in
    all, however many images there are.
    """
    reviews = Prefetch(
        "reviews",
        Review.objects.select_related("reviewer", "blind_reading").order_by("-created_at", "-pk"),
        to_attr="reviews_newest_first",
    )
    cases = Case.objects.select_related("laboratory", "created_by", "assigned_to").prefetch_related(
        Prefetch("images", images_with_newest().prefetch_related(reviews))
    )
    return permissions.get_case_for(user, case_id, among=cases)


def images_with_newest() -> QuerySet[SmearImage]:
    """Smear images in order, with newest analysis and newest review fetched along; saliency maps and embeddings only
    when they are asked for.

    Versions come by a query of their own, each once: joined to every image, its manifest would be read a hundred times.
    """
    return (
        SmearImage.objects.select_related("newest_analysis", "newest_review__reviewer", "uploaded_by")
        .prefetch_related("newest_analysis__model_version")
        .defer("newest_analysis__maps", "newest_analysis__embedding")
        .order_by("position")
    )


def live_status(*, case: Case) -> list[SmearImage]:
    """The images of a case as `images_with_newest` gives them, read anew, in two queries."""
    return list(images_with_newest().filter(case=case))


def reviewers(*, user: User) -> QuerySet[User]:
    """Accounts of the user's laboratory that have reviewed anything, for the history's filter."""
    return User.objects.filter(
        Exists(Review.objects.filter(reviewer=OuterRef("pk"))), laboratory_id=user.laboratory_id
    ).order_by("last_name", "username")


def version_names(*, user: User) -> QuerySet[ModelVersion]:
    """Versions that may have judged images of the user's laboratory, for the history's filter."""
    return ModelVersion.objects.filter(
        Q(laboratory__isnull=True) | Q(laboratory_id=user.laboratory_id)
    ).order_by("task", "-registered_at", "-pk")


def cases_of(user: User) -> QuerySet[Case]:
    return Case.objects.filter(laboratory_id=user.laboratory_id).prefetch_related("created_by")


def by_case_alone(filters: HistoryFilters, user: User) -> Q:
    """What a case must be to be listed, apart from its images; empty when nothing is asked of cases."""
    wanted = by_columns(filters)
    for word in filters.q.split():
        wanted &= word_search.has_word(word, user)
    return wanted


def by_columns(filters: HistoryFilters) -> Q:
    """What a case must be apart from its images and from words."""
    wanted = Q()
    if filters.status:
        wanted &= Q(status=filters.status)
    if filters.date_from:
        wanted &= Q(received_on__gte=filters.date_from)
    if filters.date_to:
        wanted &= Q(received_on__lte=filters.date_to)
    return wanted


def searches_veiled(filters: HistoryFilters, user: User) -> bool:
    """Whether images are searched by what is kept from this person until she has classed them."""
    return bool(filters.outcome or filters.label or filters.disagreement) and veil.reads_blind(user)


def image_conditions(filters: HistoryFilters, user: User) -> Q:
    """What an image must be for its case to be listed; empty when nothing is asked of images."""
    wanted = veil.shown_to(user) if searches_veiled(filters, user) else Q()
    outcomes = {
        "class": _DONE & Q(newest_analysis__outcome=Analysis.Outcome.CLASS),
        "indeterminate": INDETERMINATE,
        "failed": FAILED,
        "unfinished": UNFINISHED,
        "suspected": SUSPECTED,
    }
    if filters.outcome:
        wanted &= outcomes.get(filters.outcome, Q(pk__isnull=True))
    if filters.label:
        wanted &= (OVERRULED & Q(newest_review__label=filters.label)) | (
            _DONE
            & Q(newest_analysis__label=filters.label)
            & (Q(newest_review__isnull=True) | ~(OVERRULED | UNSURE))
        )
    if filters.reviewer is not None:
        wanted &= Q(newest_review__reviewer_id=filters.reviewer)
    if filters.disagreement:
        wanted &= DISAGREEMENT
    if filters.unread:
        wanted &= UNREAD
    if filters.disputed:
        wanted &= DISPUTED
    if filters.model_version is not None:
        wanted &= Q(newest_analysis__model_version_id=filters.model_version)
    return wanted


def _on_images(condition: Q) -> Q:
    """A condition on smear images as one on the images of a case."""
    children: list[Any] = []
    for child in condition.children:
        if isinstance(child, Q):
            children.append(_on_images(child))
        else:
            field, value = child  # type: ignore[misc]  # the leaves of a Q are pairs
            value = F(f"images__{value.name}") if isinstance(value, F) else value  # type: ignore[attr-defined]  # the stubs lack it
            children.append((f"images__{field}", value))
    return Q(*children, _connector=condition.connector, _negated=condition.negated)


def with_counts(cases: QuerySet[Case], user: User | None) -> QuerySet[Case]:
    """Add the counts of images by what they are, one join for all, the rank that follows from them, and `suspicion`:
    the highest index of any image's cells, which images of a thin or normal part cannot lower. A possible APL ranks
    with the suspected, although its promyelocytes are no blasts: it kills within days. To who reads blind, images that
    she has yet to class count for nothing that a model or a colleague said of them; `veiled_count` are those. Without a
    user nothing is veiled.
    """

    # What may be told of an image: everything, unless she has yet to read it blind.
    is_blind = user is not None and veil.reads_blind(user)
    shown = veil.shown_to(user, "images__", "") if user is not None and is_blind else Q()

    def counted(condition: Q) -> Count:
        return Count("images", filter=_on_images(condition))

    def told(condition: Q) -> Count:
        return Count("images", filter=_on_images(condition) & shown)

    return cases.annotate(
        image_count=Count("images"),
        suspected_count=told(SUSPECTED),
        unjudged_count=told(UNJUDGED),
        indeterminate_count=told(INDETERMINATE),
        failed_count=counted(FAILED),
        unfinished_count=counted(UNFINISHED),
        reviewed_count=counted(READ),
        unread_count=counted(Q(pk__isnull=False) & UNREAD),
        overruled_count=told(OVERRULED),
        unsure_count=told(UNSURE),
        veiled_count=Count("images", filter=~shown) if is_blind else Value(0),
        suspicion=Max("images__newest_analysis__cell_analysis__suspicion", filter=shown or None),
        **apl.sums(shown=shown),
        rank=SqlCase(
            When(Q(suspected_count__gt=0) | apl.condition(), then=Value(RANK_SUSPECTED)),
            When(unjudged_count__gt=0, then=Value(RANK_UNJUDGED)),
            default=Value(RANK_OTHER),
            output_field=IntegerField(),
        ),
    )
