"""The permission table, cell by cell; and that no URL is missing in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from diagnosis.models import SmearImage, User
from tests.diagnosis.conftest import PASSWORD
from tests.diagnosis.permission_table import READS, WHO, WRITES, address, posted

HERE = "tests/diagnosis/permission_table.py"


def cells(table: list[tuple[Any, ...]]) -> list[Any]:
    return [
        pytest.param(name, who, expected, id=f"{name}-{who}")
        for name, *row in table
        for who, expected in zip(WHO, row, strict=True)
    ]


@pytest.mark.parametrize(("name", "who", "expected"), cells(READS))
def test_reading(client: Client, cast: Any, done: SmearImage, name: str, who: str, expected: int) -> None:
    client.force_login(cast[who])

    response = client.get(address(name, done))
    response.close()

    assert response.status_code == expected


@pytest.mark.parametrize(("name", "who", "expected"), cells(WRITES))
def test_writing(client: Client, cast: Any, done: SmearImage, name: str, who: str, expected: int) -> None:
    client.force_login(cast[who])

    response = client.post(address(name, done), posted(done))

    assert response.status_code == expected


def test_nobody_of_another_laboratory_learns_that_a_thing_exists(
    client: Client, cast: Any, done: SmearImage
) -> None:
    administrator = User.objects.create_user(
        "olga", password=PASSWORD, role=User.Role.ADMINISTRATOR, laboratory=cast.outsider.laboratory
    )
    client.force_login(administrator)
    hidden = [name for name, *_, outsider in READS if outsider == 404]
    unchangeable = [name for name, *_, outsider in WRITES if outsider == 404]

    seen = {name for name in hidden if client.get(address(name, done)).status_code != 404}
    changed = {
        name for name in unchangeable if client.post(address(name, done), posted(done)).status_code != 404
    }

    assert not seen, f"shown to another laboratory: {sorted(seen)}"
    assert not changed, f"open to another laboratory: {sorted(changed)}"


@pytest.mark.parametrize("name", sorted({row[0] for row in WRITES} - {row[0] for row in READS}))
def test_writing_only_allows_post(client: Client, cast: Any, done: SmearImage, name: str) -> None:
    client.force_login(cast.administrator)

    assert client.get(address(name, done)).status_code == 405


def test_strangers_are_sent_to_log_in(client: Client, done: SmearImage) -> None:
    for name, *_ in READS:
        answers = client.get(address(name, done))
        assert answers.status_code == 302, name
        assert answers["Location"].startswith(f"{reverse('login')}?next="), name
    for name, *_ in WRITES:
        answers = client.post(address(name, done))
        assert answers.status_code == 302, name
        assert answers["Location"].startswith(f"{reverse('login')}?next="), name


def test_every_url_has_its_row() -> None:
    missing = {name for space, name in named(get_resolver().url_patterns) if space == "diagnosis"}
    missing -= {row[0] for row in READS + WRITES}

    assert not missing, (
        f"No row in {HERE} says who may open {', '.join(sorted(missing))}. Add one to READS (GET) or WRITES (POST): "
        f"the name, then the status for {', '.join(WHO)}; and say in `address` what its URL is about."
    )


def test_every_row_has_its_url() -> None:
    known = {name for space, name in named(get_resolver().url_patterns) if space == "diagnosis"}
    gone = {row[0] for row in READS + WRITES} - known

    assert not gone, f"Rows in {HERE} name URLs that don't exist: {', '.join(sorted(gone))}."


def named(patterns: list[URLPattern | URLResolver], space: str = "") -> Iterator[tuple[str, str]]:
    """Namespace and name of every URL."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from named(pattern.url_patterns, pattern.namespace or space)
        else:
            yield space, str(pattern.name)
