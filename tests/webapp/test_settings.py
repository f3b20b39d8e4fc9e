"""Settings of a clinic's server: clean under Django's deployment check, strict towards the browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

ROOT = Path(__file__).resolve().parents[2]


def its_own(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a process of its own, without what the browser's tests set for this one."""
    here = {name: value for name, value in os.environ.items() if name != "DJANGO_ALLOW_ASYNC_UNSAFE"}
    return {**here, "DJANGO_SETTINGS_MODULE": "webapp.settings", **environment}


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=its_own(environment),
        capture_output=True,
        text=True,
        check=False,
    )


def read_setting(name: str, **environment: str) -> object:
    code = f"from django.conf import settings; import json; print(json.dumps(settings.{name}))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=its_own(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


def test_the_deployment_check_has_nothing_to_say(tmp_path: Path) -> None:
    result = manage(
        *("check", "--deploy", "--fail-level", "WARNING"),
        LEUKOSCOPE_VAR=str(tmp_path),
        LEUKOSCOPE_HTTPS="true",
        LEUKOSCOPE_ALLOWED_HOSTS="leukoscope.example.org",
        REDIS_URL="redis://broker:6379/0",
    )
    assert result.returncode == 0, result.stderr
    assert "no issues" in result.stdout


@pytest.mark.parametrize("name", ["LEUKOSCOPE_LEASE_SECONDS", "LEUKOSCOPE_VISIBILITY_SECONDS"])
def test_a_wrong_value_stops_the_start_with_a_sentence(name: str) -> None:
    result = manage("check", **{name: "soon"})
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.endswith(f"ImproperlyConfigured: {name} must be a whole number, not 'soon'.")


def test_there_is_no_model_change_without_a_migration() -> None:
    result = manage("makemigrations", "--check", "--dry-run")
    assert result.returncode == 0, result.stdout


def test_named_hosts_do_not_shut_out_the_health_check() -> None:
    hosts = read_setting("ALLOWED_HOSTS", LEUKOSCOPE_ALLOWED_HOSTS="lab.example.org")
    assert isinstance(hosts, list)
    assert {"lab.example.org", "localhost"} <= set(hosts)
    assert "*" not in hosts


def test_the_database_password_may_come_as_a_secret_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    databases = read_setting(
        "DATABASES",
        DATABASE_URL="postgresql://leukoscope@postgres:5432/leukoscope",
        DATABASE_PASSWORD_FILE=str(tmp_path / "password"),
    )
    assert isinstance(databases, dict)
    assert databases["default"]["PASSWORD"] == "s3cret"


@pytest.mark.django_db
def test_pages_may_load_nothing_foreign_and_nothing_inline(client: Client) -> None:
    header = client.get("/accounts/login").headers["Content-Security-Policy"]
    rules = dict(part.strip().split(" ", 1) for part in header.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert "unsafe" not in header
    assert "http" not in header
    assert rules["frame-ancestors"] == "'none'"


def test_the_one_allowed_style_is_the_one_that_the_viewer_injects() -> None:
    script = ROOT / "static/vendor/openseadragon/openseadragon.min.js"
    if not script.exists():
        pytest.skip("the browser libraries are not installed (make deps)")
    found = re.search(r'"(@media \(hover: none\)[^"]*)"', script.read_text(encoding="utf-8"))
    assert found
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]["style-src"]


@pytest.mark.django_db
def test_the_health_check_needs_no_login_and_only_reads(client: Client) -> None:
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok"}
    assert client.post("/healthz").status_code == 405


def test_the_health_check_tells_when_the_database_is_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    from webapp import health

    class Away:
        def cursor(self) -> None:
            raise OperationalError("connection refused")

    monkeypatch.setattr(health, "connection", Away())
    response = client.get("/healthz")
    assert response.status_code == 503
    assert response.json() == {"status": "the database does not answer"}
