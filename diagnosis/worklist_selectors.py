"""Reads for the worklist: which cases, who is to read them, what is asked of whom, and until when."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.models import (
    Count,
    Exists,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    prefetch_related_objects,
)
from django.utils import timezone

from diagnosis import case_tallies, permissions, selectors, turnaround
from diagnosis.models import (
    Case,
    Dispute,
    SavedView,
    SecondOpinion,
    SignedFinding,
    SignOut,
    Site,
    SmearImage,
    User,
)
from diagnosis.services import signed

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


MOST_SIGNED = 1000
"""Signed cases that the list goes on to, the newest; the history has them all."""


class Worklist:
    """The list as a paginator takes it: cases to be worked on by urgency, then the signed ones, newest first.

    Urgency is asked of the few that are open alone: the archive may hold a hundred thousand. What is counted of them
    gives their order, what a tab shows of them, and what their rows say.
    """

    def __init__(self, *, user: User, filters: WorklistFilters) -> None:
        self._user, self._filters = user, filters
        self._cases = _by_case_alone(user, filters)

    @cached_property
    def _open(self) -> dict[int, dict[str, Any]]:
        """What is counted of the cases to be worked on that match, by key, the most urgent first."""
        cases = _to_be_worked_on(self._cases, self._filters)
        rows = case_tallies.counted(user=self._user, cases=cases).values()
        disputes = _open_disputes().filter(image__case__laboratory_id=self._user.laboratory_id).order_by()
        disputed = set(disputes.values_list("image__case", flat=True))
        for row in rows:
            row["is_disputed"] = row["pk"] in disputed
        is_shown = _TABS.get(self._filters.show, lambda case: True)
        return {row["pk"]: row for row in case_tallies.by_urgency(row for row in rows if is_shown(row))}

    @cached_property
    def _signed_keys(self) -> list[int]:
        """Of the signed ones, one more than are listed."""
        if self._filters.show != ALL and not self._filters.status:
            return []
        cases = _signed(self._cases, self._filters).order_by("-received_on", "-pk")
        return list(cases.values_list("pk", flat=True)[: MOST_SIGNED + 1])

    @property
    def is_cut(self) -> bool:
        """Whether more signed cases match than are listed."""
        return len(self._signed_keys) > MOST_SIGNED

    @cached_property
    def _keys(self) -> list[int]:
        return [*self._open, *self._signed_keys[:MOST_SIGNED]]

    def count(self) -> int:
        return len(self._keys)

    def __len__(self) -> int:
        return self.count()

    def __getitem__(self, which: slice) -> list[Case]:
        keys = self._keys[which]
        signed = [key for key in keys if key not in self._open]
        cases = Case.objects.filter(laboratory_id=self._user.laboratory_id)
        found = {}
        if len(signed) < len(keys):
            found = {case.pk: case for case in cases.filter(pk__in=set(keys) - set(signed))}
            for key, case in found.items():
                case.__dict__.update({name: self._open[key][name] for name in selectors.COUNTED})
        if signed:
            found |= case_tallies.with_tallies(user=self._user, cases=cases.filter(pk__in=signed))
        return [found[key] for key in keys if key in found]


def worklist(*, user: User, filters: WorklistFilters = WorklistFilters()) -> Worklist:
    """Cases of the user's laboratory that match: each with the counts of `selectors.with_counts`."""
    return Worklist(user=user, filters=filters)


def with_work(cases: Iterable[Case], *, user: User, now: datetime.datetime | None = None) -> list[Case]:
    """What a row says beside its counts: each case gets its reader, `clock`, `disputes` (how many are open),
    `opinions` (second opinions that wait for their answer) and `is_open`. Four queries, however many cases.
    """
    listed = list(cases)
    first = SignOut.objects.filter(number=1).only("case", "number", "signed_at").order_by()
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
            case.rank,  # type: ignore[attr-defined]  # of `selectors.with_counts`
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


def _by_case_alone(user: User, filters: WorklistFilters) -> QuerySet[Case]:
    """Cases that match as far as no image is asked; the clock runs for those that nobody has signed."""
    cases = Case.objects.filter(laboratory_id=user.laboratory_id)
    if filters.status:
        cases = cases.filter(status=filters.status)
    if filters.reader == MINE:
        cases = cases.filter(assigned_to=user)
    elif filters.reader == NOBODYS:
        cases = cases.filter(assigned_to__isnull=True)
    elif filters.reader:
        cases = cases.filter(assigned_to_id=int(filters.reader))
    if filters.specimen:
        cases = cases.filter(specimen=filters.specimen)
    if filters.is_late:
        hours = user.laboratory.turnaround_hours
        cases = cases.filter(turnaround.is_late(hours=hours), status=Case.Status.PRELIMINARY)
    if filters.show == ASKED:
        cases = cases.filter(pk__in=asked_of(user=user).order_by().values("case"))
    return cases


def _needs_reader(case: Mapping[str, Any]) -> bool:
    return not case["image_count"] or case["unread_count"] > 0 or case["unsure_count"] > 0


_TABS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    UNREAD: _needs_reader,
    UNSIGNED: lambda case: not _needs_reader(case),
    SUSPECTED: lambda case: case["rank"] == selectors.RANK_SUSPECTED,
    UNFINISHED: lambda case: case["unfinished_count"] > 0,
    DISPUTED: lambda case: case["is_disputed"],
}
"""What a tab asks of cases to be worked on, by the counts that their order rests on: they are counted in any case."""


def _to_be_worked_on(cases: QuerySet[Case], filters: WorklistFilters) -> QuerySet[Case]:
    """Those of the cases that are open."""
    open_cases = cases.filter(selectors.NOT_SIGNED)
    if filters.site is None:
        return open_cases
    at_site = SmearImage.objects.filter(case=OuterRef("pk"), site_id=filters.site).order_by()
    return open_cases.filter(Exists(at_site))


def _signed(cases: QuerySet[Case], filters: WorklistFilters) -> QuerySet[Case]:
    """Those of the cases that are signed and closed, and whose images match: as what was kept of them at the signature
    says (`SignedFinding`), where it was.
    """
    signed = cases.filter(status__in=[Case.Status.FINAL, Case.Status.AMENDED], amending_since__isnull=True)
    if filters.site is not None:
        signed = signed.filter(
            Exists(SmearImage.objects.filter(case=OuterRef("pk"), site_id=filters.site).order_by())
        )
    if filters.show == SUSPECTED:
        findings = SignedFinding.objects.filter(case=OuterRef("pk"), is_suspected=True).order_by()
        images = SmearImage.objects.filter(selectors.SUSPECTED, case=OuterRef("pk")).order_by()
        return signed.filter(
            (Q(has_findings=True) & Q(Exists(findings))) | (Q(has_findings=False) & Q(Exists(images)))
        )
    # Nothing of a signed case is unread, disputed, in work or to be signed.
    return signed if filters.show in (OPEN, ALL) else signed.none()
