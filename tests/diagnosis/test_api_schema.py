"""The OpenAPI schema under schemathesis: what it allows, and much that it does not, ends in an answer that it names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from diagnosis.models import SmearImage
from tests.diagnosis.told_api import System

pytestmark = pytest.mark.django_db

SECONDS = 16.0
"""For both modes together, on a machine that does nothing else."""
CASES = 20
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
TAKES = {"case_id", "image_id"}


@pytest.fixture
def schema(cast: Any, done: SmearImage, settings: Any) -> Iterator[tuple[Any, System]]:
    settings.LEUKOSCOPE_API_RATE = 1_000_000
    settings.ALLOWED_HOSTS = ["localhost", "testserver"]
    system = System(cast.technician)
    # As Django's own test client does: the test's transaction must outlive a request.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    loaded = schemathesis.openapi.from_wsgi(
        "/api/v1/openapi.json", get_wsgi_application(), headers=system.headers(), config=SchemathesisConfig()
    )
    yield loaded, system
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_no_request_is_a_server_error(schema: tuple[Any, System], done: SmearImage, mode: str) -> None:
    loaded, system = schema
    there = {"case_id": done.case_id, "image_id": str(done.pk)}
    operations = [result.ok() for result in loaded.get_all_operations()]
    assert len(operations) == 12
    ends = time.monotonic() + SECONDS / 2
    seen: set[int] = set()

    for number, operation in enumerate(operations):
        # What one operation leaves of the time is the others'.
        share = (ends - time.monotonic()) / (len(operations) - number)
        seen |= ask(operation, mode, system, there, seconds=share)

    assert seen & ({200, 201} if mode == "positive" else {422, 404})


def ask(operation: Any, mode: str, system: System, there: dict[str, Any], *, seconds: float) -> set[int]:
    """Send an operation what its schema allows ("positive") or does not; returns the statuses that came back."""
    until = time.monotonic() + seconds
    seen: set[int] = set()
    strategy = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, known=st.booleans())
    def one(case: Any, known: bool) -> None:
        if time.monotonic() > until and seen:
            return
        if known:  # a case that is there gets further than one that is not
            for name in TAKES & set(case.path_parameters or {}):
                case.path_parameters[name] = there[name]
        response = case.call(headers=system.headers())
        seen.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    one()
    assert seen, operation.label
    return seen
