"""The row of a training: one at a time, alive or taken over, and what it says while it runs."""

from __future__ import annotations

import math
import time
from datetime import timedelta

import numpy as np
import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from diagnosis.models import AuditEvent, Training
from diagnosis.services import trainings
from diagnosis.services.training_folder import TrainingRefused, WorkLock, work_folder

pytestmark = pytest.mark.django_db


@pytest.fixture
def begin(tmp_path):
    def make(name="field-2", **more):
        work = tmp_path / name
        work.mkdir(exist_ok=True)
        return trainings.begin(task="field", name=name, work=work, options={}, data={}, **more)

    return make


def test_a_second_one_is_refused_while_one_runs(begin):
    begin()
    with pytest.raises(TrainingRefused, match="field-2 is in training since"):
        begin("field-3")
    assert Training.objects.count() == 1


def test_another_task_may_run_beside_it(begin, tmp_path):
    begin()
    trainings.begin(task="cell", name="cell-1", work=tmp_path, options={}, data={})
    assert Training.objects.filter(state="running").count() == 2


def test_a_silent_one_is_taken_over(begin):
    dead = begin()
    Training.objects.filter(pk=dead.pk).update(beat_at=timezone.now() - timedelta(seconds=61))
    begin("field-3")
    dead.refresh_from_db()
    assert (dead.state, dead.failure) == ("stopped", trainings.VANISHED)


def test_one_whose_process_is_gone_is_known_at_once_by_its_lock(begin, tmp_path):
    dead = begin()
    lock = WorkLock(tmp_path / "field-2")
    lock.take()
    assert not trainings.is_dead(dead)
    lock.release()  # as the system does when a process ends
    assert trainings.is_dead(dead)


def test_the_lock_of_another_machine_proves_nothing(begin, tmp_path):
    training = begin()
    (tmp_path / "field-2" / "lock").write_text("another-machine 17\n")
    assert not trainings.is_dead(training)


def test_installations_that_share_a_cache_do_not_share_a_training(monkeypatch):
    mine = work_folder("field-2")
    assert work_folder("field-2") == mine
    monkeypatch.setitem(connection.settings_dict, "NAME", "another")
    assert work_folder("field-2") != mine


def test_a_folder_is_worked_in_by_one_process(tmp_path):
    first = WorkLock(tmp_path)
    first.take()
    with pytest.raises(TrainingRefused, match="Another process is at work"):
        WorkLock(tmp_path).take()
    first.release()
    again = WorkLock(tmp_path)
    again.take()
    again.release()


def test_it_ends_in_one_of_three_ways_and_the_audit_log_says_which(begin, version, cast):
    done = begin("a", actor=cast.administrator)
    trainings.finish(training=done, result=version)
    stopped = begin("b")
    trainings.stop(training=stopped)
    failed = begin("c")
    trainings.fail(training=failed, failure="The disk is full.")
    assert [t.state for t in (done, stopped, failed)] == ["done", "stopped", "failed"]
    assert all(t.finished_at for t in (done, stopped, failed))
    assert done.result == version
    actions = (
        AuditEvent.objects.filter(object_type="training").order_by("pk").values_list("action", flat=True)
    )
    assert list(actions) == [
        "start_training", "finish_training", "start_training", "stop_training", "start_training", "fail_training",
    ]  # fmt: skip
    assert (
        AuditEvent.objects.filter(action="start_training").order_by("pk").first().actor == cast.administrator
    )


def test_the_newest_unfinished_one_is_gone_on_with(begin):
    older = begin("a")
    trainings.stop(training=older)
    newer = begin("b")
    trainings.fail(training=newer, failure="The disk is full.")
    assert trainings.unfinished(task="field") == newer
    assert trainings.unfinished(task="field", name="a") == older
    again = trainings.resume(training=newer, options={"trials": 3})
    assert (again.state, again.failure, again.finished_at, again.options) == (
        "running",
        "",
        None,
        {"trials": 3},
    )


def test_nothing_to_go_on_with_is_said(begin, version):
    with pytest.raises(TrainingRefused, match="no unfinished training to go on"):
        trainings.unfinished(task="field")
    training = begin()
    with pytest.raises(TrainingRefused, match="field-2 is running"):
        trainings.unfinished(task="field")
    trainings.finish(training=training, result=version)
    with pytest.raises(TrainingRefused, match="no unfinished training called field-2"):
        trainings.unfinished(task="field", name="field-2")
    with pytest.raises(TrainingRefused, match="has ended"):
        trainings.resume(training=training, options={})


@pytest.mark.django_db(transaction=True)
def test_its_progress_is_written_while_it_runs_and_at_its_end(begin, monkeypatch):
    monkeypatch.setattr(trainings, "WRITE_SECONDS", 0.05)
    training = begin()
    with trainings.Live(training) as live:
        for step in range(100):
            live.update({"stage": "search", "done": step, "loss": np.float32(0.5), "metric": math.nan})
        deadline = time.monotonic() + 10
        while (stored := Training.objects.get(pk=training.pk)).progress.get("done") != 99:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert stored.progress == {"stage": "search", "done": 99, "loss": 0.5, "metric": None}
        assert stored.beat_at > training.beat_at
        assert live.update({"done": None, "loss": None}) == {"stage": "search", "metric": None}
    assert Training.objects.get(pk=training.pk).progress == {"stage": "search", "metric": None}
    assert not live.taken_over.is_set()


@pytest.mark.django_db(transaction=True)
def test_a_thousand_updates_a_second_are_few_writes(begin, monkeypatch):
    monkeypatch.setattr(trainings, "WRITE_SECONDS", 0.1)
    training, writes = begin(), []
    write = trainings.Live._write
    monkeypatch.setattr(trainings.Live, "_write", lambda self: (writes.append(1), write(self)))
    with trainings.Live(training) as live:
        until = time.monotonic() + 0.55
        while time.monotonic() < until:
            live.update({"done": 1})
    assert len(writes) <= 7


@pytest.mark.django_db(transaction=True)
def test_one_that_was_taken_over_learns_it_and_writes_no_more(begin):
    training = begin()
    with trainings.Live(training) as live:
        Training.objects.filter(pk=training.pk).update(state="stopped")
        live.update({"done": 5})
        live._write()
        assert live.taken_over.is_set()
    assert Training.objects.get(pk=training.pk).progress == {}


@pytest.mark.django_db(transaction=True)
def test_a_database_that_fails_once_does_not_end_it(begin, monkeypatch):
    monkeypatch.setattr(trainings, "WRITE_SECONDS", 0.05)
    training, write, failures = begin(), trainings.Live._write, iter([DatabaseError("gone")])

    def shaky(self):
        for error in failures:
            raise error
        write(self)

    monkeypatch.setattr(trainings.Live, "_write", shaky)
    with trainings.Live(training) as live:
        live.update({"done": 5})
        time.sleep(0.15)
        live.update({"done": 6})
    assert Training.objects.get(pk=training.pk).progress == {"done": 6}
