"""Who may ask the API for what: tokens, scopes, roles, other laboratories, and how often."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from diagnosis.api import api
from diagnosis.models import ApiToken, AuditEvent, Case, SmearImage, User
from diagnosis.services import api_tokens
from diagnosis.services.api_tokens import TokenRefused
from tests.diagnosis.conftest import PASSWORD
from tests.diagnosis.told_api import ALL, System, said

pytestmark = pytest.mark.django_db

# Operation, then the status for technician, hematologist, administrator, and a hematologist of another laboratory.
OPERATIONS = {
    "openCase": ("cases:write", 409, 409, 409, 201),
    "listCases": ("cases:read", 200, 200, 200, 200),
    "readCase": ("cases:read", 200, 200, 200, 404),
    "uploadImage": ("images:write", 422, 422, 422, 404),
    "listImages": ("cases:read", 200, 200, 200, 404),
    "readImage": ("cases:read", 200, 200, 200, 404),
    "readResult": ("results:read", 200, 200, 200, 404),
    "readResults": ("results:read", 200, 200, 200, 404),
    "readDifferential": ("results:read", 200, 200, 200, 404),
    "readReport": ("reports:read", 200, 200, 200, 404),
    "downloadReport": ("reports:read", 200, 200, 200, 404),
    "downloadFhir": ("reports:read", 200, 200, 200, 404),
}
WHO = ("technician", "hematologist", "administrator", "outsider")


def operations() -> dict[str, tuple[str, str]]:
    """Operation -> method and path, from the schema."""
    return {
        one["operationId"]: (method, path)
        for path, methods in api.get_openapi_schema()["paths"].items()
        for method, one in methods.items()
    }


def ask(system: System, name: str, image: SmearImage) -> Any:
    method, path = operations()[name]
    path = path.replace("{case_id}", str(image.case_id)).replace("{image_id}", str(image.pk))
    path = path.removeprefix("/api/v1/")
    if name == "uploadImage":
        return system.upload(image.case_id, b"no picture")
    if method == "post":
        return system.post(path, {"accession_number": "H-1001", "patient_code": "P"})
    return system.get(path)


def test_every_operation_is_in_the_table() -> None:
    assert set(operations()) == set(OPERATIONS)


@pytest.mark.parametrize("who", WHO)
def test_what_a_token_gets_by_the_role_of_its_account(cast: Any, done: SmearImage, who: str) -> None:
    system = System(cast[who])
    told = {name: ask(system, name, done).status_code for name in OPERATIONS}

    assert told == {name: row[1 + WHO.index(who)] for name, row in OPERATIONS.items()}


def test_a_token_without_the_scope_is_refused_with_a_sentence(cast: Any, done: SmearImage) -> None:
    without = {one: System(_another(cast, n), set(ALL) - {one}) for n, one in enumerate(ALL)}
    for name, (needed, *_) in OPERATIONS.items():
        response = ask(without[needed], name, done)
        assert response.status_code == 403, name
        assert needed in said(response)


def _another(cast: Any, number: int) -> User:
    return User.objects.create_user(f"tina{number}", laboratory=cast.technician.laboratory, role="technician")


def test_a_role_that_is_taken_away_is_gone_from_its_tokens(
    cast: Any, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diagnosis import permissions

    system = System(cast.technician)
    monkeypatch.setitem(permissions.ACTIONS, "technician", frozenset({permissions.VIEW}))
    response = system.post("cases", {"accession_number": "N-1", "patient_code": "P"})

    assert response.status_code == 403
    assert said(response) == "Your account may not add cases or images."
    assert system.get(f"cases/{case.pk}").status_code == 200


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "Send a token"),
        ("Basic dGluYTpwYXNz", "Send a token"),
        ("Bearer", "unknown"),
        ("Bearer lk_wrong", "unknown"),
        ("Bearer \x00\xff", "unknown"),
    ],
)
def test_without_a_good_token_nobody_comes_in(
    client: Client, case: Case, header: str | None, words: str
) -> None:
    response = client.get(f"/api/v1/cases/{case.pk}", headers={"Authorization": header} if header else {})

    assert response.status_code == 401
    assert words in said(response)
    assert response["WWW-Authenticate"] == "Bearer"


def test_a_session_is_no_token(client: Client, cast: Any, case: Case) -> None:
    client.force_login(cast.administrator)

    assert client.get(f"/api/v1/cases/{case.pk}").status_code == 401
    assert client.post("/api/v1/cases", "{}", content_type="application/json").status_code == 401


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"revoked_at": timezone.now()}, "taken back"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expired"),
    ],
)
def test_a_token_that_ended_lets_nobody_in(cast: Any, change: dict[str, Any], words: str) -> None:
    system = System(cast.technician)
    assert system.get("cases").status_code == 200
    ApiToken.objects.update(**change)

    response = system.get("cases")
    assert response.status_code == 401
    assert words in said(response)


@pytest.mark.parametrize("change", [{"is_active": False}, {"laboratory": "other"}])
def test_a_token_ends_with_its_account(cast: Any, change: dict[str, Any]) -> None:
    system = System(cast.technician)
    if "laboratory" in change:
        change = {"laboratory": cast.outsider.laboratory}
    User.objects.filter(pk=cast.technician.pk).update(**change)

    assert "no longer works here" in said(system.get("cases"))


def test_the_key_is_stored_nowhere(cast: Any) -> None:
    system = System(cast.technician)
    token = ApiToken.objects.get()

    assert len(system.key) == 46
    assert token.digest == api_tokens.digest_of(system.key)
    assert system.key.startswith(token.prefix)
    for value in (
        *ApiToken.objects.values().get().values(),
        *AuditEvent.objects.values_list("detail", flat=True),
    ):
        assert system.key not in str(value)


def test_use_is_noted_once_a_minute(cast: Any, django_assert_num_queries: Any) -> None:
    system = System(cast.technician)
    system.get("cases")
    first = ApiToken.objects.get().last_used_at
    system.get("cases")
    assert ApiToken.objects.get().last_used_at == first

    ApiToken.objects.update(last_used_at=first - timedelta(minutes=2))
    system.get("cases")
    assert ApiToken.objects.get().last_used_at > first


def test_a_token_that_asks_too_often_waits(cast: Any, settings: Any, case: Case) -> None:
    settings.LEUKOSCOPE_API_RATE = 3
    system, other = System(cast.technician), System(cast.hematologist)
    statuses = [system.get("cases").status_code for _ in range(4)]
    refused = system.get("cases")

    # The minute may turn over between two requests, and then counts anew.
    assert 429 in (statuses[-1], refused.status_code)
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert "go on in" in said(refused)
    assert other.get("cases").status_code == 200


def test_the_schema_is_for_tokens_and_people(client: Client, cast: Any) -> None:
    assert client.get("/api/v1/openapi.json").status_code == 401
    system = System(cast.technician, ["cases:read"])
    told = system.get("openapi.json").json()
    client.force_login(cast.technician)

    assert client.get("/api/v1/openapi.json").json() == told
    assert told["paths"]["/api/v1/cases"]["post"]["security"] == [{"Bearer": ["cases:write"]}]
    assert told["components"]["securitySchemes"]["Bearer"]["scheme"] == "bearer"


def test_nobody_makes_a_token_of_somebody_who_may_more(cast: Any) -> None:
    head = User.objects.create_user(
        "hana", password=PASSWORD, role="laboratory_head", laboratory=cast.technician.laboratory
    )
    with pytest.raises(TokenRefused, match="may do more than you"):
        api_tokens.create(actor=head, user=cast.administrator, name="x", scopes=ALL)
    with pytest.raises(PermissionDenied):
        api_tokens.create(actor=cast.hematologist, user=cast.technician, name="x", scopes=ALL)
    api_tokens.create(actor=head, user=cast.hematologist, name="x", scopes=ALL)
    assert ApiToken.objects.get().created_by == head


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": " "}, "a name"),
        ({"name": "x" * 81}, "up to 80"),
        ({"scopes": []}, "at least one"),
        ({"scopes": ["all"]}, "no scope all"),
        ({"days": 0}, "1 to 3650"),
        ({"name": "there"}, "already"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(cast: Any, change: dict[str, Any], words: str) -> None:
    given = {"actor": None, "user": cast.technician, "name": "scanner", "scopes": ["cases:read"]}
    api_tokens.create(**{**given, "name": "there"})
    with pytest.raises(TokenRefused, match=words):
        api_tokens.create(**{**given, **change})


def test_a_command_makes_a_token_and_takes_it_back(cast: Any, case: Case, capsys: Any) -> None:
    call_command(
        "api_token",
        "lis",
        "--user",
        "tina",
        "--scope",
        "cases:read",
        "--scope",
        "reports:read",
        "--days",
        "30",
    )
    key = capsys.readouterr().out.split()[-1]
    headers = {"Authorization": f"Bearer {key}"}

    assert Client().get(f"/api/v1/cases/{case.pk}", headers=headers).status_code == 200
    assert Client().get(f"/api/v1/cases/{case.pk}/results", headers=headers).status_code == 403
    assert ApiToken.objects.get().expires_at > timezone.now() + timedelta(days=29)
    assert AuditEvent.objects.get(action="create_api_token").actor is None

    call_command("api_token", "lis", "--user", "tina", "--revoke")
    assert Client().get(f"/api/v1/cases/{case.pk}", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lis", "--user", "nobody", "--scope", "cases:read"], "no active account called nobody"),
        (["lis", "--user", "tina"], "at least one"),
        (["gone", "--user", "tina", "--revoke"], "no token called gone"),
    ],
)
def test_the_command_says_what_is_wrong(cast: Any, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("api_token", *arguments)


def test_what_is_read_leaves_one_event_in_ten_minutes(
    cast: Any, done: SmearImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(cast.technician)
    for _ in range(3):
        system.get(f"cases/{done.case_id}/results")
    system.get(f"cases/{done.case_id}/differential")

    events = AuditEvent.objects.filter(action="read_by_api", object_id=str(done.case_id))
    assert sorted(event.detail["what"] for event in events) == ["differential", "results"]
    assert {event.actor for event in events} == {cast.technician}


def test_a_reader_in_blind_mode_learns_no_outcome_by_a_token(
    cast: Any, image: SmearImage, judge: Callable[..., Any]
) -> None:
    judge(image)
    laboratory = cast.hematologist.laboratory
    laboratory.is_blind = True
    laboratory.save()
    reader, scanner = System(cast.hematologist), System(cast.technician)
    paths = [
        f"images/{image.pk}/result",
        f"cases/{image.case_id}/results",
        f"cases/{image.case_id}/differential",
    ]

    for path in paths:
        response = reader.get(path)
        assert response.status_code == 403
        assert "reads blind" in said(response)
        assert scanner.get(path).status_code == 200
    assert reader.get("cases").json()["cases"][0]["images"]["suspected"] == 0
    assert scanner.get("cases").json()["cases"][0]["images"]["suspected"] == 1
