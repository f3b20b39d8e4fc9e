"""An OpenID Connect provider of a test's own: it signs in whoever it is told, by the code flow with PKCE."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt


class IdentityProvider:
    """Listens on a free port. `claims` are of the person that it signs in next."""

    client_id = "leukoscope"
    client_secret = "between the two of us"

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.codes: dict[str, dict[str, Any]] = {}
        self.said: list[dict[str, list[str]]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path == "/.well-known/openid-configuration":
                    self.answer(provider.configuration())
                elif parts.path == "/authorize":
                    self.send_response(302)
                    self.send_header("Location", provider.authorize(parse_qs(parts.query)))
                    self.end_headers()
                elif parts.path == "/userinfo":
                    self.answer(provider.claims)
                else:
                    self.send_error(404)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                asked = parse_qs(self.rfile.read(length).decode())
                status, answer = provider.token(asked)
                self.answer(answer, status)

            def answer(self, body: dict[str, Any], status: int = 200) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def authorize(self, asked: dict[str, list[str]]) -> str:
        """Where the browser is sent back to, with a code."""
        code = f"code-{len(self.codes)}"
        self.codes[code] = {"challenge": asked["code_challenge"][0], "claims": dict(self.claims)}
        return f"{asked['redirect_uri'][0]}?{urlencode({'code': code, 'state': asked['state'][0]})}"

    def token(self, asked: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        self.said.append(asked)
        held = self.codes.pop(asked["code"][0], None)
        digest = hashlib.sha256(asked["code_verifier"][0].encode()).digest()
        proved = held and base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == held["challenge"]
        if not proved or asked["client_secret"] != [self.client_secret]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300, **held["claims"]}
        token = jwt.encode(
            claims, "nobody checks a signature that came over the provider's own line", "HS256"
        )
        return 200, {"access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": token}
