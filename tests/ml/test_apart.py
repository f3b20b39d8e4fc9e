"""Work in a process of its own: what it returns, raises and reports, how it is stopped, and what a death looks like."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ml.apart import DiedApart, run_apart
from ml.saving import TrainingProblem


def counts(upto: int, *, report: Any, should_stop: Any) -> tuple[int, int]:
    for number in range(upto):
        report({"number": number})
    return os.getpid(), upto


def waits(mark: str, *, report: Any, should_stop: Any) -> str:
    Path(mark).write_text(str(os.getpid()))
    report({"begun": True})
    while not should_stop():
        time.sleep(0.02)
    Path(mark).unlink()
    return "stopped"


def refuses(error: Exception, **_: Any) -> None:
    raise error


class Untakeable(Exception):
    """As exceptions of some libraries: what pickling makes of it cannot be made again."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def raises_untakeable(**_: Any) -> None:
    raise Untakeable("no", "room")


def dies(**_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ignores(mark: str, *, report: Any, should_stop: Any) -> None:
    Path(mark).write_text(str(os.getpid()))
    report({})
    time.sleep(600)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that its parent has yet to look at has."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_it_returns_what_the_work_returns_from_another_process_and_tells_all_in_order():
    told: list[int] = []
    pid, upto = run_apart(counts, 50, report=lambda values: told.append(values["number"]))
    assert (upto, told) == (50, list(range(50)))
    assert pid != os.getpid()
    assert is_gone(pid)


def test_what_it_raises_is_raised_here_with_its_words():
    with pytest.raises(TrainingProblem, match="no room on the disk") as caught:
        run_apart(refuses, TrainingProblem("There is no room on the disk."))
    assert "in refuses" in "".join(caught.value.__notes__)


def test_an_exception_that_cannot_travel_comes_as_its_text():
    with pytest.raises(RuntimeError, match="Untakeable: no room"):
        run_apart(raises_untakeable)


def test_it_stops_when_asked(tmp_path: Path):
    asked: list[bool] = []

    def should_stop() -> bool:
        return bool(asked)

    found = run_apart(
        waits, str(tmp_path / "mark"), report=lambda values: asked.append(True), should_stop=should_stop
    )
    assert found == "stopped"
    assert not (tmp_path / "mark").exists()


def test_a_process_that_was_killed_is_said_to_be():
    with pytest.raises(DiedApart, match=r"exit code -9"):
        run_apart(dies)


def test_an_error_here_ends_the_process_that_does_not_listen(tmp_path: Path):
    class Second(BaseException):
        pass

    def report(values: Any) -> None:
        raise Second

    with pytest.raises(Second):
        run_apart(ignores, str(tmp_path / "mark"), report=report)
    assert is_gone(int((tmp_path / "mark").read_text()))


PARENT = """
import sys
from ml.apart import run_apart
from tests.ml.test_apart import waits
if __name__ == "__main__":
    run_apart(waits, sys.argv[1])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_the_process_that_began_it_and_ctrl_c_is_not_for_it(tmp_path: Path, number: int):
    script, mark = tmp_path / "parent.py", tmp_path / "mark"
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(mark)], start_new_session=True, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        # Whoever runs the tests in the background has Ctrl-C ignored, and so would this process have.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not mark.exists() or not mark.read_text():
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.05)
    child = int(mark.read_text())
    if number == signal.SIGINT:  # as a terminal sends it: to both
        os.kill(child, signal.SIGINT)
        time.sleep(0.5)
        assert not is_gone(child)
    parent.send_signal(number)
    parent.wait(30)
    while not is_gone(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)
