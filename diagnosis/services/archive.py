"""A drawn archive: as many cases as a laboratory gathers in years, to measure pages and queries on.

Nothing in it is of a patient, and no image was ever analysed: numbers are drawn, alike for the same seed. All images
are one small drawn file. Everything belongs to a laboratory of its own, whose name says what it is, and whose accounts
have no password. Signatures hold no report.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.core.files.base import ContentFile
from django.db import connection, transaction
from PIL import Image

from diagnosis.models import (
    Analysis,
    Case,
    CellAnalysis,
    Dispute,
    Laboratory,
    ModelVersion,
    Review,
    SignOut,
    Site,
    SmearImage,
    User,
)
from diagnosis.services import audit, case_tallies, findings, tally_triggers
from diagnosis.services.archive_drawing import COLUMNS, Cast, Drawing, Rows
from diagnosis.services.bulk_rows import Table, analyse, unindexed
from diagnosis.storage import content_name, smear_storage

NAME: Final = "Drawn archive (no patients)"
SLUG: Final = "drawn-archive"
A_BATCH: Final = 1000
"""Cases written at a time."""
_MODELS: Final = (Case, SmearImage, Analysis, CellAnalysis, Review, SignOut, Dispute)


class ArchiveRefused(Exception):
    """The text is the sentence to show."""


@dataclass(frozen=True)
class Seeded:
    """What was drawn."""

    laboratory: Laboratory
    cases: int
    images: int
    analyses: int
    reviews: int


def seed(
    *,
    cases: int,
    images_per_case: int,
    seed: int = 1,
    beside_others: bool = False,
    told: Callable[[int], None] = lambda done: None,
) -> Seeded:
    """Draw an archive, in one transaction, then keep its findings; `told` hears of the cases written until now.

    Raises ArchiveRefused where there is a drawn archive already or, unless `beside_others`, where there are cases.
    """
    if Laboratory.objects.filter(slug=SLUG).exists():
        raise ArchiveRefused("There is a drawn archive in this database already.")
    if Case.objects.exists() and not beside_others:
        raise ArchiveRefused(
            "This database holds cases, among which it has no place; --yes adds it all the same."
        )
    with transaction.atomic():
        cast = _cast()
        drawing, tables = Drawing(cast, images_per_case, random.Random(seed)), _tables(cast)
        counts = {"images": 0, "analyses": 0, "reviews": 0}
        tally_triggers.remove(connection)  # they would note every image of every signed case
        with unindexed(_MODELS):
            for first in range(0, cases, A_BATCH):
                rows = Rows()
                for number in range(first, min(cases, first + A_BATCH)):
                    drawing.case(rows, number, cases)
                for name, table in tables.items():
                    table.write(getattr(rows, name))
                for name in counts:
                    counts[name] += len(getattr(rows, name))
                told(min(cases, first + A_BATCH))
        tally_triggers.install(connection)
        case_tallies.note_all(connection)
        detail = {"cases": cases, "images_per_case": images_per_case, "seed": seed}
        audit.record(action="seed_archive", actor=None, laboratory=cast.laboratory, detail=detail)
    analyse()
    findings.keep_all()
    case_tallies.refresh(batches=cases)
    analyse()
    return Seeded(cast.laboratory, cases, **counts)


def _cast() -> Cast:
    """The laboratory with its people, sites and model versions, which nobody can load and none is active."""
    laboratory = Laboratory.objects.create(name=NAME, slug=SLUG)

    def account(role: str, name: str) -> User:
        user = User(
            username=f"{SLUG}-{name}", first_name="Drawn", last_name=name.replace("-", " ").title(), role=role,
            laboratory=laboratory,
        )  # fmt: skip
        user.set_unusable_password()
        user.save()
        return user

    readers = [account(User.Role.HEMATOLOGIST, f"reader-{n}") for n in range(1, 9)]
    readers.append(account(User.Role.LABORATORY_HEAD, "head"))
    account(User.Role.ADMINISTRATOR, "administrator")
    versions = [
        ModelVersion.objects.create(
            task=task, name=f"drawn-{task}-{n}", status=ModelVersion.Status.RETIRED, laboratory=laboratory,
            bundle_path="", bundle_sha256=hashlib.sha256(f"{task}{n}".encode()).hexdigest(),
        )
        for task, count in ((ModelVersion.Task.FIELD, 3), (ModelVersion.Task.CELL, 1))
        for n in range(1, count + 1)
    ]  # fmt: skip
    return Cast(
        laboratory=laboratory,
        sites=[
            Site.objects.create(laboratory=laboratory, name=f"Drawn microscope {n}").pk for n in (1, 2, 3)
        ],
        readers=readers,
        technician=account(User.Role.TECHNICIAN, "technician"),
        fields=[one.pk for one in versions[:3]],
        cells=versions[3].pk,
    )


def _small_file() -> tuple[str, str, int]:
    """Name, SHA-256 and size of the file that all images are."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (221, 196, 214)).save(buffer, "PNG")
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    return (
        smear_storage().save(content_name("images", sha256, ".png"), ContentFile(content)),
        sha256,
        len(content),
    )


def _tables(cast: Cast) -> dict[str, Table]:
    """Where rows go, with what is alike in all of them."""
    name, sha256, size = _small_file()
    return {
        "cases": Table(
            Case, COLUMNS["cases"], laboratory_id=cast.laboratory.pk, created_by_id=cast.technician.pk
        ),
        "images": Table(
            SmearImage, COLUMNS["images"], format="PNG", width=64, height=48, byte_size=size, file=name,
            stored_sha256=sha256, stored_format="PNG", thumbnail=name, is_drawn=True,
            uploaded_by_id=cast.technician.pk,
        ),
        "analyses": Table(
            Analysis, COLUMNS["analyses"], created_by_id=cast.technician.pk, attempts=1, domain_threshold=0.9,
            runtime="openvino", device="CPU", preprocessing_version=1,
        ),
        "cells": Table(CellAnalysis, COLUMNS["cells"], model_version_id=cast.cells, um_per_pixel=0.1),
        "reviews": Table(Review, COLUMNS["reviews"]),
        "sign_outs": Table(
            SignOut, COLUMNS["sign_outs"], signer_role="hematologist", meaning="Drawn: nobody signed this.",
            content={}, content_sha256="",
        ),
        "disputes": Table(Dispute, COLUMNS["disputes"]),
    }  # fmt: skip
