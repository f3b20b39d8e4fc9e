"""Tasks go to the queue they were meant for, and delivery survives what it must."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest
from django.conf import settings

from tests.servers import Broker
from webapp.celery import app
from webapp.processes import worker_command


def test_each_queue_has_a_route_of_its_own() -> None:
    for name in ("analysis", "training", "upkeep"):
        queue = app.amqp.queues[name]
        assert (queue.exchange.name, queue.routing_key) == (name, name)


QUEUES = {
    "analyze_image": "analysis",
    "judge_version": "training",
    "run_shadows": "training",
    "run_trial": "training",
    "sweep": "upkeep",
    "remove_orphans": "upkeep",
    "deliver_webhooks": "upkeep",
    "verify_audit": "upkeep",
    "count_quality": "upkeep",
}
# What may take longer than a message may stay unacknowledged is acknowledged first.
ACKNOWLEDGED_FIRST = {name for name, queue in QUEUES.items() if queue == "training"} | {
    "verify_audit",
    "count_quality",
}


def test_every_task_belongs_to_a_known_queue_and_the_scheduled_ones_exist() -> None:
    app.loader.import_default_modules()
    ours = {name: task for name, task in app.tasks.items() if name.startswith("diagnosis.")}
    assert {name.removeprefix("diagnosis.tasks.") for name in ours} == set(QUEUES)
    for name, task in ours.items():
        name_here = name.removeprefix("diagnosis.tasks.")
        assert app.amqp.router.route({}, name)["queue"].name == QUEUES[name_here]
        assert task.acks_late is (name_here not in ACKNOWLEDGED_FIRST), name
        assert task.reject_on_worker_lost
    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= set(ours)


PROBE = """
import os, sys, time
from celery import Celery
app = Celery("probe")
app.config_from_object("webapp.settings", namespace="CELERY")
@app.task(name="probe.note", queue="analysis")
def note(path, seconds):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(seconds)
    with open(path, "a") as file:
        file.write("done\\n")
"""


@pytest.mark.broker
@pytest.mark.slow
def test_the_task_of_a_killed_worker_is_done_by_another(broker: Broker) -> None:
    folder = broker.folder.parent
    (folder / "probe.py").write_text(PROBE)
    note = folder / "note"
    environment = {
        **os.environ,
        "REDIS_URL": broker.url,
        "LEUKOSCOPE_VISIBILITY_SECONDS": "5",
        "PYTHONPATH": os.pathsep.join([str(folder), os.getcwd()]),
        "DJANGO_SETTINGS_MODULE": "",
    }
    command = [part if part != "webapp.celery" else "probe" for part in worker_command("analysis")]

    def start_worker() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, env=environment, cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def lines() -> list[str]:
        return note.read_text().splitlines() if note.exists() else []

    def wait_for(count: int, patience: float) -> None:
        deadline = time.monotonic() + patience
        while len(lines()) < count:
            assert time.monotonic() < deadline, lines()
            time.sleep(0.05)

    subprocess.run(
        [sys.executable, "-c", f"import probe; probe.note.delay({str(note)!r}, 3)"],
        env=environment,
        cwd=folder,
        check=True,
    )
    first = start_worker()
    wait_for(1, 30)
    first.kill()
    first.wait()
    second = start_worker()
    try:
        wait_for(3, 40)
    finally:
        second.terminate()
        second.wait(30)
    assert lines() == [str(first.pid), str(second.pid), "done"]
    assert not psutil.pid_exists(first.pid)
