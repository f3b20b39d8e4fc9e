"""Dockerfile, compose file and entry point, checked step by step without a container engine."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from webapp.env import Env
from webapp.processes import command

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {"web", "worker", "upkeep", "training", "beat", "gpu-worker", "redis", "postgres"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def dockerfile() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def test_the_image_is_built_in_stages_and_runs_as_nobody_special() -> None:
    steps = dockerfile()
    assert sum(word == "FROM" for word, _ in steps) == 3
    last_stage = steps[max(i for i, (word, _) in enumerate(steps) if word == "FROM") :]
    assert ("USER", "leukoscope") in last_stage
    after_user = last_stage[last_stage.index(("USER", "leukoscope")) :]
    assert not any(word in {"RUN", "COPY"} for word, _ in after_user)
    words = dict(last_stage)
    assert words["ENTRYPOINT"] == '["/app/docker/entrypoint.sh"]'
    assert "webapp.healthcheck" in words["HEALTHCHECK"]


def test_the_image_copies_only_what_the_repository_has() -> None:
    for word, rest in dockerfile():
        if word == "COPY" and not rest.startswith("--from"):
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists(), source
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"var", ".venv", "secrets", ".git"} <= set(ignored)
    tracked = subprocess.run(
        ["git", "ls-files", "-s", "docker/entrypoint.sh"], cwd=ROOT, capture_output=True, text=True
    )
    if tracked.stdout:  # not in an export without git
        assert tracked.stdout.startswith("100755")


def test_compose_has_every_service_and_what_each_depends_on(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == SERVICES
    assert services["gpu-worker"]["profiles"] == ["gpu"]
    assert services["gpu-worker"]["environment"]["LEUKOSCOPE_RUNTIME"] == "tensorflow"
    for service_name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy", (service_name, needed)
            assert "test" in services[needed].get("healthcheck", {}) or needed == "web"
        for volume in service.get("volumes", []):
            name = re.sub(r"^\$\{\w+:-(\w+)\}", r"\1", volume).split(":")[0]  # as it is where nothing is set
            assert name in compose["volumes"]
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]


def test_compose_starts_processes_that_exist(compose: dict[str, Any]) -> None:
    entry = (ROOT / "docker/entrypoint.sh").read_text()
    for name in ("web", "worker", "upkeep", "training", "beat", "gpu-worker"):
        (process,) = compose["services"][name]["command"]
        assert command(process, Env({}))[1] == "-m"
        assert re.search(rf"(^|\| ?){process}\b.*\)$", entry, re.MULTILINE), process


def test_compose_sets_only_variables_that_are_read(compose: dict[str, Any]) -> None:
    code = "".join(path.read_text() for path in (ROOT / "webapp").glob("*.py"))
    documentation = (ROOT / "docs/operations.md").read_text()
    for name in ("web", "worker", "gpu-worker"):
        for variable in compose["services"][name]["environment"]:
            stem = variable.removesuffix("_FILE")
            assert f'"{stem}"' in code, variable
            assert f"`{stem}`" in documentation, variable


def test_compose_keeps_secrets_out_of_the_environment(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"KEY|PASSWORD|SECRET", variable):
                assert variable.endswith("_FILE"), variable
            assert not re.search(r"//[^/@]+:[^/@]+@", str(value)), variable


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def healthy(environment: dict[str, str]) -> bool:
    check = [sys.executable, "-m", "webapp.healthcheck"]
    return subprocess.run(check, cwd=ROOT, env=environment, check=False).returncode == 0


@pytest.mark.slow
def test_the_entry_point_migrates_and_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    # The image's folder is /app; the script is the same but for that line.
    script = tmp_path / "entrypoint.sh"
    script.write_text(
        (ROOT / "docker/entrypoint.sh").read_text().replace("cd /app", f"cd {shlex.quote(str(ROOT))}")
    )
    unset = {"LEUKOSCOPE_TEST_VAR", "DJANGO_SETTINGS_MODULE"}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "LEUKOSCOPE_VAR": str(tmp_path / "var"),
        "DATABASE_URL": f"sqlite:///{tmp_path}/lab.sqlite3",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "LEUKOSCOPE_ALLOWED_HOSTS": "lab.example.org",
        "LEUKOSCOPE_HTTPS": "true",
        "PORT": str(free_port()),
    }
    assert not healthy(environment)
    with (tmp_path / "log").open("wb") as log:
        web = subprocess.Popen(["sh", str(script), "web"], env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not healthy(environment):
                assert web.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, "it was not healthy in time"
                time.sleep(0.2)
        finally:
            web.send_signal(signal.SIGTERM)
            assert web.wait(30) == 0
    assert (tmp_path / "lab.sqlite3").exists()
    assert "First account:  admin" in (tmp_path / "log").read_text()


def test_the_entry_point_runs_any_other_command(tmp_path: Path) -> None:
    script = (ROOT / "docker/entrypoint.sh").read_text().replace("cd /app", "cd /")
    result = subprocess.run(
        ["sh", "-c", script, "sh", "echo", "as", "it is"], capture_output=True, text=True, check=True
    )
    assert result.stdout == "as it is\n"
