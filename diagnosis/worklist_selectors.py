"""Reads for the worklist: which cases, who is to read them, what is asked of whom, and until when."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Case as SqlCase
from django.db.models import (
    Count,
    Exists,
    F,
    IntegerField,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Value,
    When,
    prefetch_related_objects,
)
from django.utils import timezone

from diagnosis import permissions, selectors, turnaround, veil
from diagnosis.models import Case, Dispute, SavedView, SecondOpinion, SignOut, Site, SmearImage, User
from diagnosis.services import signed

NOT_SIGNED = Q(status=Case.Status.PRELIMINARY) | Q(amending_since__isnull=False)
"""A case whose images may be read: not signed out yet, or open for an amendment."""

OPEN, UNREAD, UNSIGNED, SUSPECTED, UNFINISHED = "open", "unread", "unsigned", "suspected", "unfinished"
DISPUTED, ASKED, ALL = "disputed", "asked", "all"

SHOWN = {
    OPEN: "Not signed out",
    UNREAD: "To read",
    UNSIGNED: "To sign out",
    SUSPECTED: "Suspected",
    DISPUTED: "Disputed",
    UNFINISHED: "Being analysed",
    ASKED: "Asked of me",
    ALL: "All cases",
}
MINE, NOBODYS = "mine", "nobody"

MOST_ASKED = 20
"""Questions listed above the worklist; the tab of those lists the cases of all."""

_WAITING = Q(answered_at__isnull=True, withdrawn_at__isnull=True)
_NEEDS_A_READER = selectors.UNREAD | selectors.UNSURE


@dataclass(frozen=True)
class WorklistFilters:
    """What the worklist is narrowed to; an empty value narrows nothing.

    `show` is one of `SHOWN`. `reader` is `MINE`, `NOBODYS` or the key of a colleague. Without a `status`, cases that
    are signed out are left out, unless `show` is `ALL`.
    """

    show: str = OPEN
    reader: str = ""
    status: str = ""
    specimen: str = ""
    site: int | None = None
    is_late: bool = False


class Worklist:
    """The list as a paginator takes it: cases to be worked on by urgency, then the signed ones, newest first.

    Urgency is asked of the few that are open alone: the archive may hold a hundred thousand.
    """

    def __init__(self, *, user: User, open_cases: QuerySet[Case], signed: QuerySet[Case]) -> None:
        self._user, self._open, self._signed = user, open_cases, signed
        self._open_count: int | None = None

    def _how_many_open(self) -> int:
        if self._open_count is None:
            self._open_count = self._open.count()
        return self._open_count

    def count(self) -> int:
        return self._how_many_open() + self._signed.count()

    def __len__(self) -> int:
        return self.count()

    def __getitem__(self, which: slice) -> list[Case]:
        first, last = which.start or 0, which.stop
        before = self._how_many_open()
        found = list(_by_urgency(self._user, self._open)[first:last]) if first < before else []
        if last is None or last > before:
            newest = self._signed.order_by("-received_on", "-pk").values_list("pk", flat=True)
            keys = list(newest[max(0, first - before) : None if last is None else last - before])
            counted = {case.pk: case for case in selectors.worklist(user=self._user).filter(pk__in=keys)}
            found += [counted[key] for key in keys if key in counted]
        return found


def worklist(*, user: User, filters: WorklistFilters = WorklistFilters()) -> Worklist:
    """Cases of the user's laboratory that match: those of `selectors.worklist`, with its counts."""
    cases = _narrowed(user, filters)
    return Worklist(user=user, open_cases=cases.filter(NOT_SIGNED), signed=cases.exclude(NOT_SIGNED))


def with_work(cases: Iterable[Case], *, user: User, now: datetime.datetime | None = None) -> list[Case]:
    """What a row says beside its counts: each case gets its reader, `clock`, `disputes` (how many are open),
    `opinions` (second opinions that wait for their answer) and `is_open`. Four queries, however many cases.
    """
    listed = list(cases)
    first = SignOut.objects.filter(number=1).only("case", "number", "signed_at")
    waiting = SecondOpinion.objects.filter(_WAITING).select_related("asked_of").order_by("asked_at", "pk")
    prefetch_related_objects(
        listed,
        "assigned_to",
        Prefetch("sign_outs", first, to_attr="first_sign_outs"),
        Prefetch("second_opinions", waiting, to_attr="opinions"),
    )
    disputes = _open_disputes().filter(image__case__in=[case.pk for case in listed]).order_by()
    counted = dict(disputes.values("image__case").annotate(n=Count("pk")).values_list("image__case", "n"))
    moment, hours = now or timezone.now(), user.laboratory.turnaround_hours
    for case in listed:
        row: Any = case
        signatures = [sign_out.signed_at for sign_out in row.first_sign_outs]
        row.clock = turnaround.clock_of(
            case=case, hours=hours, signed_at=signatures[0] if signatures else None, now=moment
        )
        row.disputes = counted.get(case.pk, 0)
        row.is_open = signed.is_open_for_reading(case)
    return listed


def state_of(cases: Iterable[Case], asked: Iterable[SecondOpinion]) -> str:
    """Changes whenever the list has something new to show, and with nothing else."""
    rows = [
        (
            case.pk,
            case.accession_number,
            case.status,
            case.amending_since,
            case.assigned_to_id,
            sorted((key, value) for key, value in vars(case).items() if key.endswith("_count")),
            case.rank,  # type: ignore[attr-defined]  # an annotation of `selectors.worklist`
            case.clock,  # type: ignore[attr-defined]  # of `with_work`
            case.disputes,  # type: ignore[attr-defined]
            [opinion.pk for opinion in case.opinions],  # type: ignore[attr-defined]
        )
        for case in cases
    ]
    seen = repr((rows, [opinion.pk for opinion in asked]))
    return hashlib.sha256(seen.encode()).hexdigest()[:16]


def asked_of(*, user: User) -> QuerySet[SecondOpinion]:
    """Second opinions that this reader owes, oldest first, of cases whose images may be read."""
    not_signed = Q(case__status=Case.Status.PRELIMINARY) | Q(case__amending_since__isnull=False)
    return (
        SecondOpinion.objects.filter(_WAITING, not_signed, asked_of=user)
        .select_related("case", "image", "asked_by")
        .order_by("asked_at", "pk")
    )


def colleagues(*, user: User) -> QuerySet[User]:
    """Who may review in the user's laboratory, herself among them, by name."""
    roles = [role for role, actions in permissions.ACTIONS.items() if permissions.REVIEW in actions]
    return User.objects.filter(laboratory_id=user.laboratory_id, is_active=True, role__in=roles).order_by(
        "last_name", "first_name", "username"
    )


def sites(*, user: User) -> QuerySet[Site]:
    """Sites of the user's laboratory, for the filter."""
    return Site.objects.filter(laboratory_id=user.laboratory_id).order_by("name")


def saved_views(*, user: User, page: str) -> QuerySet[SavedView]:
    """The person's own views of a page, by name."""
    return SavedView.objects.filter(user=user, page=page).order_by("name")


def _open_disputes() -> QuerySet[Dispute]:
    return Dispute.objects.filter(ended_at__isnull=True)


def _by_urgency(user: User, cases: QuerySet[Case]) -> QuerySet[Case]:
    """Suspected first, then what nobody has judged or two readers differ about, then the rest; in each the unread
    first, then those whose cells are the most suspicious, then the older.
    """
    disputed = Exists(_open_disputes().filter(image__case=OuterRef("pk")))
    unjudged = selectors.RANK_UNJUDGED
    return (
        selectors.worklist(user=user)
        .filter(pk__in=cases.order_by().values("pk"))
        .annotate(
            is_disputed=disputed,
            urgency=SqlCase(
                When(is_disputed=True, rank__gt=unjudged, then=Value(unjudged)),
                default=F("rank"),
                output_field=IntegerField(),
            ),
            is_read=SqlCase(
                When(is_disputed=False, unread_count=0, unsure_count=0, image_count__gt=0, then=Value(1)),
                default=Value(0),
                output_field=IntegerField(),
            ),
        )
        .order_by("urgency", "is_read", selectors.MOST_SUSPICIOUS_FIRST, "received_on", "created_at", "pk")
    )


def _narrowed(user: User, filters: WorklistFilters) -> QuerySet[Case]:
    cases = Case.objects.filter(laboratory_id=user.laboratory_id)
    if filters.status:
        cases = cases.filter(status=filters.status)
    elif filters.show != ALL:
        cases = cases.filter(NOT_SIGNED)
    if filters.reader == MINE:
        cases = cases.filter(assigned_to=user)
    elif filters.reader == NOBODYS:
        cases = cases.filter(assigned_to__isnull=True)
    elif filters.reader:
        cases = cases.filter(assigned_to_id=int(filters.reader))
    if filters.specimen:
        cases = cases.filter(specimen=filters.specimen)
    if filters.site is not None:
        cases = cases.filter(_has_image(cases, Q(site_id=filters.site)))
    if filters.is_late:
        hours = user.laboratory.turnaround_hours
        cases = cases.filter(turnaround.is_late(hours=hours), status=Case.Status.PRELIMINARY)
    return _shown(user, cases, filters.show)


def _shown(user: User, cases: QuerySet[Case], show: str) -> QuerySet[Case]:
    empty = ~Exists(SmearImage.objects.filter(case=OuterRef("pk")))
    if show == UNREAD:
        return cases.filter(_has_image(cases, _NEEDS_A_READER) | Q(empty))
    if show == UNSIGNED:
        return cases.filter(NOT_SIGNED).exclude(_has_image(cases, _NEEDS_A_READER)).exclude(Q(empty))
    if show == SUSPECTED:
        told = veil.shown_to(user) if veil.reads_blind(user) else Q()
        return cases.filter(_has_image(cases, selectors.SUSPECTED & told))
    if show == UNFINISHED:
        return cases.filter(_has_image(cases, selectors.UNFINISHED))
    if show == DISPUTED:
        return cases.filter(_has_image(cases, selectors.DISPUTED))
    if show == ASKED:
        return cases.filter(pk__in=asked_of(user=user).order_by().values("case"))
    return cases


def _has_image(cases: QuerySet[Case], condition: Q) -> Q:
    """Those of `cases` with an image like this.

    One pass over the images of these cases: a correlated EXISTS makes SQLite go through every image without a review
    anew for each case.
    """
    images = SmearImage.objects.filter(condition, case__in=cases.order_by().values("pk"))
    return Q(pk__in=images.order_by().values("case"))
