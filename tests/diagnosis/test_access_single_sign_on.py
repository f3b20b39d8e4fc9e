"""Single sign-on by OpenID Connect, against a provider that really answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers import registry
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from django.test import Client
from django.urls import reverse

from diagnosis.models import AuditEvent, User
from tests.diagnosis.conftest import PASSWORD
from tests.identity_provider import IdentityProvider
from webapp.env import Env, EnvironmentProblem
from webapp.single_sign_on import SingleSignOn, read

HEDY = {
    "sub": "u-17",
    "email": "hedy@clinic.example.org",
    "email_verified": True,
    "preferred_username": "hhemmer",
    "given_name": "Hedy",
    "family_name": "Hemmer",
}


@pytest.fixture
def provider(settings: Any) -> Iterator[IdentityProvider]:
    """A provider that the settings name; nobody who comes from it gets an account unless a test says so."""
    found = IdentityProvider()
    found.start()
    found.claims = dict(HEDY)
    configure(settings, found)
    registry.register(
        OpenIDConnectProvider
    )  # as its application does, which is installed where settings name one
    yield found
    del registry.provider_map[OpenIDConnectProvider.id]
    found.stop()


def configure(
    settings: Any, provider: IdentityProvider, laboratory: str = "", role: str = "technician"
) -> None:
    settings.LEUKOSCOPE_SINGLE_SIGN_ON = SingleSignOn(
        issuer=provider.issuer,
        client_id=provider.client_id,
        client_secret=provider.client_secret,
        name="Clinic",
        laboratory=laboratory,
        role=role,
    )
    settings.SOCIALACCOUNT_PROVIDERS = settings.LEUKOSCOPE_SINGLE_SIGN_ON.allauth()


def sign_on(client: Client, settings: Any, page: str = "/history", **more: str) -> Any:
    """Go to the provider and come back, as a browser does; the last answer of ours."""
    start = reverse("openid_connect_login", args=[settings.LEUKOSCOPE_SINGLE_SIGN_ON.key])
    away = client.get(start, {"next": page, **more})
    assert away.status_code == 302
    back = requests.get(away["Location"], allow_redirects=False, timeout=10).headers["Location"]
    parts = urlsplit(back)
    return client.get(f"{parts.path}?{parts.query}")


@pytest.fixture
def known(cast: Any) -> User:
    """The hematologist, whose address an administrator has entered."""
    cast.hematologist.email = "Hedy@clinic.example.org"
    cast.hematologist.save()
    return cast.hematologist


def test_the_log_in_page_offers_it(client: Client, db: None, provider: Any, settings: Any) -> None:
    page = client.get(reverse("login"), {"next": "/history"}).text

    assert "Log in with Clinic" in page
    assert f'href="/accounts/oidc/{settings.LEUKOSCOPE_SINGLE_SIGN_ON.key}/login/?next=%2Fhistory"' in page


def test_without_settings_there_is_no_such_thing(client: Client, db: None) -> None:
    assert "Log in with" not in client.get(reverse("login")).text.replace("Log in with a passkey", "")
    assert client.get(reverse("openid_connect_login", args=["anything"])).status_code == 404


def test_a_verified_address_leads_to_its_one_account(
    client: Client, known: User, provider: Any, settings: Any
) -> None:
    assert sign_on(client, settings)["Location"] == "/history"

    assert client.get("/account").context["user"] == known
    assert known.check_password(PASSWORD), "the password that was there stays"
    assert AuditEvent.objects.get(action="connect_identity").detail["identity"] == "u-17"
    login = AuditEvent.objects.get(action="login")
    assert (login.actor, login.detail) == (known, {"with": [settings.LEUKOSCOPE_SINGLE_SIGN_ON.key]})


def test_an_identity_stays_known_when_its_address_changes(known: User, provider: Any, settings: Any) -> None:
    sign_on(Client(), settings)
    provider.claims.update(email="other@clinic.example.org", email_verified=False)

    again = Client()
    assert sign_on(again, settings)["Location"] == "/history"
    assert again.get("/account").context["user"] == known
    assert SocialAccount.objects.count() == 1


@pytest.mark.parametrize("verified", [False, "false", None, "yes"])
def test_an_address_that_is_not_verified_leads_nowhere(
    client: Client, known: User, provider: Any, settings: Any, verified: Any
) -> None:
    provider.claims["email_verified"] = verified
    answer = sign_on(client, settings)

    assert answer.status_code == 403
    assert "No account belongs to hedy@clinic.example.org" in answer.text
    assert client.get("/").status_code == 302
    assert not SocialAccount.objects.exists()


def test_an_address_of_two_accounts_leads_to_neither(
    client: Client, known: User, cast: Any, provider: Any, settings: Any
) -> None:
    User.objects.filter(pk=cast.technician.pk).update(email="hedy@clinic.example.org")

    assert sign_on(client, settings).status_code == 403


def test_nobody_gets_an_account_unless_the_settings_say_so(
    client: Client, cast: Any, provider: Any, settings: Any
) -> None:
    count = User.objects.count()
    assert sign_on(client, settings).status_code == 403
    assert User.objects.count() == count

    configure(settings, provider, laboratory="central", role="hematologist")
    assert sign_on(client, settings)["Location"] == "/history"
    made = User.objects.get(username="hhemmer")
    assert (made.laboratory, made.role) == (cast.hematologist.laboratory, "hematologist")
    assert (made.is_staff, made.is_superuser, made.has_usable_password()) == (False, False, False)
    assert (made.email, made.display_name) == ("hedy@clinic.example.org", "Hedy Hemmer")
    event = AuditEvent.objects.get(action="create_account")
    assert event.detail == {"by": "Clinic", "role": "hematologist"}


def test_a_taken_username_is_not_taken_over(client: Client, cast: Any, provider: Any, settings: Any) -> None:
    configure(settings, provider, laboratory="central")
    provider.claims.update(preferred_username="ADA", email="eve@elsewhere.example.org")
    sign_on(client, settings)

    made = client.get("/account").context["user"]
    assert (made.username, made.role) == ("ADA-2", "technician")


def test_a_closed_account_stays_closed(client: Client, known: User, provider: Any, settings: Any) -> None:
    sign_on(Client(), settings)
    User.objects.filter(pk=known.pk).update(is_active=False)

    assert sign_on(client, settings)["Location"] == reverse("account_inactive")
    assert client.get("/").status_code == 302


def test_a_second_factor_is_asked_for_all_the_same(
    client: Client, known: User, provider: Any, settings: Any
) -> None:
    known.laboratory.needs_second_factor = True
    known.laboratory.save()
    sign_on(client, settings)

    assert client.get("/history")["Location"].startswith("/account/second-factor")


def test_an_account_that_is_logged_in_is_never_connected_to_who_comes_along(
    client: Client, cast: Any, provider: Any, settings: Any
) -> None:
    client.force_login(cast.administrator)

    assert sign_on(client, settings, process="connect").status_code == 403
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize("query", ["", "?code=made-up&state=made-up", "?error=server_error"])
def test_a_callback_out_of_the_blue_is_refused_in_words(
    client: Client, db: None, provider: Any, settings: Any, query: str
) -> None:
    key = settings.LEUKOSCOPE_SINGLE_SIGN_ON.key
    answer = client.get(reverse("openid_connect_callback", args=[key]) + query)

    assert answer.status_code == 401
    assert "did not vouch for you" in answer.text


def test_a_wrong_secret_lets_nobody_in(client: Client, known: User, provider: Any, settings: Any) -> None:
    provider.client_secret = "another one"

    assert sign_on(client, settings).status_code == 401
    assert client.get("/").status_code == 302


# --- settings


def env(**more: str) -> Env:
    base = {"LEUKOSCOPE_OIDC_ISSUER": "https://login.clinic.example.org/realms/main/"}
    base |= {"LEUKOSCOPE_OIDC_CLIENT_ID": "leukoscope", "LEUKOSCOPE_OIDC_CLIENT_SECRET": "s"}
    return Env({**base, **more})


def test_the_environment_names_the_provider() -> None:
    found = read(env())

    assert found is not None
    assert found.key == "login-clinic-example-org-realms-main"
    assert (found.name, found.laboratory, found.role) == ("login.clinic.example.org", "", "technician")
    assert read(Env({})) is None


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("LEUKOSCOPE_OIDC_ISSUER", "http://login.clinic.example.org", "https://"),
        ("LEUKOSCOPE_OIDC_ISSUER", "login", "https://"),
        ("LEUKOSCOPE_OIDC_CLIENT_ID", "", "needs LEUKOSCOPE_OIDC_CLIENT_ID"),
        ("LEUKOSCOPE_OIDC_CLIENT_SECRET", "", "needs LEUKOSCOPE_OIDC_CLIENT_ID"),
        ("LEUKOSCOPE_OIDC_ROLE", "administrator", "must be one of technician, hematologist, laboratory_head"),
    ],
)
def test_wrong_settings_stop_the_start_with_a_sentence(name: str, value: str, sentence: str) -> None:
    with pytest.raises(EnvironmentProblem, match=sentence):
        read(env(**{name: value}))
