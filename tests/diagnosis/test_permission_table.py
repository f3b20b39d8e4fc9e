"""The permission table, cell by cell; and that no URL is missing in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from diagnosis.models import SmearImage, User
from diagnosis.services import api_tokens
from tests.diagnosis.conftest import PASSWORD
from tests.diagnosis.permission_table import (
    ADMIN_OPEN,
    API,
    API_OPEN,
    OPEN,
    READS,
    WHO,
    WRITES,
    address,
    api_address,
    open_address,
    posted,
)

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


# --- logging in, the admin site, the API


@pytest.mark.parametrize(("name", "method", "stranger", "anybody"), OPEN)
def test_what_needs_no_role(cast: Any, name: str, method: str, stranger: int, anybody: int) -> None:
    assert Client().generic(method, open_address(name)).status_code == stranger
    for who in WHO:
        client = Client()
        client.force_login(cast[who])
        assert client.generic(method, open_address(name)).status_code == anybody, who


def test_the_admin_site_is_for_administrators(cast: Any, done: SmearImage) -> None:
    for url in admin_addresses(cast):
        assert Client().get(url).status_code == 302, url
    for who in WHO:
        client = Client()
        client.force_login(cast[who])
        statuses = {url: client.get(url).status_code for url in admin_addresses(cast)}
        if who == "administrator":
            assert statuses["/admin/"] == 200
            assert statuses[reverse("admin:diagnosis_user_changelist")] == 200
        else:
            assert set(statuses.values()) <= {302, 403, 404}, (who, statuses)


def admin_addresses(cast: Any) -> list[str]:
    """Every URL of the admin site that takes no argument, or the key of an account."""
    found = []
    for space, name in named(get_resolver().url_patterns):
        if space == "admin" and name not in {"None", "app_list", "view_on_site", *ADMIN_OPEN}:
            try:
                found.append(reverse(f"admin:{name}"))
            except NoReverseMatch:
                found.append(reverse(f"admin:{name}", args=[cast.technician.pk]))
    return found


@pytest.fixture
def keys(cast: Any) -> dict[str, str]:
    """A token with every scope in the name of each of the cast."""
    return {
        who: api_tokens.create(actor=None, user=cast[who], name=who, scopes=api_tokens.SCOPES)[1]
        for who in WHO
    }


@pytest.mark.parametrize(("name", "method", "statuses"), [(row[0], row[1], row[2:]) for row in API])
def test_the_api(
    client: Client, done: SmearImage, keys: dict[str, str], name: str, method: str, statuses: tuple[int, ...]
) -> None:
    url = api_address(name, done)

    def ask(**more: Any) -> Any:
        if (name, method) == ("images", "POST"):
            return client.post(url, {"file": SimpleUploadedFile("field.png", b"no picture")}, **more)
        return client.generic(method, url, content_type="application/json", **more)

    assert ask().status_code == (404 if name in API_OPEN else 401)
    for who, expected in zip(WHO, statuses, strict=True):
        response = ask(headers={"authorization": f"Bearer {keys[who]}"})
        b"".join(response)  # a stream is closed by reading it to its end
        assert response.status_code == expected, (who, url)


# --- nothing is missing


def tables() -> dict[str, set[str]]:
    """The names in the table, by namespace."""
    return {
        "diagnosis": {row[0] for row in READS + WRITES},
        "": {row[0] for row in OPEN},
        "api": {row[0] for row in API},
    }


def test_every_url_has_its_row() -> None:
    rows = tables()
    missing = {
        f"{space}:{name}"
        for space, name in named(get_resolver().url_patterns)
        # Unnamed ones only lead elsewhere, as the admin site's do.
        if name != "None" and space != "admin" and name not in rows.get(space, ())
    }

    assert not missing, (
        f"No row in {HERE} says who may open {', '.join(sorted(missing))}. Add one: to READS (GET) or WRITES (POST) "
        f"the name, then the status for {', '.join(WHO)}, and say in `address` what its URL is about; to API for an "
        "operation of the API; to OPEN for what knows no roles."
    )


def test_every_row_has_its_url() -> None:
    known = set(named(get_resolver().url_patterns))
    gone = {
        f"{space}:{name}" for space, names in tables().items() for name in names if (space, name) not in known
    }

    assert not gone, f"Rows in {HERE} name URLs that don't exist: {', '.join(sorted(gone))}."


def named(patterns: list[URLPattern | URLResolver], space: str = "") -> Iterator[tuple[str, str]]:
    """Namespace and name of every URL."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from named(pattern.url_patterns, pattern.namespace or space)
        else:
            yield space, str(pattern.name)
