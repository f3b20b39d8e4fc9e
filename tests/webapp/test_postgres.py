"""The same application on PostgreSQL: its migrations, and the tests of its services."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def on_postgres(url: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_empty_server_is_prepared_and_a_second_time_nothing_changes(
    postgres_url: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "DATABASE_URL": postgres_url, "LEUKOSCOPE_VAR": str(tmp_path)}
    environment["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
    outputs = [
        subprocess.run(
            [sys.executable, "manage.py", "prepare"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert "First account:  admin" in outputs[0]
    assert "First account" not in outputs[1]


def test_the_tests_of_the_services_pass_there_too(postgres_url: str) -> None:
    result = on_postgres(
        postgres_url,
        *("-m", "pytest", "tests/diagnosis", "-q", "-p", "no:cacheprovider"),
        *("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"),
        *("-m", "not browser and not broker and not slow and not data and not weights"),
    )
    assert result.returncode == 0, result.stdout[-6000:]
    assert " passed" in result.stdout
