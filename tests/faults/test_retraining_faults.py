"""The real command, killed and gone on with; and a search that two workers share, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diagnosis.models import ModelVersion, Training
from ml.tasks import FIELD
from tests.painted import paint_set
from webapp.supervise import die_with_parent

from .conftest import database_url

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600.0
GRACE_SECONDS = 6
SMALL = ["--start", "imagenet", "--blocks", "1,1,1,1", "--size", "64", "--evidence", "brief"]


class Command:
    """`manage.py retrain --json` as a process of its own; what it prints is read line by line."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        parent = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "retrain", "--json", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: die_with_parent(parent),
        )
        self.lines: list[dict[str, Any]] = []

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on until a line's progress is such; returns that progress."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            progress = self.lines[-1].get("progress", {})
            if progress and holds(progress):
                return progress
        raise AssertionError(f"it ended before: {self.lines[-3:]} {self.ended()[1]}")

    def ended(self) -> tuple[int, str]:
        """Read to the end; returns the exit status and what stands on standard error."""
        out, errors = self.process.communicate(timeout=PATIENCE)
        self.lines += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode, errors

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def environment(
    tmp_path: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> dict[str, str]:
    """Of the processes: the test's database and bundles, and a cache of their own."""
    settings.VAR_DIR = tmp_path / "var"
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
        "DATABASE_URL": database_url(),
        "LEUKOSCOPE_TEST_VAR": str(tmp_path / "var"),
        "LEUKOSCOPE_BUNDLES": str(bundles),
        "LEUKOSCOPE_CACHE": str(tmp_path / "cache"),
        "LEUKOSCOPE_TRIAL_GRACE_SECONDS": str(GRACE_SECONDS),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def data(tmp_path: Path) -> str:
    paint_set(tmp_path / "data", dict.fromkeys(FIELD.classes, 5), images=5)
    return str(tmp_path / "data")


@pytest.fixture
def run(environment: dict[str, str]) -> Iterator[Callable[..., Command]]:
    begun: list[Command] = []

    def start(*arguments: str) -> Command:
        begun.append(Command(environment, *arguments))
        return begun[-1]

    yield start
    for command in begun:
        if command.process.poll() is None:
            command.kill()


def test_a_killed_training_goes_on_with_its_search_its_split_and_its_epoch(version, run, data):
    first = run("--data", data, *SMALL, "--trials", "2", "--trial-epochs", "2", "--epochs", "40")
    killed = first.until(
        lambda p: p["stage"].startswith("refit") and len(p.get("history", {}).get("loss", ())) >= 2
    )
    code, errors = run("--data", data, *SMALL).ended()
    assert (code, "is in training since" in errors) == (1, True), errors
    first.kill()
    row = Training.objects.get()
    assert row.state == "running", "a killed process can't say that it ended"

    second = run("--resume")
    going = second.until(lambda p: p["stage"].startswith("refit,") and p.get("done", 0) > 0)
    assert going["done"] > 2 * (60 // 32), "the epochs that were done are not trained again"
    assert going["history"]["loss"][:2] == killed["history"]["loss"][:2]
    assert [t["value"] for t in going["trials"]] == [t["value"] for t in killed["trials"]]

    second.process.send_signal(signal.SIGINT)
    code, errors = second.ended()
    assert code == 130
    assert "Stopped; everything done is kept. Go on with: python manage.py retrain --resume" in errors
    row.refresh_from_db()
    assert (row.state, row.failure) == ("stopped", "")
    split = json.loads((Path(row.work) / "images.json").read_text())["split"]
    assert [len(split[part]) for part in ("train", "validation", "test")] == [60, 20, 20]
    assert [v.name for v in ModelVersion.objects.all()] == [version.name]


@pytest.mark.broker
def test_two_workers_share_a_search_and_one_of_them_dies(version, run, data, environment, workers, broker):
    workers._environment |= environment | {"REDIS_URL": broker.url}
    environment["REDIS_URL"] = broker.url
    doomed, _ = workers.start("training"), workers.start("training")
    command = run(
        "--data", data, *SMALL, "--trials", "6", "--trial-epochs", "40", "--epochs", "1", "--distributed"
    )  # fmt: skip

    def both_have_worked_and_the_first_is_busy(progress: dict[str, Any]) -> bool:
        trials = progress.get("trials", ())
        busy = [t for t in trials if t["state"] == "running" and t["worker"].startswith("training-1@")]
        # The head alone would be done before the signal arrives.
        return len({t["worker"] for t in trials}) == 2 and any(
            t["settings"].get("depth", "head") != "head" for t in busy
        )

    command.until(both_have_worked_and_the_first_is_busy)
    doomed.kill()
    began = time.monotonic()
    code, errors = command.ended()
    assert code == 0, errors + workers.logs()
    training = Training.objects.get()
    trials = training.progress["trials"]
    ended = [t for t in trials if t["state"] in ("complete", "pruned")]
    lost = [t for t in trials if t["state"] == "failed"]
    assert (len(ended), len(lost)) == (6, 1)
    assert lost[0]["worker"].startswith("training-1")
    # It may have died before its setting was drawn whole: what was drawn is what is tried again.
    drawn = lost[0]["settings"].items()
    assert any(drawn <= t["settings"].items() for t in ended), "its setting was tried again"
    assert len({json.dumps(t["settings"], sort_keys=True) for t in ended}) == 6, "no setting was tried twice"
    assert time.monotonic() - began < PATIENCE
    assert training.result.status == "candidate"
