"""Reads of a case and its patient: the other cases of the patient code, with what their leukocytes came to.

Nothing here writes. Counts are those kept with every analysis of cells (`services.tallies`), so a patient of many cases
costs one query that reads no cell.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from django.db.models import Case as SqlCase
from django.db.models import Count, Max, Q, Sum, Value, When
from django.db.models.functions import Coalesce

from diagnosis import veil, wording
from diagnosis.models import Case, User
from ml.calibration import wilson_interval
from ml.cells.counting import FEW

MOST_CASES = 12
"""Cases of one patient that a page lists; the history finds them all."""

_CELLS = "images__newest_analysis__cell_analysis__"


@dataclass(frozen=True)
class PatientCase:
    """One case of a patient and what its leukocytes came to, by the newest analyses with the readers' corrections.

    Attributes:
        is_this: whether it is the case asked about. is_veiled: whether its counts are kept from a reader in blind mode,
            and are 0 and None here.
        suspicion: the highest index of any one image; None where no cell was judged.
    """

    pk: int
    accession_number: str
    specimen: str
    received_on: datetime.date
    leukocytes: int
    blasts: int
    suspicion: float | None
    is_this: bool
    is_veiled: bool

    @property
    def specimen_word(self) -> str:
        return wording.SPECIMEN_WORDS.get(self.specimen, self.specimen)

    @property
    def is_few(self) -> bool:
        """Whether too few leukocytes stand behind the count."""
        return self.leukocytes < FEW

    @property
    def blasts_per_100(self) -> float | None:
        return 100 * self.blasts / self.leukocytes if self.leukocytes else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval, per 100 leukocytes."""
        if not self.leukocytes:
            return None
        low, high = wilson_interval(self.blasts, self.leukocytes)
        return 100 * low, 100 * high


@dataclass(frozen=True)
class PatientCases:
    """The case asked about and the newest others of its patient, the oldest first; `are_all` unless there are more."""

    cases: tuple[PatientCase, ...]
    are_all: bool

    @property
    def others(self) -> tuple[PatientCase, ...]:
        return tuple(one for one in self.cases if not one.is_this)


def cases_of_patient(*, user: User, case: Case) -> PatientCases:
    """The case with the newest others of the same patient code in its laboratory; one query, whatever they hold."""
    shown = veil.shown_to(user, "images__", "") if veil.reads_blind(user) else Q()
    itself = SqlCase(When(pk=case.pk, then=Value(0)), default=Value(1))
    found = list(
        Case.objects.filter(laboratory_id=case.laboratory_id, patient_code=case.patient_code)
        .annotate(
            image_count=Count("images"),
            shown_count=Count("images", filter=shown or None),
            leukocytes=Coalesce(Sum(f"{_CELLS}leukocytes"), Value(0)),
            blasts=Coalesce(Sum(f"{_CELLS}blasts"), Value(0)),
            suspicion=Max(f"{_CELLS}suspicion"),
        )
        .order_by(itself, "-received_on", "-pk")[: MOST_CASES + 2]
    )
    kept = sorted(found[: MOST_CASES + 1], key=lambda one: (one.received_on, one.pk))
    return PatientCases(tuple(_told(one, case) for one in kept), are_all=len(found) <= MOST_CASES + 1)


def _told(found: Case, case: Case) -> PatientCase:
    counts = found.__dict__
    is_veiled = counts["shown_count"] < counts["image_count"]
    return PatientCase(
        pk=found.pk,
        accession_number=found.accession_number,
        specimen=found.specimen,
        received_on=found.received_on,
        leukocytes=0 if is_veiled else counts["leukocytes"],
        blasts=0 if is_veiled else counts["blasts"],
        suspicion=None if is_veiled else counts["suspicion"],
        is_this=found.pk == case.pk,
        is_veiled=is_veiled,
    )
