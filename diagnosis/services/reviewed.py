"""Reviewed images and cells as labelled data: what clinicians read in this database, for the next training."""

from __future__ import annotations

import datetime
from pathlib import Path

from django.db.models import F, Min, Q, QuerySet

from diagnosis.models import Case, Laboratory, Review, Site, SmearImage
from diagnosis.services import reviewed_cells
from ml.data.manifest import Item
from ml.data.parting import UPLOADED
from ml.tasks import CELL, task_named

SOURCE = "reviews"

_STANDS = Q(newest_review__verdict=Review.Verdict.OVERRULE) | Q(
    newest_review__verdict=Review.Verdict.AGREE, newest_review__analysis=F("newest_analysis")
)
"""`Review.stands` as a condition: an agreement holds until the image is analysed anew."""


def reviewed_items(
    *, laboratory: Laboratory | None, task: str = "field", site: Site | None = None
) -> list[Item]:
    """The images whose newest review stands for a class of the task, labelled with it, in order of their cases.

    Images of one patient are one group, `case-N`, after the patient's first case. Names hold no accession number,
    patient code or file name, since they travel in a bundle's evidence. Columns: `site` (its name, or empty), `source`
    ("reviews") and the SHA-256 of the bytes as uploaded: what is stored has lost its metadata, and a model may have
    been tested on the original. Drawn samples are left out.

    Of the task `cell` they are single-cell pictures (`reviewed_cells.cell_items`), grouped and named likewise.

    Args:
        laboratory: None for all of them.
        site: only its images.

    Raises:
        ml.tasks.UnknownTask: no such task. DataProblem: a stored image cannot be read to cut its cells out.
    """
    if task_named(task) is CELL:
        return reviewed_cells.cell_items(
            laboratory=laboratory, site=site, source=SOURCE, group_of=_patients_first_cases(laboratory)
        )
    images = _usable(laboratory, task)
    if site is not None:
        images = images.filter(site=site)
    group_of = _patients_first_cases(laboratory)
    return [
        Item(
            path=Path(image.file.path),
            name=f"{SOURCE}/case-{image.case_id}/{image.pk}",
            label=image.newest_review.label,
            group=f"case-{group_of[image.case.laboratory_id, image.case.patient_code]}",
            columns={
                "site": image.site.name if image.site else "",
                "source": SOURCE,
                UPLOADED: image.sha256,
            },
        )
        for image in images.select_related("case", "site", "newest_review").order_by("case", "position")
        if image.newest_review is not None
    ]


def new_reviews_since(
    *, laboratory: Laboratory | None, since: datetime.datetime | None, task: str = "field"
) -> int:
    """How many images or cells `reviewed_items` gives that were last reviewed after `since` (None: ever)."""
    if task_named(task) is CELL:
        return reviewed_cells.count_since(laboratory=laboratory, since=since)
    images = _usable(laboratory, task)
    if since is not None:
        images = images.filter(newest_review__created_at__gt=since)
    return images.count()


def _usable(laboratory: Laboratory | None, task: str) -> QuerySet[SmearImage]:
    images = SmearImage.objects.filter(
        _STANDS, is_drawn=False, newest_review__label__in=task_named(task).classes
    )
    return images if laboratory is None else images.filter(case__laboratory=laboratory)


def _patients_first_cases(laboratory: Laboratory | None) -> dict[tuple[int, str], int]:
    """(laboratory, patient code) -> primary key of the patient's first case there."""
    cases = Case.objects.all() if laboratory is None else Case.objects.filter(laboratory=laboratory)
    found = cases.order_by().values_list("laboratory_id", "patient_code").annotate(first=Min("pk"))
    return {(owner, patient): first for owner, patient, first in found}
