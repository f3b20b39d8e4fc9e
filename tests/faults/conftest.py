"""Real workers on a real broker, on the database of the test; and the laboratory of tests/diagnosis."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.db import connection

from diagnosis.models import Analysis
from diagnosis.services import upkeep
from tests.diagnosis.conftest import (  # noqa: F401 - fixtures
    add_image,
    bundles,
    case,
    cast,
    field_pixels,
    field_png,
    image,
    laboratory,
    media,
    sealed_bundle,
    version,
)
from tests.servers import Broker
from tests.stand_in import SECONDS
from webapp import processes
from webapp.supervise import die_with_parent

LEASE_SECONDS = 5
PATIENCE = 60.0


class Workers:
    """Starts workers for this test and ends every one of them."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment, self._folder = environment, folder
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, queue: str = "analysis", *, seconds: float = 0.0) -> subprocess.Popen[bytes]:
        """A worker that takes tasks when this returns; its network thinks `seconds` about each image."""
        return self._start(processes.worker_command(queue, len(self.started) + 1), seconds, wait=True)

    def start_clock(self) -> subprocess.Popen[bytes]:
        return self._start(processes.beat_command(), 0.0, wait=False)

    def _start(self, command: list[str], seconds: float, *, wait: bool) -> subprocess.Popen[bytes]:
        number, parent = len(self.started) + 1, os.getpid()
        ready, log = self._folder / f"{number}.ready", self._folder / f"{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env={**self._environment, SECONDS: str(seconds), "LEUKOSCOPE_READY_FILE": str(ready)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: die_with_parent(parent),
            )
        self.started.append(process)
        deadline = time.monotonic() + PATIENCE
        while wait and not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not start: {log.read_text()}")
            time.sleep(0.05)
        return process

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


@pytest.fixture
def workers(
    transactional_db: None,
    broker: Broker,
    bundles: Path,  # noqa: F811
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workers]:
    """Workers on the test's own database, files and broker; this process sends to that broker too."""
    monkeypatch.setitem(current_app.conf, "broker_url", broker.url)
    current_app._after_fork()  # forget connections to another broker
    folder = tmp_path / "workers"
    folder.mkdir()
    made = Workers(
        {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "DATABASE_URL": database_url(),
            "REDIS_URL": broker.url,
            "LEUKOSCOPE_MEDIA": str(settings.MEDIA_ROOT),
            "LEUKOSCOPE_BUNDLES": str(bundles),
            "LEUKOSCOPE_LEASE_SECONDS": str(LEASE_SECONDS),
            "OMP_NUM_THREADS": "1",
        },
        folder,
    )
    yield made
    made.end()
    current_app._after_fork()


def database_url() -> str:
    """DATABASE_URL of the database this test works on."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    return f"postgresql://{values['USER']}@/{values['NAME']}?host={values['HOST']}"


@pytest.fixture
def becomes(workers: Workers) -> Callable[..., Analysis]:
    """Waits until an analysis has a state, sweeping as the clock does if asked to; returns it."""

    def wait(key: Any, *states: str, sweeping: bool = False, patience: float = PATIENCE) -> Analysis:
        deadline = time.monotonic() + patience
        while True:
            analysis = Analysis.objects.get(pk=key)
            if analysis.state in states:
                return analysis
            assert time.monotonic() < deadline, f"still {analysis.state}\n{workers.logs()}"
            if sweeping:
                upkeep.sweep()
            time.sleep(0.2)

    return wait
