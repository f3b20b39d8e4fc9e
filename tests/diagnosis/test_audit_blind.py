"""What the audit keeps from its reader while she has yet to class an image herself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from diagnosis.audit_veil import KEPT_BACK
from diagnosis.models import Analysis, Cell, SmearImage
from diagnosis.services import cell_readings
from diagnosis.services.blind import record_blind_reading
from tests.diagnosis.told_cells import add_cells
from tests.diagnosis.told_sign_out import read, sign

pytestmark = pytest.mark.django_db


@pytest.fixture
def told(cast: Any, image: SmearImage, judge: Callable[..., Analysis]) -> SmearImage:
    """An image of a laboratory that reads blind, analysed and overruled by somebody else, a cell of it classed."""
    judge(image, "pro")
    laboratory = image.case.laboratory
    read(cast.hematologist, image, "overrule", label="benign")
    add_cells(image, ["blast"])
    cell_readings.re_class(user=cast.hematologist, cells=[Cell.objects.get().pk], label="lymphocyte")
    laboratory.is_blind = True
    laboratory.save()
    return image


def page(client: Client, user: Any, name: str = "audit") -> str:
    client.force_login(type(user).objects.get(pk=user.pk))
    response = client.get(reverse(f"diagnosis:{name}"))
    return (b"".join(response) if response.streaming else response.content).decode()


@pytest.mark.parametrize("name", ["audit", "audit-csv"])
def test_who_reads_blind_learns_from_the_audit_who_read_and_not_what(
    client: Client, cast: Any, told: SmearImage, name: str
) -> None:
    found = page(client, cast.laboratory_head, name)
    assert found.count(KEPT_BACK) == 3  # the analysis, the review and the cells
    assert "read an image" in found
    for word in ("benign", "lymphocyte", "overrule", "Overrule", "pro-B"):
        assert word not in found, word
    # Asked anew, she knows that her laboratory reads blind.
    fresh = type(cast.laboratory_head).objects.get(pk=cast.laboratory_head.pk)
    record_blind_reading(user=fresh, image=told, label="pre")
    found = page(client, cast.laboratory_head, name)
    assert KEPT_BACK not in found
    assert "benign" in found
    assert "lymphocyte" in found


def test_where_nobody_reads_blind_and_of_signed_cases_nothing_is_kept_back(
    client: Client, cast: Any, told: SmearImage
) -> None:
    laboratory = told.case.laboratory
    sign(cast.hematologist, told.case)
    assert KEPT_BACK not in page(client, cast.laboratory_head)
    laboratory.is_blind = False
    laboratory.save()
    assert "benign" in page(client, cast.laboratory_head)


def test_the_veil_takes_the_same_queries_for_many_events(
    client: Client, cast: Any, told: SmearImage, add_image: Callable[..., SmearImage],
    judge: Callable[..., Analysis],
) -> None:  # fmt: skip
    counts = []
    for _ in range(2):
        page(client, cast.laboratory_head)
        with CaptureQueriesContext(connection) as asked:
            page(client, cast.laboratory_head)
        counts.append(len(asked))
        for _ in range(4):
            judge(add_image(), "early")
    assert counts[0] == counts[1]
