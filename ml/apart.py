"""Running a piece of work in a process of its own, which takes its memory with it when it ends.

TensorFlow keeps what its tensors once took, and a DenseNet-121's search alone takes gigabytes: what comes after it
should not have to do with the rest.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

T = TypeVar("T")
Report = Callable[[Mapping[str, Any]], None]

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 5.0
"""For a process that was told to end, before it is killed."""

STOP = "stop"


class DiedApart(RuntimeError):
    """The process ended without a word: killed from outside, or for want of memory."""


def run_apart(
    work: Callable[..., T],
    *arguments: Any,
    report: Report = lambda values: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> T:
    """Call `work(*arguments, report=..., should_stop=...)` in a new process and return what it returns.

    The work asks its `should_stop` often; it is true once this one's is, and once this process is gone. Ctrl-C is for
    this process alone. The work, its arguments and its result must be fit for pickling, the work by its name.

    Args:
        report: told here what the work reports there, in order.

    Raises:
        DiedApart: the process ended without a word. Whatever the work raised, with its traceback as a note.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, arguments), daemon=True)
    with _without_interrupts():
        process.start()
    theirs.close()
    patience = 0.0
    try:
        kind, value = _last_word(ours, report, should_stop)
        patience = PATIENCE_SECONDS
    except EOFError:
        process.join(PATIENCE_SECONDS)
        raise DiedApart(
            f"A process of this training ended without a word (exit code {process.exitcode}): "
            "killed from outside, or for want of memory."
        ) from None
    finally:
        ours.close()
        _end(process, patience)
    if kind == "raised":
        raise value
    result: T = value
    return result


def _last_word(there: Connection, report: Report, should_stop: Callable[[], bool]) -> tuple[str, Any]:
    """Pass on what is reported, and the request to stop; returns how it ended. EOFError: without a word."""
    asked = False
    while True:
        if not asked and should_stop():
            asked = True
            with suppress(OSError):  # it may have ended just now: its last word is still to be read
                there.send(STOP)
        if not there.poll(POLL_SECONDS):
            continue
        try:
            kind, value = there.recv()
        except ConnectionResetError:
            raise EOFError from None
        if kind != "report":
            return kind, value
        report(value)


def _end(process: SpawnProcess, patience: float) -> None:
    process.join(patience)
    for end in (process.terminate, process.kill):
        if process.exitcode is None:
            end()
            process.join(PATIENCE_SECONDS)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process begun here is deaf to Ctrl-C from its first instruction on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- in the other process -----------------------------------------------------------------------------------


class _Line:
    """To the process that began this one; a line that is cut is a request to stop."""

    def __init__(self, there: Connection) -> None:
        self._there = there
        self._stop = False

    def report(self, values: Mapping[str, Any]) -> None:
        self._send("report", dict(values))

    def should_stop(self) -> bool:
        try:
            if not self._stop and self._there.poll():
                self._stop = self._there.recv() == STOP
        except (EOFError, OSError):
            self._stop = True
        return self._stop

    def _send(self, kind: str, value: Any) -> None:
        try:
            self._there.send((kind, value))
        except OSError:
            self._stop = True

    def returned(self, value: Any) -> None:
        self._send("returned", value)

    def raised(self, error: BaseException) -> None:
        error.add_note(traceback.format_exc())
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - an exception of a library that cannot be taken apart
            told = RuntimeError(f"{type(error).__name__}: {error}")
            told.add_note(traceback.format_exc())
            error = told
        self._send("raised", error)


def _serve(there: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = _Line(there)
    try:
        result = work(*arguments, report=line.report, should_stop=line.should_stop)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised on the other side
        line.raised(error)
    else:
        line.returned(result)
