"""`python -m webapp.serve`: everything starts with one command and stops with one signal."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers import runs
from webapp.serve import CannotServe, address_for_people, listen

ROOT = Path(__file__).resolve().parents[2]


class Instance:
    """A running Leukoscope in a folder of its own, at a free port."""

    def __init__(self, folder: Path, **environment: str) -> None:
        unset = {"DATABASE_URL", "REDIS_URL", "LEUKOSCOPE_TEST_VAR", "DJANGO_SETTINGS_MODULE"}
        inherited = {name: value for name, value in os.environ.items() if name not in unset}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "webapp.serve"],
            cwd=ROOT,
            env={**inherited, "LEUKOSCOPE_VAR": str(folder), "PORT": "0", "HOST": "127.0.0.1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, patience: float = 90) -> re.Match[str]:
        deadline = time.monotonic() + patience
        while not (found := re.search(pattern, self.text)):
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)
        return found

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Return the exit status, with every line read."""
        code = self.process.wait(60)
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def folder(short_tmp: Path) -> Iterator[Path]:
    """A folder for one installation; what a failed test left running in it is ended."""
    yield short_tmp / "var"
    for process in psutil.process_iter(["cmdline"]):
        if any(str(short_tmp) in part for part in process.info["cmdline"] or []):
            process.kill()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if runs(p)]


def get(port: int, path: str) -> http.client.HTTPResponse:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("GET", path)
    return client.getresponse()


@pytest.mark.broker
@pytest.mark.slow
def test_the_whole_life_of_an_installation(folder: Path) -> None:
    first = Instance(folder)
    port = int(first.wait_for(r"Leukoscope is ready at http://127\.0\.0\.1:(\d+)/")[1])
    password = first.wait_for(r"First account:  admin\n\s*Password:\s+(\S{12,})")[1]
    assert get(port, "/healthz").status == 200
    assert get(port, "/").status == 302

    # Static files come compressed-ready from whitenoise, under names that carry their digest.
    names = [path.name for path in (folder / "static/vendor/openseadragon").iterdir()]
    assert any(re.fullmatch(r"openseadragon\.min\.[0-9a-f]{12}\.js", name) for name in names)

    # A crashed analysis worker comes back, and the web server beside it never notices.
    worker = next(p for p in first.family() if "analysis-1@%h" in p.cmdline())
    worker.kill()
    first.wait_for(r"analysis-1 was ended by SIGKILL and is started again")
    deadline = time.monotonic() + 30
    while not any("analysis-1@%h" in p.cmdline() for p in first.family()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert get(port, "/healthz").status == 200

    # A second one in the same folder gets one sentence, and so does one at the same port.
    twin = Instance(folder.parent / "other", PORT=str(port))
    assert twin.wait() == 1
    assert twin.text == (
        f"Leukoscope cannot start: Port {port} is in use: "
        f"stop what uses it, or choose another with PORT={port + 1}."
    )

    family = first.family()
    assert len(family) >= 8
    assert first.stop() == 0
    assert first.lines[-1] == "Leukoscope has stopped."
    assert alive(family) == []

    second = Instance(folder)
    second.wait_for(r"Leukoscope is ready at")
    assert "Password" not in second.text
    assert password not in second.text
    family = second.family()
    second.stop(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while alive(family):
        assert time.monotonic() < deadline, alive(family)
        time.sleep(0.1)


def test_a_folder_that_is_no_folder_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    instance = Instance(tmp_path / "file" / "var")
    assert instance.wait() == 1
    assert re.fullmatch(r"Leukoscope cannot start: Cannot write in .*: .*LEUKOSCOPE_VAR\.", instance.text)


def test_a_port_that_is_no_number_gets_one_sentence(tmp_path: Path) -> None:
    instance = Instance(tmp_path, PORT="http")
    assert instance.wait() == 1
    assert instance.text == "Leukoscope cannot start: PORT must be a whole number, not 'http'."


def test_a_port_in_use_is_told_with_the_next_one() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotServe, match=rf"Port {port} is in use: .*PORT={port + 1}\."):
            listen("127.0.0.1", port)


def test_a_host_that_is_not_ours_is_told() -> None:
    with pytest.raises(CannotServe, match=r"HOST is 'no\.such\.host\.invalid'"):
        listen("no.such.host.invalid", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("0.0.0.0", "http://127.0.0.1:8000/"),
        ("::1", "http://[::1]:8000/"),
        ("lab-pc", "http://lab-pc:8000/"),
    ],
)
def test_the_address_is_one_a_browser_can_open(host: str, url: str) -> None:
    assert address_for_people(host, 8000) == url
