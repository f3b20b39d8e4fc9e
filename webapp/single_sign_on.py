"""OpenID Connect: the hospital's own log-in, as the environment describes it. No Django needed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from webapp.env import Env, EnvironmentProblem

ROLES = ("technician", "hematologist", "laboratory_head")
"""What an account made at a first log-in may be. An administrator is made by an administrator."""


@dataclass(frozen=True)
class SingleSignOn:
    """A provider. `laboratory` is the slug of the one that takes in people without an account; empty: none does."""

    issuer: str
    client_id: str
    client_secret: str
    name: str
    laboratory: str
    role: str

    @property
    def key(self) -> str:
        """The provider's name in addresses, and of every identity it vouches for: another issuer is another one."""
        parts = urlsplit(self.issuer)
        return re.sub(r"[^a-z0-9]+", "-", f"{parts.netloc}{parts.path}".lower()).strip("-")

    def allauth(self) -> dict[str, Any]:
        """What SOCIALACCOUNT_PROVIDERS holds."""
        app = {
            "provider_id": self.key,
            "name": self.name,
            "client_id": self.client_id,
            "secret": self.client_secret,
            "settings": {"server_url": self.issuer, "oauth_pkce_enabled": True},
        }
        return {"openid_connect": {"APPS": [app]}}


def read(env: Env) -> SingleSignOn | None:
    """The provider of `LEUKOSCOPE_OIDC_*`, or None where none is named."""
    issuer = env.text("LEUKOSCOPE_OIDC_ISSUER").rstrip("/")
    if not issuer:
        return None
    parts = urlsplit(issuer)
    if not parts.hostname or (parts.scheme != "https" and parts.hostname not in {"localhost", "127.0.0.1"}):
        raise EnvironmentProblem(f"LEUKOSCOPE_OIDC_ISSUER must be an address with https://, not {issuer!r}.")
    client_id, secret = env.text("LEUKOSCOPE_OIDC_CLIENT_ID"), env.secret("LEUKOSCOPE_OIDC_CLIENT_SECRET")
    if not client_id or not secret:
        raise EnvironmentProblem(
            "LEUKOSCOPE_OIDC_ISSUER needs LEUKOSCOPE_OIDC_CLIENT_ID and LEUKOSCOPE_OIDC_CLIENT_SECRET beside it."
        )
    return SingleSignOn(
        issuer=issuer,
        client_id=client_id,
        client_secret=secret,
        name=env.text("LEUKOSCOPE_OIDC_NAME", str(parts.hostname)),
        laboratory=env.text("LEUKOSCOPE_OIDC_LABORATORY"),
        role=env.choice("LEUKOSCOPE_OIDC_ROLE", "technician", ROLES),
    )
