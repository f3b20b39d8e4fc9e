"""A drawn archive: what it holds, that it is alike for the same seed, and where it is refused."""

from __future__ import annotations

import random
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F

from diagnosis.models import (
    Analysis,
    AuditEvent,
    Case,
    CellAnalysis,
    Laboratory,
    ModelVersion,
    Review,
    SignOut,
    SmearImage,
    User,
)
from diagnosis.services import archive, archive_drawing

pytestmark = pytest.mark.django_db


def seed(**options: Any) -> str:
    told = StringIO()
    call_command("seed_archive", cases=60, images_per_case=3, stdout=told, **options)
    return told.getvalue()


def test_it_holds_what_it_says_and_the_database_agrees() -> None:
    told = seed()

    laboratory = Laboratory.objects.get(slug=archive.SLUG)
    assert laboratory.name in told
    assert "60 cases, 180 images" in told
    assert laboratory.cases.count() == 60
    assert SmearImage.objects.filter(newest_analysis__image=F("pk")).count() == 180
    assert f"{Analysis.objects.count()} analyses, {Review.objects.count()} reviews" in told
    done = Analysis.objects.filter(state=Analysis.State.DONE)
    assert CellAnalysis.objects.count() == done.count() > 150
    signed = Case.objects.filter(newest_sign_out__isnull=False)
    assert 0 < signed.count() == Case.objects.exclude(status=Case.Status.PRELIMINARY).count() < 60
    assert SignOut.objects.filter(case__in=signed).count() >= signed.count()
    connection.check_constraints()
    assert AuditEvent.objects.filter(action="seed_archive", laboratory=laboratory).count() == 1
    # Keys go on after those that were written.
    assert Case.objects.create(
        laboratory=laboratory, accession_number="next", patient_code="P", created_by=User.objects.all()[0]
    ).pk > max(signed.values_list("pk", flat=True))


def test_nobody_can_log_in_to_it_and_its_images_have_a_file() -> None:
    seed()

    assert not any(user.has_usable_password() for user in User.objects.filter(laboratory__slug=archive.SLUG))
    image = SmearImage.objects.all()[0]
    with image.file.open() as file:
        assert len(file.read()) == image.byte_size


def test_the_same_seed_draws_the_same_numbers() -> None:
    def drawn(seed: int) -> list[Any]:
        rows = archive_drawing.Rows()
        cast = archive._cast()
        drawing = archive_drawing.Drawing(cast, 3, random.Random(seed))
        for number in range(40):
            drawing.case(rows, number, 40)
        Laboratory.objects.filter(slug=archive.SLUG).update(slug=f"other-{cast.laboratory.pk}")
        User.objects.update(username=F("id"))
        ModelVersion.objects.all().delete()
        return [(row[0], row[7], row[8], row[12]) for row in rows.analyses]

    assert drawn(1) == drawn(1) != drawn(2)


def test_it_is_refused_beside_other_cases_and_twice(case: Case) -> None:
    with pytest.raises(CommandError, match="holds cases"):
        seed()
    seed(yes=True)
    with pytest.raises(CommandError, match="already"):
        seed(yes=True)
    with pytest.raises(CommandError, match="at least"):
        call_command("seed_archive", cases=0)
    assert case.laboratory.cases.count() == 1
