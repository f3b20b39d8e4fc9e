"""Reads for the audit's page and its export: events by what they are narrowed to, newest first, page by page.

Each is read from an index in the order of the page and no further than the page goes, so that a million events cost
no more than a hundred: what cannot be had from one index is had from several and merged.
"""

from __future__ import annotations

import datetime
import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from diagnosis import audit_wording
from diagnosis.models import Analysis, AuditEvent, Case, Laboratory, ModelVersion, Site, SmearImage, User

MOST_FOUND = 5
"""How many people, and how many cases, a search text may stand for."""
MOST_IMAGES = 1000


@dataclass(frozen=True)
class Cursor:
    """The place in the list after which a page begins: time and row of the last event of the page before."""

    at: datetime.datetime
    row: int

    def __str__(self) -> str:
        return f"{self.at.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%S.%f}_{self.row}"

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """A cursor from an address; None for what is none."""
        at, _, row = text.partition("_")
        try:
            return cls(datetime.datetime.fromisoformat(at).replace(tzinfo=datetime.UTC), int(row))
        except (ValueError, OverflowError):
            return None


@dataclass(frozen=True)
class AuditFilters:
    """What the audit is narrowed to; an empty value narrows nothing.

    `q` is an accession number, a patient code, (part of) a person's name, or the number of an object.
    """

    q: str = ""
    person: int | None = None
    action: str = ""
    date_from: datetime.date | None = None
    date_to: datetime.date | None = None


@dataclass(frozen=True)
class Thing:
    """What an event is about, as people know it."""

    kind: str
    name: str
    url: str = ""


@dataclass(frozen=True)
class EventPage:
    events: list[AuditEvent] = field(default_factory=list)
    older: Cursor | None = None
    """Where the next page begins; None on the last one."""


def people(*, user: User) -> QuerySet[User]:
    """Accounts of the user's laboratory."""
    return User.objects.filter(laboratory_id=user.laboratory_id).order_by("last_name", "username")


def page_of(*, user: User, filters: AuditFilters, after: Cursor | None = None, size: int = 50) -> EventPage:
    """One page of the events that the user's laboratory may see: its own, and its people's on what belongs to all."""
    branches = [list(branch[: size + 1]) for branch in _branches(user=user, filters=filters, after=after)]
    found = list(islice(_merged(branches), size + 1))
    events = found[:size]
    more = len(found) > size
    return EventPage(events, Cursor(events[-1].at, events[-1].pk) if more else None)


def all_of(*, user: User, filters: AuditFilters, a_batch: int = 1000) -> Iterator[AuditEvent]:
    """All of them, newest first, in constant memory."""
    branches = [
        branch.iterator(chunk_size=a_batch) for branch in _branches(user=user, filters=filters, after=None)
    ]
    yield from _merged(branches)


def _merged(branches: Iterable[Iterable[AuditEvent]]) -> Iterator[AuditEvent]:
    """Lists that are each newest first as one, each event once."""
    last: int | None = None
    for event in heapq.merge(*branches, key=lambda event: (event.at, event.pk), reverse=True):
        if event.pk != last:
            yield event
        last = event.pk


def _branches(*, user: User, filters: AuditFilters, after: Cursor | None) -> list[QuerySet[AuditEvent]]:
    """Querysets, each in the order of the page, that hold together what is to be shown."""
    wanted = _narrowed(filters)
    if after is not None:
        # The first condition is the one an index can begin at.
        wanted &= Q(at__lte=after.at) & (Q(at__lt=after.at) | Q(pk__lt=after.row))
    objects, actors = _meant(filters.q, user) if filters.q else ([Q()], [])
    if filters.person is not None:
        # Whatever she did, wherever: the person is one of the laboratory's.
        her = Q(actor_id=filters.person, actor__laboratory_id=user.laboratory_id)
        sets = [(her & meant, _BY_TIME) for meant in (*objects, *(Q(actor_id=actor) for actor in actors))]
    else:
        own = Q(laboratory_id=user.laboratory_id)
        of_all = Q(laboratory__isnull=True, actor__laboratory_id=user.laboratory_id)
        sets = [(own & meant, _BY_TIME) for meant in objects]
        sets += [(of_all & meant, _BY_LABORATORY) for meant in objects]
        sets += [(Q(actor_id=actor), _BY_TIME) for actor in actors]
    return [
        AuditEvent.objects.filter(condition & wanted).select_related("actor").order_by(*order)
        for condition, order in sets
    ]


_BY_TIME: tuple[str, ...] = ("-at", "-pk")
_BY_LABORATORY: tuple[str, ...] = ("laboratory_id", "-at", "-pk")
"""The same order where the laboratory is NULL, named so that PostgreSQL reads it from an index."""


def _narrowed(filters: AuditFilters) -> Q:
    wanted = Q()
    if filters.action:
        wanted &= Q(action=filters.action)
    if filters.date_from is not None:
        wanted &= Q(at__gte=_midnight(filters.date_from))
    if filters.date_to is not None and filters.date_to < datetime.date.max:
        wanted &= Q(at__lt=_midnight(filters.date_to + datetime.timedelta(days=1)))
    return wanted


def _midnight(day: datetime.date) -> datetime.datetime:
    return timezone.make_aware(datetime.datetime.combine(day, datetime.time()))


def _meant(text: str, user: User) -> tuple[list[Q], list[int]]:
    """What a search text may stand for: conditions on events, and people."""
    spelt = {text, text.upper(), text.lower()}
    cases = list(
        Case.objects.filter(
            Q(accession_number__in=spelt) | Q(patient_code__in=spelt), laboratory_id=user.laboratory_id
        ).values_list("pk", flat=True)[:MOST_FOUND]
    )
    objects: list[Q] = []
    if _numbers({text}) or _uuids({text}):
        # With the kinds there is an index for it.
        objects.append(Q(object_type__in=list(audit_wording.KINDS), object_id=text))
    if cases:
        images = list(SmearImage.objects.filter(case__in=cases).values_list("pk", flat=True)[:MOST_IMAGES])
        analyses = Analysis.objects.filter(image__in=images).values_list("pk", flat=True)[:MOST_IMAGES]
        objects.append(Q(object_type="case", object_id__in=[str(key) for key in cases]))
        objects.append(Q(object_type="smearimage", object_id__in=[str(key) for key in images]))
        objects.append(Q(object_type="analysis", object_id__in=[str(key) for key in analyses]))
    named = people(user=user).filter(
        Q(username__iexact=text) | Q(first_name__icontains=text) | Q(last_name__icontains=text)
    )
    return objects, list(named.values_list("pk", flat=True)[:MOST_FOUND])


# --- what events are about ----------------------------------------------------------------------------------


def things_of(*, user: User, events: Iterable[AuditEvent]) -> dict[tuple[str, str], Thing]:
    """What events are about, by kind and key: as many queries as there are kinds, however many events.

    What is another laboratory's, or gone, keeps its number alone.
    """
    keys: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.object_type:
            keys[event.object_type].add(event.object_id)
    found: dict[tuple[str, str], Thing] = {}
    for kind, named in keys.items():
        names = _NAMES[kind](named, user) if kind in _NAMES else {}
        word = audit_wording.kind_word(kind)
        for key in named:
            name, url = names.get(key, (key, ""))
            found[kind, key] = Thing(word, name, url)
    return found


Names = dict[str, tuple[str, str]]


def _cases(keys: set[str], user: User) -> Names:
    rows = Case.objects.filter(pk__in=_numbers(keys), laboratory_id=user.laboratory_id)
    return {str(case.pk): (case.accession_number, reverse("diagnosis:case", args=[case.pk])) for case in rows}


def _images(keys: set[str], user: User) -> Names:
    rows = SmearImage.objects.filter(
        pk__in=_uuids(keys), case__laboratory_id=user.laboratory_id
    ).select_related("case")
    return {str(image.pk): _image(image) for image in rows}


def _analyses(keys: set[str], user: User) -> Names:
    rows = Analysis.objects.filter(
        pk__in=_uuids(keys), image__case__laboratory_id=user.laboratory_id
    ).select_related("image__case")
    return {str(row.pk): _image(row.image) for row in rows}


def _image(image: SmearImage) -> tuple[str, str]:
    url = reverse("diagnosis:case", args=[image.case_id])
    return f"{image.position} of {image.case.accession_number}", f"{url}?image={image.pk}"


def _users(keys: set[str], user: User) -> Names:
    return {str(row.pk): (row.display_name, "") for row in people(user=user).filter(pk__in=_numbers(keys))}


def _versions(keys: set[str], user: User) -> Names:
    rows = ModelVersion.objects.filter(
        Q(laboratory__isnull=True) | Q(laboratory_id=user.laboratory_id), pk__in=_numbers(keys)
    )
    return {str(key): (name, "") for key, name in rows.values_list("pk", "name")}


def _laboratories(keys: set[str], user: User) -> Names:
    rows = Laboratory.objects.filter(pk__in=_numbers(keys) & {user.laboratory_id})
    return {str(key): (name, "") for key, name in rows.values_list("pk", "name")}


def _sites(keys: set[str], user: User) -> Names:
    rows = Site.objects.filter(pk__in=_numbers(keys), laboratory_id=user.laboratory_id)
    return {str(key): (name, "") for key, name in rows.values_list("pk", "name")}


_NAMES: dict[str, Any] = {
    "case": _cases,
    "smearimage": _images,
    "analysis": _analyses,
    "user": _users,
    "modelversion": _versions,
    "laboratory": _laboratories,
    "site": _sites,
}


def _numbers(keys: set[str]) -> set[int]:
    return {int(key) for key in keys if key.isdecimal() and len(key) < 19}


def _uuids(keys: set[str]) -> set[UUID]:
    found = set()
    for key in keys:
        try:
            found.add(UUID(key))
        except ValueError:
            continue
    return found
