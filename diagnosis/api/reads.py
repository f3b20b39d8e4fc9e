"""Reads for the API: cases by cursor, what stands with an image, and results. Nothing here writes.

A list asks the same number of queries whatever it holds.
"""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Q, QuerySet

from diagnosis import selectors, veil
from diagnosis.api.problems import ApiProblem
from diagnosis.api.schemas import CaseFilters, ImageCounts
from diagnosis.models import Case, Cell, Site, SmearImage, User

_BAD_CURSOR = "This cursor is none that a page gave as its next."


def cases(*, user: User, filters: CaseFilters) -> tuple[list[Case], str | None]:
    """A page of the laboratory's cases, the newest first, and the cursor of the next; two queries.

    A case that is opened meanwhile moves nothing: the cursor names a place in time, and no number of a page.
    """
    found = Case.objects.filter(laboratory_id=user.laboratory_id).select_related("assigned_to", "created_by")
    exact = {"accession_number": filters.accession_number, "patient_code": filters.patient_code,
             "specimen": filters.specimen, "status": filters.status}  # fmt: skip
    found = found.filter(**{name: value for name, value in exact.items() if value is not None})
    if filters.received_from:
        found = found.filter(received_on__gte=filters.received_from)
    if filters.received_until:
        found = found.filter(received_on__lte=filters.received_until)
    if filters.created_after:
        found = found.filter(created_at__gt=filters.created_after)
    if filters.cursor is not None:
        at, pk = _place(filters.cursor)
        # The first condition alone lets the index by age be entered at the place.
        found = found.filter(created_at__lte=at).exclude(created_at=at, pk__gte=pk)
    page = list(found.order_by("-created_at", "-pk")[: filters.limit + 1])
    shown = page[: filters.limit]
    return shown, _cursor(shown[-1]) if len(page) > filters.limit else None


def _cursor(case: Case) -> str:
    place = f"{case.created_at.astimezone(datetime.UTC).isoformat()}|{case.pk}"
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[datetime.datetime, int]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        at, _, pk = base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition("|")
        place = datetime.datetime.fromisoformat(at), int(pk)
    except (ValueError, binascii.Error):
        raise ApiProblem(422, _BAD_CURSOR) from None
    if place[0].tzinfo is None or not 1900 <= place[0].year <= 2200 or not 0 <= place[1] < 2**63:
        raise ApiProblem(422, _BAD_CURSOR)
    return place


def image_counts(case_ids: Iterable[int], *, user: User) -> dict[int, ImageCounts]:
    """The images of these cases by what they are; one query. Outcomes that are kept from a reader in blind mode are
    not counted.
    """
    shown = veil.shown_to(user) if veil.reads_blind(user) else Q()
    rows = (
        SmearImage.objects.filter(case_id__in=list(case_ids))
        .order_by()
        .values("case_id")
        .annotate(
            total=Count("pk"),
            unfinished=Count("pk", filter=selectors.UNFINISHED),
            failed=Count("pk", filter=selectors.FAILED),
            indeterminate=Count("pk", filter=selectors.INDETERMINATE & shown),
            suspected=Count("pk", filter=selectors.SUSPECTED & shown),
            read=Count("pk", filter=selectors.READ),
        )
    )
    return {row["case_id"]: ImageCounts.model_validate(row) for row in rows}


NO_IMAGES = ImageCounts(total=0, unfinished=0, failed=0, indeterminate=0, suspected=0, read=0)


def images(*, case: Case) -> QuerySet[SmearImage]:
    """The images of a case in order, with newest analysis, its cell analysis, and newest review."""
    return (
        selectors.images_with_newest()
        .select_related("newest_analysis__cell_analysis__model_version", "case__laboratory", "site")
        .filter(case=case)
    )


def site(*, case: Case, name: str) -> Site | None:
    """The site of the case's laboratory by its name; None where it has none of that name, or none is said."""
    name = name.strip()
    return Site.objects.filter(laboratory_id=case.laboratory_id, name=name).first() if name else None


def image(pk: Any) -> SmearImage:
    """One image that was let through by the gate, as `images` gives them."""
    return (
        selectors.images_with_newest()
        .select_related("newest_analysis__cell_analysis__model_version", "case__laboratory", "site")
        .get(pk=pk)
    )


_CELL = (
    "cell_analysis__analysis_id", "x", "y", "width", "height", "kind", "label", "probabilities", "blast_probability",
    "area_um2", "nucleus_um2", "confidence", "touches_border", "inside_domain", "domain_score",
    "newest_reading__label",
)  # fmt: skip


def cells(analysis_ids: Iterable[Any]) -> dict[Any, list[dict[str, Any]]]:
    """The cells of these analyses, in order, by analysis; one query."""
    found: dict[Any, list[dict[str, Any]]] = {}
    rows = Cell.objects.filter(cell_analysis__analysis__in=list(analysis_ids)).order_by(
        "cell_analysis", "number"
    )
    for row in rows.values(*_CELL):
        found.setdefault(row["cell_analysis__analysis_id"], []).append(row)
    return found


def existing_case(*, user: User, accession_number: str) -> Case | None:
    """The case that has an accession number already, as intake writes it."""
    number = " ".join(accession_number.split())
    if not number.isprintable():  # intake refuses it, and PostgreSQL will not even look for it
        return None
    return Case.objects.filter(Q(laboratory_id=user.laboratory_id), accession_number=number).first()
