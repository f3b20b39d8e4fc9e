"""A small supervisor: starts processes, waits until they are ready, restarts crashed ones, stops all
together.

Nothing here knows Leukoscope; ``webapp/serve.py`` says which processes there are. Each child leads a process
group of its own, so that Ctrl-C reaches the supervisor alone and it decides the order of the stop. On Linux
the kernel ends the children when the supervisor itself is killed; elsewhere a killed supervisor leaves them
to be ended by hand.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LARGEST_LOG = 10 * 2**20
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
STEADY_SECONDS = 60.0  # a child that ran this long earns the shortest backoff again
POLL_SECONDS = 0.1

# Bound before any fork: between fork and exec a child should only make calls that are already resolved.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


class StartFailed(Exception):
    """A child did not become ready; the message says which, and what it last wrote."""


@dataclass(frozen=True)
class Child:
    """One process to keep running.

    ``ready`` is asked until it says True; None means that a started process is a ready one. ``stop_seconds``
    is how long the child may take to end after SIGTERM before its whole group is killed.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    ready_seconds: float = 60.0
    stop_seconds: float = 20.0
    pass_fds: tuple[int, ...] = ()


@dataclass
class _Running:
    child: Child
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    backoff: float = FIRST_BACKOFF
    restart_at: float | None = None


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when ``parent`` dies (Linux only). Runs between fork and exec."""
    if _prctl is None:
        return
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died between the fork and the call above
        os._exit(1)


class Supervisor:
    """Runs ``stages`` of children: a stage starts when the one before it is ready, and stops before it.

    ``logs`` is the folder that gets ``<name>.log`` for each child; None leaves the children on our own
    output, as containers want it. ``say`` prints one line to whoever started us.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Child]],
        *,
        logs: Path | None,
        say: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages = [[_Running(child) for child in stage] for stage in stages]
        self._logs = logs
        self._say = say
        self._clock = clock
        self._stop_signals = 0

    # --- the life of the whole ------------------------------------------------------------------------------

    def request_stop(self, *_: object) -> None:
        """Ask for the stop; usable as a signal handler. Asked a second time, children are killed at once."""
        self._stop_signals += 1

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop_signals > 0

    def start(self, *, between: Callable[[int], None] | None = None) -> None:
        """Start stage after stage and wait until each is ready; ``between(i)`` runs when stage ``i`` is.

        Raises StartFailed when a child ends or stays silent instead of becoming ready.
        """
        for index, stage in enumerate(self._stages):
            for running in stage:
                self._launch(running)
            for running in stage:
                self._await_ready(running)
            if between is not None and not self.stopping:
                between(index)
            if self.stopping:
                return

    def watch(self) -> None:
        """Restart children that end, with growing pauses, until a stop is asked for."""
        while not self.stopping:
            for stage in self._stages:
                for running in stage:
                    self._keep_alive(running)
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End every child, last stage first; one that does not end in its time is killed with its group."""
        for stage in reversed(self._stages):
            alive = [running for running in stage if running.process and running.process.poll() is None]
            for running in alive:
                _signal_process(running, signal.SIGTERM)
            deadline = self._clock() + max((running.child.stop_seconds for running in alive), default=0.0)
            patience = self._stop_signals
            while any(running.process and running.process.poll() is None for running in alive):
                if self._clock() > deadline or self._stop_signals > max(patience, 1):
                    break
                time.sleep(POLL_SECONDS / 2)
            for running in stage:
                _kill_group(running)

    # --- one child ------------------------------------------------------------------------------------------

    def _launch(self, running: _Running) -> None:
        child, parent = running.child, os.getpid()
        output = self._open_log(child.name)
        try:
            running.process = subprocess.Popen(
                child.command,
                env={**os.environ, **child.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
                pass_fds=child.pass_fds,
                preexec_fn=lambda: die_with_parent(parent),
            )
        finally:
            if output:
                output.close()
        running.started_at, running.restart_at = self._clock(), None

    def _await_ready(self, running: _Running) -> None:
        child, process = running.child, running.process
        assert process is not None
        deadline = self._clock() + child.ready_seconds
        while child.ready is not None and not self.stopping and not child.ready():
            if process.poll() is not None:
                raise StartFailed(
                    f"{child.name} {_ending(process)} while starting.{self._last_words(child.name)}"
                )
            if self._clock() > deadline:
                raise StartFailed(
                    f"{child.name} was not ready after {child.ready_seconds:.0f} s."
                    f"{self._last_words(child.name)}"
                )
            time.sleep(POLL_SECONDS / 2)

    def _keep_alive(self, running: _Running) -> None:
        process, now = running.process, self._clock()
        if running.restart_at is not None:
            if now >= running.restart_at:
                self._launch(running)
        elif process is not None and process.poll() is not None:
            # What the child started itself (gunicorn's workers, say) must not live on beside its successor.
            _kill_group(running)
            if now - running.started_at > STEADY_SECONDS:
                running.backoff = FIRST_BACKOFF
            pause, running.backoff = running.backoff, min(running.backoff * 2, LONGEST_BACKOFF)
            running.restart_at = now + pause
            self._say(
                f"{running.child.name} {_ending(process)} and is started again in {pause:g} s."
                f"{self._last_words(running.child.name)}"
            )

    # --- logs -----------------------------------------------------------------------------------------------

    def _log_path(self, name: str) -> Path | None:
        return self._logs / f"{name}.log" if self._logs else None

    def _open_log(self, name: str) -> IO[bytes] | None:
        path = self._log_path(name)
        if path is None:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LARGEST_LOG:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")

    def _last_words(self, name: str, lines: int = 5) -> str:
        path = self._log_path(name)
        if path is None or not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            tail = file.read().decode("utf-8", errors="replace").strip().splitlines()[-lines:]
        return "".join(f"\n    {line}" for line in tail) + f"\n    (more in {path})" if tail else ""


def _ending(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with status {code}"


def _signal_process(running: _Running, number: signal.Signals) -> None:
    if running.process is not None:
        try:
            running.process.send_signal(number)
        except ProcessLookupError:
            pass


def _kill_group(running: _Running) -> None:
    """Kill what is left of a child's process group and reap the child."""
    if running.process is None:
        return
    try:
        os.killpg(running.process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # the group is gone (macOS says "not permitted" for one of zombies alone)
    running.process.wait()
