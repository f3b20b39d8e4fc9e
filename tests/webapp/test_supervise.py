"""The supervisor: children start in order, come back after a crash, stop together and leave nothing
behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.servers import runs
from webapp.supervise import Child, StartFailed, Supervisor

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def wait_until(condition: Callable[[], object], patience: float = 15.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def children_of(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def started() -> Callable[[], list[psutil.Process]]:
    """Tells which processes were started below this one since the test began."""
    before = set(children_of(os.getpid()))
    return lambda: [process for process in children_of(os.getpid()) if process not in before]


def gone(processes: list[psutil.Process]) -> bool:
    return not any(runs(process) for process in processes)


def test_a_stage_starts_when_the_one_before_it_is_ready(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    first = Child(
        "first",
        [sys.executable, "-c", f"import time; time.sleep(.3); open({str(flag)!r}, 'w'); time.sleep(600)"],
        ready=flag.exists,
    )
    second = Child(
        "second", [sys.executable, "-c", f"import os; print(os.path.exists({str(flag)!r}), flush=True)"]
    )
    done: list[int] = []
    supervisor = Supervisor([[first], [second]], logs=tmp_path)
    try:
        supervisor.start(between=done.append)
        wait_until(lambda: (tmp_path / "second.log").read_text() == "True\n")
    finally:
        supervisor.stop()
    assert done == [0, 1]


def test_a_child_that_ends_while_starting_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = Child(
        "web", [sys.executable, "-c", "print('no such folder'); raise SystemExit(3)"], ready=lambda: False
    )
    supervisor = Supervisor([[child]], logs=tmp_path)
    with pytest.raises(StartFailed, match=r"web ended with status 3 while starting\.\n    no such folder"):
        supervisor.start()
    supervisor.stop()


def test_a_child_that_never_becomes_ready_is_reported(
    tmp_path: Path, started: Callable[[], list[psutil.Process]]
) -> None:
    supervisor = Supervisor([[Child("mute", SLEEP, ready=lambda: False, ready_seconds=0.2)]], logs=tmp_path)
    with pytest.raises(StartFailed, match="mute was not ready"):
        supervisor.start()
    supervisor.stop()
    assert gone(started())


def test_a_crashed_child_is_started_again_with_growing_pauses(tmp_path: Path) -> None:
    tally = tmp_path / "tally"
    code = f"open({str(tally)!r}, 'a').write('x'); raise SystemExit(1)"
    said: list[str] = []
    supervisor = Supervisor(
        [[Child("analysis", [sys.executable, "-c", code])]], logs=tmp_path, say=said.append
    )
    supervisor.start()
    watcher = threading.Thread(target=supervisor.watch)
    watcher.start()
    try:
        wait_until(lambda: tally.exists() and len(tally.read_text()) >= 3)
    finally:
        supervisor.request_stop()
        watcher.join()
        supervisor.stop()
    assert said[0].startswith("analysis ended with status 1 and is started again in 0.5 s.")
    assert said[1].startswith("analysis ended with status 1 and is started again in 1 s.")


def test_what_a_crashed_child_started_does_not_outlive_it(tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    code = (
        "import os, subprocess, sys, time\n"
        f"if not os.path.exists({str(note)!r}):\n"
        f"    p = subprocess.Popen({SLEEP!r}); open({str(note)!r}, 'w').write(str(p.pid)); sys.exit(1)\n"
        "time.sleep(600)"
    )
    supervisor = Supervisor([[Child("web", [sys.executable, "-c", code])]], logs=None, say=lambda line: None)
    supervisor.start()
    watcher = threading.Thread(target=supervisor.watch)
    watcher.start()
    try:
        wait_until(lambda: note.exists() and note.read_text())
        orphan = int(note.read_text())
        wait_until(lambda: not runs(orphan))
    finally:
        supervisor.request_stop()
        watcher.join()
        supervisor.stop()


def test_a_child_deaf_to_the_stop_is_killed(
    tmp_path: Path, started: Callable[[], list[psutil.Process]]
) -> None:
    flag = tmp_path / "deaf"
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"open({str(flag)!r}, 'w'); time.sleep(600)"
    )
    child = Child("deaf", [sys.executable, "-c", code], ready=flag.exists, stop_seconds=0.3)
    supervisor = Supervisor([[child]], logs=tmp_path)
    supervisor.start()
    alive = started()
    assert alive
    supervisor.stop()
    assert gone(alive)


def test_a_large_log_is_put_aside_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_bytes(b"x" * (10 * 2**20 + 1))
    supervisor = Supervisor([[Child("web", SLEEP)]], logs=tmp_path)
    supervisor.start()
    supervisor.stop()
    assert (tmp_path / "web.log").stat().st_size == 0
    assert (tmp_path / "web.log.1").stat().st_size == 10 * 2**20 + 1


PARENT = """
import signal, sys
from pathlib import Path
from webapp.supervise import Child, Supervisor
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
supervisor = Supervisor([[Child("a", sleep)], [Child("b", sleep), Child("c", sleep)]], logs=Path(sys.argv[1]))
signal.signal(signal.SIGINT, supervisor.request_stop)
signal.signal(signal.SIGTERM, supervisor.request_stop)
try:
    supervisor.start()
    print("ready", flush=True)
    supervisor.watch()
finally:
    supervisor.stop()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_the_supervisor(tmp_path: Path, number: signal.Signals) -> None:
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux ends the children of a killed process")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    children = children_of(parent.pid)
    assert len(children) == 3
    parent.send_signal(number)
    assert parent.wait(15) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    wait_until(lambda: gone(children))
    parent.stdout.close()
